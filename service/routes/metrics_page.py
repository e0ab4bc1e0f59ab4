"""For Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from service.metrics import CONTENT_TYPE
from service.state import Needs

router = APIRouter(tags=["operations"])


@router.get("/metrics", response_class=Response, summary="Metrics for Prometheus")
def metrics(parts: Needs) -> Response:
    return Response(parts.metrics.text(), media_type=CONTENT_TYPE)
