from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from forecaster.errors import InputError, NotFound, TooLarge
from forecaster.store.datasets import DatasetStore

CSV = b"unique_id,ds,y\na,2024-01-01,1.5\na,2024-01-02,\nb,2024-01-01,3\n"
OTHER = CSV + b"b,2024-01-02,4\n"
TABLE = pa.table({"unique_id": ["a", "a"], "ds": [1, 2], "y": [0.5, None], "price": [1, 2]})


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "datasets")


def _parquet() -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(TABLE, sink)
    return sink.getvalue()


def _arrow(kind: Callable[..., pa.RecordBatchWriter]) -> bytes:
    sink = io.BytesIO()
    with kind(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "given", "kept", "rows"),
    [
        (CSV, "csv", "csv", 3),
        (gzip.compress(CSV, mtime=0), ".CSV.GZ", "csv.gz", 3),
        (_parquet(), "parquet", "parquet", 2),
        (_parquet(), "pq", "parquet", 2),
        (_arrow(pa.ipc.new_stream), "arrow", "arrow", 2),
        (_arrow(pa.ipc.new_file), "feather", "arrow", 2),
    ],
)
def test_each_format_is_kept_under_its_digest(
    store: DatasetStore, tmp_path: Path, content: bytes, given: str, kept: str, rows: int
) -> None:
    version = store.put("sales", io.BytesIO(content), given)
    assert version.digest == hashlib.sha256(content).hexdigest()
    assert version.path == tmp_path / "datasets" / "sales" / f"{version.digest[:16]}.{kept}"
    assert version.path.read_bytes() == content
    assert (version.rows, version.bytes, version.format) == (rows, len(content), kept)
    assert version.columns[:3] == ("unique_id", "ds", "y")
    assert store.get("sales") == version


def test_format_comes_from_the_path(store: DatasetStore, tmp_path: Path) -> None:
    source = tmp_path / "Sales.2024.csv.gz"
    source.write_bytes(gzip.compress(CSV, mtime=0))
    assert store.put("sales", source).format == "csv.gz"
    assert store.put("sales", str(source)).format == "csv.gz"
    assert source.exists()


def test_description_lies_beside_the_data(store: DatasetStore) -> None:
    version = store.put("sales", io.BytesIO(CSV), "csv")
    described = json.loads(version.path.with_suffix(".json").read_text())
    assert described == version.model_dump(mode="json")
    assert described["columns"] == ["unique_id", "ds", "y"]
    assert described["created_at"].endswith("Z")
    assert "path" not in described


def test_same_content_is_the_same_version(store: DatasetStore) -> None:
    first = store.put("sales", io.BytesIO(CSV), "csv")
    second = store.put("sales", io.BytesIO(CSV), "csv")
    assert second.reference == first.reference
    assert list(store.list()["sales"]) == [second]


def test_name_alone_means_what_was_put_last(store: DatasetStore) -> None:
    old = store.put("sales", io.BytesIO(CSV), "csv")
    new = store.put("sales", io.BytesIO(OTHER), "csv")
    assert store.get("sales").digest == new.digest
    store.put("sales", io.BytesIO(CSV), "csv")
    assert store.get("sales").digest == old.digest


def test_version_is_found_by_the_beginning_of_its_digest(store: DatasetStore) -> None:
    old = store.put("sales", io.BytesIO(CSV), "csv")
    store.put("sales", io.BytesIO(OTHER), "csv")
    for reference in (old.reference, f"sales@{old.digest[:6]}", f"sales@{old.digest}"):
        assert store.get(reference) == old


def test_digest_that_fits_several_versions_is_refused(store: DatasetStore) -> None:
    version = store.put("sales", io.BytesIO(CSV), "csv")
    twin = version.model_copy(update={"digest": version.digest[:6] + "0" * 58})
    version.path.with_name("twin.json").write_text(twin.model_dump_json())
    with pytest.raises(InputError, match="fits several versions"):
        store.get(f"sales@{version.digest[:6]}")


def test_list_has_every_name_and_the_newest_version_first(store: DatasetStore) -> None:
    assert store.list() == {}
    store.put("b", io.BytesIO(CSV), "csv")
    store.put("a", io.BytesIO(CSV), "csv")
    store.put("a", io.BytesIO(OTHER), "csv")
    assert {name: [version.rows for version in versions] for name, versions in store.list().items()} == {
        "a": [4, 3],
        "b": [3],
    }


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "a\n", "a@b", "a\0b", "x" * 129])
def test_name_that_could_leave_the_folder_is_refused(store: DatasetStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a data set"):
        store.put(name, io.BytesIO(CSV), "csv")
    with pytest.raises(NotFound):
        store.get(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reference", ["none", "sales@ffff", "sales@", "sales@../x", "../sales", ".incoming"])
def test_unknown_reference_is_not_found(store: DatasetStore, reference: str) -> None:
    store.put("sales", io.BytesIO(CSV), "csv")
    with pytest.raises(NotFound, match="there is no data set"):
        store.get(reference)


def test_columns_of_any_name_may_be_targets_but_there_must_be_one(store: DatasetStore) -> None:
    kept = store.put("sales", io.BytesIO(CSV.replace(b",y", b",load", 1)), "csv")
    assert list(kept.columns) == ["unique_id", "ds", "load"]
    with pytest.raises(InputError, match="nothing to forecast") as raised:
        store.put("sales", io.BytesIO(b"unique_id,ds\na,1\n"), "csv")
    assert raised.value.field == "y"


@pytest.mark.parametrize("column", ["unique_id", "ds"])
def test_missing_column_is_named(store: DatasetStore, column: str) -> None:
    with pytest.raises(InputError) as raised:
        store.put("sales", io.BytesIO(CSV.replace(column.encode(), b"other", 1)), "csv")
    assert raised.value.field == column
    assert raised.value.mend is not None


@pytest.mark.parametrize(
    ("content", "given"),
    [
        (b"", "csv"),
        (b"unique_id,ds,y\n", "csv"),
        (b"unique_id,ds,y\na,1\n", "csv"),
        (CSV, "csv.gz"),
        (gzip.compress(CSV, mtime=0)[:-12], "csv.gz"),
        (CSV, "parquet"),
        (_parquet()[:-9], "parquet"),
        (CSV, "arrow"),
        (_arrow(pa.ipc.new_stream)[:-99], "arrow"),
    ],
)
def test_torn_or_empty_file_is_refused_by_its_name(
    store: DatasetStore, tmp_path: Path, content: bytes, given: str
) -> None:
    with pytest.raises(InputError, match="data set 'sales'") as raised:
        store.put("sales", io.BytesIO(content), given)
    assert str(tmp_path) not in str(raised.value)
    assert store.list() == {}
    assert list((tmp_path / "datasets" / ".incoming").iterdir()) == []


def test_unknown_format_is_refused(store: DatasetStore, tmp_path: Path) -> None:
    for source, given in ((io.BytesIO(CSV), "xlsx"), (io.BytesIO(CSV), None), (tmp_path / "data.txt", None)):
        with pytest.raises(InputError, match="the file format is unknown"):
            store.put("sales", source, given)


def test_missing_file_is_not_found(store: DatasetStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        store.put("sales", tmp_path / "none.csv")


def test_too_large_names_the_limit_and_leaves_nothing(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path, max_bytes=len(CSV))
    store.put("sales", io.BytesIO(CSV), "csv")
    with pytest.raises(TooLarge, match=f"at most {len(CSV)} bytes"):
        store.put("sales", io.BytesIO(OTHER), "csv")
    assert len(store.list()["sales"]) == 1
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_data_without_a_description_is_no_version(store: DatasetStore) -> None:
    version = store.put("sales", io.BytesIO(CSV), "csv")
    version.path.with_suffix(".json").unlink()  # as if the writer had been killed just before its last step
    assert store.list() == {}
    assert store.put("sales", io.BytesIO(CSV), "csv").path.exists()
    assert len(store.list()["sales"]) == 1


def test_puts_at_the_same_time_are_all_kept(store: DatasetStore) -> None:
    contents = [CSV + f"c,2024-01-0{n + 1},1\n".encode() for n in range(4)] * 2
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: store.put("sales", io.BytesIO(content), "csv"), contents))
    assert len(store.list()["sales"]) == 4
