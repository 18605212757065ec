"""Layers: convolutions, recurrences, frame-rate blocks and fixed filterbanks."""
