"""Which version is the champion: moved forward and back, so that the last one can always be found again."""

from __future__ import annotations

from typing import Any

from forecaster.errors import Conflict

CHAMPION = "champion"
PREVIOUS = "forecaster.previous_champion"  # the tag of a registered model that names the version before


def promote(client: Any, name: str, version: str) -> str | None:
    """Make `version` the champion; gives the champion before, if any.

    client: an MlflowClient. Raises what it raises: MlflowException when the model or the version does not exist.
    """
    found = client.get_model_version(name, version)
    before = champion(client, name)
    if before == str(found.version):
        return before
    if before is not None:
        # First: cut off between the two calls, the tag names the version that is still the champion.
        client.set_registered_model_tag(name, PREVIOUS, before)
    client.set_registered_model_alias(name, CHAMPION, str(found.version))
    return before


def rollback(client: Any, name: str) -> str:
    """Make the champion before the present one the champion again; gives its version. Twice undoes itself."""
    previous = client.get_registered_model(name).tags.get(PREVIOUS)
    if previous is None or previous == champion(client, name):
        raise Conflict(f"model {name!r} has no earlier champion to go back to; promote a version instead")
    promote(client, name, previous)
    return str(previous)


def champion(client: Any, name: str) -> str | None:
    """The version that the champion alias names."""
    version = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if version is None else str(version)
