from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.stats import norm

from forecaster.errors import InputError
from forecaster.forecast import interpolate, mean_of_quantiles
from forecaster.predictor import Predictor
from forecaster.reading import panel_from_histories
from forecaster.settings import DEFAULT_QUANTILES, CovariateSettings
from tests.fixtures_models import make_panel, make_predictor, network_settings


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return make_predictor(transform="log")


def test_one_series_alone_is_the_same_series_in_a_batch(predictor: Predictor) -> None:
    panel = make_panel(n=37, missing=0.1)
    together = predictor.predict(panel, levels=[95], quantiles=[0.3])
    for row in range(panel.n_series):
        alone = predictor.predict(panel.select([row]), levels=[95], quantiles=[0.3])
        np.testing.assert_allclose(alone.median[0], together.median[row], rtol=1e-5)
        for probability, values in alone.quantiles.items():
            np.testing.assert_allclose(values[0], together.quantiles[probability][row], rtol=1e-5)


def test_levels_are_pairs_of_quantiles_and_timestamps_follow(predictor: Predictor) -> None:
    forecast = predictor.predict(make_panel(n=2), levels=[80, 99.9], quantiles=[0.1])
    low, high = forecast.interval(80)
    np.testing.assert_array_equal(low, forecast.quantiles[0.1])
    wide_low, wide_high = forecast.interval(99.9)
    assert (wide_low < low).all()
    assert (high < wide_high).all()
    assert (low < forecast.median).all()
    assert str(forecast.ds[0, 0]) == "2024-01-09T08:00:00.000000"
    columns = ["unique_id", "ds", "mean", "median", "lo-80", "hi-80", "lo-99.9", "hi-99.9", "q0.1"]
    assert forecast.to_table().column_names == columns
    assert forecast.to_table().num_rows == 48


def test_a_longer_horizon_is_rolled_forward_with_a_warning_and_wider_bands(predictor: Predictor) -> None:
    panel = make_panel(n=2)
    short, long = predictor.predict(panel, levels=[80]), predictor.predict(panel, horizon=60, levels=[80])
    np.testing.assert_allclose(long.median[:, :24], short.median, rtol=1e-6)
    assert np.isfinite(long.median).all()
    low, high = long.interval(80)
    width = np.log(high / low)
    assert (width[:, 24:48] > width[:, 23:24]).all()
    assert (width[:, 48:] > width[:, 47:48] * 0.999).all()
    assert "carried on from sample paths" in long.warnings[0][0]
    assert short.warnings == [[], []]


def test_a_shorter_horizon_is_the_beginning(predictor: Predictor) -> None:
    panel = make_panel(n=2)
    np.testing.assert_array_equal(predictor.predict(panel, horizon=5).median, predictor.predict(panel).median[:, :5])


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ([5.0], "only 1 observed"),
        ([5.0] * 60, "constant"),
        ([*range(1, 60), None], "last steps"),
        ([0.0] * 60, "constant"),
    ],
)
def test_a_poor_history_is_forecast_with_a_warning(predictor: Predictor, values: list, warning: str) -> None:
    forecast = predictor.predict(panel_from_histories(["a"], [1], [values], "h"), levels=[95])
    assert np.isfinite(forecast.to_table()["hi-95"].to_numpy()).all()
    assert any(warning in text for text in forecast.warnings[0])


@pytest.mark.parametrize(("held", "warned"), [(0.77, True), (0.93, False), (None, False)])
def test_intervals_that_did_not_hold_in_the_backtest_are_warned_of(
    predictor: Predictor, held: float | None, warned: bool
) -> None:
    data = {} if held is None else {"coverage": {"80": 0.6, "95": held}}
    info = predictor.info.model_copy(update={"data": data})
    forecast = Predictor(predictor.network, info).predict(make_panel(n=2), levels=[95])
    told = [any("95 % interval held 77%" in text for text in texts) for texts in forecast.warnings]
    assert told == [warned] * 2


@pytest.mark.parametrize("history", [[], [None, None], [1.0] + [None] * 200])
def test_a_history_without_values_is_refused_by_name(predictor: Predictor, history: list) -> None:
    with pytest.raises(InputError, match=r"'empty'.*observed"):
        predictor.predict(panel_from_histories(["full", "empty"], [1, 1], [[1.0, 2.0, 3.0], history], "h"))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"horizon": 0}, "horizon"), ({"horizon": -3}, "horizon"), ({"horizon": 10**6}, "horizon"),
        ({"levels": [0]}, "level"), ({"levels": [100]}, "level"), ({"levels": [float("nan")]}, "level"),
        ({"levels": [80, 80]}, "level"), ({"quantiles": [1.0]}, "quantiles"),
        ({"levels": [99.9999999]}, "level"), ({"levels": [80, 80.0000001]}, "level"),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(predictor: Predictor, arguments: dict, field: str) -> None:
    with pytest.raises(InputError) as caught:
        predictor.predict(make_panel(n=1), **arguments)
    assert caught.value.field == field


def test_data_of_another_frequency_is_refused(predictor: Predictor) -> None:
    with pytest.raises(InputError, match=r"frequency D is not the model's h"):
        predictor.predict(make_panel(n=1, freq="D"))


def test_many_threads_share_one_predictor(predictor: Predictor) -> None:
    panels = [make_panel(n=3, seed=seed) for seed in range(16)]
    expected = [predictor.predict(panel).median for panel in panels]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda panel: predictor.predict(panel).median, panels * 4))
    for row, median in enumerate(found):
        np.testing.assert_array_equal(median, expected[row % 16])


@pytest.mark.parametrize("horizon", [24, 60])
def test_nothing_is_forecast_below_the_floor(horizon: int) -> None:
    counts = np.random.default_rng(1).poisson(0.3, 150).astype(float)
    panel = panel_from_histories(["a"], ["2024-01-01"], [counts], "h")
    asked = {"horizon": horizon, "quantiles": [0.0015, 0.5, 0.999], "paths": 50}
    assert make_predictor().predict(panel, **asked).quantiles[0.0015].min() < 0  # there is something to hold back
    found = make_predictor(floor=0.0).predict(panel, **asked)
    parts = [found.mean, found.median, found.paths, *found.quantiles.values()]
    assert min(part.min() for part in parts) == 0
    assert max(part.max() for part in parts) > 0


def test_interpolation_is_exact_for_normal_and_lognormal_forecasts() -> None:
    wanted = [0.001, 0.13, 0.5, 0.88, 0.9995]
    normal = norm.ppf(DEFAULT_QUANTILES)[None, None].astype(np.float32)
    np.testing.assert_allclose(
        interpolate(normal, DEFAULT_QUANTILES, wanted, positive=False)[0, 0], norm.ppf(wanted), atol=1e-5
    )
    found = interpolate(np.exp(normal), DEFAULT_QUANTILES, wanted, positive=True)
    np.testing.assert_allclose(found[0, 0], np.exp(norm.ppf(wanted)), rtol=1e-4)


def test_the_mean_of_a_symmetric_forecast_is_its_median() -> None:
    normal = (10 + norm.ppf(DEFAULT_QUANTILES))[None, None].astype(np.float32)
    assert mean_of_quantiles(normal, DEFAULT_QUANTILES).item() == pytest.approx(10, abs=1e-4)


def test_every_network_of_a_model_must_see_a_value() -> None:
    """One that sees none would forecast zero, and the mean of all something between."""
    members = tuple(network_settings(context=context) for context in (96, 144))
    several = make_predictor(members=members)
    history = [5.0] * 100 + [np.nan] * 100
    with pytest.raises(InputError, match=r"series 'a'.*no value is observed in the last 96 steps"):
        several.predict(panel_from_histories(["a"], [1], [history], "h"))
    assert several.info.context == 144


def test_steps_beyond_the_trained_horizon_are_the_same_however_many_are_asked_for() -> None:
    calendar = CovariateSettings(calendar=("hour", "weekday"))
    known = make_predictor(covariates=calendar, seed=2)
    panel = make_panel(n=3)
    far, near = (known.predict(panel, horizon=horizon).median for horizon in (48, 30))
    np.testing.assert_allclose(near, far[:, :30], rtol=1e-5)


def test_the_mean_of_a_rare_count_is_not_lost_between_its_quantiles() -> None:
    rare = make_predictor(network={"head": "negative_binomial", "location": "zero", "scale": "size"})
    history = np.zeros(96)
    history[5::48] = 1.0  # two in 96 hours
    panel = panel_from_histories(["a"], [1], [history], "h")
    (context,), (member,) = rare.contexts(panel), rare.network.members
    decoded = member.decode(member.encode(*context[:2], torch.tensor([[True]])))
    expected = torch.nn.functional.softplus(decoded.centre + decoded.raw[..., 0]).detach().numpy() / 48
    found = rare.predict(panel, horizon=30).mean
    np.testing.assert_allclose(found[:, :24], expected, rtol=1e-4)
    of_quantiles = mean_of_quantiles(rare.quantiles_at(panel, np.arange(1), panel.offsets[1:], 30), rare.info.quantiles)
    assert (of_quantiles[:, :24] < 0.95 * expected).any()
    np.testing.assert_array_equal(found[:, 24:], of_quantiles[:, 24:])


def test_a_history_that_is_constant_as_far_as_the_model_looks_is_told_of() -> None:
    """It has varied before: its intervals are narrow all the same."""
    histories = [[*range(200), *[5.0] * 96], [*range(200), *[5.0] * 95]]
    panel = panel_from_histories(["calm", "not yet"], [1, 1], histories, "h")
    calm, not_yet = make_predictor().predict(panel).warnings
    assert "the history is constant, as far back as the model looks" in calm
    assert not_yet == []


def test_values_below_a_models_floor_are_told_of() -> None:
    panel = panel_from_histories(["returns", "sales"], [1, 1], [[3.0, -5.0, 4.0] * 40, [3.0, 0.0, 4.0] * 40], "h")
    returns, sales = make_predictor(floor=0.0).predict(panel).warnings
    assert returns == ["values below 0, which this model never forecasts (its floor; 0 for counts)"]
    assert sales == []
