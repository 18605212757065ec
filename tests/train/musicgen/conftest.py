"""Lets these tests import the helpers of the codec's and the plugins' tests, under any import mode."""

import sys
from pathlib import Path

import torch

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(TESTS / "plugins"), str(TESTS / "codec"), str(TESTS)]

torch.set_num_threads(1)
