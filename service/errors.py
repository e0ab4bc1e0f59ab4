"""Errors as problem documents (RFC 9457): one place decides what a client is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from forecaster.errors import ForecasterError, InputError, Unavailable

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
_MOST_ERRORS = 20  # one mistake repeated in every series is told often enough


class Busy(Unavailable):
    """The queue is full."""

    title = "Too many requests at once"
    slug = "busy"


class PlacedInputError(InputError):
    """An input error with the place in the request that it is about."""

    def __init__(self, error: InputError, *location: object) -> None:
        self.location = location
        field = str(location[-1]) if location else None
        super().__init__(error.problem, series=error.series, field=field, mend=error.mend)


class InvalidRequest(ForecasterError):
    """A request that breaks its schema in one or more places."""

    title = InputError.title
    slug = InputError.slug
    status = 422

    def __init__(self, errors: list[dict[str, str]]) -> None:
        self.errors = errors[:_MOST_ERRORS]
        super().__init__("; ".join(_line(error) for error in self.errors[:3]))


class InvalidJson(ForecasterError):
    """A body that is not JSON."""

    title = "The body is not JSON"
    slug = "invalid-json"
    status = 400


class UnsupportedMedia(ForecasterError):
    title = "The content type is not supported"
    slug = "unsupported-media-type"
    status = 415


class NotAcceptable(ForecasterError):
    title = "None of the accepted media types can be given"
    slug = "not-acceptable"
    status = 406


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ForecasterError, _on_forecaster_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_unexpected)


def problem(
    status: int,
    detail: str,
    *,
    slug: str | None = None,
    title: str | None = None,
    errors: Iterable[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response that carries a problem document."""
    document: dict[str, Any] = {
        "type": f"urn:forecaster:problem:{slug}" if slug else "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors := list(errors):
        document["errors"] = errors
    retry = {"Retry-After": str(RETRY_SECONDS)} if status in (429, 503) else {}
    return Response(_encode(document), status, {**retry, **(headers or {})}, MEDIA_TYPE)


def pointer(*location: object) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)


def _line(error: Mapping[str, str]) -> str:
    series = f"series {error['series']!r}, " if "series" in error else ""
    return f"{series}{error['pointer'] or 'the body'}: {error['message']}"


def _encode(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document)
    except TypeError:  # a lone surrogate, of a name that came from elsewhere
        return orjson.dumps({**document, "detail": document["detail"].encode(errors="replace").decode(), "errors": []})


async def _on_forecaster_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ForecasterError)
    return problem(error.status, str(error), slug=error.slug, title=error.title, errors=_errors_of(error))


def _errors_of(error: ForecasterError) -> list[dict[str, str]]:
    if isinstance(error, InvalidRequest):
        return error.errors
    if isinstance(error, InputError) and error.field is not None:
        message = f"{error.problem}; {error.mend}" if error.mend else error.problem
        where = error.location if isinstance(error, PlacedInputError) else (error.field,)
        named = {} if error.series is None else {"series": error.series}
        return [{"pointer": pointer(*where), "message": message, **named}]
    return []


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        reason = str(found[0].get("ctx", {}).get("error", "not JSON"))
        return await _on_forecaster_error(request, InvalidJson(f"the body is not JSON: {reason}"))
    # Never the input itself: it may be large, or secret.
    errors = [{"pointer": _place(one["loc"]), "message": str(one["msg"])} for one in found]
    return await _on_forecaster_error(request, InvalidRequest(errors))


def _place(location: tuple[object, ...]) -> str:
    """Within the body a plain pointer; elsewhere it begins with `query`, `path` or `header`."""
    return pointer(*(location[1:] if location[:1] == ("body",) else location))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    details = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.method} is not possible at {request.url.path}",
    }
    plain = error.detail == HTTPStatus(error.status_code).phrase
    detail = details.get(error.status_code, error.detail) if plain else error.detail
    return problem(error.status_code, detail, headers=error.headers)


async def _on_disconnect(_: Request, __: Exception) -> Response:
    """For the record alone: nobody is there to read it."""
    return problem(400, "the client left before all of the body was there")


async def _on_unexpected(_: Request, __: Exception) -> Response:
    """A bug. The server logs the traceback; the client learns nothing of it."""
    return problem(500, "something went wrong here; it is in the log of the service", slug="bug")
