"""Memory that is free again goes back to the system."""

from __future__ import annotations

import ctypes

import numpy as np
import psutil
import pytest

from training.memory import give_back


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no GNU C library, which keeps it")
def test_what_is_free_between_what_is_kept_goes_back() -> None:
    process = psutil.Process()
    arrays = [np.ones(12_000) for _ in range(2_000)]  # 96 kB each, 192 MB, below what is mapped by itself
    kept = arrays[::20]
    arrays.clear()
    before = process.memory_info().rss
    give_back()
    assert process.memory_info().rss < before - 100e6
    assert sum(array.sum() for array in kept) == 100 * 12_000
