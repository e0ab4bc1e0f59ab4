"""What can go wrong, in words for the person who can mend it.

Every error that a user may meet derives from `ForecasterError`; its text is one line. The command line
prints it and exits with `exit_code`; the service answers `status` with a problem document.
"""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"//[^/@\s]*@")  # of an address
_CONNECTION = re.compile(r" with exception |: HTTPConnectionPool")  # where MLflow adds a connection's own words


class ForecasterError(Exception):
    """Base of all errors raised on purpose. `str(error)` is one line."""

    title = "Forecaster failed"
    slug = "failed"
    status = 500
    exit_code = 1


class InputError(ForecasterError):
    """The data or the arguments are wrong. Names the series, the field and the mend where they are known."""

    title = "The input is not valid"
    slug = "invalid-input"
    status = 422
    exit_code = 2

    def __init__(
        self, problem: str, *, series: object = None, field: str | None = None, mend: str | None = None
    ) -> None:
        self.problem = problem
        self.series = None if series is None else str(series)
        self.field = field
        self.mend = mend
        super().__init__(self._line())

    def _line(self) -> str:
        where = ", ".join(
            part for part in (self.series and f"series {self.series!r}", self.field and f"field {self.field!r}") if part
        )
        line = f"{where}: {self.problem}" if where else self.problem
        return f"{line}; {self.mend}" if self.mend else line


class NotFound(ForecasterError):
    """A model, version, alias, job or data set that does not exist."""

    title = "Not found"
    slug = "not-found"
    status = 404
    exit_code = 2


class Conflict(ForecasterError):
    """The request contradicts what is already stored."""

    title = "Conflict"
    slug = "conflict"
    status = 409
    exit_code = 2


class TooLarge(ForecasterError):
    """More input than the stated limit."""

    title = "The input is too large"
    slug = "too-large"
    status = 413
    exit_code = 2


class Unavailable(ForecasterError):
    """Something this process depends on (registry, database, a free worker) cannot answer now."""

    title = "Temporarily unavailable"
    slug = "unavailable"
    status = 503


class ArtifactError(ForecasterError):
    """A model directory is damaged, has an unknown schema, or does not reproduce its golden forecast."""

    title = "The model cannot be loaded"
    slug = "broken-model"
    status = 503


class OutdatedArtifact(ArtifactError):
    """A model directory of an earlier release, whose form this one does not read: it must be trained again."""


class TrainingError(ForecasterError):
    """Training ended without a usable model."""

    title = "Training failed"
    slug = "training-failed"


def first_line(error: BaseException) -> str:
    """What a person needs of an error of another library: one line, at most 300 characters, and no password."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return _PASSWORD.sub("//", _CONNECTION.split(line)[0])[:300]
