"""`forecaster datasets`: the store of training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli import options
from forecaster.cli.output import Json, emit, prepare, show_table, stdout
from forecaster.errors import NotFound

app = typer.Typer(help="Training data, versioned by content.", no_args_is_help=True)


@app.command("put")
def put(
    data: options.Data,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the data set; the file's name when not given.")
    ] = None,
    json: Json = False,
) -> None:
    """Store a copy of DATA for training jobs. The same content again is the same version."""
    prepare(json)
    from forecaster.store.datasets import DatasetStore
    from forecaster.store.settings import StoreSettings

    if "://" not in data and not Path(data).is_file():
        raise NotFound(f"there is no file {data}")
    version = DatasetStore.of(StoreSettings()).put(
        options.check_name(name or Path(data).name.split(".")[0]), data if "://" in data else Path(data)
    )
    if json:
        emit({**version.model_dump(mode="json"), "reference": version.reference})
    else:
        stdout.print(f"{version.reference}: {version.rows} rows")


@app.command("list")
def list_datasets(json: Json = False) -> None:
    """All data sets, newest version first."""
    prepare(json)
    from forecaster.store.datasets import DatasetStore
    from forecaster.store.settings import StoreSettings

    found = DatasetStore.of(StoreSettings()).list()
    if json:
        emit({"datasets": {name: [v.model_dump(mode="json") for v in versions] for name, versions in found.items()}})
    elif not found:
        stdout.print("no data set is stored yet: `forecaster datasets put --help`")
    else:
        rows = [[v.reference, v.rows, v.bytes, str(v.created_at)] for versions in found.values() for v in versions]
        show_table("Data sets", ("reference", "rows", "bytes", "stored at"), rows)
