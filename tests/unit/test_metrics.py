from types import ModuleType

import numpy as np
import pytest

from forecaster import metrics
from forecaster.reading import panel_from_histories

TRUTH = np.array([[1.0, 2.0, np.nan], [4.0, np.nan, np.nan], [np.nan, np.nan, np.nan]])
FORECAST = np.array([[2.0, 2.0, 9.0], [2.0, 9.0, 9.0], [1.0, 1.0, 1.0]])
SCALE = np.array([2.0, 1.0, 1.0])


def test_unobserved_truths_count_nowhere() -> None:
    np.testing.assert_allclose(metrics.mase(TRUTH, FORECAST, SCALE), [0.25, 2, np.nan])
    np.testing.assert_allclose(metrics.smape(TRUTH, FORECAST), [100 / 3, 200 / 3, np.nan])
    np.testing.assert_allclose(metrics.coverage(TRUTH, FORECAST - 1, FORECAST + 1), [1, 0, np.nan])
    assert metrics.mean(np.array([1.0, 3.0, np.nan])) == 2


def test_smape_of_zero_against_zero_is_zero() -> None:
    assert metrics.smape(np.zeros((1, 2)), np.zeros((1, 2))).tolist() == [0.0]


def test_pinball_weighs_misses_by_side() -> None:
    assert metrics.pinball(np.array([[10.0]]), np.array([[8.0]]), 0.9).item() == pytest.approx(1.8)
    assert metrics.pinball(np.array([[8.0]]), np.array([[10.0]]), 0.9).item() == pytest.approx(0.2)


def test_quantile_loss_of_the_median_alone_is_mase() -> None:
    loss = metrics.scaled_quantile_loss(TRUTH, FORECAST[:, :, None], [0.5], SCALE)
    np.testing.assert_allclose(loss, metrics.mase(TRUTH, FORECAST, SCALE))


def test_msis_is_width_plus_forty_times_the_miss() -> None:
    score = metrics.msis(np.array([[5.0, 0.0]]), np.array([[1.0, 1.0]]), np.array([[3.0, 3.0]]), np.array([2.0]))
    assert score.item() == pytest.approx((2 + 40 * (2 + 1) / 2) / 2)


def test_seasonal_errors_follow_the_definition_for_every_series() -> None:
    generator = np.random.default_rng(3)
    histories = [generator.normal(size=n) for n in (3, 1, 50, 24, 80, 25)]
    histories[4][10:14] = np.nan
    panel = panel_from_histories([str(i) for i in range(6)], [1] * 6, histories, "h")
    for held_out in (0, 5):
        found = metrics.seasonal_errors(panel, 24, held_out)
        for row, history in enumerate(histories):
            known = history[: max(0, len(history) - held_out)]
            lag = 24 if len(known) > 24 else 1
            changes = np.abs(known[lag:] - known[:-lag]) if len(known) > lag else np.array([])
            expected = np.nanmean(changes) if len(changes) else np.nan
            np.testing.assert_allclose(found[row], expected, rtol=1e-5)


def test_measures_agree_with_the_competitions_own_script(official: ModuleType) -> None:
    generator = np.random.default_rng(0)
    y, f, w = generator.uniform(1, 9, (3, 20, 8))
    scale = generator.uniform(1, 2, 20)
    np.testing.assert_allclose(metrics.smape(y, f), official.smape(y, f))
    np.testing.assert_allclose(metrics.mase(y, f, scale), official.mase(y, f, scale))
    np.testing.assert_allclose(metrics.msis(y, f - w, f + w, scale), official.msis(y, f - w, f + w, scale))
    assert metrics.owa(1, 2, 2, 2) == official.owa(1, 2, 2, 2)


def test_a_small_series_keeps_its_scale_beside_huge_ones() -> None:
    generator = np.random.default_rng(5)
    huge = [1e13 + 1e12 * generator.normal(size=300).cumsum() for _ in range(20)]
    rate = 2 + 0.01 * generator.normal(size=300).cumsum()
    panel = panel_from_histories([str(i) for i in range(21)], [1] * 21, [*huge, rate], "D")
    assert metrics.seasonal_errors(panel, 1)[-1] == pytest.approx(np.abs(np.diff(rate)).mean(), rel=1e-3)
