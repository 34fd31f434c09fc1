"""Policy: one TOML file that composes the settings each module owns. Every key is optional; the defaults are safe."""
