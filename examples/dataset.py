"""Read token files in a DataLoader: batches of codes for a language model.

python examples/dataset.py a.ecdc b.ecdc

The workers need neither a model nor a GPU, and read only the frames that they return.
"""

import sys

import ecdc
import torch
from torch.utils.data import DataLoader, Dataset

FRAMES = 50  # per window: one second of nano-48k


class TokenDataset(Dataset):
    """Windows of FRAMES frames from token files, one after the other."""

    def __init__(self, paths):
        self.windows = []
        for path in paths:
            with ecdc.open(path) as file:
                self.windows += [(path, start) for start in range(0, file.frames - FRAMES + 1, FRAMES)]

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, i):
        path, start = self.windows[i]
        with ecdc.open(path) as file:
            return torch.from_numpy(file.codes(start, start + FRAMES).astype("int64"))  # [K, FRAMES]


def main(*paths):
    for codes in DataLoader(TokenDataset(paths), batch_size=4, num_workers=2):
        print(tuple(codes.shape), int(codes.max()))


if __name__ == "__main__":
    main(*sys.argv[1:])
