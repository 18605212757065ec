"""Connect models to files: audio -> tokens -> container (encoding.py), and back (decoding.py)."""

from .decoding import decode_blocks, decode_file
from .encoding import encode_blocks, encode_file, header_for, seconds_of
from .pipeline_parts import BLOCK_FRAMES, Result

__all__ = ["BLOCK_FRAMES", "Result", "decode_blocks", "decode_file", "encode_blocks", "encode_file", "header_for", "seconds_of"]
