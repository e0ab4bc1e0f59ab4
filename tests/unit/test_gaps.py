import numpy as np
import pytest
import torch
from torch import Tensor

from forecaster.gaps import bridge

NAN = float("nan")
DAY, WEEK = 24, 168


def bridged(values: Tensor, period: int) -> Tensor:
    """NaN = unobserved"""
    return bridge(values.nan_to_num(), ~values.isnan(), period)


def one(row: list[float], period: int) -> list[float]:
    return bridged(torch.tensor([row]), period)[0].tolist()


def without(values: Tensor, gone: slice) -> Tensor:
    return torch.cat([values[:, : gone.start], torch.full_like(values[:, gone], NAN), values[:, gone.stop :]], 1)


def days(weekend: float, noise: float, seed: int = 0) -> Tensor:
    """[8, four weeks of hours]: a sine by day, `weekend` higher on the last two days of a week."""
    hour = np.arange(4 * WEEK)
    drawn = np.random.default_rng(seed).normal(scale=noise, size=(8, len(hour)))
    return torch.tensor(np.sin(hour * 2 * np.pi / DAY) + weekend * (hour // DAY % 7 >= 5) + drawn, dtype=torch.float32)


def test_what_was_observed_stays_and_what_stands_elsewhere_changes_nothing() -> None:
    values = days(1.0, 0.3)
    observed = torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    found = bridge(values, observed, DAY)
    assert torch.equal(found[observed], values[observed])
    assert torch.equal(bridge(torch.where(observed, values, 7.0), observed, DAY), found)


@pytest.mark.parametrize("gone", [slice(13 * DAY, 14 * DAY), slice(27 * DAY, 28 * DAY), slice(300, 301)])
def test_a_season_that_comes_again_is_found_again(gone: slice) -> None:
    truth = days(weekend=0.0, noise=0.0)
    torch.testing.assert_close(bridged(without(truth, gone), DAY), truth, atol=1e-3, rtol=0)


def test_a_missing_weekend_is_filled_by_other_weekends() -> None:
    truth = days(weekend=2.0, noise=0.1)
    for day in (12, 27):  # a Saturday between others, and a Sunday at the end
        gone = slice(day * DAY, (day + 1) * DAY)
        error = (bridged(without(truth, gone), DAY) - truth)[:, gone].abs().mean()
        neighbours = (truth[:, gone.start - 2 * DAY : gone.stop - 2 * DAY] - truth[:, gone]).abs().mean()
        assert error < 0.3
        assert neighbours > 0.8


def test_a_lone_gap_follows_the_deviation_of_the_steps_beside_it() -> None:
    truth = days(weekend=0.0, noise=0.0)
    lifted = truth.clone()
    lifted[:, 300:310] += 1.0  # an unusual morning
    gone = slice(305, 306)
    assert (bridged(without(lifted, gone), DAY) - lifted)[:, gone].abs().max() < 0.25


def test_a_deviation_is_forgotten_within_a_long_gap() -> None:
    truth = days(weekend=0.0, noise=0.2)
    lifted = truth.clone()
    lifted[:, 299] += 3.0
    gone = slice(300, 300 + 2 * DAY)
    moved = (bridged(without(lifted, gone), DAY) - bridged(without(truth, gone), DAY))[:, gone]
    assert moved[:, 0].mean() > 4 * moved[:, DAY:].abs().mean()


def test_without_a_season_a_gap_is_a_straight_line_and_ends_go_on() -> None:
    assert one([NAN, 1, NAN, NAN, NAN, 5, NAN], 1) == [1, 1, 2, 3, 4, 5, 5]
    assert one([NAN, NAN], 1) == [0, 0]


def test_a_phase_that_was_never_observed_stays_at_the_location() -> None:
    assert one([NAN, 2, NAN, 4], 2) == [0, 2, 0, 4]
    assert one([3.0, NAN, 4.0], 7) == [3, 0, 4]  # shorter than a season


def test_windows_of_very_many_seasons_are_compared_in_few_rows() -> None:
    values = torch.arange(1000.0).remainder(2)[None].clone()
    values[0, 500] = NAN
    assert abs(bridged(values, 2)[0, 500].item()) < 1e-3


def test_company_changes_nothing() -> None:
    values = days(1.0, 0.3)
    values[torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < 0.3] = NAN
    torch.testing.assert_close(bridged(values, DAY)[3:4], bridged(values[3:4], DAY), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("period", [1, DAY])
@pytest.mark.parametrize("gappy", [[], [1, 4], list(range(8))])
def test_a_fit_bridges_as_a_forecast_does(gappy: list[int], period: int) -> None:
    values = days(1.0, 0.3)
    observed = torch.ones(values.shape, dtype=torch.bool)
    observed[gappy, 100:130] = False
    with torch.no_grad():
        forecast = bridge(values, observed, period)
    torch.testing.assert_close(bridge(values, observed, period), forecast, atol=1e-6, rtol=1e-6)


def test_what_comes_before_a_fit_learns_through_a_gap() -> None:
    values = days(1.0, 0.3).requires_grad_()
    observed = torch.ones(values.shape, dtype=torch.bool)
    observed[3, 100] = False
    bridge(values, observed, 1)[3, 100].backward()
    assert values.grad is not None
    assert values.grad[3, [99, 101]].tolist() == [0.5, 0.5]
    assert not values.grad[:, 100].any()
