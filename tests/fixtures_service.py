"""The service on a real socket, with models from local copies or from a real registry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from forecaster.predictor import Predictor
from service.app import create_app
from service.cache import ModelCache, Serving
from service.registry import Version
from service.settings import ServiceSettings
from tests.fixtures_models import make_predictor, save_model
from tests.ports import free_port
from tests.waiting import wait_until

Serve = Callable[..., httpx.Client]


def service_settings(home: Path, **changes: Any) -> ServiceSettings:
    """A service with a quick poll whose registry, unless told otherwise, nobody answers for."""
    away = f"http://127.0.0.1:{free_port()}"
    plain = {"home": home, "tracking_uri": away, "poll_seconds": 0.1, "port": 0, "_env_file": None}
    return ServiceSettings(**{**plain, **changes})


def keep_copy(home: Path, predictor: Predictor, version: int = 1, previous: Version | None = None) -> Version:
    """A local copy that is noted as served: what a service finds when it starts again."""
    kept = Version(predictor.info.name, version, f"{version:x}".ljust(32, "f"))
    save_model(copy_of(home, kept), predictor)
    ModelCache(home / "models").note(Serving(kept, previous))
    return kept


def copy_of(home: Path, version: Version) -> Path:
    return home / "models" / version.name / f"{version.version}-{str(version.run_id)[:8]}"


@contextmanager
def running(settings: ServiceSettings) -> Iterator[httpx.Client]:
    """A client of a service that listens on a free port, run by a thread of this process."""
    config = uvicorn.Config(
        create_app(settings), host=settings.host, port=0, http="httptools", ws="none", log_config=None,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def is_ready(client: httpx.Client) -> bool:
    return client.get("/healthz/ready").status_code == 200


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a service with the given settings; several in one test share the home."""
    with ExitStack() as stack:

        def start(**changes: Any) -> httpx.Client:
            return stack.enter_context(running(service_settings(tmp_path, **changes)))

        yield start


@pytest.fixture
def toy() -> Predictor:
    """An hourly model of 24 steps."""
    return make_predictor()


@pytest.fixture
def client(tmp_path: Path, toy: Predictor, serve: Serve) -> httpx.Client:
    """A service that serves `toy` from its local copy."""
    keep_copy(tmp_path, toy)
    started = serve()
    wait_until(lambda: is_ready(started))
    return started
