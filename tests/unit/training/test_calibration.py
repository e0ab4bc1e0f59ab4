import numpy as np
import pytest
import torch
from scipy import stats

from forecaster import metrics
from forecaster.backtest import backtest_windows, evaluate, forecast_windows, target_metrics
from forecaster.panel import Panel, side_by_side
from forecaster.predictor import Predictor
from forecaster.reading import panel_from_histories
from forecaster.settings import DEFAULT_QUANTILES, CovariateSettings
from forecaster.windows import Context, gather_context, truncate_context
from tests.fixtures_models import make_panel, make_predictor
from training import calibration
from training.calibration import _correlation, _last_observed, calibration_factors, normal_scores, young_stretches

PLAN = {"horizon": 24, "windows": 1, "step": 1, "season": 24}


def noisy_panel(seed: int) -> Panel:
    generator = np.random.default_rng(seed)
    histories = 100 + generator.normal(scale=15, size=(400, 200))
    return panel_from_histories([str(i) for i in range(400)], [1] * 400, list(histories), "h")


def coverage(predictor: Predictor, seed: int, level: float) -> float:
    windows = backtest_windows(noisy_panel(seed), **PLAN)
    grid = forecast_windows(predictor, windows)
    known = predictor.info.quantiles
    low, high = known.index(round((1 - level) / 2, 3)), known.index(round((1 + level) / 2, 3))
    return metrics.mean(metrics.coverage(windows.truth, grid[..., low], grid[..., high]))


def test_intervals_hold_on_other_data_what_they_promise() -> None:
    predictor = make_predictor(trained=False)
    before = coverage(predictor, seed=2, level=0.95)
    factors = calibration_factors(predictor.network, backtest_windows(noisy_panel(1), **PLAN))
    predictor.network.calibration.copy_(factors)
    assert factors.shape == predictor.network.calibration.shape
    assert (factors[..., predictor.network.median] == 1).all()
    assert abs(before - 0.95) > 0.03  # there was something to mend
    assert abs(coverage(predictor, seed=2, level=0.95) - 0.95) < 0.015
    assert abs(coverage(predictor, seed=2, level=0.8) - 0.8) < 0.03


def test_independent_counts_that_are_mostly_zero_are_not_taken_to_move_together() -> None:
    probabilities = np.array(DEFAULT_QUANTILES)
    counts = np.random.default_rng(0).poisson(0.1, (4000, 6)).astype(float)
    grid = np.broadcast_to(stats.poisson(0.1).ppf(probabilities), (*counts.shape, len(probabilities)))
    scores = normal_scores(counts, grid, probabilities)
    assert abs(scores.mean()) < 0.1
    assert np.abs(_correlation(scores) - np.eye(6)).max() < 0.06


def test_normal_scores_are_the_deviates_of_what_was_drawn() -> None:
    probabilities = np.array(DEFAULT_QUANTILES)
    deviates = np.random.default_rng(0).normal(size=(500, 2))
    grid = np.broadcast_to(10 + 3 * stats.norm.ppf(probabilities), (*deviates.shape, len(probabilities)))
    truth = 10 + 3 * deviates
    truth[0, 0] = np.nan
    scores = normal_scores(truth, grid, probabilities)
    assert scores[0, 0] == 0
    inside = np.abs(deviates) < 2.5
    inside[0, 0] = False
    np.testing.assert_allclose(scores[inside], deviates[inside], atol=1e-6)


def test_each_target_has_intervals_of_its_own() -> None:
    """One is as restless as its histories say, the other far calmer there than in what comes."""
    settings = CovariateSettings(targets=("calm", "restless"))

    def panel(seed: int) -> Panel:
        generator = np.random.default_rng(seed)
        spread = np.where(np.arange(200) < 200 - PLAN["horizon"], 15, 25)
        histories = {
            "calm": 100 + 15 * generator.normal(size=(300, 200)),
            "restless": 100 + spread * generator.normal(size=(300, 200)),
        }
        ids = [str(i) for i in range(300)]
        panels = [panel_from_histories(ids, [1] * 300, list(own), "h") for own in histories.values()]
        return side_by_side(panels, list(histories))

    def coverages() -> list[float]:
        windows = backtest_windows(panel(2), **PLAN)
        scores = evaluate(predictor, windows)
        return [measures["coverage-80"] for measures in target_metrics(windows, scores).values()]

    predictor = make_predictor(trained=False, covariates=settings)
    windows = backtest_windows(panel(1), **PLAN)
    factors = calibration_factors(predictor.network, windows)
    assert factors.shape == (2, 24, len(predictor.info.quantiles))
    predictor.network.calibration.copy_(factors)
    assert np.abs(np.array(coverages()) - 0.8).max() < 0.03
    predictor.network.calibration.copy_(factors.flip(0))
    assert np.abs(np.array(coverages()) - 0.8).min() > 0.1  # the other target's would not do
    alone = windows.take(np.flatnonzero(windows.panel.targets[windows.series] == "restless"))
    found = calibration_factors(predictor.network, alone)
    torch.testing.assert_close(found[0], found[1])  # a target that was not seen has the others'


@pytest.mark.parametrize("few_values", [1_000, 20_000, 200_000])
@pytest.mark.parametrize("windows", [1, 50, 200, 400])
def test_fewer_windows_are_believed_less_but_for_panels_of_few_values(
    windows: int, few_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "_FEW_VALUES", few_values)
    predictor = make_predictor(trained=False)
    few = backtest_windows(noisy_panel(1), **PLAN).take(np.arange(windows))
    drawn = calibration_factors(predictor.network, few)
    monkeypatch.setattr(calibration, "_ENOUGH_WINDOWS", 1)
    believed = calibration_factors(predictor.network, few)
    assert believed.max() > 1.1
    assert not torch.allclose(believed, believed.flip(2), atol=0.01)
    if windows < 200:
        believed = (believed * believed.flip(2)).sqrt()  # the same on both sides of the median
    share = max(windows / 200, 0.75 * min(1.0, few_values / 80_000))
    torch.testing.assert_close(drawn, believed ** min(1.0, share))


def test_a_quantile_without_a_counterpart_keeps_its_own_factor() -> None:
    assert calibration._mirrored((0.1, 0.25, 0.5, 0.8, 0.9, 0.995)) == [4, 1, 2, 3, 0, 5]


def test_few_windows_move_factors_little_and_never_out_of_bounds() -> None:
    predictor = make_predictor(trained=False)
    factors = calibration_factors(predictor.network, backtest_windows(make_panel(n=2), **PLAN))
    assert torch.isfinite(factors).all()
    assert factors.min() >= 1
    assert factors.max() <= 4
    assert np.ptp(factors.numpy(), axis=1).max() < 3


def seasonal_panel(seed: int) -> Panel:
    """A strong season of 24 steps: a history shorter than that says little of what comes."""
    generator = np.random.default_rng(seed)
    phase = np.arange(200) * 2 * np.pi / 24 + generator.uniform(0, 2 * np.pi, (300, 1))
    histories = 100 + 20 * np.sin(phase) + generator.normal(scale=2, size=(300, 200))
    return panel_from_histories([str(i) for i in range(300)], [1] * 300, list(histories), "h")


def young_coverage(predictor: Predictor, keep: int) -> float:
    """Of the 80 % interval, of series that the stretches were not measured on, `keep` steps old."""
    windows, levels = backtest_windows(seasonal_panel(2), **PLAN), predictor.info.quantiles
    flat, ends = (torch.as_tensor(x) for x in (windows.panel.values, windows.origin))
    context = gather_context(flat, torch.as_tensor(windows.begin), ends, predictor.info.context)
    with torch.inference_mode():
        grid = predictor.network(*truncate_context(context, torch.full_like(ends, keep))).numpy()
    return metrics.mean(metrics.coverage(windows.truth, grid[..., levels.index(0.1)], grid[..., levels.index(0.9)]))


def test_intervals_of_young_series_hold_too() -> None:
    predictor, windows = make_predictor(trained=False), backtest_windows(seasonal_panel(1), **PLAN)
    network = predictor.network
    network.members[0].typical_scale.fill_(0.14)  # of a sine of 20 about 100, as a training measures it
    network.calibration.copy_(calibration_factors(network, windows))
    ages = (1, 3, 10, 20)  # less than a season
    before = [young_coverage(predictor, age) for age in ages]
    steps, stretch = young_stretches(network, windows)
    network.young_steps.copy_(steps)
    network.young_stretch.copy_(stretch)
    assert before[1] < 0.4  # there was something to mend
    assert steps[0] == 1
    assert steps[-1] == 96  # the whole context is what nearly all windows have
    assert stretch[-1] == 1
    assert (stretch.diff() <= 0).all()
    for age in ages:
        assert 0.72 < young_coverage(predictor, age) < 0.95, age
    assert network.stretch_of(torch.tensor([96, 500])).tolist() == [1.0, 1.0]
    panel = panel_from_histories(["young", "old"], [1, 1], [[1.0, 5.0, 2.0, 7.0], list(range(200))], "h")
    young, old = predictor.predict(panel).warnings
    assert "only 4 observed values: intervals are " in young[0]
    assert old == []


def test_a_truth_beyond_all_measure_leaves_the_factors_numbers() -> None:
    """A series that was silent for its whole context has no width to measure by."""
    histories = noisy_panel(1).values.reshape(400, 200).copy()
    histories[0, :-24], histories[0, 0], histories[0, -24:] = 0, 1, 5e9
    panel = panel_from_histories([str(i) for i in range(400)], [1] * 400, list(histories), "h")
    predictor = make_predictor(trained=False, network={"scale": "change"})
    windows = backtest_windows(panel, **PLAN)
    for part in (windows, windows.take(np.arange(20))):
        assert calibration_factors(predictor.network, part).isfinite().all()
        assert young_stretches(predictor.network, part)[1].isfinite().all()


def test_a_young_series_is_one_of_few_values_whatever_its_gaps() -> None:
    observed = torch.tensor([[True, False, True, True, False, False], [False, True, False, False, False, False]])
    context = Context(torch.arange(12.0).reshape(2, 6), observed)
    kept = _last_observed(context, 2)
    assert kept.observed.tolist() == [[False, False, True, True, False, False], observed[1].tolist()]
    assert kept.values[0].tolist() == [0, 0, 2, 3, 0, 0]


def test_gaps_at_the_origins_make_no_stretch_beyond_measure() -> None:
    histories = noisy_panel(1).values.reshape(400, 200).copy()
    histories[:200, -28:-24] = np.nan
    panel = panel_from_histories([str(i) for i in range(400)], [1] * 400, list(histories), "h")
    predictor = make_predictor(trained=False)
    windows = backtest_windows(panel, **PLAN)
    predictor.network.calibration.copy_(calibration_factors(predictor.network, windows))
    _, stretch = young_stretches(predictor.network, windows)
    assert stretch.max() < 20


@pytest.mark.parametrize("levels", [(0.25, 0.5, 0.75), (0.025, 0.5, 0.975)])
def test_how_much_a_series_is_stretched_hardly_depends_on_the_levels(levels: tuple[float, ...]) -> None:
    """Its own interval is measured by its own level, not by that of another one."""
    predictor = make_predictor(trained=False, quantiles=levels)
    windows = backtest_windows(noisy_panel(1), **PLAN)
    predictor.network.calibration.copy_(calibration_factors(predictor.network, windows))
    steps, stretch = young_stretches(predictor.network, windows)
    assert stretch[steps > 60].max() < 1.3
    assert stretch[0] > 1.05  # from a single value something is missing, whichever interval tells it
