"""API keys: `Authorization: Bearer KEY` or `X-API-Key: KEY`."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.exceptions import HTTPException

_bearer = HTTPBearer(auto_error=False, description="A key of FORECASTER_API_KEYS, if that is set.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same, for clients without bearer tokens.")


def require_key(keys: Sequence[SecretStr]) -> Callable[..., Awaitable[None]]:
    """A dependency that lets only callers with one of `keys` pass."""
    known = [key.get_secret_value().encode() for key in keys]

    async def check(
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        header: Annotated[str | None, Security(_header)],
    ) -> None:
        given = bearer.credentials if bearer is not None else header
        if given is None:
            raise HTTPException(401, "an API key is needed", {"WWW-Authenticate": "Bearer"})
        # Every key is compared, each in constant time: how long it takes tells nothing about them.
        if not sum(hmac.compare_digest(given.encode(), key) for key in known):
            raise HTTPException(403, "the API key is not known")

    return check
