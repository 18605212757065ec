"""Benchmarks: every figure that the project states is printed by a command in here."""
