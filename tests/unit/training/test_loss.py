import numpy as np
import pytest
import torch

from forecaster import metrics
from forecaster.windows import Context, Target
from training.loss import QuantileLoss
from training.sampling import Batch

LEVELS = (0.1, 0.5, 0.9)


def example() -> tuple[Batch, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = 5 + torch.rand(7, 4, generator=generator)
    forecast = (5 + torch.rand(7, 4, 3, generator=generator)).sort(-1).values
    observed = torch.rand(7, 4, generator=generator) > 0.3
    context = Context(torch.zeros(7, 1), torch.ones(7, 1, dtype=torch.bool))
    return Batch(context, Target(torch.where(observed, truth, 0.0), observed), torch.full((7,), 2.0)), forecast


def loss(percentage: float, quantile: float) -> QuantileLoss:
    return QuantileLoss(torch.tensor(LEVELS), 1, 10.0, 1.5, percentage, quantile)


def pooled(rows: np.ndarray, observed: np.ndarray) -> float:
    return float(rows[observed].mean())


def test_each_term_is_the_measure_it_stands_for() -> None:
    batch, forecast = example()
    truth = batch.target.values.numpy()
    seen = batch.target.observed.numpy()
    median = forecast[:, :, 1].numpy()
    scaled = pooled(np.abs(truth - median), seen) / 2 / 1.5
    percentage = pooled(200 * np.abs(truth - median) / (truth + median), seen) / 10
    pinball = np.mean([2 * metrics.pinball(truth, forecast[:, :, i].numpy(), q) for i, q in enumerate(LEVELS)], 0)
    quantile = pooled(pinball, seen) / 2 / 1.5
    assert loss(0.0, 0.0)(forecast, batch).item() == pytest.approx(scaled, rel=1e-5)
    assert loss(1.0, 0.0)(forecast, batch).item() == pytest.approx(percentage, rel=1e-5)
    assert loss(0.5, 0.3)(forecast, batch).item() == pytest.approx(
        0.5 * scaled + 0.5 * percentage + 0.3 * quantile, rel=1e-5
    )


def test_unobserved_targets_change_neither_loss_nor_gradient() -> None:
    batch, forecast = example()
    junk = batch._replace(
        target=Target(torch.where(batch.target.observed, batch.target.values, -1e9), batch.target.observed)
    )
    for these in (batch, junk):
        forecast.grad = None
        forecast.requires_grad_()
        value = loss(0.5, 0.3)(forecast, these)
        value.backward()
        if these is batch:
            expected, gradient = value.item(), forecast.grad
    assert value.item() == expected
    assert torch.equal(forecast.grad, gradient)
    assert (forecast.grad[~batch.target.observed] == 0).all()


def test_a_weight_counts_like_as_many_windows() -> None:
    batch, forecast = example()
    whole = loss(0.5, 0.3)
    weighted = batch._replace(weight=torch.tensor([3.0, 1, 1, 1, 1, 1, 1]))
    rows = torch.tensor([0, 0, *range(7)])
    target = Target(*(part[rows] for part in batch.target))
    repeated = Batch(batch.context, target, batch.error_scale[rows])
    assert whole(forecast, weighted).item() == pytest.approx(whole(forecast[rows], repeated).item(), rel=1e-5)
    assert whole(forecast, weighted).item() != pytest.approx(whole(forecast, batch).item(), rel=1e-3)
    alike = batch._replace(weight=torch.ones(7))
    assert whole(forecast, alike).item() == pytest.approx(whole(forecast, batch).item(), rel=1e-6)
