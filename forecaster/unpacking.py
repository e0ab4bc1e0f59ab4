"""How many bytes an Arrow stream or file takes unpacked, told by its headers before anything is.

A compressed buffer of a few bytes may hold gigabytes. Layout: Arrow's Message.fbs and columnar format; of the tables in
a message, fields lie at 4 + 2 · their number in the vtable.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import flatbuffers
import pyarrow as pa
from flatbuffers.table import Table

_MAGIC = b"ARROW1\0\0"  # a file is a stream between such marks
_DICTIONARY, _RECORDS = 2, 3  # kinds of message that hold buffers
_KIND, _HEADER = 6, 8  # of a Message
_DATA = 6  # of a DictionaryBatch
_BUFFERS, _COMPRESSION = 8, 10  # of a RecordBatch
_BUFFER_SIZE = 16  # two 64-bit numbers: where it begins in the body, and its length
_NOT_COMPRESSED = -1


def unpacked_bytes(data: pa.Buffer) -> int:
    """Raises ArrowException, OSError or ValueError where it is no such stream."""
    marked = data.slice(0, len(_MAGIC)).to_pybytes() == _MAGIC
    stream = data.slice(len(_MAGIC)) if marked else data
    try:
        return sum(_of_message(message) for message in pa.ipc.MessageReader.open_stream(stream))
    except (struct.error, LookupError, TypeError) as error:
        raise ValueError(f"damaged Arrow metadata ({error})") from error


def _of_message(message: pa.ipc.Message) -> int:
    metadata = message.metadata.to_pybytes()
    whole = Table(metadata, flatbuffers.encode.Get(flatbuffers.packer.uoffset, metadata, 0))
    kind = whole.Get(flatbuffers.number_types.Uint8Flags, whole.Pos + whole.Offset(_KIND))
    if kind not in (_DICTIONARY, _RECORDS):
        return 0
    records = _inner(whole, _HEADER)
    if kind == _DICTIONARY:
        records = _inner(records, _DATA)
    body, compressed = memoryview(message.body), bool(records.Offset(_COMPRESSION))
    return sum(_of_buffer(body, begin, length, compressed) for begin, length in _buffers(records))


def _inner(table: Table, field: int) -> Table:
    return Table(table.Bytes, table.Indirect(table.Pos + table.Offset(field)))


def _buffers(records: Table) -> Iterator[tuple[int, int]]:
    """Begin and length of each in the body."""
    field = records.Offset(_BUFFERS)
    if field:
        first = records.Vector(field)
        for number in range(records.VectorLen(field)):
            begin, length = struct.unpack_from("<qq", records.Bytes, first + number * _BUFFER_SIZE)
            yield begin, length


def _of_buffer(body: memoryview, begin: int, length: int, compressed: bool) -> int:
    """A compressed buffer begins with its length unpacked. What is negative would hide others in their sum."""
    size = length
    if compressed and length >= struct.calcsize("<q"):
        (unpacked,) = struct.unpack_from("<q", body, begin)
        size = length if unpacked == _NOT_COMPRESSED else unpacked
    if size < 0:
        raise ValueError("damaged Arrow metadata (a buffer of negative length)")
    return int(size)
