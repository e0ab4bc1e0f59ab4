"""One setting is named alone, and the automatic ones that it contradicts give way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecaster.errors import InputError
from training.planning import Prepared, prepare
from training.request import Silent, TrainRequest
from training.settings import TrainingSettings


class Listener(Silent):
    def __init__(self) -> None:
        self.noted: list[str] = []

    def note(self, text: str) -> None:
        self.noted.append(text)


def frame(values: np.ndarray, freq: str) -> pd.DataFrame:
    """[N, T] series of one length."""
    ds = pd.date_range("1970-01-01", periods=values.shape[1], freq=freq)
    parts = [pd.DataFrame({"unique_id": str(i), "ds": ds, "y": row}) for i, row in enumerate(values)]
    return pd.concat(parts)


def positive(freq: str, steps: int, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed).normal(size=(4, steps))
    return frame(100 + 10 * np.sin(np.arange(steps) / 24 * 2 * np.pi) + draw, freq)


def rare_counts() -> pd.DataFrame:
    return frame(np.random.default_rng(0).poisson(0.3, (5, 300)), "D")


def prepared(data: pd.DataFrame, freq: str, listener: Listener | None = None, **asked: Any) -> Prepared:
    request = {"data": data, "name": "m", "freq": freq, "horizon": 8, **asked}
    return prepare(TrainRequest.model_validate(request), listener or Silent())


def plan(data: pd.DataFrame, freq: str, **asked: Any) -> TrainingSettings:
    return prepared(data, freq, **asked).plan


@pytest.mark.parametrize("preset", ["balanced", "best"])
@pytest.mark.parametrize(("freq", "steps"), [("QS", 80), ("YS", 60)])
@pytest.mark.parametrize("transform", ["log", "asinh"])
def test_a_transform_takes_the_place_of_logarithms(freq: str, steps: int, transform: str, preset: str) -> None:
    data = positive(freq, steps)
    assert any(member.logarithm for member in plan(data, freq, preset=preset).model.members)
    found = plan(data, freq, preset=preset, changes={"model.transform": transform})
    assert found.model.transform == transform
    assert not any(member.logarithm for member in found.model.members)


def test_a_context_in_text_is_a_number_too() -> None:
    assert plan(positive("h", 900), "h", changes={"network.context": "500"}).model.context == 500


def test_logarithms_of_ones_own_take_the_place_of_the_transform() -> None:
    assert plan(positive("h", 900), "h").model.transform == "log"
    found = plan(positive("h", 900), "h", changes={"network.logarithm": True})
    assert found.model.transform == "identity"
    assert all(member.logarithm for member in found.model.members)


@pytest.mark.parametrize("preset", ["fast", "balanced", "best"])
@pytest.mark.parametrize("context", [1, 7, 24, 48, 200])
def test_a_shorter_context_shortens_what_lies_within_it(context: int, preset: str) -> None:
    members = plan(positive("h", 900), "h", preset=preset, changes={"network.context": context}).model.members
    for member in members:
        assert member.context == context
        assert member.segment <= context
        assert member.highway == min(168, context)
        assert member.season == (24 if context >= 48 else 1)
        assert member.lags == tuple(lag for lag in (24, 48, 168, 336) if lag <= context)


def test_who_names_a_share_of_the_correction_gets_that_one() -> None:
    data = positive("h", 12_000)
    assert plan(data, "h").fit.corrections
    found = plan(data, "h", changes={"fit.correction": 0.3}).fit
    assert (found.correction, found.corrections) == (0.3, ())


@pytest.mark.parametrize("named", [{"network.context": 40}, {"network.season": 1}, {"network.highway": 40}])
def test_a_line_that_sees_no_two_seasons_is_not_fitted_first_unless_it_is_asked_for(named: dict[str, Any]) -> None:
    data = positive("h", 12_000)
    assert plan(data, "h").fit.linear_start
    found = plan(data, "h", changes=named).fit
    assert (found.linear_start, found.corrections) == (False, ())
    asked = plan(data, "h", changes={**named, "fit.linear_start": True}).fit
    assert asked.linear_start
    assert asked.corrections


@pytest.mark.parametrize("named", [{"network.head": "negative_binomial"}, {"fit.linear_start": False}])
def test_without_a_linear_start_there_are_no_corrections_of_it(named: dict[str, Any]) -> None:
    data = positive("h", 12_000)
    data["y"] = data["y"].round()
    assert plan(data, "h").fit.linear_start
    assert plan(data, "h").model.members[0].highway == 336
    found = plan(data, "h", changes=named)
    assert not found.fit.linear_start
    assert found.fit.corrections == ()
    assert found.model.members[0].highway == 168


@pytest.mark.parametrize("named", [{"fit.steps": 300}, {"fit.shares": [0.5]}])
def test_who_names_a_length_gets_no_other(named: dict[str, Any]) -> None:
    data = positive("h", 3000)
    assert plan(data, "h").fit.shorter
    assert plan(data, "h", changes=named).fit.shorter == ()


def test_what_is_named_too_does_not_give_way() -> None:
    data = positive("h", 900)
    with pytest.raises(InputError, match="lag 168 lies beyond context 24"):
        plan(data, "h", changes={"network.context": 24, "network.lags": [168]})
    with pytest.raises(InputError, match="logarithm needs transform identity"):
        plan(data, "h", changes={"model.transform": "log", "network.logarithm": True})


def test_a_context_beyond_all_series_is_shortened_and_told() -> None:
    listener = Listener()
    found = prepared(positive("h", 900), "h", listener, changes={"network.context": 100_000})
    assert found.plan.model.context == 899
    told = "no series is longer than 900 steps: the networks see 899 of them, not the 100,000 that were asked for"
    assert listener.noted == [told]
    assert found.panel.notes == (told,)  # so the result has it among its warnings
    prepared(positive("h", 900), "h", listener, changes={"network.context": 500})
    assert listener.noted == [told]


@pytest.mark.parametrize(
    "changes",
    [
        {"network.head": "quantile"},
        {"network.head": "student_t"},
        {"fit.loss": "quantile"},
        {"network.scale": "std"},
        {"network.location": "last"},
        {"model.transform": "asinh"},
        {"network.logarithm": True},
    ],
)
def test_rare_counts_are_taken_as_numbers_where_their_distribution_is_not_wanted(changes: dict[str, Any]) -> None:
    assert plan(rare_counts(), "D").model.counts
    found = plan(rare_counts(), "D", changes=changes)
    assert not found.model.counts
    assert found.fit.loss == "quantile"
    assert found.model.floor == 0


def test_a_distribution_of_counts_brings_what_it_needs() -> None:
    busy = frame(np.random.default_rng(0).poisson(20, (5, 300)), "D")
    assert not plan(busy, "D").model.counts
    found = plan(busy, "D", changes={"network.head": "negative_binomial"})
    assert found.model.counts
    assert found.fit.loss == "likelihood"
    assert {(member.location, member.scale) for member in found.model.members} == {("zero", "size")}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model.season": 12}, "model.season.*read for a season of 24 steps, not 12.*--season"),
        ({"network.layers": 0}, "field 'network.layers'"),
        ({"network.lags": 24}, r"field 'network.lags': it is a list; write \[12,24\]"),
        ({"fit.target_weights.load": 2.0}, "there is no target 'load'; name it in --targets"),
        ({"fit.auxiliary_weight": 1.0, "network.segment": 336}, "auxiliary_weight needs a next segment"),
        ({"fit.loss": "likelihood"}, "loss likelihood needs a parametric head.*change one of them"),
        ({"fit.shares": [0.5, 1.0]}, "fit.shares needs a share for each of the 1 members, and has 2"),
        ({"fit.correction": 0.5, "fit.corrections": [0.5, 1.0]}, "fit.corrections has nothing to choose"),
        ({"network.head": "negative_binomial", "fit.correction": 0.5}, "has no linear forecast"),
        ({"fit.shares": [0.5], "fit.shorter": [0.5]}, "fit.shares says how long each member is fitted"),
        ({"network.segment": 400}, "field 'network': segment 400 is longer than context 336; change one of them"),
        ({"network.season": 500}, "field 'network': season 500 is longer than context 336; change one of them"),
    ],
)
def test_what_cannot_be_is_told_by_the_names_that_a_person_gives(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        plan(positive("h", 900), "h", changes=changes)


def test_nothing_below_zero_has_a_logarithm() -> None:
    data = positive("h", 900).assign(y=lambda table: -table["y"])
    with pytest.raises(InputError, match="no value is above zero"):
        plan(data, "h", changes={"model.transform": "log"})
