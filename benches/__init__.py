"""Benches: each prints a table; with --write the table is committed to benches/results with the machine it ran on."""
