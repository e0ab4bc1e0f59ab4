import pytest
import torch

from forecaster.normalisation import fill, locate, spread, tame
from forecaster.windows import Context, gather_context, gather_target, truncate_context

NAN = float("nan")
FLAT = torch.tensor([1.0, 2.0, 3.0, 10.0, NAN, 30.0, 40.0])  # two series: three steps and four
BEGIN, END = torch.tensor([0, 3]), torch.tensor([3, 7])


def test_steps_before_the_series_are_unobserved() -> None:
    context = gather_context(FLAT, BEGIN, torch.tensor([2, 5]), 3)
    assert context.values.tolist() == [[0, 1, 2], [0, 10, 0]]
    assert context.observed.tolist() == [[False, True, True], [False, True, False]]


def test_steps_after_the_series_are_unobserved() -> None:
    target = gather_target(FLAT, END, torch.tensor([2, 5]), 3)
    assert target.values.tolist() == [[3, 0, 0], [30, 40, 0]]
    assert target.observed.tolist() == [[True, False, False], [True, True, False]]


def test_truncation_forgets_all_but_the_last_steps() -> None:
    context = Context(torch.ones(2, 4), torch.ones(2, 4, dtype=torch.bool))
    cut = truncate_context(context, torch.tensor([1, 3]))
    assert cut.observed.sum(1).tolist() == [1, 3]
    assert cut.values.tolist() == cut.observed.float().tolist()


def filled(row: list[float], period: int) -> list[float]:
    values = torch.tensor([row])
    return fill(values.nan_to_num(), ~values.isnan(), period)[0].tolist()


def test_fill_takes_the_nearest_earlier_step_of_the_phase_else_the_nearest_later() -> None:
    assert filled([1, NAN, NAN, NAN, 5, NAN], 1) == [1, 1, 1, 1, 5, 5]
    assert filled([NAN, NAN, 3, NAN], 1) == [3, 3, 3, 3]
    assert filled([1, 2, NAN, NAN, 5, NAN, NAN, NAN], 2) == [1, 2, 1, 2, 5, 2, 5, 2]
    assert filled([NAN, 2, NAN, 4], 2) == [0, 2, 0, 4]  # no step of that phase is known


def test_statistics_count_observed_values_only() -> None:
    values = torch.tensor([[100.0, 1.0, 3.0, 0.0]])
    observed = torch.tensor([[False, True, True, False]])
    one = torch.tensor(1.0)
    assert locate(values, observed, "mean").item() == 2
    assert locate(values, observed, "last").item() == 3
    three = torch.tensor([[5.0, 1.0, 3.0, 0.0]]), torch.tensor([[True, True, True, False]])
    assert abs(spread(*three, "change", one, False).item() - 3) < 1e-5
    assert abs(spread(*three, "std", one, False).item() - (8 / 3) ** 0.5) < 1e-5


def test_an_absurd_value_counts_as_one_at_ten_usual_ranges() -> None:
    usual = torch.sin(torch.arange(100.0))[None].repeat(3, 1)
    usual[1] *= 1e-6
    usual[2] = 5.0  # all alike: no range
    observed = torch.ones_like(usual, dtype=torch.bool)
    observed[:, 3] = False
    spiked = usual.clone()
    spiked[:, 40], spiked[:, 70], spiked[:, 3] = 1e9, -2e9, 1e20
    tamed = tame(spiked, observed)
    for row in (0, 1):
        others = spiked[row][observed[row] & (spiked[row].abs() < 10)]
        centre = others.mean()
        bound = 10 * (others - centre).abs().max()
        assert torch.isclose(tamed[row, 40], centre + bound, rtol=1e-4)
        assert torch.isclose(tamed[row, 70], centre - bound, rtol=1e-4)
    changed = (tamed != spiked).nonzero().tolist()
    assert changed == [[0, 40], [0, 70], [1, 40], [1, 70]]


def test_usual_values_stay_as_they_are_however_few() -> None:
    generator = torch.Generator().manual_seed(0)
    for length in (1, 2, 5, 40, 300):
        values = -torch.rand(200, length, generator=generator).log()  # with a long tail
        for share in (0.0, 0.5, 1.0):
            observed = torch.rand(200, length, generator=generator) >= share
            assert torch.equal(tame(values, observed), values)


def test_the_scale_of_what_has_a_square_beyond_32_bits_is_a_number() -> None:
    values = 1e30 * torch.tensor([[1.0, 3.0, 5.0]])
    found = spread(values, torch.ones(1, 3, dtype=torch.bool), "std", torch.tensor(1.0), False)
    assert found.item() == pytest.approx(1e30 * (8 / 3) ** 0.5, rel=1e-4)
