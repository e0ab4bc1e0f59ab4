"""Errors."""

from __future__ import annotations

from pydantic import BaseModel


class ProblemError(BaseModel):
    pointer: str
    message: str
    series: str | None = None


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemError] = []
