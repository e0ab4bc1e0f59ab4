from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet
import pytest

from forecaster.errors import InputError
from forecaster.frequency import Frequency
from forecaster.panel import Panel
from service import columnar
from service.columnar import (
    ARROW,
    CSV,
    MOST_COLUMNS,
    MOST_ROWS,
    PARQUET,
    _panel_of_text,
    read_table,
    write_table,
)  # fmt: skip
from tests.fixtures_models import model_settings


def huge(media_type: str) -> bytes:
    """A few kilobytes that say they hold more rows than anyone should read."""
    table = pa.table({name: pa.nulls(MOST_ROWS + 1) for name in ("unique_id", "ds", "y")})
    sink = io.BytesIO()
    if media_type == PARQUET:
        pa.parquet.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue()


def packed(media_type: str, table: pa.Table) -> bytes:
    sink = io.BytesIO()
    if media_type == PARQUET:
        pa.parquet.write_table(table, sink, compression="zstd")
    else:
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
def test_a_small_body_with_very_many_rows_is_refused(media_type: str) -> None:
    body = huge(media_type)
    assert len(body) < 200_000
    with pytest.raises(InputError, match="rows"):
        read_table(media_type, body)


@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
def test_a_small_body_that_unpacks_to_very_much_is_refused(monkeypatch: pytest.MonkeyPatch, media_type: str) -> None:
    monkeypatch.setattr(columnar, "MOST_BYTES", 1 << 20)
    body = packed(media_type, pa.table({"unique_id": ["x" * 2000] * 1000, "ds": [0] * 1000, "y": [0.0] * 1000}))
    assert len(body) < 10_000
    with pytest.raises(InputError, match="takes more than 1 MiB unpacked"):
        read_table(media_type, body)
    usual = pa.table({"unique_id": ["x" * 200] * 1000, "ds": [0] * 1000, "y": [0.0] * 1000})
    assert read_table(media_type, packed(media_type, usual)).equals(usual)


@pytest.mark.parametrize("kind", [pa.dictionary(pa.int8(), pa.string()), pa.string_view()])
def test_a_text_that_lies_once_in_an_arrow_body_counts_as_often_as_it_is_said(
    monkeypatch: pytest.MonkeyPatch, kind: pa.DataType
) -> None:
    monkeypatch.setattr(columnar, "MOST_BYTES", 1 << 20)
    rows, text = 1000, "x" * 2000
    if pa.types.is_dictionary(kind):
        shop = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), [text])
    else:
        one = pa.array([text], kind).buffers()
        shop = pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(one[1].to_pybytes() * rows), *one[2:]])
    body = packed(ARROW, pa.table({"unique_id": ["a"] * rows, "ds": [0] * rows, "y": [0.0] * rows, "shop": shop}))
    assert len(body) < 10_000
    with pytest.raises(InputError, match="takes more than 1 MiB unpacked"):
        read_table(ARROW, body)


def test_a_column_that_occurs_twice_is_read_so_that_it_can_be_named() -> None:
    table = pa.table([pa.array(["a"]), pa.array([1.0]), pa.array([2.0])], names=["unique_id", "y", "y"])
    assert read_table(PARQUET, write_table(PARQUET, table)).equals(table)


@pytest.mark.parametrize("media_type", [ARROW, PARQUET, CSV])
def test_a_table_of_very_many_columns_is_refused(media_type: str) -> None:
    table = pa.table({name: pa.nulls(1) for name in ("ds", *(f"c{number}" for number in range(MOST_COLUMNS)))})
    with pytest.raises(InputError, match="more than 1000 columns"):
        read_table(media_type, write_table(media_type, table))


@pytest.mark.parametrize("media_type", [ARROW, PARQUET, CSV])
def test_a_table_is_read_as_it_was_written(media_type: str) -> None:
    table = pa.table({"unique_id": ["a", "a"], "ds": ["2024-01-01", "2024-01-02"], "y": ["1", None]})
    assert read_table(media_type, write_table(media_type, table)).equals(table)


def test_fractions_of_seconds_are_written_where_there_are_any() -> None:
    for micros, text in (([0, 1_000_000], "00:00:01\n"), ([0, 1_500_000], "00:00:01.500000\n")):
        table = pa.table({"ds": pa.array(micros, pa.timestamp("us"))})
        assert write_table(CSV, table).decode().replace('"', "").endswith(f"1970-01-01T{text}")


PRICED = model_settings(freq="D", season=7, network={"season": 7}, covariates={"future": ["price"]})


def from_csv(body: bytes) -> Panel:
    return _panel_of_text(read_table(CSV, body), Frequency.parse("D"), PRICED, 1)


def test_a_csv_of_covariates_without_rows_or_with_a_column_twice_is_refused() -> None:
    with pytest.raises(InputError, match="no rows"):
        from_csv(b"unique_id,ds,y,price\n")
    with pytest.raises(InputError, match="twice"):
        from_csv(b"unique_id,ds,y,price,price\na,2024-01-01,1,2,3\n")


def test_a_column_that_nobody_uses_may_be_in_any_encoding() -> None:
    panel = from_csv("unique_id,ds,y,price,town\na,2024-01-01,1,2,Z\xfcrich\n".encode("latin-1"))
    assert panel.values.tolist() == [1.0]
    assert any("town" in note for note in panel.notes)


def test_a_line_break_in_quotes_breaks_no_large_body() -> None:
    rows = "".join(f'a,{day},1,2,"some\nlong {"x" * 90} text"\n' for day in range(1, 20_000))
    panel = from_csv(f"unique_id,ds,y,price,note\n{rows}".encode())
    assert len(panel.values) == 19_999
