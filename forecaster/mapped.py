"""Flat arrays that may be larger than memory: a large one is mapped to a file that has no name.

The system keeps in memory what of it is in use, as far as there is room; the rest lies on the disk, and all of it is
gone with the last array. Whoever walks over a whole array does so in parts.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from forecaster.errors import InputError

LARGE = 1 << 28  # bytes: below, a file is not worth its writing
PART = 1 << 20  # values that are walked over at once


def flat_array(shape: int | tuple[int, ...], dtype: npt.DTypeLike, fill: float) -> npt.NDArray[Any]:
    """A new array full of `fill`, in memory or, if large, in a file in `$TMPDIR`, by default /var/tmp.

    Raises InputError when there is no room for the file.
    """
    size = math.prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize
    if size <= LARGE:
        return np.full(shape, fill, dtype)
    folder = _folder()
    try:
        with tempfile.TemporaryFile(dir=folder, prefix="forecaster-") as file:
            _reserve(file.fileno(), size)
            array = np.memmap(file, dtype, "r+", shape=shape).view(np.ndarray)
    except OSError as error:
        raise InputError(
            f"the data needs {size / 1e9:.1f} GB beside memory, and {folder} gives none ({error.strerror})",
            mend="set TMPDIR to a folder with more room",
        ) from error
    if fill:  # zero is what a new file reads as
        array.fill(fill)
    return array


def parts(length: int) -> Iterator[slice]:
    """Consecutive slices of an array of so many values."""
    return (slice(low, min(low + PART, length)) for low in range(0, length, PART))


def groups(bounds: npt.NDArray[np.int64], values: int | None = None) -> Iterator[slice]:
    """Consecutive series in groups of about `values` values, or a part; a longer series is one by itself.

    bounds: [N + 1] where series begin, and where the last one ends
    """
    group = (bounds[1:] - bounds[0]) // (values or PART) if len(bounds) > 1 else bounds[:0]
    cuts = np.flatnonzero(np.diff(group)) + 1
    return (slice(low, high) for low, high in pairwise([0, *cuts.tolist(), len(group)]) if high > low)


def _folder() -> str:
    """The temporary folder is often held in memory; this one lies on a disk by convention."""
    on_disk = "/var/tmp"
    return on_disk if "TMPDIR" not in os.environ and os.access(on_disk, os.W_OK) else tempfile.gettempdir()


def _reserve(descriptor: int, size: int) -> None:
    """Claim the disk space: writing to a mapped file for which there is none ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
