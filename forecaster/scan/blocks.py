"""Sequences cut into steps, and into blocks of steps that fit into the cache."""

from __future__ import annotations

from torch import Tensor

_BLOCK = 2**18  # numbers of a block's gradients: about the second-level cache of a core


def each(*sequences: Tensor) -> list[tuple[Tensor, ...]]:
    """The sequences' views of each step."""
    return list(zip(*(sequence.unbind() for sequence in sequences), strict=True))


def blocks(steps: int, numbers: int) -> list[slice]:
    """Slices of the steps, each as long as the cache allows for so many numbers of a step."""
    length = max(1, _BLOCK // numbers)
    return [slice(first, min(first + length, steps)) for first in range(0, steps, length)]
