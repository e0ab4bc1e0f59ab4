"""Linear maps with and without the form of a season."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from forecaster.network import ForecastNetwork
from tests.fixtures_models import model_settings
from training.seasonal_map import FreeMap, SeasonalMap


def naive(steps: int, horizon: int, season: int) -> Tensor:
    """[K, H] the seasonal naive method, of the last season that is seen."""
    weight = torch.zeros(steps, horizon)
    for step in range(horizon):
        weight[steps - season + step % season, step] = 1.0
    return weight


def drawn(rows: int, steps: int) -> Tensor:
    return torch.randn(rows, steps, generator=torch.Generator().manual_seed(3))


def changed(linear: SeasonalMap | FreeMap) -> SeasonalMap | FreeMap:
    """With other numbers than it begins with."""
    generator = torch.Generator().manual_seed(4)
    for parameter in linear.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return linear


@pytest.mark.parametrize(("steps", "horizon", "season"), [(14, 9, 7), (16, 3, 7), (21, 21, 7), (5, 12, 7), (3, 2, 1)])
def test_both_begin_as_the_naive_method_and_are_the_weights_that_they_give(
    steps: int, horizon: int, season: int
) -> None:
    inputs = drawn(50, steps)
    start = naive(steps, horizon, min(season, steps))
    for linear in (SeasonalMap(start, [inputs], season), FreeMap(start, [inputs])):
        torch.testing.assert_close(linear(inputs), inputs @ start)
        after = changed(linear)
        assert after.weights().shape == (steps, horizon)
        torch.testing.assert_close(after(inputs), inputs @ after.weights(), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(after(inputs), inputs @ start)


def test_a_fresh_network_begins_as_the_map_does() -> None:
    settings = model_settings()
    member = ForecastNetwork(settings).members[0]
    weight = member.highway.weight.detach()  # type: ignore[union-attr]
    inputs = drawn(100, weight.shape[1])
    linear = SeasonalMap(weight.T, [inputs], settings.season)
    torch.testing.assert_close(linear.weights(), weight.T)  # type: ignore[arg-type]


def test_the_form_in_plain_words() -> None:
    """Two seasons of three steps, eight steps ahead: written out number by number."""
    inputs = drawn(4, 7)
    linear = SeasonalMap(naive(7, 8, 3), [drawn(200, 7)], 3)
    changed(linear)
    alike, near, level = linear._numbers()
    z = inputs[:, 1:]  # whole seasons only
    for step in range(8):
        ahead, phase = divmod(step, 3)
        same_phase = alike[ahead, 0] * z[:, phase] + alike[ahead, 1] * z[:, 3 + phase]
        row = phase if ahead == 0 else 3 + phase
        last_season = sum(near[row, s] * z[:, 3 + s] for s in range(3))
        torch.testing.assert_close(linear(inputs)[:, step], same_phase + last_season + level[ahead] * z.mean(1))


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    inputs = drawn(50, 14)
    inputs[:, -1] = 0.0  # the last step, where windows are measured from it
    for linear in (SeasonalMap(naive(14, 7, 7), [inputs], 7), FreeMap(naive(14, 7, 7), [inputs])):
        assert linear.weights().isfinite().all()
        assert changed(linear)(torch.zeros(1, 14)).abs().max() == 0
