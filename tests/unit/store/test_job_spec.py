from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from forecaster.store.spec import JobSpec

LEAST = {"model": "m4-hourly", "dataset": "m4", "horizon": 48}


def test_least_spec_has_the_documented_defaults() -> None:
    spec = JobSpec.model_validate(LEAST)
    assert spec.model_dump() == LEAST | {
        "freq": None,
        "season": None,
        "duplicates": "error",
        "resample": None,
        "targets": (),
        "static": (),
        "past": (),
        "future": (),
        "categorical": (),
        "calendar": False,
        "holidays": None,
        "preset": "balanced",
        "settings": {},
        "warm_start": None,
        "promote": "if-better",
        "seed": 1,
        "started_by": "api",
    }


@pytest.mark.parametrize(
    "more",
    [
        {"dataset": "m4@0123456789abcdef"},
        {"freq": "W"},
        {"duplicates": "last"},
        {"resample": "sum"},
        {"warm_start": "m4"},
        {"warm_start": "m4@champion"},
        {"warm_start": "m4/12"},
        {"settings": {"network.cell": "gru", "fit.rate": 1e-3, "fit.epochs": 3, "fit.ema": True, "segments": [24, 1]}},
    ],
)
def test_spec_survives_json(more: dict[str, Any]) -> None:
    spec = JobSpec.model_validate(LEAST | more)
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    assert more.items() <= spec.model_dump().items()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("model", "../m"),
        ("model", ".m"),
        ("model", "m\n"),
        ("model", "m" * 129),
        ("dataset", "a/b"),
        ("dataset", "m4@"),
        ("dataset", "m4@XYZW"),
        ("freq", "fortnight"),
        ("horizon", 0),
        ("horizon", -1),
        ("horizon", "many"),
        ("preset", "quick"),
        ("duplicates", "first"),
        ("resample", "max"),
        ("promote", "sometimes"),
        ("warm_start", "m@"),
        ("warm_start", "m/../n"),
        ("seed", -1),
        ("static", [f"column {number}" for number in range(1001)]),
        ("settings", {"a..b": 1}),
        ("settings", {"a": {"b": 1}}),
        ("settings", {"a": float("nan")}),
        ("started_by", "nobody"),
        ("horizons", 3),
    ],
)
def test_wrong_field_is_named(field: str, value: Any) -> None:
    for validate in (
        lambda: JobSpec.model_validate(LEAST | {field: value}),
        lambda: JobSpec.model_validate_json(json.dumps(LEAST | {field: value})),
    ):
        with pytest.raises(ValidationError) as raised:
            validate()
        assert {error["loc"][0] for error in raised.value.errors()} == {field}


def test_two_rules_for_rows_are_a_mistake_told_in_one_line() -> None:
    with pytest.raises(ValidationError) as raised:
        JobSpec.model_validate(LEAST | {"duplicates": "sum", "resample": "sum"})
    (error,) = raised.value.errors()
    assert error["msg"].endswith("resample combines all rows of a step: leave duplicates out")
    assert "\n" not in error["msg"]
