"""Training: audio, recipes and trainers. Nothing that encodes, decodes or generates imports this package."""
