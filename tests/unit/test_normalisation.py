"""Scales of windows, above all of those with gaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from forecaster.normalisation import spread
from forecaster.reading import panel_from_histories
from tests.fixtures_models import make_predictor

TYPICAL = torch.tensor(1.0)


def scale_of(values: np.ndarray, how: str = "change") -> float:
    known = torch.tensor(values[None], dtype=torch.float32)
    return float(spread(known.nan_to_num(), ~known.isnan(), how, TYPICAL, True))  # type: ignore[arg-type]


def test_changes_are_those_of_neighbours() -> None:
    values = np.cumsum(np.random.default_rng(0).normal(size=100)) + 50
    expected = np.abs(np.diff(values)).mean()
    assert scale_of(values) == pytest.approx(expected, rel=1e-3)
    values[40:60] = np.nan
    assert scale_of(values) == pytest.approx(np.nanmean(np.abs(np.diff(values))), rel=1e-3)


@pytest.mark.parametrize("days", [(0, 2, 4), (0, 3), (0,)])
def test_a_window_without_neighbours_has_its_deviation(days: tuple[int, ...]) -> None:
    """Values of Mondays, Wednesdays and Fridays: no two follow each other."""
    values = 50 + np.random.default_rng(0).normal(size=112)
    values[~np.isin(np.arange(112) % 7, days)] = np.nan
    assert scale_of(values) == pytest.approx(np.nanstd(values), rel=1e-3)
    values[days[-1] + 1] = values[days[-1]]  # one pair of neighbours, alike
    assert scale_of(values) == pytest.approx(np.nanstd(values), rel=1e-3)


def test_one_jump_in_a_long_calm_window_is_a_change_like_others() -> None:
    values = np.where(np.arange(1024) < 512, 1.0, 2.0)
    assert scale_of(values) == pytest.approx(1 / 1023 + 1.5e-6, rel=1e-3)
    assert scale_of(np.full(50, 7.0)) == pytest.approx(7e-6)


def test_a_series_of_every_second_step_has_intervals_of_some_width() -> None:
    values = 100 + np.random.default_rng(1).normal(size=200)
    values[1::2] = np.nan
    panel = panel_from_histories(["a"], [1], [values], "h")
    forecast = make_predictor(trained=False, network={"scale": "change"}).predict(panel, levels=[80])
    low, high = forecast.interval(80)
    assert (high - low).mean() > 0.5
