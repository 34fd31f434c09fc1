"""wickguard: serve models to strangers; no request can use more than it was granted."""

__version__ = "0.1.0"
