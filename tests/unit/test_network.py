from typing import Any

import pytest
import torch

from forecaster.network import ForecastNetwork
from forecaster.windows import Context
from tests.fixtures_models import make_predictor, model_settings

VARIANTS: list[dict[str, Any]] = [
    {},
    {"network": {"cell": "lstm"}},
    {"network": {"cell": "rnn", "layers": 2}},
    {"network": {"segment": 1, "context": 30, "lags": (24,), "highway": 24}},
    {"network": {"segment": 7, "horizon": 10, "lags": ()}},
    {"network": {"location": "mean"}},
    {"network": {"scale": "change"}},
    {"network": {"variability": True, "attention": 2, "location": "mean"}},
    {"network": {"logarithm": True, "scale": "change"}},
    {"network": {"cell": "lstm_peephole", "layers": 2}},
    {"network": {"cell": "gru_reset_before", "decoder": "pmf"}},
    {"network": {"decoder": "pmf", "cell": "lstm", "layers": 2}},
    {"network": {"decoder": "autoregressive", "horizon": 30}},
    {
        "network": {
            "decoder": "autoregressive",
            "cell": "lstm",
            "segment": 1,
            "context": 30,
            "lags": (24,),
            "highway": 24,
        }
    },
    {"network": {"attention": 2}},
    {"network": {"head": "normal"}},
    {"network": {"head": "student_t", "decoder": "autoregressive"}},
    {"network": {"scale": "robust"}},
    {"transform": "asinh"},
    {"transform": "log"},
    {"transform": "log", "network": {"cell": "lstm", "location": "mean", "scale": "change", "variability": True}},
]


def windows(rows: int = 6, steps: int = 96, seed: int = 1, missing: float = 0.2) -> Context:
    generator = torch.Generator().manual_seed(seed)
    phase = torch.arange(steps) * 2 * torch.pi / 24
    values = 100 + 20 * phase.sin() + torch.randn(rows, steps, generator=generator)
    observed = torch.rand(rows, steps, generator=generator) >= missing
    return Context(torch.where(observed, values, 0.0), observed)


def network(**changes: Any) -> ForecastNetwork:
    return make_predictor(**changes).network


@pytest.mark.parametrize("variant", VARIANTS)
def test_quantiles_are_finite_and_never_cross(variant: dict[str, Any]) -> None:
    net = network(**variant)
    net.calibration.uniform_(0.3, 3.0)
    forecast = net(*windows(steps=net.settings.context))
    assert forecast.shape == (6, net.settings.horizon, len(net.settings.quantiles))
    assert torch.isfinite(forecast).all()
    assert (forecast.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_at_unobserved_places_change_nothing(variant: dict[str, Any]) -> None:
    net = network(**variant)
    context = windows(steps=net.settings.context)
    junk = torch.where(context.observed, context.values, -1e6)
    torch.testing.assert_close(net(junk, context.observed), net(*context), rtol=0, atol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_company_in_the_batch_changes_nothing(variant: dict[str, Any]) -> None:
    net = network(**variant)
    context = windows(rows=33, steps=net.settings.context)
    together = net(*context)
    alone = torch.cat([net(context.values[i, None], context.observed[i, None]) for i in range(33)])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_positive_factor_moves_the_forecast_alike(variant: dict[str, Any]) -> None:
    net = network(**variant)
    context = windows(steps=net.settings.context)
    for factor in (1e-6, 7.0, 1e6):
        scaled = net(context.values * factor, context.observed)
        torch.testing.assert_close(scaled, net(*context) * factor, rtol=1e-3, atol=1e-3 * factor)


@pytest.mark.parametrize(
    "variant", [v for v in VARIANTS if not {"transform", "variability", "logarithm"} & {*v, *v.get("network", {})}]
)
def test_a_constant_added_moves_the_forecast_alike(variant: dict[str, Any]) -> None:
    net = network(**variant)
    context = windows(steps=net.settings.context, missing=0.1)  # of fewer values than a season scales are typical
    shifted = net(torch.where(context.observed, context.values + 500, 0.0), context.observed)
    torch.testing.assert_close(shifted, net(*context) + 500, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("transform", ["identity", "log"])
def test_a_network_that_is_told_the_variability_sees_what_one_per_cent_is(transform: str) -> None:
    """Windows that look alike once normalised: they vary by 2 % and by 20 %."""
    shape = windows(missing=0.0).values.log() - 4.6
    calm, wild = (shape.exp(), (10 * shape).exp()) if transform == "log" else (shape + 20, shape + 2)
    observed, relative = torch.ones_like(shape, dtype=torch.bool), torch.full((len(shape), 1), transform != "log")
    for told in (False, True):
        member = network(transform=transform, network={"variability": told}).members[0]
        seen = [window.log() if transform == "log" else window for window in (calm, wild)]
        found = [member.encode(window, observed, relative) for window in seen]
        torch.testing.assert_close(found[0].window.z, found[1].window.z, rtol=1e-3, atol=1e-3)
        raw = [member.decode(encoded).raw for encoded in found]
        assert torch.allclose(*raw, rtol=1e-2, atol=1e-3) != told


@pytest.mark.parametrize("head", ["quantile", "normal"])
def test_a_member_that_works_on_logarithms_forecasts_as_a_model_of_logarithms_does(head: str) -> None:
    own = network(network={"logarithm": True, "head": head})
    whole = network(transform="log", network={"head": head})
    context = windows()
    values = torch.where(torch.arange(6)[:, None] == 5, context.values - 100, context.values)  # some below zero
    torch.testing.assert_close(own(values, context.observed), whole(values, context.observed))


def test_the_untrained_network_is_seasonal_naive() -> None:
    net = make_predictor(trained=False, network={"lags": (24,), "highway": 24}).network
    day = 100 + 10 * torch.sin(torch.arange(24) * 2 * torch.pi / 24)
    values = day.repeat(4)[None]
    median = net(values, torch.ones_like(values, dtype=torch.bool))[0, :, net.median]
    # The head starts at a tenth of its size: what it adds is small beside the season's swing.
    torch.testing.assert_close(median, day, rtol=0, atol=2.5)


def test_a_smooth_season_is_seen_as_a_whole() -> None:
    """By the five minutes a day's wave rises by more than a hundred of its mean changes."""
    seasonal = {"horizon": 288, "context": 576, "segment": 48, "season": 288, "lags": (288,), "highway": 288}
    net = make_predictor(
        trained=False, freq="5min", season=288, network={**seasonal, "scale": "change", "reach": 1000}
    ).network
    day = 20 + 10 * torch.sin(torch.arange(288) * 2 * torch.pi / 288)
    values = day.repeat(2)[None]
    median = net(values, torch.ones_like(values, dtype=torch.bool))[0, :, net.median]
    torch.testing.assert_close(median, day, rtol=0, atol=0.5)


def test_a_window_with_a_zero_is_not_logged_and_stays_finite() -> None:
    net = network(transform="log")
    context = windows()
    values = context.values.clone()
    values[0, torch.nonzero(context.observed[0])[0]] = 0.0
    values[1] = torch.where(context.observed[1], -values[1], 0.0)
    forecast = net(values, context.observed)
    assert torch.isfinite(forecast).all()
    torch.testing.assert_close(forecast[2:], net(*context)[2:])


@pytest.mark.parametrize("value", [0.0, 5.0, 1e-12, 1e12, -3.0])
@pytest.mark.parametrize("transform", ["log", "identity"])
def test_a_constant_history_gives_the_constant(value: float, transform: str) -> None:
    net = make_predictor(trained=False, transform=transform).network
    values = torch.full((1, 96), value)
    forecast = net(values, torch.ones_like(values, dtype=torch.bool))
    assert torch.isfinite(forecast).all()
    torch.testing.assert_close(forecast[0, :, net.median], values[0, :24], rtol=1e-3, atol=1e-6)


def test_one_observed_value_is_enough() -> None:
    net = network()
    observed = torch.zeros(1, 96, dtype=torch.bool)
    observed[0, -1] = True
    forecast = net(torch.where(observed, 42.0, 0.0), observed)
    assert torch.isfinite(forecast).all()
    assert forecast[0, 0, 0] < 42 < forecast[0, 0, -1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_finite_however_little_is_observed(variant: dict[str, Any]) -> None:
    net = network(**variant).train()
    context = windows(steps=net.settings.context)
    observed = context.observed.clone()
    observed[0], observed[1, :-1] = False, False
    net(torch.where(observed, context.values, 0.0), observed).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_settings_that_contradict_each_other_are_refused() -> None:
    for wrong in ({"segment": 200}, {"lags": (500,)}, {"highway": 97}, {"cell": "transformer"}, {"horizon": 0}):
        with pytest.raises(ValueError, match=r"."):
            model_settings(network=wrong)
    with pytest.raises(ValueError, match="logarithm needs transform identity"):
        model_settings(transform="log", network={"logarithm": True})


def test_quantiles_of_counts_are_whole_numbers() -> None:
    counts = {"head": "negative_binomial", "location": "zero", "scale": "size"}
    net = make_predictor(network=counts, floor=0.0).network
    values = torch.poisson(torch.full((64, 96), 0.7), generator=torch.Generator().manual_seed(1))
    found = net(values, torch.ones_like(values, dtype=torch.bool))
    assert torch.equal(found, found.round())
