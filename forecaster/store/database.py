"""The job database: SQLite for one machine, PostgreSQL for a team. The same statements run on both."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Double, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, IntegrityError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from forecaster.errors import InputError, Unavailable, first_line

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_FIELD = "FORECASTER_DATABASE_URL"
_BUSY_SECONDS = 10.0  # how long a writer waits for SQLite's one write lock

# A host that vanishes without a word must not hold a worker beyond its lease.
_POSTGRES_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 10_000}


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


_switching = Retrying(
    retry=retry_if_exception(_is_locked),
    wait=wait_random(0.01, 0.1),
    stop=stop_after_delay(_BUSY_SECONDS),
    reraise=True,
)


class now(FunctionElement[float]):
    """Seconds since 1970 by the database's clock, so that no two hosts need agree on the time."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    # unixepoch('subsec') reads better, but needs SQLite 3.42: newer than many a Python is built with.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgres_now(*_: Any, **__: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def connect(url: str) -> Engine:
    """An engine for the database at `url`; nothing is opened before the first transaction."""
    parsed = _parse(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(parsed)
        return create_engine(parsed, pool_pre_ping=True, connect_args=_POSTGRES_PATIENCE)
    except ImportError as error:
        raise InputError(
            "the driver for PostgreSQL is not installed", field=_FIELD, mend="pip install 'forecaster[postgres]'"
        ) from error
    except OSError as error:
        raise InputError(f"its folder cannot be made ({error})", field=_FIELD, mend="use another path") from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write: all of it is kept, or nothing. Raises Unavailable."""
    with _reachable(), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A snapshot to read from, which waits for no writer. Raises Unavailable."""
    with _reachable(), engine.connect().execution_options(sqlite_begin="DEFERRED") as connection:
        yield connection


def _parse(url: str) -> URL:
    mend = "use sqlite:///PATH or postgresql://USER@HOST/NAME"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError("it is not a database URL", field=_FIELD, mend=mend) from error
    backend = parsed.drivername.split("+")[0]
    if backend not in _DRIVERS:
        raise InputError(f"jobs cannot be kept in {backend}", field=_FIELD, mend=mend)
    return parsed.set(drivername=_DRIVERS[backend])


def _sqlite_engine(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    # isolation_level None: the driver begins nothing by itself; `_begin` does.
    engine = create_engine(url, connect_args={"isolation_level": None, "timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _use_write_ahead_log)
    event.listen(engine, "begin", _begin)
    return engine


def _use_write_ahead_log(connection: Any, _: Any) -> None:
    # Readers and the writer do not block each other. Of several processes that switch a new file at once SQLite refuses
    # some on the spot, whatever their patience.
    for attempt in _switching.copy():
        with attempt:
            connection.execute("PRAGMA journal_mode=WAL").close()


def _begin(connection: Connection) -> None:
    # The write lock is taken at once: a transaction that reads first and then wants it would fail, not wait.
    mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (IntegrityError, DataError):  # of what was to be written, not of the database
        raise
    except (DatabaseError, InterfaceError, PoolTimeoutError) as error:  # away, damaged, or it gives no right to use it
        reason = first_line(getattr(error, "orig", error))
        raise Unavailable(f"the job database cannot be used now: {reason}") from error
