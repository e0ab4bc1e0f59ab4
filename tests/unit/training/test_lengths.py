from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from forecaster.backtest import held_out_steps
from forecaster.network import ForecastNetwork
from forecaster.predictor import ModelInfo, Predictor
from tests.fixtures_models import make_panel, model_settings, network_settings
from training.evaluation import score_training, training_backtest
from training.fit import FitResult
from training.lengths import Trials, keep_best, trials_of
from training.members import Fitter, ModelFit, members_of
from training.preparation import training_windows
from training.request import Silent
from training.settings import BacktestSettings, FitSettings, TrainingSettings
from training.starting import Start

PANEL, CPU = make_panel(), torch.device("cpu")


class Listener(Silent):
    def __init__(self) -> None:
        self.told: list[str] = []

    def say(self, text: str) -> None:
        self.told.append(text)


def plan(*shorter: float, **fit: object) -> TrainingSettings:
    settings = FitSettings(steps=60, batch=16, shorter=shorter, **fit)  # type: ignore[arg-type]
    return TrainingSettings(model=model_settings(), fit=settings, backtest=BacktestSettings(windows=2, step=12))


def trials(settings: TrainingSettings, start: Start | None = None) -> Trials:
    held_out = held_out_steps(2, 12, settings.model.horizon)
    return trials_of(settings, held_out, training_backtest(PANEL, settings), start or Start())


def with_cells(settings: TrainingSettings, *cells: str) -> TrainingSettings:
    members = tuple(network_settings(cell=cell) for cell in cells)
    return settings.model_copy(update={"model": settings.model.model_copy(update={"members": members})})


def steps(settings: TrainingSettings) -> list[int]:
    return [settings.fit.steps_of(share) for share in settings.fit.shares]


@pytest.mark.parametrize("learning_rate", [4e-3, 0.5])
def test_two_neighbouring_lengths_that_forecast_the_held_out_end_best_are_kept(
    learning_rate: float, tmp_path: Path
) -> None:
    settings = plan(0.5, 0.1, learning_rate=learning_rate)
    windows, listener = training_backtest(PANEL, settings), Listener()
    found = trials(settings)
    assert [steps(trial.plan) for trial in found.models] == [[6, 30], [30, 60]]
    fitter = Fitter(PANEL, tmp_path, listener, lambda *_: None)
    kept = keep_best(found, fitter, windows)
    errors = []
    for trial in found.models:
        alone = []
        for name, count in zip(("6-step", "30-step", "60-step"), (6, 30, 60), strict=True):
            if count in steps(trial.plan):
                member = next(fit for fit in members_of([trial.judged]) if fit.name == f"{name} backtest fit")
                alone.append(member.run(training_windows(PANEL, settings, 24, CPU), tmp_path, lambda _: None)[0])
        whole = ForecastNetwork(kept.plan.model)
        for number, network in enumerate(alone):
            whole.members[number] = network.members[0]
        info = ModelInfo(name="x", settings=kept.plan.model)
        errors.append(score_training(Predictor(whole.eval(), info), windows)[1].metrics["sql"])
        if trial.plan == kept.plan:
            assert all(map(torch.equal, kept.judged.state_dict().values(), whole.state_dict().values()))
    assert kept.plan == found.models[0 if errors[0] <= errors[1] else 1].plan
    told = ", ".join(f"{pair} steps {error:.4f}" for pair, error in zip(("6 and 30", "30 and 60"), errors, strict=True))
    kept_steps = " and ".join(map(str, steps(kept.plan)))
    assert listener.told == [
        f"length of the fit: {kept_steps} steps (quantile loss on the held-out end: {told})",
    ]


def test_the_kept_lengths_are_one_model_whose_settings_make_it_anew(tmp_path: Path) -> None:
    settings = plan(0.5, 0.1)
    fitter = Fitter(PANEL, tmp_path / "first", Silent(), lambda *_: None)
    kept = keep_best(trials(settings), fitter, training_backtest(PANEL, settings))
    final, fitted = kept.finish(fitter)
    assert kept.plan.fit.shorter == ()
    assert kept.plan.fit.shares in ((0.1, 0.5), (0.5, 1.0))
    assert final.settings == kept.plan.model
    assert len(final.members) == 2
    assert fitted.seconds > 0
    again, _ = Fitter(PANEL, tmp_path / "again", Silent(), lambda *_: None).fit(ModelFit("again", kept.plan, 0))
    assert all(map(torch.equal, again.state_dict().values(), final.state_dict().values()))


def test_of_many_members_each_is_fitted_for_one_of_two_lengths_and_none_twice(tmp_path: Path) -> None:
    settings = with_cells(plan(0.5, 0.1), "gru", "lstm", "rnn", "lstm_peephole", "gru_reset_before")
    found = trials(settings)
    cells = [[member.cell for member in trial.plan.model.members] for trial in found.models]
    outer, middle = ["gru", "rnn", "gru_reset_before"], ["lstm", "lstm_peephole"]
    assert cells == [[*outer, *middle], [*middle, *outer]]
    assert [steps(trial.plan) for trial in found.models] == [[6, 6, 6, 30, 30], [30, 30, 60, 60, 60]]
    names = [member.name for member in members_of([trial.judged for trial in found.models])]
    assert names == [f"{count}-step backtest fit {n + 1}" for count in (60, 30, 6) for n in range(2 + (count != 30))]
    windows, fitter = training_backtest(PANEL, settings), Fitter(PANEL, tmp_path / "a", Silent(), lambda *_: None)
    kept = keep_best(found, fitter, windows)
    final, _ = kept.finish(fitter)
    assert len(final.members) == 5
    again, _ = Fitter(PANEL, tmp_path / "b", Silent(), lambda *_: None).fit(ModelFit("again", kept.plan, 0))
    assert all(map(torch.equal, again.state_dict().values(), final.state_dict().values()))


@pytest.mark.parametrize("cells", [("gru", "lstm"), ("gru", "lstm", "gru")])
def test_each_member_of_a_length_begins_with_its_own_weights(cells: tuple[str, ...]) -> None:
    settings = with_cells(plan(0.5), *cells)
    weights = ForecastNetwork(settings.model).state_dict()
    (trial,) = trials(settings, Start(final=weights)).models
    numbers = [0, 1, 0, 1] if len(cells) == 2 else [1, 0, 2]
    for number, member in zip(numbers, trial.final.members, strict=True):
        own = {name: tensor for name, tensor in weights.items() if name.startswith(f"members.{number}.")}
        assert member.weights is not None
        for name, tensor in own.items():
            assert torch.equal(member.weights[name.replace(f"members.{number}.", "members.0.")], tensor)
    assert all(member.weights is None for member in trial.judged.members)


def test_the_share_of_the_correction_that_forecasts_the_held_out_end_best_is_kept(tmp_path: Path) -> None:
    shares = (1.0, 0.5, 0.0)
    settings = plan(linear_start=True, corrections=shares, learning_rate=0.05)
    windows, listener = training_backtest(PANEL, settings), Listener()
    (only,) = trials(settings).models
    fitter = Fitter(PANEL, tmp_path, listener, lambda *_: None)
    kept = keep_best(trials(settings), fitter, windows)
    errors = {}
    for share in shares:
        network, _ = fitter.fit(only.judged)
        network.restrain(share)
        predictor = Predictor(network, ModelInfo(name="x", settings=network.settings))
        errors[share] = score_training(predictor, windows)[1].metrics["sql"]
        if share == kept.plan.fit.correction:
            assert all(map(torch.equal, network.state_dict().values(), kept.judged.state_dict().values()))
    assert len(set(errors.values())) == 3
    assert kept.plan.fit.correction == min(errors, key=errors.__getitem__) < 1
    assert f"60 steps, {kept.plan.fit.correction:.0%} of what a fit adds to its linear forecast" in listener.told[-1]


def test_lengths_and_share_are_chosen_together_and_make_the_model_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = plan(0.5, 0.1, linear_start=True, corrections=(1.0, 0.5))
    windows, fitter = training_backtest(PANEL, settings), Fitter(PANEL, tmp_path / "a", Silent(), lambda *_: None)
    short_pair, long_pair = [2.0, 4.0], [3.0, 1.0]  # of all, the short pair would be better
    errors = iter([*short_pair, *long_pair])
    monkeypatch.setattr("training.lengths._error", lambda *_: next(errors))
    kept = keep_best(trials(settings), fitter, windows)
    assert steps(kept.plan) == [30, 60]
    assert (kept.plan.fit.correction, kept.plan.fit.corrections) == (0.5, ())
    final, _ = kept.finish(fitter)
    again, _ = Fitter(PANEL, tmp_path / "b", Silent(), lambda *_: None).fit(ModelFit("again", kept.plan, 0))
    assert all(map(torch.equal, again.state_dict().values(), final.state_dict().values()))
    whole, _ = fitter.fit(trials(settings).models[1].final)
    for member, alone in zip(final.members, whole.members, strict=True):
        head, all_of_it = member.head.linear.bias, alone.head.linear.bias  # type: ignore[union-attr]
        medians = (part.view(12, -1)[:, 0] for part in (head, all_of_it))  # type: ignore[operator]
        torch.testing.assert_close(next(medians), 0.5 * next(medians))
        half_way = (alone.begun[:, :-1] + alone.highway.weight) / 2  # type: ignore[index, union-attr]
        torch.testing.assert_close(member.highway.weight, half_way)  # type: ignore[union-attr]


def test_the_forecast_is_the_mean_of_the_lengths(tmp_path: Path) -> None:
    settings = plan(0.5)
    windows = training_backtest(PANEL, settings)
    fitter = Fitter(PANEL, tmp_path, Silent(), lambda *_: None)
    found = trials(settings)
    kept = keep_best(found, fitter, windows)
    grids = []
    for network in (*(fitter.fit(trial.judged)[0] for trial in found.alone), kept.judged):
        predictor = Predictor(network, ModelInfo(name="x", settings=network.settings))
        grids.append(predictor.quantiles_at(PANEL, windows.series, windows.origin, settings.model.horizon))
    np.testing.assert_allclose(grids[2], (grids[0] + grids[1]) / 2, rtol=1e-4)


def test_without_shorter_fits_there_is_one_length(tmp_path: Path) -> None:
    settings = plan()
    (only,) = trials(settings).models
    assert (only.judged.name, only.final.name) == ("backtest fit", "final fit")
    fitter = Fitter(PANEL, tmp_path, Silent(), lambda *_: None)
    assert keep_best(trials(settings), fitter, training_backtest(PANEL, settings)).plan == settings


@pytest.mark.parametrize(("broken", "kept"), [([6, 30], [[60]]), ([30], [[6], [60]]), ([60], [[6, 30]])])
def test_a_length_whose_forecasts_are_no_numbers_is_not_kept(
    broken: list[int], kept: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, listener = plan(0.5, 0.1), Listener()
    fit = Fitter.fit

    def partly_broken(fitter: Fitter, model: ModelFit) -> tuple[ForecastNetwork, FitResult]:
        network, result = fit(fitter, model)
        for member, count in zip(network.members, steps(model.plan), strict=True):
            with torch.no_grad():
                next(member.parameters()).fill_(torch.nan if count in broken else 0.0)
        return network, result

    monkeypatch.setattr(Fitter, "fit", partly_broken)
    fitter = Fitter(PANEL, tmp_path, listener, lambda *_: None)
    best = keep_best(trials(settings), fitter, training_backtest(PANEL, settings))
    assert steps(best.plan) in kept
    assert f"{math.inf}" in listener.told[-1]
