"""Members of an ensemble fitted one after the other, and side by side in real processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from forecaster.backtest import held_out_steps
from forecaster.errors import TrainingError
from forecaster.network import ForecastNetwork
from tests.children import fitting
from tests.fixtures_models import make_panel, model_settings, network_settings
from training.evaluation import training_backtest
from training.lengths import keep_best, trials_of
from training.members import Fitter, ModelFit, processes_for
from training.progress import Progress
from training.request import Silent
from training.settings import BacktestSettings, FitSettings, TrainingSettings
from training.starting import Start

pytestmark = pytest.mark.slow
CELLS = ("gru", "lstm")
Told = list[tuple[str, int]]


def plan(**fit: object) -> TrainingSettings:
    members = tuple(network_settings(cell=cell) for cell in CELLS)
    settings = FitSettings.model_validate({"steps": 40, "batch": 16, "seed": 3, **fit})
    return TrainingSettings(model=model_settings().model_copy(update={"members": members}), fit=settings)


def both_fits(settings: TrainingSettings) -> list[ModelFit]:
    """One afresh that holds out the end, one of all data from given weights."""
    torch.manual_seed(0)
    weights = ForecastNetwork(settings.model).state_dict()
    return [ModelFit("backtest fit", settings, 24), ModelFit("final fit", settings, 0, weights)]


def run(
    models: list[ModelFit], work: Path, processes: int, hear: Callable[[str, Progress], None] | None = None
) -> tuple[list[ForecastNetwork], Told]:
    told: Told = []

    def tell(name: str, progress: Progress) -> None:
        told.append((name, progress.epoch))
        if hear:
            hear(name, progress)

    work.mkdir(exist_ok=True)
    fitter = Fitter(make_panel(missing=0.1), work, Silent(), tell, processes)
    fitter.fit_ahead(models)
    return [fitter.fit(model)[0] for model in models], told


def same(ours: list[ForecastNetwork], theirs: list[ForecastNetwork]) -> bool:
    pairs = [(a.state_dict(), b.state_dict()) for a, b in zip(ours, theirs, strict=True)]
    return all(torch.equal(a[name], b[name]) for a, b in pairs for name in a)


def test_side_by_side_gives_the_same_weights_and_tells_every_epoch_once(tmp_path: Path) -> None:
    models = both_fits(plan())
    alone, told_alone = run(models, tmp_path / "alone", 1)
    together, told_together = run(models, tmp_path / "together", 2)
    assert same(alone, together)
    names = ["backtest fit 1", "backtest fit 2", "final fit 1", "final fit 2"]
    assert told_alone == [(name, epoch) for name in names for epoch in range(1, 5)]
    assert sorted(told_together) == sorted(told_alone)
    assert finished(tmp_path / "together") == {name.replace(" ", "_") for name in names}
    left = {path.name for path in (tmp_path / "together").iterdir()}
    assert left == finished(tmp_path / "together")  # what was handed over is gone


def test_members_of_the_same_architecture_begin_and_end_differently(tmp_path: Path) -> None:
    settings = plan()
    twice = settings.model.model_copy(update={"members": (network_settings(), network_settings())})
    model = ModelFit("fit", settings.model_copy(update={"model": twice}), 24)
    (network,), _ = run([model], tmp_path, 1)
    first, second = (member.state_dict() for member in network.members)
    assert not torch.equal(first["embed.weight"], second["embed.weight"])


def test_a_killed_process_is_told_and_the_next_attempt_goes_on_from_the_checkpoints(tmp_path: Path) -> None:
    models = both_fits(plan(steps=300))[:1]

    reached: dict[str, int] = {}
    killed: list[psutil.Process] = []

    def kill_one(name: str, progress: Progress) -> None:
        reached[name] = progress.epoch
        if not killed and len(reached) == 2 and min(reached.values()) >= 3:  # both have left a checkpoint
            killed.extend(fitting()[:1])
            killed[0].kill()

    with pytest.raises(TrainingError, match="killed or crashed"):
        run(models, tmp_path / "torn", 2, kill_one)
    assert not fitting()
    resumed, told = run(models, tmp_path / "torn", 2)
    assert told
    assert 1 not in [epoch for _, epoch in told]
    whole, _ = run(models, tmp_path / "whole", 1)
    assert same(resumed, whole)


def finished(work: Path) -> set[str]:
    return {file.parent.name for file in work.glob("*/finished.safetensors")}


def test_final_fits_of_lengths_that_are_not_kept_are_not_made_where_judged_ones_keep_all_cores_busy(
    tmp_path: Path,
) -> None:
    backtest = BacktestSettings(windows=2, step=12)
    settings = plan(shorter=(0.5, 0.1)).model_copy(update={"backtest": backtest})
    panel, windows = make_panel(), training_backtest(make_panel(), settings)
    trials = trials_of(settings, held_out_steps(2, 12, settings.model.horizon), windows, Start())
    kept, networks = [], []
    for processes in (1, 2):
        work = tmp_path / str(processes)
        work.mkdir()
        fitter = Fitter(panel, work, Silent(), lambda *_: None, processes)
        fitter.fit_ahead(trials.fits_ahead(processes))
        judged = {f"{steps}-step_backtest_fit_{number}" for steps in (4, 20, 40) for number in (1, 2)}
        assert finished(work) == (judged if processes == 2 else set())
        kept.append(keep_best(trials, fitter, windows))
        networks.append(kept[-1].finish(fitter)[0])
        steps = {settings.fit.steps_of(share) for share in kept[-1].plan.fit.shares}
        assert finished(work) == judged | {f"{count}-step_final_fit_{n}" for count in steps for n in (1, 2)}
    assert kept[0].plan == kept[1].plan
    assert same(networks[:1], networks[1:])
    assert trials.fits_ahead(3) == trials.fits, "a core would wait"
    only = trials_of(plan(), 24, windows, Start())
    assert only.fits_ahead(2) == only.fits, "there is nothing to choose"


def test_as_many_at_once_as_asked_for_or_as_there_are_cores_but_never_more_than_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(3)))
    panel, long = make_panel(), {"steps": 10_000}
    assert processes_for(both_fits(plan(**long)), panel) == 3
    assert processes_for(both_fits(plan(**long))[:1], panel) == 2
    assert processes_for(both_fits(plan(processes=2)), panel) == 2
    assert processes_for(both_fits(plan(processes=100)), panel) == 4
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert processes_for(both_fits(plan(processes=2)), panel) == 1


def test_one_at_a_time_when_fits_are_short_or_the_panel_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(3)))
    assert processes_for(both_fits(plan()), make_panel()) == 1
    some = plan(steps=1000)
    assert processes_for(both_fits(some), make_panel()) == 1
    far = some.model.model_copy(update={"members": tuple(network_settings(horizon=240) for _ in CELLS)})
    assert processes_for(both_fits(some.model_copy(update={"model": far})), make_panel()) == 3, "these take longer"
    monkeypatch.setattr("training.members._LARGE_PANEL", 100)
    assert processes_for(both_fits(plan(steps=10_000)), make_panel()) == 1
