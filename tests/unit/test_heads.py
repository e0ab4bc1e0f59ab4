"""Heads against scipy's distributions."""

import numpy as np
import pytest
import torch
from scipy import stats

from forecaster.heads import Parameters, build_head
from forecaster.settings import DEFAULT_QUANTILES
from tests.fixtures_models import network_settings

BATCH, STEPS = 40, 6


def found(per_step: int, scale: float = 1.0, centre: float = 0.0) -> Parameters:
    generator = torch.Generator().manual_seed(5)
    raw = torch.randn(BATCH, STEPS, per_step, generator=generator)
    one = torch.ones(BATCH, 1)
    return Parameters(raw, centre + torch.randn(BATCH, STEPS, generator=generator), 0 * one, scale * one)


def softplus(x: torch.Tensor) -> np.ndarray:
    return np.log1p(np.exp(x.double().numpy()))


def head(name: str):  # type: ignore[no-untyped-def]
    counts = {"location": "zero", "scale": "size"} if name == "negative_binomial" else {}
    return build_head(network_settings(head=name, **counts), DEFAULT_QUANTILES)


def truth() -> torch.Tensor:
    return torch.randn(BATCH, STEPS, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("name", ["normal", "student_t"])
def test_quantiles_and_likelihood_are_those_of_the_distribution(name: str) -> None:
    made = head(name)
    p = found(made.parameters_per_step)
    loc, width = (p.raw[..., 0] + p.centre).double().numpy(), softplus(p.raw[..., 1]) + 1e-3
    if name == "normal":
        peer = stats.norm(loc[..., None], width[..., None])
    else:
        peer = stats.t(2 + softplus(p.raw[..., 2])[..., None], loc[..., None], width[..., None])
    expected = peer.ppf(np.array(DEFAULT_QUANTILES))
    np.testing.assert_allclose(made.quantiles(p).numpy(), expected, rtol=2e-3, atol=2e-3)
    density = peer.logpdf(truth().double().numpy()[..., None])[..., 0]
    np.testing.assert_allclose(made.log_likelihood(p, truth()).numpy(), density, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.2, 5.0, 60.0, 5000.0])
def test_counts_have_the_quantiles_and_mass_of_the_negative_binomial(scale: float) -> None:
    made = head("negative_binomial")
    p = found(2, scale)
    mean, dispersion = softplus(p.raw[..., 0] + p.centre) * scale, softplus(p.raw[..., 1]) + 1e-3
    shape = 1 / dispersion
    peer = stats.nbinom(shape[..., None], (shape / (shape + mean))[..., None])
    expected = peer.ppf(np.array(DEFAULT_QUANTILES))
    actual = made.quantiles(p).double().numpy() * scale
    assert (actual >= 0).all()
    np.testing.assert_allclose(actual, np.round(actual), atol=1e-3)  # counts are whole
    # Sums of float32 may miss a probability by a count; large ones are approximated by a gamma distribution.
    np.testing.assert_allclose(actual, expected, rtol=0.02, atol=2.01)
    counts = torch.randint(0, int(4 * scale) + 2, (BATCH, STEPS), generator=torch.Generator().manual_seed(2))
    mass = peer.logpmf(counts.numpy()[..., None])[..., 0]
    np.testing.assert_allclose(made.log_likelihood(p, counts / scale).numpy(), mass, rtol=5e-3, atol=5e-3)


def test_most_of_a_lumpy_count_is_zero_however_large_the_rest() -> None:
    """Its upper quantiles lie beyond what is summed up one by one, its lower ones are exactly nothing."""
    made, mean, dispersion = head("negative_binomial"), 30.0, 10.0
    inverse = [float(np.log(np.expm1(x))) for x in (1.0, dispersion - 1e-3)]  # of softplus
    raw, one = torch.tensor(inverse).expand(1, 1, 2), torch.ones(1, 1)
    actual = made.quantiles(Parameters(raw, 0 * one, 0 * one, mean * one))[0, 0].double().numpy() * mean
    expected = stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean)).ppf(np.array(DEFAULT_QUANTILES))
    assert expected[DEFAULT_QUANTILES.index(0.5)] == 0
    assert expected[-1] > 512
    np.testing.assert_array_equal(actual[expected == 0], 0)
    np.testing.assert_allclose(actual, expected, rtol=0.05, atol=1)


@pytest.mark.parametrize("name", ["quantile", "normal", "student_t", "negative_binomial"])
def test_every_head_begins_near_the_shortcut_with_a_moderate_spread(name: str) -> None:
    made = head(name)
    centre = 3 * torch.ones(BATCH, 12)
    decoded = torch.zeros(BATCH, 1, 8)
    start = Parameters(made(decoded), centre, torch.zeros(BATCH, 1), 100 * torch.ones(BATCH, 1))
    quantiles = made.quantiles(start).detach()
    assert quantiles.shape == (BATCH, 12, len(DEFAULT_QUANTILES))
    middle = quantiles[..., 7]
    assert 2.4 < middle.mean() < 3.1
    deviation = (quantiles[..., 10] - middle).mean()  # of the 80 % quantile
    assert 0.3 < deviation < 3


@pytest.mark.parametrize("name", ["quantile", "normal", "student_t"])
def test_a_restrained_head_adds_a_share_to_the_centre_and_keeps_its_spread(name: str) -> None:
    made = head(name)
    made.linear.bias.data.add_(0.3)
    decoded = torch.randn(BATCH, 2, 8, generator=torch.Generator().manual_seed(3))
    centre = torch.randn(BATCH, 24, generator=torch.Generator().manual_seed(4))

    def quantiles() -> torch.Tensor:
        with torch.no_grad():
            return made.quantiles(Parameters(made(decoded), centre, torch.zeros(BATCH, 1), torch.ones(BATCH, 1)))

    whole = quantiles()
    made.restrain(0.25)
    kept, middle = quantiles(), DEFAULT_QUANTILES.index(0.5)
    torch.testing.assert_close(kept[..., middle] - centre, 0.25 * (whole[..., middle] - centre))
    torch.testing.assert_close(kept - kept[..., [middle]], whole - whole[..., [middle]], rtol=1e-4, atol=1e-5)


def test_a_rare_item_that_sells_many_at_once_is_not_taken_for_one_that_sells_none() -> None:
    made, mean = head("negative_binomial"), 0.01  # one in a hundred days
    p = found(2, mean)
    sold, none = (made.log_likelihood(p, torch.full((BATCH, STEPS), count / mean)) for count in (4.0, 0.0))
    assert (sold < none - 1).all()
    twice = made.log_likelihood(p, torch.full((BATCH, STEPS), 8 / mean))
    assert (twice < sold).all()


def test_an_absurd_count_and_one_after_silence_have_a_finite_likelihood() -> None:
    made = head("negative_binomial")
    for scale in (1e-30, 0.5):
        p = found(2, scale)
        assert made.log_likelihood(p, torch.full((BATCH, STEPS), 3e9) / scale).isfinite().all()


@pytest.mark.parametrize("head", ["normal", "student_t"])
def test_a_truth_on_the_far_side_of_a_smooth_season_is_likeliest_where_it_is(head: str) -> None:
    raw = torch.zeros(1, 3, 3 if head == "student_t" else 2)
    truth = torch.full((1, 3), 120.0)
    centre = torch.tensor([[119.0, 120.0, 121.0]])
    found = Parameters(raw, centre, torch.zeros(1, 1), torch.ones(1, 1))
    likelihood = build_head(network_settings(head=head, reach=1000), DEFAULT_QUANTILES).log_likelihood(found, truth)
    assert likelihood.argmax() == 1
    clipped = build_head(network_settings(head=head), DEFAULT_QUANTILES).log_likelihood(found, truth)
    assert clipped.argmax() == 0
