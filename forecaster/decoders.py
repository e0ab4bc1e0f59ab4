"""Decoders: from the encoder's last state to one vector for each output segment.

Legend: B windows, O output segments, D units of the state, F features of an output segment, g steps of a segment.
`features` [B, O, F] are what is known of each output segment: its position, same-phase values of the past, and what
attention found.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from forecaster.cells import State
from forecaster.settings import NetworkSettings

Medians = Callable[[Tensor, int], Tensor]  # decoded [B, 1, D] and the segment's number to its medians [B, g]


class ParallelDecoder(nn.Module):
    """All segments at once from the last state by one hidden layer."""

    def __init__(self, settings: NetworkSettings, features: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(settings.width + features, settings.width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, _cell: nn.Module, state: State, features: Tensor) -> Tensor:
        last = state[0][-1][:, None, :].expand(-1, features.shape[1], -1)
        decoded: Tensor = self.dropout(nn.functional.silu(self.hidden(torch.cat([last, features], 2))))
        return decoded


class CellDecoder(nn.Module):
    """One step of the encoder's own cell for each segment, all from the last state (PMF of SegRNN, Lin et al. 2023)."""

    def __init__(self, settings: NetworkSettings, features: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, settings.width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, cell: nn.Module, state: State, features: Tensor) -> Tensor:
        batch, segments, _ = features.shape
        copies = tuple(part.repeat_interleave(segments, dim=1) for part in state)  # [layers, B · O, D]
        outputs, _ = cell(self.embed(features).reshape(batch * segments, 1, -1), copies)
        decoded: Tensor = self.dropout(outputs.reshape(batch, segments, -1))
        return decoded


class AutoregressiveDecoder(nn.Module):
    """One cell step for each segment in turn; each sees the medians of the one before."""

    def __init__(self, settings: NetworkSettings, features: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features + settings.segment, settings.width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, cell: nn.Module, state: State, features: Tensor, before: Tensor, medians: Medians) -> Tensor:
        """before: [B, g] the window's last segment."""
        decoded = []
        for number in range(features.shape[1]):
            inputs = torch.cat([features[:, number], before], dim=1)
            output, state = cell(self.embed(inputs)[:, None, :], state)
            decoded.append(self.dropout(output))
            before = medians(decoded[-1], number)
        return torch.cat(decoded, dim=1)


def build_decoder(settings: NetworkSettings, features: int) -> nn.Module:
    """The decoder that the settings name."""
    kinds = {"mlp": ParallelDecoder, "pmf": CellDecoder, "autoregressive": AutoregressiveDecoder}
    return kinds[settings.decoder](settings, features)
