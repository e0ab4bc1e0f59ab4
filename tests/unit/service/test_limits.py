"""How large a body may be, by what it holds."""

from __future__ import annotations

import pytest

from service.limits import body_limit
from service.settings import ServiceSettings


@pytest.mark.parametrize(
    ("path", "largest"),
    [
        *((f"/v1/{call}", 1234) for call in ("forecast", "explain", "backtest", "anomalies")),
        ("/v1/datasets/sales", 5678),
        ("/v1/training-jobs", 1 << 20),
    ],
)
def test_every_call_with_series_takes_what_is_set(path: str, largest: int) -> None:
    settings = ServiceSettings(max_body_bytes=1234, dataset_max_bytes=5678, _env_file=None)  # type: ignore[call-arg]
    assert body_limit(settings)({"path": path}) == largest
