"""Settings of a run from data, request and the model that it begins with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecaster.errors import InputError
from forecaster.settings import ModelSettings
from tests.fixtures_models import model_settings
from training.planning import plan_training, prepare
from training.request import Silent, TrainRequest
from training.settings import TrainingSettings


def sold(rare: bool, steps: int = 300) -> pd.DataFrame:
    """Items of a shop: most days none or, where not rare, some each day."""
    draw = np.random.default_rng(0)
    parts = [
        pd.DataFrame(
            {
                "unique_id": f"item-{i}",
                "ds": pd.date_range("2024-01-01", periods=steps),
                "y": draw.poisson(0.3 if rare else 20.0, steps) + (0 if rare else 1),
            }
        )
        for i in range(5)
    ]
    return pd.concat(parts)


def request(data: Any, **changes: Any) -> TrainRequest:
    return TrainRequest.model_validate({"data": data, "name": "m", "freq": "D", "horizon": 24, **changes})


def warm(data: pd.DataFrame, model: ModelSettings, **changes: Any) -> TrainingSettings:
    asked = request(data, warm_start="m", changes=changes)
    prepared = prepare(asked, Silent())
    return plan_training(asked, prepared.panel, prepared.profile, model)


OF_COUNTS = {"head": "negative_binomial", "location": "zero", "scale": "size"}


@pytest.mark.parametrize(
    ("head", "rare", "loss"),
    [({}, True, "quantile"), (OF_COUNTS, False, "likelihood"), ({"head": "normal"}, False, "quantile")],
)
def test_a_warm_start_is_fitted_by_a_loss_of_its_own_heads(head: dict[str, Any], rare: bool, loss: str) -> None:
    model = model_settings(freq="D", network=head)
    assert warm(sold(rare), model).fit.loss == loss


def test_a_warm_start_may_be_told_another_loss() -> None:
    model = model_settings(freq="D", network={"head": "student_t"})
    assert warm(sold(rare=False), model, **{"fit.loss": "likelihood"}).fit.loss == "likelihood"


def test_a_warm_start_keeps_its_linear_part_and_all_of_what_is_added_to_it() -> None:
    steps = np.arange(20_000)
    wave = 100 + 10 * np.sin(steps / 12 * np.pi) + np.random.default_rng(0).normal(size=len(steps))
    data = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2020-01-01", periods=len(steps), freq="h"), "y": wave})
    data = pd.concat([data, data.assign(unique_id="b")])
    fresh = request(data, freq="h")
    prepared = prepare(fresh, Silent())
    assert prepared.plan.fit.linear_start
    assert prepared.plan.fit.corrections
    filed = {"fit.linear_start": True, "fit.correction": 0.5, "fit.steps": 7}  # of the run that made the model
    for changes in ({}, filed, {"fit.corrections": [0.5, 1.0]}):
        asked = request(data, freq="h", warm_start="m", changes=changes)
        again = plan_training(asked, prepared.panel, prepared.profile, prepared.plan.model)
        assert not again.fit.linear_start
        assert again.fit.corrections == ()
        assert again.fit.correction == 1
        assert again.fit.steps == changes.get("fit.steps", again.fit.steps)


def test_what_is_no_count_is_not_forecast_as_one() -> None:
    changes = {"network.head": "negative_binomial", "network.location": "zero", "network.scale": "size"}
    asked = {**changes, "fit.loss": "likelihood"}
    assert prepare(request(sold(rare=False), changes=asked), Silent()).plan.fit.loss == "likelihood"
    with pytest.raises(InputError, match=r"'network.head'.*whole numbers"):
        prepare(request(sold(rare=False).assign(y=lambda frame: frame.y / 2), changes=asked), Silent())


def test_a_runs_own_settings_can_be_given_back() -> None:
    data = sold(rare=False).assign(price=lambda frame: frame.y * 2, region=lambda frame: frame.unique_id)
    first = prepare(
        request(data, covariates={"past": ["price"], "static": ["region"]}, usual_calendar=True), Silent()
    ).plan
    written = first.model_dump(mode="json")
    learnt = {
        f"model.covariates.{name}.{column}": value
        for name in ("scales", "categories")
        for column, value in written["model"]["covariates"].pop(name).items()
    }
    declared = {f"model.covariates.{name}": value for name, value in written["model"]["covariates"].items()}
    assert any("price" in name for name in learnt)
    assert any("region" in name for name in learnt)
    again = prepare(request(data, changes={**learnt, **declared}), Silent()).plan
    assert again.model.covariates == first.model.covariates


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model.quantiles": [0.5]}, "at least one on each side"),
        ({"model.quantiles": [0.1, 0.5]}, "at least one on each side"),
        ({"fit.seed": -1}, "greater than or equal to 0"),
        ({"fit.seed": 2**32}, "less than"),
        ({"model.covariates.zone": "Europe/Madird", "model.covariates.calendar": ["hour"]}, "is no time zone"),
        ({"model.covariates.zone": "Europe", "model.covariates.calendar": ["hour"]}, "is no time zone"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        prepare(request(sold(rare=False), changes=changes), Silent())


def test_counted_steps_need_only_their_season() -> None:
    counted = sold(rare=False).assign(ds=np.tile(np.arange(300), 5))
    told: list[str] = []

    class Listener(Silent):
        def say(self, text: str) -> None:
            told.append(text)

    prepared = prepare(request(counted, freq=None, season=12), Listener())
    assert (prepared.plan.model.freq, prepared.plan.model.season) == ("MS", 12)
    assert told[0] == "freq: MS, for counted steps of such a season"


@pytest.mark.parametrize(
    ("covariates", "filed"),
    [
        ({"future": ["price"]}, {"future": []}),
        ({"country": "US", "calendar": ["holiday"]}, {"country": None, "calendar": []}),
        ({"past": ["a"]}, {"past": ["b"]}),
    ],
)
def test_a_request_and_its_settings_may_not_declare_different_covariates(
    covariates: dict[str, Any], filed: dict[str, Any]
) -> None:
    changes = {f"model.covariates.{name}": value for name, value in filed.items()}
    with pytest.raises(InputError, match=r"the request declares .* leave one of them out"):
        prepare(request(sold(rare=False), covariates=covariates, changes=changes), Silent())


def test_a_floor_stays_as_long_as_the_values_do() -> None:
    """That of a warm start's model, which may have been asked for."""
    above, below = sold(rare=False).assign(y=lambda frame: frame.y + 0.5), sold(rare=False).assign(y=lambda f: f.y - 50)
    for data, floor in ((above, 0.0), (below, None)):
        asked = request(data, warm_start="m")
        prepared = prepare(request(data), Silent())
        model = prepared.plan.model.model_copy(update={"floor": 0.0})
        assert plan_training(asked, prepared.panel, prepared.profile, model).model.floor == floor


def test_a_model_of_counts_has_a_floor_whatever_the_counts() -> None:
    changes = {"network.head": "negative_binomial", "network.location": "zero", "network.scale": "size"}
    data = sold(rare=False).assign(y=lambda frame: frame.y + 1)
    assert prepare(request(data), Silent()).plan.model.floor is None
    found = prepare(request(data, changes={**changes, "fit.loss": "likelihood"}), Silent())
    assert found.plan.model.floor == 0


def test_a_preset_is_no_setting() -> None:
    with pytest.raises(InputError, match="use --preset"):
        prepare(request(sold(rare=False), changes={"preset": "best"}), Silent())
    assert prepare(request(sold(rare=False), changes={"preset": "balanced"}), Silent()).plan.preset == "balanced"
