"""What is registered and what is served; promotion and rollback."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Depends

from forecaster.errors import NotFound, Unavailable
from forecaster.store.registry import CHAMPION
from service.engines import ServedModel
from service.media import JSON_BODY
from service.registry import RegisteredModel
from service.routes.health import registry_state, wanted
from service.schemas.registry import (
    ModelDetailOut,
    ModelsOut,
    PromoteOut,
    PromoteRequest,
    RegisteredOut,
    ServedOut,
    VersionOut,
)
from service.security import refuse_other_pages
from service.state import Needs, Parts

router = APIRouter(prefix="/v1/models", tags=["models"])
logger = logging.getLogger(__name__)


@router.get("", summary="All models, what is served of each, and the registry's state")
async def list_models(parts: Needs) -> ModelsOut:
    """From what the service has last seen: it asks nobody, so it answers while the registry is away."""
    names = sorted({*parts.served.by_name, *(parts.follower.view.models or {})})
    return ModelsOut(registry=registry_state(parts.follower.view), models=[_registered(parts, name) for name in names])


@router.get("/{name}", summary="One model, with its versions, their backtests and data")
async def show_model(parts: Needs, name: str) -> ModelDetailOut:
    view = parts.follower.view
    if name not in parts.served.by_name and name not in (view.models or {}):
        if view.models is None:
            raise Unavailable(f"model {name!r} is not loaded, and the model registry has not been reached yet")
        raise NotFound(f"there is no model {name!r}")
    versions = await _versions(parts, name) if view.reachable else None
    return ModelDetailOut(**_registered(parts, name).model_dump(), registry=registry_state(view), versions=versions)


@router.post("/{name}/promote", dependencies=[JSON_BODY], summary="Make a version the champion")
async def promote(parts: Needs, name: str, body: PromoteRequest) -> PromoteOut:
    done = await parts.registry_threads.call(parts.registry.promote, name, body.version)
    parts.follower.look_now()
    return PromoteOut(name=name, champion=done.champion, previous=done.previous)


@router.post(
    "/{name}/rollback",
    dependencies=[Depends(refuse_other_pages)],
    summary="Make the champion before the present one the champion again",
)
async def rollback(parts: Needs, name: str) -> PromoteOut:
    done = await parts.registry_threads.call(parts.registry.rollback, name)
    parts.follower.look_now()
    return PromoteOut(name=name, champion=done.champion, previous=done.previous)


async def _versions(parts: Parts, name: str) -> list[VersionOut] | None:
    try:
        found = await parts.registry_threads.call(parts.registry.versions, name)
    except Unavailable as error:
        logger.warning("%s", error)
        return None
    return [VersionOut.model_validate(version) for version in found]


def _registered(parts: Parts, name: str) -> RegisteredOut:
    model = (parts.follower.view.models or {}).get(name)
    served = parts.served.by_name.get(name)
    known = model or RegisteredModel(name, {CHAMPION: served.version.version} if served else {}, {}, "")
    return RegisteredOut(
        name=name,
        description=known.description,
        tags=dict(known.tags),
        aliases=dict(known.aliases),
        served=_served(served) if served else None,
        wanted=wanted(parts.follower, name, served.version.version if served else None),
    )


def _served(model: ServedModel) -> ServedOut:
    info = model.predictor.info
    return ServedOut(
        version=model.version.version,
        run_id=model.version.run_id,
        since=model.since,
        freq=info.freq,
        horizon=info.horizon,
        season=info.season,
        context=info.context,
        quantiles=list(info.quantiles),
        data=info.data,
    )
