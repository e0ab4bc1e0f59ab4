import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from forecaster.backtest import backtest_windows, evaluate, has_seen, has_seen_some, held_out_steps, score_points
from forecaster.baselines import seasonal_naive, theta
from forecaster.errors import ForecasterError, InputError
from forecaster.predictor import ModelInfo
from forecaster.reading import panel_from_histories
from forecaster.rolling import roll
from forecaster.theta import theta_forecasts
from tests.fixtures_models import make_panel, make_predictor, model_settings


def test_origins_roll_and_truth_is_what_came_after() -> None:
    panel = panel_from_histories(["a", "b"], [1, 1], [np.arange(100.0), np.arange(50.0)], "D")
    windows = backtest_windows(panel, horizon=3, windows=2, step=5, season=1)
    assert held_out_steps(2, 5, 3) == 8
    assert windows.truth[0].tolist() == [92, 93, 94]
    assert windows.truth[2].tolist() == [97, 98, 99]
    assert windows.truth[1].tolist() == [42, 43, 44]
    np.testing.assert_allclose(windows.error_scale, 1)


def test_series_that_cannot_be_judged_are_left_out() -> None:
    histories = [np.arange(30.0), np.ones(30), [1.0, 2.0], [*range(20), *[None] * 10]]
    panel = panel_from_histories(list("abcd"), [1] * 4, histories, "D")
    windows = backtest_windows(panel, horizon=5, windows=1, step=1, season=1)
    assert panel.ids[windows.series].tolist() == ["a"]


def test_nothing_to_judge_is_an_error_that_names_the_mend() -> None:
    with pytest.raises(InputError, match="give series of at least 7"):
        backtest_windows(make_panel(n=1, length=4), horizon=5, windows=1, step=1, season=1)


def test_a_backtest_sees_the_past_only() -> None:
    predictor = make_predictor()
    panel = make_panel(n=3)
    spoiled = make_panel(n=3)
    for row in range(3):
        spoiled.series(row)[-24:] = 1e6  # the future of the only origin
    plan = {"horizon": 24, "windows": 1, "step": 1, "season": 24}
    scores = [evaluate(predictor, backtest_windows(p, **plan)).metrics for p in (panel, spoiled)]
    assert scores[0]["mase"] < 20
    assert scores[1]["mase"] > 1e4  # the same forecasts, judged by another future
    origin = panel.offsets[1:] - 24
    known = predictor.quantiles_at(panel, np.arange(panel.n_series), origin, 24)
    np.testing.assert_array_equal(known, predictor.quantiles_at(spoiled, np.arange(panel.n_series), origin, 24))


def test_seasonal_naive_repeats_the_last_observed_step_of_the_phase() -> None:
    values = np.array([1, 2, 3, 4, np.nan, 6, np.nan, np.nan], np.float32)
    begin, origin = np.array([0]), np.array([8])
    assert seasonal_naive(values, begin, origin, 6, 4)[0].tolist() == [1, 6, 3, 4, 1, 6]
    assert seasonal_naive(values, begin, origin, 2, 1)[0].tolist() == [6, 6]
    assert seasonal_naive(values, begin, np.array([2]), 5, 4)[0].tolist() == [2, 2, 1, 2, 2]


def test_the_naive_method_has_the_scores_of_its_definition() -> None:
    panel = panel_from_histories(["a"], [1], [np.arange(20.0)], "D")
    windows = backtest_windows(panel, horizon=2, windows=1, step=1, season=1)
    naive = seasonal_naive(panel.values, windows.begin, windows.origin, 2, 1)
    assert score_points(windows, naive).metrics["mase"] == pytest.approx(1.5)


def test_theta_forecasts_gappy_and_short_series_too() -> None:
    panel = make_panel(n=2, missing=0.2)
    forecast = theta(panel.values, panel.offsets[:-1], panel.offsets[1:], 24, 24)
    naive = seasonal_naive(panel.values, panel.offsets[:-1], panel.offsets[1:], 24, 24)
    assert 0 < np.abs(forecast / naive - 1).max() < 0.5
    short = panel_from_histories(["a"], [1], [[3.0, 4.0]], "h")
    assert theta(short.values, short.offsets[:-1], short.offsets[1:], 3, 24)[0].tolist() == [4, 4, 4]


def test_theta_puts_each_series_forecast_in_its_own_row() -> None:
    rising, falling = np.arange(1.0, 61.0), np.arange(160.0, 100.0, -1.0)
    panel = panel_from_histories(["up", "flat", "down"], [1] * 3, [rising, np.full(60, 7.0), falling], "D")
    forecast = theta(panel.values, panel.offsets[:-1], panel.offsets[1:], 2, 1)
    np.testing.assert_allclose(forecast, [[61, 62], [7, 7], [100, 99]], atol=0.05)  # straight lines go on


def test_theta_leaves_statsforecast_out_of_the_calling_process() -> None:
    program = (
        "import sys, numpy as np\n"
        "from forecaster.theta import theta_forecasts\n"
        "print(theta_forecasts([np.arange(60, dtype=np.float32)], 3, 1).shape, 'statsforecast' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(1, 3) False"


def test_theta_that_fails_says_why() -> None:
    with pytest.raises(ForecasterError, match=r"exit code 1: .*tiny"):
        theta_forecasts([np.array([1, 2], np.float32)], 3, 1)


@pytest.mark.parametrize(
    ("values", "windows", "told"),
    [
        (np.full(200, 3.0), 1, "series is constant.*'a' too.*give series that vary"),
        (np.tile([1.0, 2.0], 100), 1, "repeats itself exactly"),
        (np.arange(20.0) ** 2, 1, "long enough for a backtest .the longest has 20 steps.*at least 26 varying"),
        (np.arange(40.0) ** 2, 30, "long enough for a backtest of 30 windows.*or fewer windows"),
    ],
)
def test_why_there_is_no_backtest_is_told_with_its_mend(values: np.ndarray, windows: int, told: str) -> None:
    panel = panel_from_histories(["a"], [1], [values], "D")
    with pytest.raises(InputError, match=told):
        backtest_windows(panel, horizon=24, windows=windows, step=1, season=2)


def test_theta_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forecaster.theta._PATIENCE", 0.01)
    with pytest.raises(ForecasterError, match="no answer in"):
        theta_forecasts([np.arange(60, dtype=np.float32)], 3, 1)


def test_what_was_done_to_the_data_is_told_of_its_backtest() -> None:
    panel = replace(make_panel(), notes=("column 'shop' is not used by this model",))
    assert roll(make_predictor(), panel, windows=2).warnings[0] == panel.notes[0]


def seen(last: int, held_out: int, lengths: tuple[int, int], plan: dict[str, int]) -> bool:
    """Of a model whose data went on to step `last`, its fit without the last steps; series of these lengths."""
    rows = [np.random.default_rng(i).normal(size=length).tolist() for i, length in enumerate(lengths)]
    panel = panel_from_histories(["a", "b"], [1, 1], rows, "h")
    info = ModelInfo(name="m", settings=model_settings(), data={"last_ordinal": last})
    return has_seen(info, backtest_windows(panel, season=1, **plan), held_out)


def test_a_series_that_ended_early_has_held_out_its_own_last_steps() -> None:
    plan = {"horizon": 10, "windows": 1, "step": 1}
    assert not seen(100, 10, (100, 80), plan)  # the same data
    assert not seen(100, 10, (120, 80), plan)  # grown data
    assert seen(100, 9, (100, 80), plan)
    assert seen(100, 0, (100, 80), plan)
    assert seen(100, 10, (80, 80), plan)  # an older cut of it: it did see these


def test_steps_that_are_counted_otherwise_are_taken_for_seen() -> None:
    panel = make_panel()
    windows = backtest_windows(panel, horizon=10, windows=1, step=1, season=1)
    before = {"last_ordinal": int(panel.start.min()) - 1}
    for same in (True, False):
        data = {**before, "integer": panel.integer if same else not panel.integer}
        info = ModelInfo(name="m", settings=model_settings(), data=data)
        assert has_seen(info, windows) is not same
        assert has_seen_some(info, panel, 5) is not same
