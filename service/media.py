"""Content types of bodies, and what a client accepts."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Depends, Request

from service.errors import NotAcceptable, UnsupportedMedia

_ANYTHING = "*/*"


def content_type(request: Request) -> str:
    """The media type of the body, without its parameters. Raises UnsupportedMedia for a compressed body."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMedia(
            f"the body is encoded as {encoding[:40]!r}; send it plain (Parquet is compressed in itself)"
        )
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def _require_json(request: Request) -> None:
    given = content_type(request)
    if given != "application/json":
        raise UnsupportedMedia(f"the body is {given[:80]!r}; send application/json")


JSON_BODY = Depends(_require_json)


def best_of(accept: str, offers: Sequence[str]) -> str:
    """The offer that the client likes best; the first of those it likes equally. Raises NotAcceptable."""
    wishes = [_wish(part) for part in accept.split(",") if part.strip()] or [(_ANYTHING, 1.0)]
    rated = [(_quality(offer, wishes), -place, offer) for place, offer in enumerate(offers)]
    quality, _, best = max(rated)
    if quality <= 0:
        raise NotAcceptable(f"the answer can be {', '.join(offers)}")
    return best


def _wish(part: str) -> tuple[str, float]:
    media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return media_type, float(parameter[2:])
            except ValueError:
                return media_type, 0.0
    return media_type, 1.0


def _quality(offer: str, wishes: Sequence[tuple[str, float]]) -> float:
    """By the most specific wish that fits."""
    for pattern in (offer, f"{offer.split('/')[0]}/*", _ANYTHING):
        found = [quality for media_type, quality in wishes if media_type == pattern]
        if found:
            return max(found)
    return 0.0
