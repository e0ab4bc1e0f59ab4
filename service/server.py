"""The process that serves."""

from __future__ import annotations

import ctypes
import logging
import sys
from pathlib import Path

from service.environment import prepare_environment
from service.settings import ServiceSettings

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_LARGE = 1 << 20
_MAPPINGS, _CODE, _NO_FILE = Path("/proc/self/maps"), "r-xp", "0"
_MADV_DONTNEED = 4  # of Linux's mman.h
# MLflow loads it wherever it is installed: 35 MB that no request has a use for. None stands for "not installed".
_UNWANTED = "polars"


def run(settings: ServiceSettings) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are then given `stop_seconds`. Raises InputError."""
    prepare_environment()  # before the libraries that read it are imported
    sys.modules.setdefault(_UNWANTED, None)  # type: ignore[arg-type]
    import uvicorn

    from forecaster.store.database import connect
    from service.app import create_app
    from service.engines import use_one_core

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # says at each poll what the follower says once
    use_one_core()
    _return_large_blocks()
    connect(settings.database_url).dispose()  # a wrong address is told in a line, before anything is started
    app = create_app(settings)
    forget_the_start()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        # One process: models are shared, and a fork after torch has computed hangs. More cores are more threads.
        workers=1,
        http="httptools",
        ws="none",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.stop_seconds,
    )


def forget_the_start() -> None:
    """Code that only imports ran is resident no longer: some 90 MB of libraries.

    Mapped code is a view of files that nobody writes to, so nothing is lost: a page that is wanted again comes from the
    system's file cache.
    """
    if not _MAPPINGS.exists():  # not Linux
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for mapping in _MAPPINGS.read_text().splitlines():
        addresses, rights, _, _, file, *_ = mapping.split()
        if rights == _CODE and file != _NO_FILE:
            begin, end = (int(address, 16) for address in addresses.split("-"))
            advise(begin, end - begin, _MADV_DONTNEED)  # advice: refused, it changes nothing


def _return_large_blocks() -> None:
    """Arrays of a large request go back to the system when they are freed.

    glibc otherwise raises this threshold to the largest block it has met and keeps such blocks (115 MB after a forecast
    of 10,000 series), and so does Arrow's own allocator (90 MB after a table of 2.5 million rows).
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other libraries (musl) have none, and no need
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGE)
