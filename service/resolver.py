"""From what a request calls a model to a loaded version: a champion at once, any other loaded when first asked for."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from forecaster.errors import ForecasterError, NotFound, Unavailable
from forecaster.predictor import Predictor
from forecaster.store.registry import CHAMPION, Reference
from service.cache import ModelCache
from service.engines import ServedModel, ServedModels, use_one_core, warm_up
from service.follower import Follower
from service.registry import RegisteredModel, Registry, Version

_LOOK_SECONDS, _LOOK_PATIENCE = 15.0, 2.0  # how long a version is taken for what it was, and how long a look may take
_FAILURE_SECONDS = 30.0  # how long a version that could not be loaded is not tried again
_MOST_FAILURES = 1000

Key = tuple[str, int]


class Resolver:
    """Used on the event loop only, which is why it needs no lock."""

    def __init__(self, served: ServedModels, follower: Follower, others: OtherVersions, default: str | None) -> None:
        self._served = served
        self._follower = follower
        self._others = others
        self._default = default

    async def resolve(self, reference: str | None) -> ServedModel:
        """The model for `name`, `name@alias`, `name/version` or None (the default).

        Raises InputError, NotFound, Unavailable, ArtifactError.
        """
        if reference is None:
            return self._default_model()
        asked = Reference.parse(reference)
        name = asked.name
        if asked.alias == CHAMPION:
            return self._champion(name)
        served = self._served.by_name.get(name)
        version = self._version_of(name, str(asked.alias)) if asked.version is None else asked.version
        if served and served.version.version == version:
            return served
        self._registered(name)
        return await self._others.get(name, version)

    def _default_model(self) -> ServedModel:
        if self._default is not None:
            return self._champion(self._default)
        by_name = self._served.by_name
        if not by_name:
            if not self._follower.ready:
                raise Unavailable("no model is loaded yet")
            raise NotFound("no model is served: train one, or promote a registered version to champion")
        return max(by_name.values(), key=lambda model: model.since)

    def _champion(self, name: str) -> ServedModel:
        served = self._served.by_name.get(name)
        if served is not None:
            return served
        if self._registered(name).champion is None:
            raise NotFound(f"model {name!r} has no champion: ask for {name}/VERSION, or promote a version")
        refusal = self._follower.view.refusals.get(name)
        if refusal is None:
            raise Unavailable(f"model {name!r} is being loaded")
        raise Unavailable(f"model {name!r} cannot be served: {refusal.reason}")

    def _version_of(self, name: str, alias: str) -> int:
        model = self._registered(name)
        if alias not in model.aliases:
            known = ", ".join(sorted(model.aliases)) or "none"
            raise NotFound(f"model {name!r} has no alias {alias!r}; it has: {known}")
        return model.aliases[alias]

    def _registered(self, name: str) -> RegisteredModel:
        models = self._follower.view.models
        if models is None:
            raise Unavailable(f"model {name!r} is not loaded, and the model registry has not been reached yet")
        if name not in models:
            known = ", ".join(sorted(models)[:10]) or "none"
            raise NotFound(f"there is no model {name!r}; registered are: {known}")
        return models[name]


class OtherVersions:
    """Versions that are not champions: at most `limit` of them loaded, the one unused for longest goes first.

    Requests for a version that is being loaded wait for that one loading. One that was loaded before is looked up again
    from time to time: it may have been deleted, or be another since the registry was made anew. Used on the event loop
    only.
    """

    def __init__(self, registry: Registry, cache: ModelCache, limit: int) -> None:
        self._registry = registry
        self._cache = cache
        self._limit = limit
        self._loaded: OrderedDict[Key, ServedModel] = OrderedDict()
        self._looked: dict[Key, float] = {}  # when each of them was last found in the registry
        self._looking: set[asyncio.Task[None]] = set()
        self._loading: dict[Key, asyncio.Task[ServedModel]] = {}
        self._failed: OrderedDict[Key, tuple[float, ForecasterError]] = OrderedDict()
        # One at a time: each holds a second copy of a model for a moment.
        self._executor = ThreadPoolExecutor(1, "model-loader", initializer=use_one_core)

    async def get(self, name: str, version: int) -> ServedModel:
        key = (name, version)
        if key in self._loaded:
            await self._look_again(key)
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        self._raise_recent_failure(key)
        if key not in self._loading:
            self._loading[key] = asyncio.create_task(self._load(key))
        return await asyncio.shield(self._loading[key])  # a client that leaves does not end what others wait for

    async def _look_again(self, key: Key) -> None:
        """Drop what is no longer what is registered. A registry that is away, or slow, takes nothing away."""
        if time.monotonic() - self._looked[key] < _LOOK_SECONDS:
            return
        self._looked[key] = time.monotonic()
        task = asyncio.create_task(self._look(key))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)
        await asyncio.wait({task}, timeout=_LOOK_PATIENCE)

    async def _look(self, key: Key) -> None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._executor, self._registry.version, *key)
        except NotFound:
            found = None
        except ForecasterError:
            return
        if key in self._loaded and self._loaded[key].version != found:
            del self._loaded[key], self._looked[key]

    @property
    def loaded(self) -> list[ServedModel]:
        return list(self._loaded.values())

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _load(self, key: Key) -> ServedModel:
        loop = asyncio.get_running_loop()
        try:
            version, predictor = await loop.run_in_executor(self._executor, self._fetch, *key)
        except ForecasterError as error:
            self._failed[key] = (time.monotonic() + _FAILURE_SECONDS, error)
            if len(self._failed) > _MOST_FAILURES:
                self._failed.popitem(last=False)
            raise
        finally:
            del self._loading[key]
        model = self._loaded[key] = ServedModel(version, predictor)
        self._looked[key] = time.monotonic()
        if len(self._loaded) > self._limit:
            gone, oldest = self._loaded.popitem(last=False)
            del self._looked[gone]
            await loop.run_in_executor(self._executor, self._cache.drop, oldest.version)
        return model

    def _fetch(self, name: str, number: int) -> tuple[Version, Predictor]:
        version = self._registry.version(name, number)
        predictor = self._cache.obtain(version, self._registry.download)
        warm_up(predictor)
        return version, predictor

    def _raise_recent_failure(self, key: Key) -> None:
        until, error = self._failed.get(key, (0.0, None))
        if error is not None and time.monotonic() < until:
            raise type(error)(str(error)) from error
        self._failed.pop(key, None)
