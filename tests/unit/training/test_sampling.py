from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from forecaster.errors import InputError
from forecaster.metrics import seasonal_errors
from forecaster.panel import Panel
from forecaster.reading import panel_from_histories
from training.sampling import TrainingWindows

CPU = torch.device("cpu")


def windows(panel: Panel, horizon: int = 3, held_out: int = 0, recency: float = 0.0) -> TrainingWindows:
    scale = seasonal_errors(panel, 1, held_out)
    return TrainingWindows.of(panel, scale, horizon=horizon, held_out=held_out, season=1, device=CPU, recency=recency)


def counting_panel(*lengths: int) -> Panel:
    """Series i holds i · 1000, i · 1000 + 1, …: every value tells where it stands."""
    histories = [1000 * i + np.arange(float(n)) for i, n in enumerate(lengths)]
    return panel_from_histories([str(i) for i in range(len(lengths))], [1] * len(lengths), histories, "D")


def test_a_target_follows_its_context_within_one_series() -> None:
    batch = windows(counting_panel(40, 7, 300)).draw(500, 5, 3, 0.0, 1, torch.Generator().manual_seed(0))
    values, observed, _ = batch.context
    assert observed[:, -1].all()
    assert (batch.target.values[:, 0] == values[:, -1] + 1).all()
    inside = observed[:, 1:] & observed[:, :-1]
    assert (torch.where(inside, values[:, 1:] - values[:, :-1], 1.0) == 1).all()


def test_held_out_steps_are_never_seen() -> None:
    panel = counting_panel(40, 60)
    batch = windows(panel, held_out=10).draw(2000, 5, 3, 0.0, 1, torch.Generator().manual_seed(0))
    seen = torch.cat([batch.context.values, batch.target.values], 1)
    assert seen[seen < 1000].max() == 29
    assert seen.max() == 1049


def test_series_are_drawn_uniformly_whatever_their_length() -> None:
    drawn, _ = windows(counting_panel(10, 1000)).draw_origins(4000, torch.Generator().manual_seed(0))
    assert 0.45 < (drawn == 0).float().mean() < 0.55


def test_spread_origins_are_all_that_there_are_once() -> None:
    there = windows(counting_panel(40, 300))
    expected = [(s, o) for s in range(2) for o in range(int(there.first[s]), int(there.last[s]) + 1)]
    for most in (len(expected), 10_000):
        series, origin, _ = there.spread_origins(most, torch.Generator().manual_seed(0))
        assert list(zip(series.tolist(), origin.tolist(), strict=True)) == expected


def test_where_there_are_too_many_they_are_spread_over_all_series_and_phases() -> None:
    there = windows(counting_panel(40, 6 * 500 + 8, 6 * 500 + 8))  # first and last origins lie 8 steps inside
    assert (there.last - there.first + 1).tolist() == [34, 3002, 3002]
    series, origin, _ = there.spread_origins(1034, torch.Generator().manual_seed(0))
    assert torch.bincount(series).tolist() == [34, 500, 500]
    for number in (1, 2):
        own = origin[series == number]
        assert len(own.unique()) == len(own)
        assert there.first[number] <= own.min() <= own.max() <= there.last[number]
        assert own.diff().max() <= 13
        assert torch.bincount(own % 6, minlength=6).min() > 40, "of every sixth one all would be of one phase"


@pytest.mark.parametrize(("most", "taken"), [(1, [1, 1, 1]), (30, [10, 10, 10]), (151, [34, 58, 58]), (10_000, 0)])
def test_short_series_leave_their_part_to_long_ones(most: int, taken: list[int]) -> None:
    there = windows(counting_panel(40, 300, 900))
    series, _, _ = there.spread_origins(most, torch.Generator().manual_seed(0))
    assert torch.bincount(series).tolist() == (taken or (there.last - there.first + 1).tolist())


def test_spread_origins_weigh_as_much_as_they_are_drawn() -> None:
    there = windows(counting_panel(40, 300), recency=2.0)
    series, origin, weight = there.spread_origins(10_000, torch.Generator().manual_seed(0))
    drawn, at = there.draw_origins(200_000, torch.Generator().manual_seed(1))
    for number in range(2):
        late = there.first[number] + (there.last[number] - there.first[number]) // 2
        share = weight[(series == number) & (origin > late)].sum() / weight.sum()
        assert abs(share - ((drawn == number) & (at > late)).float().mean()) < 0.01


def test_origins_of_a_very_long_series_have_every_phase() -> None:
    steps = 100_000_000
    one = windows(counting_panel(40))
    bounds = {"begin": 0, "end": steps, "first": 48, "last": steps - 24}
    tensors = {name: torch.tensor([value]) for name, value in bounds.items()}
    long = replace(one, flat=torch.zeros(1).expand(steps), **tensors)
    _, origin = long.draw_origins(4096, torch.Generator().manual_seed(0))
    late = origin[origin > steps // 2]  # the next number of 32 bits is four steps away there
    assert torch.bincount(late % 8, minlength=8).min() > len(late) / 16


def test_late_windows_are_drawn_more_often_as_asked_for(tmp_path: Path) -> None:
    these = windows(counting_panel(1006), recency=1.0)  # a thousand origins behind two horizons of history
    these.save_panel(tmp_path / "panel")
    folder = tmp_path / "windows"
    folder.mkdir()
    these.save(folder)
    for drawing in (these, TrainingWindows.load(tmp_path / "panel", folder)):
        _, origin = drawing.draw_origins(20_000, torch.Generator().manual_seed(0))
        share = [((origin >= low) & (origin < low + 250)).float().mean().item() for low in (6, 256, 506, 756)]
        assert share == pytest.approx([1 / 16, 3 / 16, 5 / 16, 7 / 16], abs=0.02)  # of a density that grows linearly


def test_origins_go_on_to_the_last_but_one_step_and_what_lies_beyond_is_unobserved() -> None:
    these = windows(counting_panel(50))
    series, origin = these.draw_origins(4000, torch.Generator().manual_seed(0))
    assert origin.max() == 49
    assert origin.min() >= 6  # two horizons of history
    target = these.gather(series, origin, 1, 3).target
    assert torch.equal(target.observed.sum(1), (50 - origin).clamp(max=3))


def test_truncated_windows_keep_their_last_steps() -> None:
    batch = windows(counting_panel(400)).draw(300, 100, 3, 1.0, 4, torch.Generator().manual_seed(0))
    count = batch.context.observed.sum(1)
    assert (count >= 1).all()
    assert count.max() <= 100
    assert len(count.unique()) > 30
    assert batch.context.observed[:, -1].all()


def test_the_same_seed_draws_the_same_windows() -> None:
    found = [windows(counting_panel(90)).draw(8, 5, 3, 0.5, 1, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(found[0].context.values, found[1].context.values)


def test_nothing_to_learn_from_is_an_error() -> None:
    panel = panel_from_histories(["a", "b"], [1, 1], [[5.0] * 50, [1.0]], "D")
    with pytest.raises(InputError, match="learn from"):
        windows(panel)
