"""How far a fit is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Epoch of epochs, mean loss of the epoch, seconds left, windows per second."""

    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    seconds_left: float
    windows_per_second: float
