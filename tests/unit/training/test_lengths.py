from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from forecaster.backtest import held_out_steps
from forecaster.network import ForecastNetwork
from forecaster.predictor import ModelInfo, Predictor
from tests.fixtures_models import make_panel, model_settings
from training.evaluation import score_training, training_backtest
from training.lengths import Length, keep_best, lengths_to_try
from training.members import Fitter, ModelFit
from training.request import Silent
from training.settings import BacktestSettings, FitSettings, TrainingSettings
from training.starting import Start

PANEL = make_panel()


class Listener(Silent):
    def __init__(self) -> None:
        self.told: list[str] = []

    def say(self, text: str) -> None:
        self.told.append(text)


def plan(*shorter: float, **fit: object) -> TrainingSettings:
    settings = FitSettings(steps=60, batch=16, shorter=shorter, **fit)  # type: ignore[arg-type]
    return TrainingSettings(model=model_settings(), fit=settings, backtest=BacktestSettings(windows=2, step=12))


def tried(settings: TrainingSettings) -> list[Length]:
    held_out = held_out_steps(2, 12, settings.model.horizon)
    return lengths_to_try(settings, held_out, training_backtest(PANEL, settings), Start())


@pytest.mark.parametrize("learning_rate", [4e-3, 0.5])
def test_two_neighbouring_lengths_that_forecast_the_held_out_end_best_are_kept(
    learning_rate: float, tmp_path: Path
) -> None:
    settings = plan(0.5, 0.1, learning_rate=learning_rate)
    windows = training_backtest(PANEL, settings)
    lengths = tried(settings)
    assert [length.steps for length in lengths] == [6, 30, 60]
    listener = Listener()
    fitter = Fitter(PANEL, tmp_path, listener, lambda *_: None)
    kept = keep_best(lengths, settings, fitter, windows)
    errors = []
    for pair in (lengths[:2], lengths[1:]):
        two = [fitter.fit(length.judged)[0] for length in pair]
        whole = ForecastNetwork(kept.plan.model)
        for number, network in enumerate(two):
            whole.members[number] = network.members[0]
        info = ModelInfo(name="x", settings=kept.plan.model)
        errors.append(score_training(Predictor(whole.eval(), info), windows)[1].metrics["sql"])
        if tuple(pair) == kept.lengths:
            assert all(map(torch.equal, kept.judged.state_dict().values(), whole.state_dict().values()))
    assert kept.lengths == tuple(lengths[:2] if errors[0] <= errors[1] else lengths[1:])
    steps = " and ".join(str(length.steps) for length in kept.lengths)
    assert listener.told[-1].startswith(f"length of the fit: {steps} steps (quantile loss on the held-out end ")


def test_the_kept_lengths_are_one_model_whose_settings_make_it_anew(tmp_path: Path) -> None:
    settings = plan(0.5, 0.1)
    fitter = Fitter(PANEL, tmp_path / "first", Silent(), lambda *_: None)
    kept = keep_best(tried(settings), settings, fitter, training_backtest(PANEL, settings))
    final, fitted = kept.finish(fitter)
    assert kept.plan.fit.shorter == ()
    assert kept.plan.fit.shares == tuple(length.share for length in kept.lengths)
    assert final.settings == kept.plan.model
    assert len(final.members) == 2
    assert fitted.seconds > 0
    again, _ = Fitter(PANEL, tmp_path / "again", Silent(), lambda *_: None).fit(ModelFit("again", kept.plan, 0))
    assert all(map(torch.equal, again.state_dict().values(), final.state_dict().values()))


def test_the_share_of_the_correction_that_forecasts_the_held_out_end_best_is_kept(tmp_path: Path) -> None:
    shares = (1.0, 0.5, 0.0)
    settings = plan(linear_start=True, corrections=shares, learning_rate=0.05)
    windows, listener = training_backtest(PANEL, settings), Listener()
    (only,) = lengths = tried(settings)
    fitter = Fitter(PANEL, tmp_path, listener, lambda *_: None)
    kept = keep_best(lengths, settings, fitter, windows)
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
    alone, short_pair, long_pair = [3.0, 3.0, 3.0], [2.0, 4.0], [3.0, 1.0]  # of all, the short pair would be better
    errors = iter([*alone, *short_pair, *long_pair])
    monkeypatch.setattr("training.lengths._error", lambda *_: next(errors))
    lengths = tried(settings)
    kept = keep_best(lengths, settings, fitter, windows)
    assert kept.lengths == tuple(lengths[1:])
    assert (kept.plan.fit.correction, kept.plan.fit.corrections) == (0.5, ())
    final, _ = kept.finish(fitter)
    again, _ = Fitter(PANEL, tmp_path / "b", Silent(), lambda *_: None).fit(ModelFit("again", kept.plan, 0))
    assert all(map(torch.equal, again.state_dict().values(), final.state_dict().values()))
    whole = [fitter.fit(length.final)[0] for length in kept.lengths]
    for member, unrestrained in zip(final.members, whole, strict=True):
        head, all_of_it = member.head.linear.bias, unrestrained.members[0].head.linear.bias  # type: ignore[union-attr]
        medians = (part.view(12, -1)[:, 0] for part in (head, all_of_it))  # type: ignore[operator]
        torch.testing.assert_close(next(medians), 0.5 * next(medians))
        (alone,) = unrestrained.members
        half_way = (alone.begun[:, :-1] + alone.highway.weight) / 2  # type: ignore[index, union-attr]
        torch.testing.assert_close(member.highway.weight, half_way)  # type: ignore[union-attr]


def test_the_forecast_is_the_mean_of_the_lengths(tmp_path: Path) -> None:
    settings = plan(0.5)
    windows = training_backtest(PANEL, settings)
    fitter = Fitter(PANEL, tmp_path, Silent(), lambda *_: None)
    kept = keep_best(tried(settings), settings, fitter, windows)
    grids = []
    for network in (*(fitter.fit(length.judged)[0] for length in kept.lengths), kept.judged):
        predictor = Predictor(network, ModelInfo(name="x", settings=network.settings))
        grids.append(predictor.quantiles_at(PANEL, windows.series, windows.origin, settings.model.horizon))
    np.testing.assert_allclose(grids[2], (grids[0] + grids[1]) / 2, rtol=1e-4)


def test_without_shorter_fits_there_is_one_length(tmp_path: Path) -> None:
    settings = plan()
    (only,) = lengths = tried(settings)
    assert (only.judged.name, only.final.name) == ("backtest fit", "final fit")
    fitter = Fitter(PANEL, tmp_path, Silent(), lambda *_: None)
    assert keep_best(lengths, settings, fitter, training_backtest(PANEL, settings)).plan == settings


@pytest.mark.parametrize(("broken", "kept"), [([0, 1], [60]), ([1], [6, 60]), ([2], [6, 30])])
def test_a_length_whose_forecasts_are_no_numbers_is_not_kept(
    broken: list[int], kept: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = plan(0.5, 0.1)
    lengths = tried(settings)
    fitter, listener = Fitter(PANEL, tmp_path, Listener(), lambda *_: None), Listener()
    networks = {length.judged.name: fitter.fit(length.judged) for length in lengths}
    for number in broken:
        with torch.no_grad():
            next(networks[lengths[number].judged.name][0].parameters()).fill_(torch.nan)
    monkeypatch.setattr(Fitter, "fit", lambda _, model: networks[model.name])
    best = keep_best(
        lengths, settings, Fitter(PANEL, tmp_path, listener, lambda *_: None), training_backtest(PANEL, settings)
    )
    assert [length.steps for length in best.lengths] == kept
    assert f"{lengths[broken[0]].steps} steps {math.inf}" in listener.told[-1]
