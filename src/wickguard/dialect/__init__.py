"""Dialects: request and error bodies of each API, and nothing else.

A dialect turns bytes into a neutral task and a result or rejection into bytes. It decides no limit and holds no state.
"""
