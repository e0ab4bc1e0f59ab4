"""What an Arrow stream takes unpacked is known before it is unpacked, however damaged it is."""

from __future__ import annotations

import contextlib
import io
import random
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forecaster.unpacking import unpacked_bytes


def written(table: pa.Table, new: Any, compression: str | None) -> bytes:
    sink = io.BytesIO()
    with new(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue()


TABLE = pa.table(
    {
        "id": pa.array(["a"] * 999 + ["b"]).dictionary_encode(),
        "ds": range(1000),
        "y": np.zeros(1000),
        "none": pa.nulls(1000),
    }
)


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_it_is_told_whatever_the_compression(new: Any, compression: str | None) -> None:
    body = written(TABLE, new, compression)
    assert unpacked_bytes(pa.py_buffer(body)) == pytest.approx(TABLE.nbytes, rel=0.01)


def test_gigabytes_in_a_small_body_are_seen() -> None:
    body = written(pa.table({"y": np.zeros(1_000_000)}), pa.ipc.new_stream, "zstd")
    assert len(body) < 2000
    assert unpacked_bytes(pa.py_buffer(body)) >= 8_000_000


def test_a_buffer_that_says_it_is_negative_hides_no_other() -> None:
    table = pa.table({"y": np.zeros(1000), "z": np.zeros(1000, np.float32)})
    body = written(table, pa.ipc.new_stream, "zstd")
    size = struct.pack("<q", 4000)
    assert body.count(size) == 1
    with pytest.raises(ValueError, match="negative"):
        unpacked_bytes(pa.py_buffer(body.replace(size, struct.pack("<q", -(10**12)))))


def test_damage_is_an_error_and_nothing_worse() -> None:
    body, generator = written(TABLE, pa.ipc.new_stream, "zstd"), random.Random(1)
    for _ in range(2000):
        damaged = bytearray(body)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        with contextlib.suppress(pa.ArrowException, OSError, ValueError):  # what readers are told of
            assert isinstance(unpacked_bytes(pa.py_buffer(bytes(damaged))), int)
