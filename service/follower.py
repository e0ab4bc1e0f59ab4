"""Follows the registry: which version of each model is the champion, loaded beside the old one, then swapped.

A thread of its own, because MLflow blocks: neither requests nor the end of the process wait for it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType

from forecaster.errors import ArtifactError, ForecasterError, Unavailable
from service.cache import ModelCache, Serving
from service.engines import ServedModel, ServedModels, use_one_core, warm_up
from service.registry import RegisteredModel, Registry, Version

_LONGEST_WAIT, _DOUBLINGS = 60.0, 6  # seconds between attempts at a version that could not be fetched
_STOP_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """Why a champion is not served. retry_at: by the monotonic clock; None: only when the alias moves."""

    version: int
    reason: str
    since: datetime
    attempts: int
    retry_at: float | None


@dataclass(frozen=True)
class RegistryView:
    """What is known of the registry: replaced as a whole, so that readers see one moment.

    models: as last seen; None before the first look succeeded
    reachable: whether the last look succeeded; None before it ended. since: since when that is so.
    """

    models: Mapping[str, RegisteredModel] | None = None
    reachable: bool | None = None
    since: datetime | None = None
    error: str | None = None
    refusals: Mapping[str, Refusal] = field(default_factory=dict)


class Follower:
    """Writes `served` and `view`; everyone else reads them."""

    def __init__(self, registry: Registry, cache: ModelCache, served: ServedModels, poll_seconds: float) -> None:
        self.view = RegistryView()
        self._registry = registry
        self._cache = cache
        self._served = served
        self._poll_seconds = poll_seconds
        self._verified: set[str] = set()
        self._headless: set[str] = set()  # served models that had no champion when the registry was last asked
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="registry-follower", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End soon. A call that hangs is left behind: the thread does not keep the process alive."""
        self._stopping = True
        self._wake.set()
        self._thread.join(_STOP_SECONDS)

    def look_now(self) -> None:
        """Do not wait for the next poll: something was changed."""
        self._wake.set()

    @property
    def ready(self) -> bool:
        """Whether forecasts can be answered, or there is no champion that they could be asked of."""
        models = self.view.models
        fresh = models is not None and not any(model.champion for model in models.values())
        return bool(self._served.by_name) or fresh

    def _run(self) -> None:
        use_one_core()
        try:
            self._serve_local_copies()
        except Exception:
            logger.exception("the local copies cannot be read; the registry is asked")
        while not self._stopping:
            self._wake.clear()
            try:
                self._look()
            except Exception:  # the thread must outlive whatever a library raises
                logger.exception("following the registry failed; it is tried again")
            # Jitter: replicas that started together must not ask together.
            self._wake.wait(self._poll_seconds * random.uniform(0.8, 1.2))

    def _serve_local_copies(self) -> None:
        for serving in self._cache.all_noted():
            for version in (serving.current, serving.previous):
                if version is not None and self._serve_copy(version):
                    break

    def _serve_copy(self, version: Version) -> bool:
        try:
            predictor = self._cache.load(version)
            warm_up(predictor)
        except ForecasterError as error:
            logger.warning("the local copy of %s cannot be served: %s", version, error)
            return False
        except Exception:  # of whatever is in a damaged file
            logger.exception("the local copy of %s cannot be served", version)
            return False
        self._served.put(ServedModel(version, predictor))
        logger.info("serving %s from its local copy", version)
        return True

    def _look(self) -> None:
        try:
            models = {model.name: model for model in self._registry.models()}
        except Unavailable as error:
            self._note_unreachable(error)
            return
        if not models and self._served.by_name:
            # More likely a database that was lost, or is the wrong one, than the wish to stop all forecasts.
            self._note_unreachable(Unavailable("the model registry is empty"))
            return
        headless = set(self._served.by_name) - {model.name for model in models.values() if model.champion}
        for name in headless & self._headless:  # twice: a registry that is being changed shows halves for a moment
            self._withdraw(name)
        self._headless = headless
        for model in models.values():
            if model.champion and not self._stopping:
                self._follow(model.name, model.champion)
        self._note_reachable(models)

    def _note_unreachable(self, error: Unavailable) -> None:
        self._verified.clear()  # the registry that comes back may be another one
        self._headless = set()
        if self.view.reachable is not False:
            logger.warning("%s; forecasts go on from the local copies", error)
            self.view = replace(self.view, reachable=False, since=_now(), error=str(error))

    def _note_reachable(self, models: Mapping[str, RegisteredModel]) -> None:
        if self.view.reachable is False:
            logger.info("the model registry is reachable again")
        since = self.view.since if self.view.reachable else _now()
        wanted = {model.name for model in models.values() if model.champion}
        refusals = {name: refusal for name, refusal in self.view.refusals.items() if name in wanted}
        self.view = RegistryView(MappingProxyType(models), True, since, None, MappingProxyType(refusals))

    def _withdraw(self, name: str) -> None:
        logger.warning("model %s has no champion any more and is no longer served", name)
        self._served.withdraw(name)
        self._cache.forget(name)

    def _follow(self, name: str, wanted: int) -> None:
        served = self._served.by_name.get(name)
        if served and served.version.version == wanted and name in self._verified:
            self._forget_refusal(name)
            return
        refusal = self.view.refusals.get(name)
        if refusal and refusal.version == wanted and not _due(refusal):
            return
        try:
            self._update(self._registry.version(name, wanted), served)
        except ForecasterError as error:
            self._refuse(name, wanted, str(error), final=isinstance(error, ArtifactError))
        except Exception as error:
            logger.exception("loading %s/%s failed", name, wanted)
            self._refuse(name, wanted, f"{type(error).__name__}: it is in the log", final=False)
        else:
            self._verified.add(name)
            self._forget_refusal(name)

    def _update(self, version: Version, served: ServedModel | None) -> None:
        if served is not None and served.version == version:
            return
        began = time.monotonic()
        predictor = self._cache.obtain(version, self._registry.download)
        warm_up(predictor)
        self._cache.note(Serving(version, served.version if served else None))
        self._served.put(ServedModel(version, predictor))
        logger.info("serving %s, loaded in %.1f s", version, time.monotonic() - began)

    def _refuse(self, name: str, version: int, reason: str, *, final: bool) -> None:
        before = self.view.refusals.get(name)
        again = before if before and before.version == version else None
        attempts = again.attempts + 1 if again else 1
        if again is None or again.reason != reason:
            logger.error("%s/%s is not served: %s", name, version, reason)
        retry_at = None if final else time.monotonic() + min(_LONGEST_WAIT, 2.0 ** min(attempts, _DOUBLINGS))
        since = again.since if again else _now()
        self._set_refusals({**self.view.refusals, name: Refusal(version, reason, since, attempts, retry_at)})

    def _forget_refusal(self, name: str) -> None:
        if name in self.view.refusals:
            self._set_refusals({other: refusal for other, refusal in self.view.refusals.items() if other != name})

    def _set_refusals(self, refusals: Mapping[str, Refusal]) -> None:
        self.view = replace(self.view, refusals=MappingProxyType(dict(refusals)))


def _due(refusal: Refusal) -> bool:
    return refusal.retry_at is not None and time.monotonic() >= refusal.retry_at


def _now() -> datetime:
    return datetime.now(UTC)
