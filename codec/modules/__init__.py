"""Layers: convolutions, recurrent layers, frame-rate blocks and fixed filterbanks."""
