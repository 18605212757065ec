"""Benchmarks: every figure that the project publishes is printed by a command in this package."""
