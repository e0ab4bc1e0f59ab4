"""The linear shortcut, fitted alone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from forecaster.network import ForecastNetwork
from forecaster.panel import Panel
from forecaster.reading import panel_from_histories
from tests.fixtures_models import make_panel, model_settings
from training import shortcut
from training.fit import fit
from training.preparation import build_network, build_objective, training_windows
from training.seasonal_map import FreeMap, SeasonalMap
from training.settings import FitSettings, TrainingSettings
from training.shortcut import fit_shortcut

CPU = torch.device("cpu")
HELD_OUT = 24


def plan(**model: object) -> TrainingSettings:
    fitted = FitSettings(steps=20, batch=16, linear_start=True)
    return TrainingSettings(model=model_settings(**model), fit=fitted)


def beats(length: int = 600) -> Panel:
    """Sums of two waves: exactly linear in the past, and not seasonal."""
    step = np.arange(length)
    rows = [20 + i + np.sin(2 * np.pi * step / 24 + i) + np.sin(2 * np.pi * step / 17.3 - i) for i in range(3)]
    return panel_from_histories(["a", "b", "c"], ["2024-01-01"] * 3, rows, "h")


def start(
    panel: Panel, settings: TrainingSettings, positive: bool = False
) -> tuple[ForecastNetwork, ForecastNetwork, float, float]:
    """A fresh network, the same with its shortcut fitted, and mean absolute errors of both on windows of training.

    positive: on those alone that are, of which there are some but not all
    """
    windows = training_windows(panel, settings, HELD_OUT, CPU)
    fresh = build_network(settings, windows)
    fitted = copy.deepcopy(fresh)
    fit_shortcut(fitted, windows, build_objective(settings, windows).quantile_loss, 1)
    model = settings.model
    batch = windows.draw(512, model.context, model.horizon, 0.0, 1, torch.Generator().manual_seed(9))
    counted = batch.target.observed > 0
    if positive:
        rows = (batch.context.values > 0).all(1)
        assert 0 < int(rows.sum()) < 512
        counted = counted & rows[:, None]
    errors = []
    for network in (fresh, fitted):
        with torch.no_grad():
            forecast = network(*batch.context[:2])[:, :, network.median]
        errors.append(float((forecast - batch.target.values)[counted].abs().mean()))
    return fresh, fitted, errors[0], errors[1]


@pytest.mark.parametrize("transform", ["identity", "asinh", "log"])
def test_a_linear_law_is_found(transform: str) -> None:
    _, _, before, after = start(beats(), plan(transform=transform, network={"location": "mean", "scale": "std"}))
    assert after < 0.05 * before


def test_the_map_goes_from_the_form_of_a_season_half_of_the_way_to_a_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[SeasonalMap | FreeMap] = []
    fit_map = shortcut._fit_map

    def noted(linear: SeasonalMap | FreeMap, *args: Any) -> None:
        fit_map(linear, *args)
        fitted.append(linear)

    monkeypatch.setattr(shortcut, "_fit_map", noted)
    _, network, _, _ = start(make_panel(length=400), plan())
    seasonal, free = fitted
    assert (type(seasonal), type(free)) == (SeasonalMap, FreeMap)
    formed, formless = seasonal.weights(), free.weights()
    assert not torch.allclose(formed, formless, atol=1e-3)
    weight = network.members[0].highway.weight  # type: ignore[union-attr]
    torch.testing.assert_close(weight.T, (formed + formless) / 2)  # type: ignore[operator, arg-type]


def test_a_naive_forecast_without_an_error_is_left_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    steady = np.where(np.arange(744) < 24, 5.0, 3.0)  # its changes lie before all that is forecast
    panel = panel_from_histories(["a"], ["2024-01-01"], [steady], "h")
    settings = plan(network={"lags": (24,)})
    windows = training_windows(panel, settings, HELD_OUT, CPU)
    network = build_network(settings, windows)
    before = copy.deepcopy(network.state_dict())
    fit_shortcut(network, windows, build_objective(settings, windows).quantile_loss, 1)
    for name, weight in before.items():
        torch.testing.assert_close(network.state_dict()[name], weight)
    assert not caplog.records


def test_nothing_but_the_shortcut_changes() -> None:
    fresh, fitted, _, _ = start(make_panel(), plan())
    assert fresh.state_dict().keys() == fitted.state_dict().keys()
    changed = {
        name for name, weight in fresh.state_dict().items() if not torch.equal(weight, fitted.state_dict()[name])
    }
    assert changed == {"members.0.highway.weight"}


def test_what_is_not_observed_counts_nowhere() -> None:
    _, _, before, after = start(make_panel(missing=0.3, length=400), plan())
    assert after < before


def test_windows_without_a_logarithm_do_not_drown_the_others() -> None:
    """A window with a zero is left in the data's own units, hundreds of times as large as logarithms."""
    panel = make_panel(length=400)
    rows = np.split(panel.values, panel.offsets[1:-1])
    rows[0] = np.where(np.arange(400) % 50 == 0, 0.0, 1000 * rows[0])
    mixed = panel_from_histories(list("abcde"), ["2024-01-01"] * 5, rows, "h")
    _, _, before, after = start(mixed, plan(transform="log"), positive=True)
    assert after < before


@pytest.mark.filterwarnings("error")
def test_zeros_that_are_forecast_as_zeros_do_not_count_for_all(caplog: pytest.LogCaptureFixture) -> None:
    """A percentage of nothing has no bounds."""
    rows = np.split(make_panel(length=400).values, 5)
    for row in rows:
        row[100:200] = 0.0
    _, _, before, after = start(panel_from_histories(list("abcde"), ["2024-01-01"] * 5, rows, "h"), plan())
    assert after < before
    assert not caplog.records


def test_where_no_number_is_found_the_shortcut_stays_as_it_is_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shortcut.FreeMap, "weights", lambda linear: torch.full_like(linear.start, torch.nan))
    fresh, fitted, _, _ = start(make_panel(), plan())
    assert all(torch.equal(weight, fitted.state_dict()[name]) for name, weight in fresh.state_dict().items())
    assert "the shortcut begins as the seasonal naive method" in caplog.text


def test_a_head_of_counts_is_left_as_it_is() -> None:
    network = {"head": "negative_binomial", "location": "zero", "scale": "size"}
    settings = TrainingSettings(model=model_settings(floor=0.0, network=network), fit=FitSettings(loss="likelihood"))
    windows = training_windows(make_panel(), settings, HELD_OUT, CPU)
    counts = build_network(settings, windows)
    before = copy.deepcopy(counts.state_dict())
    fit_shortcut(counts, windows, None, 1)
    assert all(torch.equal(weight, counts.state_dict()[name]) for name, weight in before.items())


def test_a_likelihood_has_a_linear_start_too() -> None:
    settings = TrainingSettings(model=model_settings(network={"head": "student_t"}), fit=FitSettings(loss="likelihood"))
    _, _, before, after = start(beats(), settings)
    assert after < 0.5 * before


def test_the_map_is_that_of_least_absolute_errors() -> None:
    """Against the exact solution, by linear programming."""
    generator = np.random.default_rng(0)
    n, k = 300, 4
    inputs = generator.normal(size=(n, k)) @ generator.normal(size=(k, k))
    truth = inputs @ generator.normal(size=k) + generator.standard_t(2, size=n)
    weight = generator.uniform(0, 2, size=n)
    cost = np.concatenate([np.zeros(k), weight, weight])
    exact = linprog(
        cost,
        A_eq=np.hstack([inputs, np.eye(n), -np.eye(n)]),
        b_eq=truth,
        bounds=[(None, None)] * k + [(0, None)] * 2 * n,
    )

    def column(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float32)[:, None]

    zero, one = torch.zeros(n, 1), torch.ones(n, 1)
    parts = (slice(0, 200), slice(200, n))
    whole = (torch.as_tensor(inputs, dtype=torch.float32), zero, one, None, zero, column(truth), column(weight))
    chunks = [shortcut._Chunk(*(tensor if tensor is None else tensor[rows] for tensor in whole)) for rows in parts]
    linear = FreeMap(torch.zeros(k, 1), [chunk.inputs for chunk in chunks])
    shortcut._fit_map(linear, chunks, "identity", 20)
    with torch.no_grad():
        error = sum(float(chunk.errors(linear(chunk.inputs), "identity").abs().sum()) for chunk in chunks)
    assert exact.fun <= error < 1.01 * exact.fun


def test_a_fit_begins_with_it_and_ends_alike_again() -> None:
    settings = plan()
    windows = training_windows(make_panel(), settings, HELD_OUT, CPU)

    def fitted(begin: bool) -> torch.Tensor:
        network = build_network(settings, windows)
        own = settings.fit.model_copy(update={"linear_start": begin})
        fit(network, windows, build_objective(settings, windows), own)
        return network.members[0].highway.weight  # type: ignore[union-attr, return-value]

    assert torch.equal(fitted(True), fitted(True))
    assert not torch.equal(fitted(True), fitted(False))
