"""A real training on the bundled data, tracked and registered in a real MLflow store."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from forecaster.artifact import load_artifact
from forecaster.cli.stack import _has_quickstart
from forecaster.data import bundled
from forecaster.errors import InputError, NotFound, TrainingError
from forecaster.reading import read_panel
from forecaster.store.registry import Reference, champion_of, download, make_champion, resolve, rollback
from forecaster.store.settings import StoreSettings
from tests.fixtures_training import weather_request
from training import champion
from training.pipeline import train
from training.progress import Progress
from training.request import Silent, TrainResult

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
QUICK = {"fit.steps": 40, "fit.batch": 64, "network.width": 16, "backtest.baseline_series": 0}
request = partial(weather_request, QUICK)


@pytest.fixture(scope="module")
def first(settings: StoreSettings) -> TrainResult:
    return train(request(changes={**QUICK, "backtest.baseline_series": 12}), settings)


def test_the_first_version_becomes_champion_and_says_why(first: TrainResult, tracking: MlflowClient) -> None:
    assert (first.model, first.version, first.promoted) == ("weather", 1, True)
    champion = champion_of(tracking, "weather")
    assert champion is not None
    assert champion.version == 1 or champion.version == "1"
    assert champion.description == "promoted: there was no champion before"


def test_the_run_holds_all_that_a_person_looks_for(first: TrainResult, tracking: MlflowClient) -> None:
    run = tracking.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["model.members.0.cell"] == "gru"
    assert run.data.params["fit.steps"] == "40"
    for name in ("mase", "smape", "sql", "skill", "coverage-95", "naive/mase", "seasonal_naive/mase", "theta/mase"):
        assert np.isfinite(run.data.metrics[f"backtest/{name}"]), name
    assert first.metrics["mase"] == pytest.approx(run.data.metrics["backtest/mase"])
    assert len(tracking.get_metric_history(first.run_id, "final_fit/loss")) == 4
    assert len(tracking.get_metric_history(first.run_id, "backtest/error_by_step")) == 24
    assert run.data.tags["forecaster.started_by"] == "cli"
    assert "promoted: there was no champion before" in run.data.tags["mlflow.note.content"]
    assert f"| **this model** | {first.metrics['mase']:.4g} |" in run.data.tags["mlflow.note.content"]
    assert run.inputs.dataset_inputs[0].dataset.digest
    found = {file.path for file in tracking.list_artifacts(first.run_id)}
    assert {"per_series.csv", "plots", "profile.html", "profile.json", "settings.yaml"} <= found
    assert "gaps" in {finding.topic for finding in first.findings}
    assert len(tracking.list_artifacts(first.run_id, "plots")) == 3


def test_every_way_to_ask_gives_the_same_forecast(first: TrainResult, tracking: MlflowClient, tmp_path: Path) -> None:
    folder = download(resolve(tracking, Reference.parse("weather")), tmp_path)
    panel = read_panel(bundled(), "h")
    direct = load_artifact(folder).predict(panel, horizon=30, levels=[80.0, 95.0]).to_table().to_pandas()
    frame = read_frame()
    pyfunc = mlflow.pyfunc.load_model("models:/weather@champion")
    found = pyfunc.predict(frame, params={"horizon": 30, "level": [80.0, 95.0]})
    assert list(found.columns) == list(direct.columns)
    assert (found["unique_id"] == direct["unique_id"]).all()
    assert (found["ds"] == direct["ds"]).all()
    for column in direct.columns[2:]:
        np.testing.assert_allclose(found[column], direct[column], rtol=1e-4, atol=1e-4)
    total, *parts = panel.ids[:3]
    asked = {"horizon": 30, "sums": json.dumps({total: parts})}
    mean = pyfunc.predict(frame, params=asked).pivot_table("mean", "ds", "unique_id")
    np.testing.assert_allclose(mean[total], mean[parts].sum(axis=1), rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match="structural, ols, bottom-up"):
        pyfunc.predict(frame, params={**asked, "reconcile": "guess"})


def read_frame() -> object:
    import pandas as pd

    return pd.read_parquet(bundled()).astype({"y": "float64"})


def test_the_artifact_holds_no_pickle_and_no_path_of_this_machine(
    first: TrainResult, tracking: MlflowClient, tmp_path: Path, settings: StoreSettings
) -> None:
    folder = download(resolve(tracking, Reference.parse("weather/1")), tmp_path)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "config.json", "weights.safetensors", "golden.json", "backtest.safetensors"} <= names
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".py", ".bin"))}
    assert str(settings.home) not in (folder / "config.json").read_text()


def test_the_same_data_again_does_not_win_and_becomes_challenger(first: TrainResult, settings: StoreSettings) -> None:
    again = train(request(), settings)
    assert not again.promoted
    assert again.champion is not None
    assert again.champion["sql"] == pytest.approx(again.metrics["sql"], rel=1e-4)
    assert "not promoted: scaled quantile loss" in again.reason
    tracking = MlflowClient(settings.tracking_uri)
    assert int(resolve(tracking, Reference.parse("weather@challenger")).version) == again.version
    assert int(resolve(tracking, Reference.parse("weather")).version) == first.version


def test_a_promotion_can_be_taken_back(first: TrainResult, settings: StoreSettings, tracking: MlflowClient) -> None:
    better = champion.Verdict(True, "promoted", rival=first.version)
    assert champion.holds(better, tracking, "weather")
    forced = train(request(promote="always", seed=5), settings)
    assert forced.promoted
    assert not champion.holds(better, tracking, "weather"), "it must be compared with the new one now"
    assert champion.holds(champion.Verdict(False, "not promoted"), tracking, "weather")
    assert int(resolve(tracking, Reference.parse("weather")).version) == forced.version
    assert int(rollback(tracking, "weather").version) == first.version
    assert int(resolve(tracking, Reference.parse("weather")).version) == first.version


def test_a_win_counts_against_whoever_is_champion_then(
    first: TrainResult, settings: StoreSettings, tracking: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice another training promotes its model while this one judges or uploads."""
    rivals = [train(request("crowded", promote="always", seed=seed), settings).version for seed in (1, 2, 3)]
    make_champion(tracking, "crowded", rivals[0])
    judge, overtaken = champion.judge, iter(rivals[1:])
    compared: list[int | None] = []

    def judged(*arguments: object) -> champion.Verdict:
        verdict = judge(*arguments)
        compared.append(verdict.rival)
        if (other := next(overtaken, None)) is not None:
            make_champion(tracking, "crowded", other)
        return verdict

    monkeypatch.setattr(champion, "judge", judged)
    found = train(request("crowded", promote="always", seed=4), settings)
    assert compared == rivals
    assert f"of version {rivals[-1]}" in found.reason


def test_a_warm_start_begins_where_the_champion_ended(first: TrainResult, settings: StoreSettings) -> None:
    losses: list[float] = []

    class Listening(Silent):
        def progress(self, _stage: str, progress: Progress) -> None:
            losses.append(progress.loss)

    train(request(promote="never"), settings, Listening())
    cold = losses[0]
    losses.clear()
    warm = train(request(warm_start="weather/1", promote="never"), settings, Listening())
    assert losses[0] < cold
    assert warm.settings["fit"]["learning_rate"] < first.settings["fit"]["learning_rate"]
    with pytest.raises(InputError, match="trained for 24 steps, not 48"):
        train(request(warm_start="weather", horizon=48), settings)
    with pytest.raises(NotFound, match="there is no model weather/99"):
        train(request(warm_start="weather/99"), settings)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"horizon": 5000}, "long enough"),
        ({"freq": "D"}, "grid"),
        ({"changes": {"network.segment": 9999}}, "segment"),
        ({"data": "nowhere.parquet"}, "nowhere.parquet"),
    ],
)
def test_a_training_that_cannot_be_leaves_the_champion_and_says_why(
    first: TrainResult, settings: StoreSettings, tracking: MlflowClient, changes: dict[str, object], told: str
) -> None:
    before = champion_of(tracking, "weather")
    with pytest.raises((InputError, NotFound), match=told):
        train(request(**changes), settings)
    assert champion_of(tracking, "weather").version == before.version


def test_a_model_is_retrained_for_another_horizon(first: TrainResult, settings: StoreSettings) -> None:
    for horizon in (12, 36):
        found = train(request("other-horizon", horizon=horizon), settings)
        assert np.isfinite(found.metrics["sql"])
    assert found.champion is not None
    assert np.isfinite(found.champion["sql"])


def test_a_champion_of_another_release_which_nobody_can_serve_gives_way(
    first: TrainResult, settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forecaster.cli.stack.QUICKSTART", "outdated")
    assert not _has_quickstart()
    train(request("outdated"), settings)
    assert _has_quickstart()
    config = Path(mlflow.artifacts.download_artifacts("models:/outdated/1")) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "schema_version": 1}))
    assert not _has_quickstart()
    found = train(request("outdated"), settings)
    assert found.promoted
    assert "version 1, cannot be read any more" in found.reason
    assert _has_quickstart()


def test_the_request_and_the_settings_may_not_contradict_each_other(
    first: TrainResult, settings: StoreSettings
) -> None:
    with pytest.raises(InputError, match="the settings say 12 steps of h"):
        train(request(changes={"network.horizon": 12}), settings)


def test_whole_numbers_and_text_are_forecast_through_mlflow_too(first: TrainResult, settings: StoreSettings) -> None:
    import pandas as pd

    stamps = pd.date_range("2024-01-01", periods=60, freq="h").astype(str)
    frame = pd.DataFrame({"unique_id": "a", "ds": stamps, "y": range(60)})
    found = mlflow.pyfunc.load_model("models:/weather/1").predict(frame, params={"horizon": 2})
    assert found["ds"].tolist() == [pd.Timestamp("2024-01-03 12:00"), pd.Timestamp("2024-01-03 13:00")]


def test_an_attempt_that_has_lost_its_lease_publishes_nothing(first: TrainResult, settings: StoreSettings) -> None:
    def lost() -> None:
        raise TrainingError("this attempt is no longer the current one")

    tracking = MlflowClient(settings.tracking_uri)
    before = len(tracking.search_model_versions("name = 'weather'"))
    with pytest.raises(TrainingError, match="no longer"):
        train(request(), settings, guard=lost)
    assert len(tracking.search_model_versions("name = 'weather'")) == before


def test_members_are_fitted_side_by_side_and_each_leaves_its_curve(
    settings: StoreSettings, tracking: MlflowClient
) -> None:
    stages: list[str] = []
    said: list[str] = []

    class Listening(Silent):
        def stage(self, name: str) -> None:
            stages.append(name)

        def say(self, text: str) -> None:
            said.append(text.partition(",")[0])

    done = train(request("ensemble", preset="best", changes={**QUICK, "fit.processes": 2}), settings, Listening())
    assert "fitting 10 networks, 2 at a time" in stages
    assert said == ["data: 12 series of 3", "settings: 4 gru + lstm"]
    assert len(done.settings["model"]["members"]) == 5
    for name in ("backtest_fit_1", "backtest_fit_3", "final_fit_2"):
        history = tracking.get_metric_history(done.run_id, f"{name}/loss")
        assert sorted(metric.step for metric in history) == list(range(1, 5)), name


def test_a_season_of_ones_own_goes_from_the_request_to_the_served_model(settings: StoreSettings) -> None:
    done = train(request("half-days", season=12, changes={**QUICK, "fit.shorter": [0.25]}), settings)
    run = MlflowClient(settings.tracking_uri).get_run(done.run_id)
    assert done.settings["fit"]["steps"] == run.data.metrics["fit_steps"] == 40
    assert done.settings["fit"]["shares"] == [0.25, 1.0]
    assert len(done.settings["model"]["members"]) == 2
    assert {"10-step_backtest_fit/loss", "10-step_final_fit/loss", "40-step_final_fit/loss"} <= run.data.metrics.keys()
    assert done.settings["model"]["season"] == 12
    assert done.settings["model"]["members"][0]["segment"] == 12
    with pytest.raises(InputError, match="season"):
        train(request("half-days", season=24, warm_start="half-days"), settings)
    with pytest.raises(InputError, match="season"):
        train(request("half-days", season=0), settings)


def test_a_run_whose_intervals_did_not_hold_says_so_and_so_does_each_forecast(
    settings: StoreSettings, tmp_path: Path
) -> None:
    steps = np.arange(600)
    y = 50 + 10 * np.sin(steps / 24 * 2 * np.pi) + np.random.default_rng(0).normal(size=600)
    y[-24:] += 500  # nothing foretells it
    source = tmp_path / "jump.parquet"
    ds = steps.astype("datetime64[h]").astype("datetime64[us]")
    pq.write_table(pa.table({"unique_id": ["a"] * 600, "ds": ds, "y": y}), source)
    heard: list[str] = []

    class Listening(Silent):
        def note(self, text: str) -> None:
            heard.append(text)

    done = train(request("jump", data=str(source)), settings, Listening())
    (told,) = (text for text in done.warnings if "95 % interval" in text)
    assert done.metrics["coverage-95"] < 0.85
    assert told in heard
    served = load_artifact(Path(mlflow.artifacts.download_artifacts("models:/jump/1")))
    assert served.info.coverage["95"] == done.metrics["coverage-95"]
    panel = read_panel(str(source), served.freq)
    assert told in served.predict(panel, levels=[95]).warnings[0]


def test_a_job_tried_twice_is_one_run_and_one_version_unless_it_is_planned_otherwise(
    settings: StoreSettings, tmp_path: Path
) -> None:
    asked = request("twice", job_id="abc", work=tmp_path / "job")
    results = [train(asked, settings) for _ in range(2)]
    assert results[0].run_id == results[1].run_id
    assert results[0].version == results[1].version == 1
    tracking = MlflowClient(settings.tracking_uri)
    assert len(tracking.search_model_versions("name = 'twice'")) == 1
    other = train(asked.model_copy(update={"changes": {**QUICK, "network.width": 24}}), settings)
    assert (other.run_id, other.version) == (results[0].run_id, 2)


def test_a_further_attempt_with_other_settings_begins_anew(
    first: TrainResult, settings: StoreSettings, tmp_path: Path
) -> None:
    """Checkpoints of another network would not fit, or worse, would."""
    work = tmp_path / "work"
    asked = request("anew", work=work, job_id="e" * 32)
    with pytest.raises(InterruptedError):
        train(asked, settings, guard=_stop)
    assert (work / "plan.txt").exists()
    fitted = {path.name for path in work.iterdir() if path.is_dir()}
    assert any("fit" in name for name in fitted)
    other = asked.model_copy(update={"changes": {**QUICK, "network.width": 24}})
    found = train(other, settings)
    assert found.settings["model"]["members"][0]["width"] == 24
    assert not work.exists()


def _stop() -> None:
    raise InterruptedError("the worker ends")


def test_a_champion_whose_files_are_gone_gives_way_where_that_is_asked(
    first: TrainResult, settings: StoreSettings
) -> None:
    train(request("gone"), settings)
    shutil.rmtree(mlflow.artifacts.download_artifacts("models:/gone/1"))
    found = train(request("gone", promote="always"), settings)
    assert found.promoted
    assert found.reason.startswith("promoted as asked: the champion, version 1, could not be judged")
