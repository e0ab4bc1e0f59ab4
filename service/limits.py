"""Largest request bodies, held before and while they are read."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecaster.errors import TooLarge
from service.errors import problem
from service.settings import ServiceSettings

_OTHER_BODIES = 1 << 20
_OF_SERIES = ("/v1/forecast", "/v1/explain", "/v1/backtest", "/v1/anomalies")


class BodyLimit:
    """Answers 413 when a body is, or grows, larger than its route may take.

    The framework's own limiter answers plain text.
    """

    def __init__(self, app: ASGIApp, limit: Callable[[Scope], int]) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope)
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            # The server reads on and drops the rest: a client that is still sending then sees this answer.
            refusal = problem(413, _sentence(limit), slug=TooLarge.slug, title=TooLarge.title)
            await refusal(scope, receive, send)
            return
        await self._app(scope, _counting(receive, limit), send)


def body_limit(settings: ServiceSettings) -> Callable[[Scope], int]:
    def limit(scope: Scope) -> int:
        if scope["path"].startswith("/v1/datasets/"):
            return settings.dataset_max_bytes
        return settings.max_body_bytes if scope["path"] in _OF_SERIES else _OTHER_BODIES

    return limit


def _counting(receive: Receive, limit: int) -> Receive:
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(413, _sentence(limit))  # the only kind that the framework lets through a body's reading
        return message

    return counted


def _sentence(limit: int) -> str:
    return f"the body may have at most {limit} bytes; send fewer series at once"
