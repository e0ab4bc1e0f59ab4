import numpy as np
import pytest
import torch

from forecaster.errors import InputError
from forecaster.panel import Panel
from forecaster.paths import draw_deviates
from forecaster.predictor import Predictor
from forecaster.reading import panel_from_histories
from tests.fixtures_models import make_panel, make_predictor


def correlation(size: int, neighbour: float) -> torch.Tensor:
    steps = np.arange(size)
    return torch.tensor(neighbour ** np.abs(steps[:, None] - steps), dtype=torch.float32)


def with_dependence(predictor: Predictor, neighbour: float) -> Predictor:
    predictor.network.dependence.copy_(torch.linalg.cholesky(correlation(len(predictor.network.dependence), neighbour)))
    return predictor


def test_deviates_are_normal_and_correlated_as_told() -> None:
    wanted = correlation(6, 0.8)
    drawn = draw_deviates(torch.linalg.cholesky(wanted), 6, 4096, seed=1)
    np.testing.assert_allclose(np.corrcoef(drawn.numpy().T), wanted.numpy(), atol=0.03)
    np.testing.assert_allclose(drawn.mean(0).numpy(), 0, atol=0.02)
    np.testing.assert_allclose(drawn.std(0).numpy(), 1, atol=0.03)


def test_steps_of_a_long_horizon_share_the_deviate_of_their_knot() -> None:
    drawn = draw_deviates(torch.eye(4), 8, 16, seed=1)
    assert torch.equal(drawn[:, 0::2], drawn[:, 1::2])
    assert not torch.equal(drawn[:, 0], drawn[:, 2])


def test_paths_have_the_forecasts_quantiles_at_every_step() -> None:
    predictor = with_dependence(make_predictor(), 0.7)
    panel = make_panel(n=3)
    drawn = predictor.sample_paths(panel, 1000)
    assert drawn.shape == (3, 1000, 24)
    forecast = predictor.predict(panel, quantiles=[0.1, 0.5, 0.9])
    width = forecast.quantiles[0.9] - forecast.quantiles[0.1]
    for probability, expected in forecast.quantiles.items():
        assert (np.abs(np.quantile(drawn, probability, axis=1) - expected) < 0.05 * width).all()


def test_sums_over_paths_spread_as_the_dependence_says() -> None:
    """Independent steps would average out; steps that move together do not."""
    panel = make_panel(n=1)
    loose = with_dependence(make_predictor(), 0.0).sample_paths(panel, 512)
    tied = with_dependence(make_predictor(), 0.95).sample_paths(panel, 512)
    assert tied.sum(2).std() > 2.5 * loose.sum(2).std()


def test_the_same_seed_gives_the_same_paths_and_another_gives_others() -> None:
    predictor, panel = make_predictor(), make_panel(n=2)
    assert np.array_equal(predictor.sample_paths(panel, 8, seed=3), predictor.sample_paths(panel, 8, seed=3))
    assert not np.array_equal(predictor.sample_paths(panel, 8, seed=3), predictor.sample_paths(panel, 8, seed=4))


def test_a_forecast_carries_the_paths_that_were_asked_for_as_columns() -> None:
    predictor, panel = make_predictor(), make_panel(n=2)
    forecast = predictor.predict(panel, horizon=3, paths=5)
    table = forecast.to_table()
    assert table.column_names[-5:] == [f"path-{k}" for k in range(1, 6)]
    assert table["path-2"].to_pylist() == predictor.sample_paths(panel, 5, horizon=3)[:, 1].reshape(-1).tolist()
    assert predictor.predict(panel).paths.shape[1] == 0


@pytest.mark.parametrize("paths", [0, -1, 1_001])
def test_a_number_of_paths_out_of_range_is_named(paths: int) -> None:
    with pytest.raises(InputError, match="paths"):
        make_predictor().sample_paths(make_panel(n=1), paths)


def random_walks(seed: int, count: int = 300) -> Panel:
    steps = np.random.default_rng(seed).normal(size=(count, 160)).cumsum(1) + 1000
    return panel_from_histories([str(i) for i in range(count)], [1] * count, list(steps), "D")


def naive_walker() -> Predictor:
    """The untrained network of random walks: the last value, with the exact spread of each step of a walk."""
    predictor = make_predictor(
        trained=False,
        freq="D",
        season=1,
        network={"horizon": 8, "context": 64, "segment": 8, "season": 1, "lags": (8,), "highway": 8}
        | {"location": "last", "scale": "change"},
    )
    step = torch.arange(1, 9)
    mean_change = (2 / np.pi) ** 0.5  # of a standard normal step, which is the scale of a window
    predictor.network.calibration.copy_((step.sqrt() / mean_change / 0.5)[:, None].expand(8, 15))
    ranks = torch.minimum(step[:, None], step) / (step[:, None] * step).sqrt()
    predictor.network.dependence.copy_(torch.linalg.cholesky(ranks))
    return predictor


def test_intervals_beyond_the_trained_horizon_still_hold_what_they_promise() -> None:
    panel = random_walks(seed=4)
    past, truth = panel.values.reshape(300, 160)[:, :128], panel.values.reshape(300, 160)[:, 128:]
    known = panel_from_histories([str(i) for i in range(300)], [1] * 300, list(past), "D")
    forecast = naive_walker().predict(known, horizon=32, levels=[80, 95])
    for level in (80, 95):
        low, high = forecast.interval(level)
        inside = ((truth >= low) & (truth <= high))[:, 8:]  # beyond what was trained
        assert abs(inside.mean() - level / 100) < 0.03
    wide = forecast.interval(80)[1] - forecast.interval(80)[0]
    ratio = (wide[:, 31] / wide[:, 7]).mean()
    assert ratio == pytest.approx(2.0, rel=0.1)  # a walk's spread grows with the root of time


def test_a_series_is_carried_on_alike_alone_and_in_company() -> None:
    predictor, panel = with_dependence(make_predictor(), 0.5), make_panel(n=40)
    together = predictor.predict(panel, horizon=60).median
    alone = predictor.predict(make_panel(n=1), horizon=60).median
    np.testing.assert_allclose(alone[0], together[0], rtol=1e-4)
