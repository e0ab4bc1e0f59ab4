"""What a person reads and what a program reads: tables and bars on a terminal, one JSON document with `--json`."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout, and nothing else.")]

stderr = Console(stderr=True, highlight=False)
stdout = Console(highlight=False)


def prepare(as_json: bool) -> None:
    """Logs of warnings and worse go to stderr; libraries keep to one thread unless told otherwise."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    set_environment()
    if as_json:
        stdout.quiet = True


def set_environment() -> None:
    """What libraries of this process and of its children read; a variable that is set already is left as it is."""
    # Two threads in one operation are many times slower than one on a busy machine; processes scale instead.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def emit(document: Any) -> None:
    """The JSON document of a command."""
    sys.stdout.write(json.dumps(plain(document), indent=2, default=str, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """NaN and infinity, which JSON does not know, as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for a person; figures to the right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[position], (int, float)) for row in rows)
        # An id is copied by a person, so it is never broken.
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=column == "id")
    for row in rows:
        table.add_row(*(Text(figure(cell)) for cell in row))  # not markup: an id may have brackets
    stdout.print(table)


def figure(cell: Any) -> str:
    """Four significant digits for a number; a dash for nothing."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def replace_file(path: Path, write: Any) -> None:
    """Write a file aside and rename it into place, so that nobody sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
