"""Training data: uploaded once, kept by name and digest."""

from __future__ import annotations

import tempfile
from typing import Any, BinaryIO, cast

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from forecaster.errors import InputError
from forecaster.store.datasets import DatasetVersion
from forecaster.store.spec import NAME
from service import columnar
from service.errors import PlacedInputError, UnsupportedMedia
from service.media import content_type
from service.state import Needs

router = APIRouter(prefix="/v1/datasets", tags=["training"])

_FORMATS = {
    "text/csv": "csv",
    "application/gzip": "csv.gz",
    columnar.PARQUET: "parquet",
    "application/parquet": "parquet",
    "application/x-parquet": "parquet",
    columnar.ARROW: "arrow",
    "application/vnd.apache.arrow.file": "arrow",
}
_CHUNK = 1 << 20
_BODY = {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _FORMATS}, "required": True}


@router.put("/{name}", status_code=201, openapi_extra={"requestBody": _BODY}, summary="Upload a table in long format")
async def put_dataset(
    request: Request,
    response: Response,
    parts: Needs,
    name: str,
    format: str | None = Query(default=None, description="csv, csv.gz, parquet or arrow; otherwise by Content-Type."),
) -> dict[str, Any]:
    """The same content again is the same version. Rows are checked now, not in training."""
    if not NAME.fullmatch(name):  # before the upload, not after it
        error = InputError(f"{name[:100]!r} cannot name a data set", mend="use letters, digits and . _ -")
        raise PlacedInputError(error, "path", "name")
    kind = format or _FORMATS.get(content_type(request))
    if kind is None:
        raise UnsupportedMedia(f"send {', '.join(_FORMATS)}, or name the format in the query: ?format=csv")
    file = await run_in_threadpool(_open, parts)
    try:
        await _receive(request, file)
        version = await run_in_threadpool(_keep, parts, name, file, kind)
    finally:
        await run_in_threadpool(file.close)
    response.headers["Location"] = f"/v1/datasets/{name}"
    return _shown(version)


@router.get("", summary="All data sets and their versions")
def list_datasets(parts: Needs) -> dict[str, Any]:
    found = parts.datasets.list()
    return {
        "datasets": [{"name": name, "versions": [_shown(one) for one in versions]} for name, versions in found.items()]
    }


@router.get("/{reference}", summary="One version: NAME (the newest) or NAME@DIGEST")
def show_dataset(parts: Needs, reference: str) -> dict[str, Any]:
    return _shown(parts.datasets.get(reference))


def _open(parts: Needs) -> BinaryIO:
    """A file without a name, on the disk where data sets lie: /tmp may be memory."""
    directory = parts.settings.datasets_dir
    directory.mkdir(parents=True, exist_ok=True)
    return cast(BinaryIO, tempfile.TemporaryFile(dir=directory))


async def _receive(request: Request, file: BinaryIO) -> None:
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) >= _CHUNK:
            await run_in_threadpool(file.write, bytes(held))
            held.clear()
    await run_in_threadpool(file.write, bytes(held))


def _keep(parts: Needs, name: str, file: BinaryIO, kind: str) -> DatasetVersion:
    file.seek(0)
    return parts.datasets.put(name, file, kind)


def _shown(version: DatasetVersion) -> dict[str, Any]:
    return {**version.model_dump(mode="json"), "reference": version.reference}
