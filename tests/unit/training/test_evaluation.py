import numpy as np
import pytest

from forecaster.backtest import backtest_windows, forecast_windows
from forecaster.panel import Panel
from forecaster.reading import panel_from_histories
from tests.fixtures_models import make_predictor
from training.choose import choose_settings, override
from training.evaluation import cross_calibrated, training_backtest
from training.profile import profile_panel
from training.settings import TrainingSettings

HORIZON, CONTEXT = 6, 60
ORIGINS = {"backtest.windows": 4, "backtest.step": 3}


def panel_of(*lengths: int) -> Panel:
    generator = np.random.default_rng(0)
    histories = [50 + generator.normal(size=length) for length in lengths]
    return panel_from_histories([str(i) for i in range(len(lengths))], [1] * len(lengths), histories, "D")


def settings(panel: Panel) -> TrainingSettings:
    chosen = choose_settings(profile_panel(panel, HORIZON), panel.freq, HORIZON, "fast", 1)
    return override(chosen, {"network.context": CONTEXT, "network.highway": 28, **ORIGINS})


def lengths_and_counts(*lengths: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the windows' series, and of what is observed in each."""
    panel = panel_of(*lengths)
    windows = training_backtest(panel, settings(panel))
    return panel.lengths[windows.series], windows.observed(CONTEXT)


def test_windows_of_series_that_were_younger_than_nearly_all_are_now_are_left_out() -> None:
    series, counts = lengths_and_counts(*[40] * 30, *[300] * 270)
    assert set(counts[series == 300]) == {CONTEXT}
    assert (series == 300).sum() == 4 * 270
    assert not (series == 40).any()  # 25 to 34 values, where they have 40 by now


def test_where_nearly_all_series_are_young_their_last_windows_stay() -> None:
    series, counts = lengths_and_counts(*[40] * 290, *[300] * 110)
    assert sorted(set(counts[series == 40])) == [34]
    assert (series == 40).sum() == 290
    assert (series == 300).sum() == 4 * 110


def test_of_few_windows_none_is_left_out() -> None:
    series, _ = lengths_and_counts(*[40] * 3, *[300] * 20)
    assert len(series) == 4 * 23


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_panel_whose_series_are_long_keeps_its_windows(missing: float) -> None:
    panel = panel_of(*[400] * 100)
    panel.values[np.random.default_rng(1).random(len(panel.values)) < missing] = np.nan
    kept = len(training_backtest(panel, settings(panel)).series)
    assert kept >= 0.9 * 4 * 100


def test_halves_of_a_single_series_origins_calibrate_each_other() -> None:
    plan = {"horizon": 24, "windows": 12, "step": 24, "season": 24, "context": 96}
    days = 60 * np.sin(np.arange(600) / 24 * 2 * np.pi)
    calm = 100 + days + np.random.default_rng(0).normal(scale=9, size=600)
    wilder = calm.copy()
    wilder[-6 * 24 :] += np.random.default_rng(1).normal(scale=60, size=6 * 24)  # the six later windows' truths
    predictor = make_predictor(trained=False)
    widths = []
    for values in (calm, wilder):
        windows = backtest_windows(panel_from_histories(["a"], [1], [values], "h"), **plan)  # type: ignore[arg-type]
        plain, judged = forecast_windows(predictor, windows), cross_calibrated(predictor, windows)
        earlier = windows.origin < np.median(windows.origin)
        widths.append(np.ptp(judged[earlier], axis=2).mean() / np.ptp(plain[earlier], axis=2).mean())
    assert widths[0] < 0.8 * widths[1]
    alone = windows.take(np.arange(1))
    np.testing.assert_array_equal(cross_calibrated(predictor, alone), forecast_windows(predictor, alone))


def test_of_a_single_series_no_window_is_judged_by_steps_that_it_forecasts() -> None:
    """Of three origins half a horizon apart the first and the last share no step; the middle one does with each."""
    plan = {"horizon": 24, "windows": 3, "step": 12, "season": 24, "context": 96}
    values = 100 + np.random.default_rng(0).normal(scale=40, size=300)
    windows = backtest_windows(panel_from_histories(["a"], [1], [values], "h"), **plan)  # type: ignore[arg-type]
    predictor = make_predictor(trained=False)
    plain, judged = forecast_windows(predictor, windows), cross_calibrated(predictor, windows)
    wider = np.ptp(judged, axis=2).mean(1) / np.ptp(plain, axis=2).mean(1)
    assert (wider[[0, 2]] > 1.05).all()
    assert wider[1] == 1
