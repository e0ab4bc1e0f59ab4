"""API keys: `Authorization: Bearer KEY` or `X-API-Key: KEY`; and whose pages a browser may change things for."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.exceptions import HTTPException

from service.state import Needs

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


async def refuse_other_pages(request: Request, parts: Needs) -> None:
    """For calls that change something without a body: a browser sends those for any page, without asking."""
    origin, allowed = request.headers.get("origin"), parts.settings.cors_origins
    if origin is None or "*" in allowed or origin in allowed or request.headers.get("sec-fetch-site") == "same-origin":
        return
    if urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, f"pages of {origin[:200]} may not call this; see FORECASTER_CORS_ORIGINS")
