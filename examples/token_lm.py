"""Tokenise a folder of recordings, and train a tiny language model on the tokens.

python examples/token_lm.py recordings/ tokens/ 120

The last number is the seconds of training. All codebooks of a step are predicted at once, in MusicGen's delay pattern.
"""

import sys
import time

import torch
from ecdc.corpus import Collate, Engine, Settings, TokenDataset, TokenStream, encode_corpus
from torch import nn
from torch.utils.data import DataLoader

FRAMES, CODEBOOKS, WIDTH = 100, 6, 192  # two seconds of nano-48k at 3 kbps


class TokenLM(nn.Module):
    """A GRU over the steps of a delay pattern: codes [B, K, S] -> scores [B, K, S, V] of the next step's codes."""

    def __init__(self, vocabulary):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(vocabulary + 1, WIDTH) for _ in range(CODEBOOKS))
        self.body = nn.GRU(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, vocabulary) for _ in range(CODEBOOKS))

    def forward(self, codes):
        h = sum(embedding(codes[:, k]) for k, embedding in enumerate(self.embeddings))
        h, _ = self.body(h)
        return torch.stack([head(h) for head in self.heads], dim=1)


def main(recordings, tokens, seconds=120.0, model="nano-48k"):
    encode_corpus([recordings], tokens, Settings(model=model, kbps=3), Engine())
    dataset = TokenDataset(tokens, frames=FRAMES, n_codebooks=CODEBOOKS, columns=())
    stream = TokenStream(dataset, shuffle=1000)
    collate = Collate(pad=dataset.codebook_size, delays=range(CODEBOOKS))
    lm = TokenLM(dataset.codebook_size)
    optimizer = torch.optim.AdamW(lm.parameters(), lr=2e-3)
    began, losses = time.monotonic(), []
    while time.monotonic() - began < float(seconds) or len(losses) < 4:
        for batch in DataLoader(stream, batch_size=8, collate_fn=collate):
            codes, mask = batch["codes"], batch["mask"][:, :, 1:]
            scores = lm(codes[:, :, :-1])  # [B, K, S - 1, V]
            loss = nn.functional.cross_entropy(scores[mask], codes[:, :, 1:][mask])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    print(f"{len(losses)} steps, {losses[0]:.2f} -> {losses[-1]:.2f} nats per code")


if __name__ == "__main__":
    main(*sys.argv[1:])
