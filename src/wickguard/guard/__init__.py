"""The guard: the stages that every request passes, and their one order (pipeline.py).

The stage files never import one another; each gets its own settings and no other.
"""
