"""The model that is used where none is named. Imports nothing, so that the command line starts quickly."""

DEFAULT_MODEL = "nano-24k"
