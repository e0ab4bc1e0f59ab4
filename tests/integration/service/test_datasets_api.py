"""Training data over HTTP."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.fixtures_service import Serve

CSV = b"unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\n"


@pytest.fixture
def client(serve: Serve) -> httpx.Client:
    return serve(dataset_max_bytes=1 << 20)


def put(client: httpx.Client, name: str, content: bytes, media_type: str = "text/csv") -> httpx.Response:
    return client.put(f"/v1/datasets/{name}", content=content, headers={"Content-Type": media_type})


def parquet() -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(pa.table({"unique_id": ["a"], "ds": ["2024-01-01"], "y": [1.0]}), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "media_type", "kind"),
    [
        (CSV, "text/csv; charset=utf-8", "csv"),
        (gzip.compress(CSV, mtime=0), "application/gzip", "csv.gz"),
        (parquet(), "application/vnd.apache.parquet", "parquet"),
    ],
)
def test_a_table_is_kept_as_it_was_sent(client: httpx.Client, content: bytes, media_type: str, kind: str) -> None:
    response = put(client, "sales", content, media_type)
    assert response.status_code == 201, response.text
    assert response.headers["location"] == "/v1/datasets/sales"
    kept = response.json()
    assert (kept["name"], kept["format"], kept["bytes"]) == ("sales", kind, len(content))
    assert client.get("/v1/datasets/sales").json() == kept
    assert client.get(f"/v1/datasets/{kept['reference']}").json() == kept


def test_the_format_may_stand_in_the_query(client: httpx.Client) -> None:
    assert client.put("/v1/datasets/sales?format=csv", content=CSV).json()["format"] == "csv"


def test_versions_are_listed_newest_first(client: httpx.Client) -> None:
    assert client.get("/v1/datasets").json() == {"datasets": []}
    first, second = put(client, "sales", CSV).json(), put(client, "sales", CSV + b"a,2024-01-03,3\n").json()
    assert client.get("/v1/datasets").json() == {"datasets": [{"name": "sales", "versions": [second, first]}]}


@pytest.mark.parametrize(
    ("name", "content", "media_type", "status", "told"),
    [
        ("sales", b"unique_id,ds\na,2024-01-01\n", "text/csv", 422, "'y'"),
        ("sales", b"", "text/csv", 422, "sales"),
        ("sales", b"PAR1 no", "application/vnd.apache.parquet", 422, "sales"),
        ("sales", CSV, "application/json", 415, "text/csv"),
        (".sales", CSV, "text/csv", 422, "letters"),
        ("sales", b"x" * (2 << 20), "text/csv", 413, "bytes"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    client: httpx.Client, tmp_path: Path, name: str, content: bytes, media_type: str, status: int, told: str
) -> None:
    response = put(client, name, content, media_type)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert told in response.text
    assert str(tmp_path) not in response.text
    assert client.get("/v1/datasets").json() == {"datasets": []}


def test_a_stream_that_grows_beyond_the_limit_is_refused(client: httpx.Client) -> None:
    chunks = (CSV * 1000 for _ in range(100))
    response = client.put("/v1/datasets/sales", content=chunks, headers={"Content-Type": "text/csv"})
    assert response.status_code == 413


def test_an_unknown_data_set_is_404(client: httpx.Client) -> None:
    assert client.get("/v1/datasets/nobody").status_code == 404
    assert client.get("/v1/datasets/nobody@12345678").status_code == 404
