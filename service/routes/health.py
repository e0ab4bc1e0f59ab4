"""For orchestrators: no key needed."""

from __future__ import annotations

from fastapi import APIRouter, Response

from service.errors import RETRY_SECONDS
from service.follower import Follower, RegistryView
from service.schemas.registry import Ready, ReadyModel, RegistryOut, Wanted
from service.state import Needs

router = APIRouter(prefix="/healthz", tags=["operations"])


@router.get("/live", summary="The process answers")
async def live() -> dict[str, str]:
    return {"status": "live"}


@router.get("/ready", summary="Forecasts can be asked for", responses={503: {"model": Ready}})
async def ready(parts: Needs, response: Response) -> Ready:
    """Ready once a model is loaded, or the registry was seen to have no champion. An unreachable registry does not
    make it unready: forecasts go on from the local copies."""
    if not parts.follower.ready:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    view = parts.follower.view
    served = parts.served.by_name
    models = []
    for name in sorted({*served, *view.refusals}):
        model = served.get(name)
        models.append(
            ReadyModel(
                name=name,
                version=model.version.version if model else None,
                run_id=model.version.run_id if model else None,
                since=model.since if model else None,
                wanted=wanted(parts.follower, name, model.version.version if model else None),
            )
        )
    return Ready(status="ready" if parts.follower.ready else "starting", registry=registry_state(view), models=models)


def registry_state(view: RegistryView) -> RegistryOut:
    if view.reachable:
        return RegistryOut(reachable=True, since=view.since)
    if view.reachable is None:
        return RegistryOut(reachable=False, since=None, message="the first look at the registry has not ended yet")
    return RegistryOut(
        reachable=False, since=view.since, message=f"forecasts go on from the local copies: {view.error}"
    )


def wanted(follower: Follower, name: str, served: int | None) -> Wanted | None:
    """The champion, where it is not what is served, and why."""
    refusal = follower.view.refusals.get(name)
    if refusal is not None:
        return Wanted(version=refusal.version, reason=refusal.reason, since=refusal.since)
    model = (follower.view.models or {}).get(name)
    if model is None or model.champion is None or model.champion == served:
        return None
    return Wanted(version=model.champion, reason="it is being loaded", since=None)
