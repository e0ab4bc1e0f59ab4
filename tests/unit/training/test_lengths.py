from __future__ import annotations

from pathlib import Path

import pytest
import torch

from forecaster.backtest import held_out_steps
from forecaster.predictor import ModelInfo, Predictor
from tests.fixtures_models import make_panel, model_settings
from training.evaluation import score_training, training_backtest
from training.lengths import candidates, fit_best, fits_ahead
from training.members import Fitter
from training.request import Silent
from training.settings import BacktestSettings, FitSettings, TrainingSettings
from training.starting import Start

PANEL = make_panel()


class Listener(Silent):
    def __init__(self) -> None:
        self.told: list[str] = []

    def say(self, text: str) -> None:
        self.told.append(text)


@pytest.mark.parametrize("learning_rate", [4e-3, 0.5])
def test_the_shortest_fit_that_forecasts_the_held_out_end_well_is_kept(learning_rate: float, tmp_path: Path) -> None:
    fit = FitSettings(steps=60, batch=16, shorter=(0.5, 0.1), learning_rate=learning_rate)
    plan = TrainingSettings(model=model_settings(), fit=fit, backtest=BacktestSettings(windows=2, step=12))
    windows, info = training_backtest(PANEL, plan), ModelInfo(name="x", settings=plan.model)
    tried = candidates(plan, held_out_steps(2, 12, plan.model.horizon), windows, Start())
    assert [candidate.plan.fit.steps for candidate in tried] == [6, 30, 60]
    listener = Listener()
    fitter = Fitter(PANEL, tmp_path, listener, lambda *_: None)
    best, network = fit_best(tried, fitter, windows, info)
    errors = []
    for candidate in tried:
        other = fitter.fit(candidate.judged)[0]
        errors.append(score_training(Predictor(other, info), windows)[1].metrics["sql"])
        if candidate is best:
            assert all(map(torch.equal, network.state_dict().values(), other.state_dict().values()))
    good = [candidate for candidate, error in zip(tried, errors, strict=True) if error <= 1.01 * min(errors)]
    assert best is good[0]
    assert listener.told[-1].startswith(f"length of the fit: {best.plan.fit.steps} steps")


def test_without_shorter_fits_there_is_one_length() -> None:
    plan = TrainingSettings(model=model_settings())
    (only,) = tried = candidates(plan, 24, training_backtest(PANEL, plan), Start())
    assert (only.judged.name, only.final.name) == ("backtest fit", "final fit")
    assert fits_ahead(tried) == [only.judged, only.final]


def test_of_several_lengths_all_fits_but_the_longest_final_one_are_made_ahead() -> None:
    plan = TrainingSettings(model=model_settings(), fit=FitSettings(steps=60, shorter=(0.5, 0.1)))
    short, middle, full = tried = candidates(plan, 24, training_backtest(PANEL, plan), Start())
    assert fits_ahead(tried) == [full.judged, middle.judged, middle.final, short.judged, short.final]


def test_a_length_whose_forecasts_are_no_numbers_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = FitSettings(steps=60, batch=16, shorter=(0.5, 0.1))
    plan = TrainingSettings(model=model_settings(), fit=fit, backtest=BacktestSettings(windows=2, step=12))
    windows, info = training_backtest(PANEL, plan), ModelInfo(name="x", settings=plan.model)
    tried = candidates(plan, held_out_steps(2, 12, plan.model.horizon), windows, Start())
    fitter, listener = Fitter(PANEL, tmp_path, Listener(), lambda *_: None), Listener()
    networks = {candidate.judged.name: fitter.fit(candidate.judged) for candidate in tried}
    for name in list(networks)[:2]:
        with torch.no_grad():
            next(networks[name][0].parameters()).fill_(torch.nan)
    monkeypatch.setattr(Fitter, "fit", lambda _, model: networks[model.name])
    best, _ = fit_best(tried, Fitter(PANEL, tmp_path, listener, lambda *_: None), windows, info)
    assert best is tried[2]
    assert "60 steps (quantile loss on the held-out end: 6 steps inf, 30 steps inf, 60 steps " in listener.told[-1]
