"""Full precision where mixed precision, which a fit on a GPU has otherwise, would lose what matters."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device: str) -> AbstractContextManager[object]:
    """For operations on a kind of device that must not be taken to 16 bits."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
