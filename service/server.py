"""The process that serves."""

from __future__ import annotations

import logging

from service.environment import prepare_environment
from service.settings import ServiceSettings


def run(settings: ServiceSettings) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are then given `stop_seconds`."""
    prepare_environment()  # before the libraries that read it are imported
    import uvicorn

    from service.app import create_app
    from service.engines import use_one_core

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # says at each poll what the follower says once
    use_one_core()
    uvicorn.run(
        create_app(settings),
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
