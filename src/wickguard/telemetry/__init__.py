"""Telemetry: the path emits facts, listeners consume them. No stage counts, logs or formats anything itself."""
