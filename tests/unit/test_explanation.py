"""Shares of a forecast that add up to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecaster.covariates import made_up_panel
from forecaster.errors import InputError
from forecaster.explanation import HISTORY, explain
from forecaster.panel import Panel
from forecaster.predictor import Predictor
from tests.fixtures_models import make_panel, make_predictor
from tests.unit.test_step_encoder import KNOWN


def model() -> Predictor:
    return make_predictor(covariates=KNOWN)


def panel(predictor: Predictor) -> Panel:
    step = np.arange(150)
    values = 100 + 20 * np.sin(2 * np.pi * step / 24) + np.random.default_rng(0).normal(size=(2, 150))
    return made_up_panel(values.astype(np.float32), predictor.info.settings)


def test_base_and_parts_add_up_to_the_median() -> None:
    predictor = model()
    given = panel(predictor)
    found = explain(predictor, given, horizon=20)
    assert list(found.parts) == [HISTORY, "price", "weather", "visits", "size", "region", "calendar"]
    assert all(part.shape == (2, 20) for part in found.parts.values())
    median = predictor.predict(given, horizon=20).median
    np.testing.assert_allclose(found.base + sum(found.parts.values()), median, rtol=1e-4)
    np.testing.assert_array_equal(found.median, median)
    assert all(np.abs(part).max() > 0 for part in found.parts.values())


def test_the_base_is_of_a_flat_history_and_nothing_else_known() -> None:
    predictor = make_predictor(covariates={**KNOWN, "calendar": ()})
    given = panel(predictor)
    known = given.covariates
    assert known is not None
    flat = np.repeat([given.series(row)[-96:].mean() for row in range(2)], 150).astype(np.float32)
    without = replace(known, dynamic=known.dynamic * np.nan, static=known.static * np.nan)
    bare = replace(given, values=flat, covariates=without)
    found = predictor.quantiles_at(bare, np.arange(2), given.offsets[1:], 24)[..., predictor.network.median]
    np.testing.assert_allclose(explain(predictor, given).base, found, rtol=1e-3)


def test_the_same_question_has_the_same_answer_alone_or_in_company() -> None:
    predictor = model()
    given = panel(predictor)
    both, again, alone = explain(predictor, given), explain(predictor, given), explain(predictor, given.select([1]))
    for name, part in both.parts.items():
        np.testing.assert_array_equal(part, again.parts[name])
        np.testing.assert_allclose(part[1], alone.parts[name][0], rtol=1e-3, atol=1e-3)


def test_what_is_not_known_has_no_share() -> None:
    predictor = model()
    given = panel(predictor)
    known = given.covariates
    assert known is not None
    dynamic = known.dynamic.copy()
    dynamic[2] = np.nan  # visits
    found = explain(predictor, replace(given, covariates=replace(known, dynamic=dynamic)))
    assert np.abs(found.parts["visits"]).max() < 1e-4 * np.abs(found.median).max()


def test_without_covariates_all_is_history() -> None:
    found = explain(make_predictor(), make_panel(n=2))
    assert list(found.parts) == [HISTORY]
    assert found.to_table().column_names == ["unique_id", "ds", "median", "base", HISTORY]


def test_beyond_the_trained_horizon_nothing_is_explained() -> None:
    with pytest.raises(InputError, match="at most 24"):
        explain(make_predictor(), make_panel(n=2), horizon=25)


def test_what_a_forecast_warns_of_is_told_of_its_explanation() -> None:
    predictor = make_predictor()
    given = replace(make_panel(2, 60), notes=("a column was ignored",))
    expected = predictor.predict(given).warnings
    assert expected[0][0] == "a column was ignored"
    assert explain(predictor, given).warnings == expected


@pytest.mark.parametrize(
    ("columns", "calendar", "parts"),
    [
        (("base", "history", "holiday"), (), [HISTORY, "covariate base", "covariate history", "holiday"]),
        (("calendar", "holiday"), ("hour",), [HISTORY, "covariate calendar", "holiday", "calendar"]),
    ],
)
def test_covariates_called_like_other_columns_keep_their_shares(
    columns: tuple[str, ...], calendar: tuple[str, ...], parts: list[str]
) -> None:
    scales = dict.fromkeys(columns, (0.0, 1.0))
    predictor = make_predictor(covariates={"past": columns, "calendar": calendar, "scales": scales})
    found = explain(predictor, panel(predictor), horizon=4)
    assert list(found.parts) == parts
    assert found.to_table().column_names[2:] == ["median", "base", *parts]
