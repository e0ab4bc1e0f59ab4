"""Models, registered and served, and whether the service is ready."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from service.schemas.fields import Strict


class Wanted(BaseModel):
    """The champion of the registry, where another version is served."""

    version: int
    reason: str
    since: datetime | None


class ServedOut(BaseModel):
    version: int
    run_id: str | None
    since: datetime
    """When this process began to serve it."""
    freq: str
    horizon: int
    season: int
    context: int
    quantiles: list[float]
    data: dict[str, Any]
    """What it was trained on."""


class RegistryOut(BaseModel):
    reachable: bool
    since: datetime | None
    message: str | None = None


class RegisteredOut(BaseModel):
    """A model. What the registry alone knows is as it was last seen."""

    name: str
    description: str
    tags: dict[str, str]
    aliases: dict[str, int]
    served: ServedOut | None
    wanted: Wanted | None


class ModelsOut(BaseModel):
    registry: RegistryOut
    models: list[RegisteredOut]


class VersionOut(BaseModel):
    version: int
    run_id: str | None
    created_at: datetime
    description: str
    tags: dict[str, str]
    metrics: dict[str, float]
    datasets: list[dict[str, str]]


class ModelDetailOut(RegisteredOut):
    registry: RegistryOut
    versions: list[VersionOut] | None
    """The newest, newest first; null while the registry is away."""


class PromoteRequest(Strict):
    version: int = Field(ge=1, lt=10**9)


class PromoteOut(BaseModel):
    name: str
    champion: int
    previous: int | None


class ReadyModel(BaseModel):
    name: str
    version: int | None
    run_id: str | None
    since: datetime | None
    wanted: Wanted | None


class Ready(BaseModel):
    status: Literal["ready", "starting"]
    registry: RegistryOut
    models: list[ReadyModel]
