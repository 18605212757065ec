"""The recurrent layers of EnCodec's networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
from numpy.typing import NDArray
from torch import Tensor

from ...format.jit import kernel
from .conv import Layer
from .matmul import affine

SHORT = 8  # up to this many steps, torch's LSTM takes longer to rearrange its weights than to run


@dataclass
class LstmState:
    """What a streaming LSTM keeps between two calls."""

    hidden: Tensor  # [n_layers, B, C]
    cell: Tensor  # [n_layers, B, C]


class SkipLstm(Layer):
    """LSTM layers added to their own input. They run forward in time in every model, causal or not."""

    def __init__(self, channels: int, n_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, n_layers)

    def initial_state(self, batch_size: int) -> LstmState:
        """Return a state of zeros."""
        zeros = self.lstm.all_weights[0][1].new_zeros(self.lstm.num_layers, batch_size, self.lstm.hidden_size)
        return LstmState(zeros, zeros)

    def forward(self, rows: Tensor, state: LstmState, last: bool = True) -> Tensor:
        """[B, T, C] -> [B, T, C]; the state is updated in place."""
        if rows.shape[1] == 0:
            return rows
        if self._is_fast(rows) and rows.dtype == torch.float32 and len(rows) == 1 and (_one_thread() or rows.shape[1] <= SHORT):
            return self._forward_one(rows, state)
        out, (state.hidden, state.cell) = self.lstm(rows.transpose(0, 1), (state.hidden, state.cell))
        return rows + out.transpose(0, 1)

    def _forward_one(self, rows: Tensor, state: LstmState) -> Tensor:
        """Like `forward`, for a batch of one on one thread, where reading the weights takes most of the time."""
        state.hidden, state.cell = state.hidden.clone(), state.cell.clone()
        out = rows[0]
        for hidden, cell, (w_in, w_hidden, b_in, b_hidden) in zip(state.hidden, state.cell, self.lstm.all_weights, strict=True):
            gates = affine(out, w_in.t(), b_in + b_hidden)  # [T, 4C]
            out = torch.empty_like(out)
            run_steps(*(x.detach().numpy() for x in (gates, w_hidden, hidden[0], cell[0], out)))
        return rows + out


def _one_thread() -> bool:
    return torch.get_num_threads() == 1


def _run_steps(
    gates: NDArray[np.float32],
    weight: NDArray[np.float32],
    hidden: NDArray[np.float32],
    cell: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Run one LSTM layer, given the gates' contribution from its input; `hidden` and `cell` are updated in place.

    Shapes: gates [T, 4C] in torch's order (input, forget, cell, output), weight [4C, C],
    hidden and cell [C], out [T, C].
    """
    n_steps, size = out.shape
    total = np.empty(4 * size, np.float32)
    one, two = np.float32(1), np.float32(2)
    for t in range(n_steps):
        for j in range(size):
            # Alternate the direction, so that each step starts with weights that are still in the cache.
            row = 4 * (j if t % 2 == 0 else size - 1 - j)
            a = b = c = d = np.float32(0)
            for i in range(size):
                a += weight[row, i] * hidden[i]
                b += weight[row + 1, i] * hidden[i]
                c += weight[row + 2, i] * hidden[i]
                d += weight[row + 3, i] * hidden[i]
            total[row], total[row + 1], total[row + 2], total[row + 3] = a, b, c, d
        for i in range(size):
            # tanh(x) = 2 * sigmoid(2x) - 1: one exponential each.
            enter = one / (one + math.exp(-gates[t, i] - total[i]))
            keep = one / (one + math.exp(-gates[t, size + i] - total[size + i]))
            new = two / (one + math.exp(-two * (gates[t, 2 * size + i] + total[2 * size + i]))) - one
            leave = one / (one + math.exp(-gates[t, 3 * size + i] - total[3 * size + i]))
            cell[i] = keep * cell[i] + enter * new
            hidden[i] = leave * (two / (one + math.exp(-two * cell[i])) - one)
            out[t, i] = hidden[i]


# Reordering of sums is allowed, because vector instructions need it.
run_steps = kernel(_run_steps, fastmath={"reassoc", "contract"})
