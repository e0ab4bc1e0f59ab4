"""A real comparison of cells on the bundled data, tracked in a real MLflow store."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import get_args

import matplotlib.image
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from forecaster.errors import InputError, TrainingError
from forecaster.settings import Cell
from forecaster.store.settings import StoreSettings
from tests.fixtures_training import weather_request
from training.comparison import Comparison
from training.pipeline import compare, train

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
QUICK = {"fit.steps": 20, "fit.batch": 32, "network.width": 8, "backtest.baseline_series": 0}
CELLS = ["lstm", "gru"]
request = partial(weather_request, QUICK)


@pytest.fixture(scope="module")
def found(settings: StoreSettings) -> Comparison:
    return compare(request(changes={**QUICK, "fit.processes": 2}), CELLS, 2, settings)


def nested(tracking: MlflowClient, parent: str) -> list[Run]:
    experiment = tracking.get_run(parent).info.experiment_id
    return list(tracking.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'"))


def test_each_cell_with_each_seed_is_a_nested_run(found: Comparison, tracking: MlflowClient) -> None:
    runs = {run.info.run_id: run for run in nested(tracking, found.run_id)}
    assert len(runs) == len(found.trials) == 4
    assert sorted((trial.cell, trial.seed) for trial in found.trials) == [(c, s) for c in sorted(CELLS) for s in (1, 2)]
    for trial in found.trials:
        run = runs[trial.run_id]
        assert run.info.status == "FINISHED"
        assert run.info.run_name == f"{trial.cell}, seed {trial.seed}"
        told = (run.data.params["model.members.0.cell"], run.data.params["fit.seed"], run.data.params["fit.steps"])
        assert told == (trial.cell, str(trial.seed), "20")
        assert sorted(m.step for m in tracking.get_metric_history(trial.run_id, "fit/loss")) == list(range(1, 3))
        assert run.data.metrics["backtest/mase"] == pytest.approx(trial.metrics["mase"])
        assert run.data.metrics["parameters"] == trial.parameters
        assert run.data.metrics["fit_seconds"] == pytest.approx(trial.seconds)


def test_the_run_above_them_holds_table_plot_and_baselines(
    found: Comparison, tracking: MlflowClient, tmp_path: Path
) -> None:
    run = tracking.get_run(found.run_id)
    experiment = tracking.get_experiment_by_name("weather")
    assert experiment is not None
    assert run.info.experiment_id == experiment.experiment_id
    assert run.info.status == "FINISHED"
    assert run.inputs.dataset_inputs[0].dataset.digest
    assert (run.data.params["cells"], run.data.params["seeds"]) == ("lstm,gru", "2")
    assert "model.members.0.cell" not in run.data.params
    assert set(found.baselines) == {"naive", "seasonal_naive"}, "no series was to be used for another"
    for baseline in found.baselines:
        told = run.data.metrics[f"backtest/{baseline}/mase"]
        assert told == pytest.approx(found.baselines[baseline]["mase"])
    folder = Path(tracking.download_artifacts(found.run_id, "", str(tmp_path)))
    table = pd.read_csv(folder / "comparison.csv")
    assert list(table["cell"]) == CELLS
    for row in table.itertuples():
        mase = [trial.metrics["mase"] for trial in found.trials if trial.cell == row.cell]
        assert row.mase == pytest.approx(sum(mase) / 2)
        assert row.mase_sd == pytest.approx(abs(mase[0] - mase[1]) / 2**0.5)
    assert Comparison.model_validate(json.loads((folder / "comparison.json").read_text())) == found
    picture = matplotlib.image.imread(folder / "plots" / "accuracy_against_time.png")
    assert picture.shape[0] > 300
    assert picture.std() > 0.05  # something is drawn


def test_a_trial_is_the_backtest_that_a_training_would_make(
    found: Comparison, tracking: MlflowClient, settings: StoreSettings
) -> None:
    assert not tracking.search_registered_models()  # a comparison registers nothing
    trained = train(request(changes={**QUICK, "network.cell": "lstm"}, seed=2), settings)
    trial = next(trial for trial in found.trials if (trial.cell, trial.seed) == ("lstm", 2))
    for measure in ("mase", "smape", "sql", "coverage-95"):
        assert trial.metrics[measure] == pytest.approx(trained.metrics[measure], rel=1e-5), measure


def test_seeds_of_ensembles_do_not_meet(settings: StoreSettings, tracking: MlflowClient) -> None:
    found = compare(request("ensemble", preset="best", changes={**QUICK, "fit.processes": 1}), ["rnn"], 2, settings)
    assert found.seeds == [1, 6]  # three members each
    for run in nested(tracking, found.run_id):
        assert [run.data.params[f"model.members.{i}.cell"] for i in range(3)] == ["rnn"] * 3
        assert len(tracking.get_metric_history(run.info.run_id, "fit_3/loss")) == 2


def test_a_fit_that_fails_fails_all_runs(settings: StoreSettings, tracking: MlflowClient) -> None:
    absurd = {**QUICK, "fit.learning_rate": 1e30, "fit.processes": 1}
    with pytest.raises(TrainingError, match="diverged twice"):
        compare(request("absurd", changes=absurd), CELLS, 1, settings)
    experiment = tracking.get_experiment_by_name("absurd")
    assert experiment is not None
    assert [run.info.status for run in tracking.search_runs([experiment.experiment_id])] == ["FAILED"] * 3


@pytest.mark.parametrize(
    ("cells", "seeds", "changes", "told"),
    [
        (["gru", "transformer"], 3, {}, "field 'cells': there is no cell 'transformer'; name some of "),
        (["gru", "lstm", "gru"], 3, {}, "gru is given twice"),
        ([], 3, {}, "no cell is given"),
        (["gru"], 0, {}, "field 'seeds': 0 is out of range"),
        (["gru"], 3, {"network.cell": "rnn"}, "network.cell"),
    ],
)
def test_what_cannot_be_compared_is_told_before_a_run_begins(
    settings: StoreSettings, tracking: MlflowClient, cells: list[str], seeds: int, changes: dict[str, str], told: str
) -> None:
    with pytest.raises(InputError, match=told) as caught:
        compare(request("mistake", changes=changes), cells, seeds, settings)
    assert "\n" not in str(caught.value)
    assert tracking.get_experiment_by_name("mistake") is None


def test_the_message_names_every_cell_that_there_is(settings: StoreSettings) -> None:
    with pytest.raises(InputError) as caught:
        compare(request(), ["none"], 1, settings)
    assert all(cell in str(caught.value) for cell in get_args(Cell))
