"""`forecaster models`: what is registered, and what is served."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from forecaster.cli.output import Json, emit, prepare, show_table, stdout
from forecaster.errors import InputError

app = typer.Typer(help="Registered models and their versions.", no_args_is_help=True)
Ref = Annotated[str, typer.Argument(help="name, name@alias or name/version.", show_default=False)]


@app.command("list")
def list_models(json: Json = False) -> None:
    """All models, with the version that is served."""
    prepare(json)
    from forecaster.cli.loading import registry
    from forecaster.store.registry import list_models as listed

    with registry() as client:
        found = listed(client)
    if json:
        emit({"models": found})
    elif not found:
        stdout.print("no model is registered yet: `forecaster train --help`")
    else:
        rows = [[m["name"], m["champion"], m["challenger"], m["versions"]] for m in found]
        show_table("Models", ("name", "champion", "challenger", "newest"), rows)


@app.command("show")
def show(model: Ref, json: Json = False) -> None:
    """One version: where it comes from and how it did in its backtest."""
    prepare(json)
    from forecaster.cli.loading import registry
    from forecaster.store.registry import Reference, describe, resolve

    with registry() as client:
        found = describe(client, resolve(client, Reference.parse(model)))
    if json:
        emit(found)
        return
    stdout.print(f"{found['name']} version {found['version']} ({', '.join(found['aliases']) or 'no alias'})")
    stdout.print(f"{found['description']}\nrun {found['run_id']}, registered {found['created_at']}")
    rows = [[name, value] for name, value in sorted(found["metrics"].items()) if name.startswith("backtest/")]
    show_table("Backtest", ("measure", "value"), rows)


@app.command("promote")
def promote(model: Ref, json: Json = False) -> None:
    """Make a version (name/version or name@challenger) the champion: it is served within seconds."""
    prepare(json)
    from forecaster.cli.loading import registry
    from forecaster.store.registry import Reference, resolve
    from forecaster.store.registry import promote as promote_by_hand

    reference = Reference.parse(model)
    if "/" not in model and "@" not in model:
        raise InputError(f"{model} names no version", field="model", mend=f"write {model}/2 or {model}@challenger")
    with registry() as client:
        version = promote_by_hand(client, reference.name, int(resolve(client, reference).version))
    _told(json, version, "is now the champion")


@app.command("rollback")
def rollback(name: Annotated[str, typer.Argument(help="Name of the model.")], json: Json = False) -> None:
    """Make the champion before the present one champion again."""
    prepare(json)
    from forecaster.cli.loading import registry
    from forecaster.store.registry import rollback as go_back

    with registry() as client:
        version = go_back(client, name)
    _told(json, version, "is champion again")


def _told(json: bool, version: Any, what: str) -> None:
    if json:
        emit({"name": version.name, "version": int(version.version), "alias": "champion"})
    else:
        stdout.print(f"{version.name} version {version.version} {what}")
