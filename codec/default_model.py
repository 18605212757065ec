"""The models that are used where none is named. Imports nothing, so that the command line starts quickly."""

DEFAULT_MODEL = "nano-48k"

GENERATOR_MODEL = "nano-24k"
"""The codec whose tokens the bundled music generator writes, and is trained on."""
