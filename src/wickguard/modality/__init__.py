"""Modalities: what a call's input is made of, as numbers.

A feature is defined once, in two directions: `measure` (the guard prices with it) and `synthesize` (the probe and the
property tests make inputs with it). Law: measure(synthesize(x)) == x. Nothing here opens an input: no tokenising, no
decoding, no allocation from a number that a caller wrote.
"""
