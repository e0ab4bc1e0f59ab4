"""How a network takes in what is known of each step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from forecaster.covariates import made_up_panel
from forecaster.graph import Graph, export_graph
from forecaster.network import ForecastNetwork
from forecaster.settings import CovariateSettings, ModelSettings
from forecaster.step_encoder import StepEncoder
from tests.fixtures_models import make_predictor, model_settings

KNOWN = {
    "future": ("price", "weather"),
    "past": ("visits",),
    "static": ("size", "region"),
    "calendar": ("hour", "weekday"),
    "categories": {"weather": ("rain", "sun"), "region": ("north", "south")},
    "scales": {"price": (10.0, 2.0), "visits": (100.0, 30.0), "size": (5.0, 1.0)},
}
SETTINGS = CovariateSettings.model_validate(KNOWN)


def numbers(batch: int = 3, steps: int = 120) -> torch.Tensor:
    """Price, weather, visits, size, region, hour and weekday of each step."""
    draw = torch.Generator().manual_seed(0)
    names = [10 + 2 * torch.randn(batch, steps, generator=draw), torch.ones(batch, steps)]
    names += [100 + 30 * torch.randn(batch, steps, generator=draw), torch.full((batch, steps), 5.0)]
    names += [torch.full((batch, steps), 2.0), (torch.arange(steps) % 24 + 1.0).expand(batch, -1)]
    return torch.stack([*names, torch.ones(batch, steps)], 2)


def test_untrained_nothing_has_an_effect() -> None:
    torch.manual_seed(0)
    found = StepEncoder(SETTINGS)(numbers(), 96)
    assert (found.effect == 0).all()
    assert found.context.shape == (3, 96, 2 * SETTINGS.width)
    assert found.horizon.shape == (3, 24, SETTINGS.width)


def trained() -> StepEncoder:
    torch.manual_seed(0)
    encoder = StepEncoder(SETTINGS)
    for parameter in encoder.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape))
    return encoder.eval()


@pytest.mark.parametrize(("column", "spoilt"), [(2, "past"), (0, "future")])
def test_what_is_known_up_to_the_present_is_not_looked_at_beyond(column: int, spoilt: str) -> None:
    plain, changed = numbers(), numbers()
    changed[:, 96:, column] += 5
    before, after = trained()(plain, 96), trained()(changed, 96)
    torch.testing.assert_close(before.context, after.context)
    assert torch.equal(before.horizon, after.horizon) == (spoilt == "past")
    assert torch.equal(before.effect, after.effect) == (spoilt == "past")


def test_missing_numbers_and_unknown_categories_give_finite_and_alike_answers() -> None:
    missing, other = numbers(), numbers()
    missing[:, :, [0, 1, 2, 3, 4]] = torch.nan
    found = trained()(missing, 96)
    assert all(part.isfinite().all() for part in found)
    missing, other = numbers(), numbers()
    missing[:, :, 1], other[:, :, 1] = torch.nan, 0
    torch.testing.assert_close(trained()(missing, 96), trained()(other, 96))


def covariate_model(**network: object) -> ModelSettings:
    return model_settings(covariates=KNOWN, network=network)


@pytest.mark.parametrize(
    "network",
    [{}, {"decoder": "pmf"}, {"decoder": "autoregressive"}, {"attention": 2}, {"segment": 7}, {"segment": 1}],
    ids=str,
)
def test_every_network_forecasts_with_them(network: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = ForecastNetwork(covariate_model(**network)).eval()
    values = 100 + torch.randn(3, 96)
    found = model(values, torch.ones(3, 96, dtype=torch.bool), numbers())
    assert found.shape == (3, 24, 15)
    assert found.isfinite().all()


def test_an_effect_moves_the_forecast_by_itself() -> None:
    """One that is known to be 1 on the last day of the horizon lifts that day by one scale, and nothing else."""
    torch.manual_seed(0)
    model = ForecastNetwork(covariate_model()).eval()
    (member,) = model.members
    member.steps.known[1].embedding.weight.data[2] = 1.0
    member.steps.ahead = torch.nn.Sequential(_Weather(), torch.nn.SiLU())
    torch.nn.init.zeros_(member.steps.summary.weight)
    member.steps.effect.weight.data[0, 0] = 1 / torch.nn.functional.silu(torch.tensor(1.0))
    given = numbers()
    given[:, 108:, 1] = 2
    values, observed = 100 + torch.randn(3, 96), torch.ones(3, 96, dtype=torch.bool)
    lifted = model(values, observed, given) - model(values, observed, numbers())
    torch.testing.assert_close(lifted[:, :12], torch.zeros(3, 12, 15), atol=1e-4, rtol=0)
    scale = values.std(1, correction=0)[:, None, None].expand(-1, 12, 15)
    torch.testing.assert_close(lifted[:, 12:], scale, atol=1e-3, rtol=1e-3)


class _Weather(torch.nn.Module):
    """1 where the sun shines: its embedding alone is not zero."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        shines = (inputs[..., 3:5].abs().sum(-1, keepdim=True) > 0).float()
        return torch.nn.functional.pad(shines, (0, 31))


def test_graph_and_network_agree(tmp_path: Any) -> None:
    predictor = make_predictor(covariates=KNOWN)
    export_graph(predictor.network, tmp_path / "graph.onnx")
    values, observed = 100 + torch.randn(3, 96), torch.ones(3, 96, dtype=torch.bool)
    given = numbers()
    given[0, 50:60] = torch.nan
    with torch.no_grad():
        expected = predictor.network(values, observed, given)
    torch.testing.assert_close(Graph(tmp_path / "graph.onnx")(values, observed, given), expected, rtol=1e-4, atol=1e-3)


def test_beyond_the_trained_horizon_each_block_has_its_own_steps() -> None:
    predictor = make_predictor(covariates={"future": ("price",), "scales": {"price": (0.0, 1.0)}})
    panel = made_up_panel(
        100 + np.random.default_rng(0).normal(size=(2, 96)).astype(np.float32), predictor.info.settings
    )
    known = panel.covariates
    assert known is not None
    late = known.dynamic.copy()
    origin = panel.offsets[1:]
    place = known.offsets[1:] - 24 + 12  # the last half of the first block
    late[0, place[0] : place[0] + 12] += 3
    changed = replace(panel, covariates=replace(known, dynamic=late))
    series = np.arange(2)
    before = predictor.quantiles_at(panel, series, origin, 60)
    after = predictor.quantiles_at(changed, series, origin, 60)
    assert np.abs(before[0, 24:] - after[0, 24:]).max() > 0  # through the values of the first block
    np.testing.assert_array_equal(before[1], after[1])
