"""Memory that was used and is free again, given back to the system."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return what the allocator keeps for later: a stage's peak is then not added to what earlier stages left.

    Only the GNU C library keeps so much of it, and only there is there something to call.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
