"""Lets these tests import the helpers of the plugins' tests, under any import mode."""

import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parents[2] / "plugins")]

torch.set_num_threads(1)
