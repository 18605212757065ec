"""Lets these tests import their own helpers and the shared ones, under any import mode."""

import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

torch.set_num_threads(1)  # for signals as short as these, a second thread costs more than it brings
