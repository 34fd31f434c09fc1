"""Control: the algorithms that decide. Pure: `now` is an argument; no clock, no I/O, no randomness.

The server, the simulators and the property tests run this same code.
"""
