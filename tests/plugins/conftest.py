"""Lets these tests import their own helpers and the codec's, under any import mode."""

import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "codec"), str(HERE.parent)]

torch.set_num_threads(1)
