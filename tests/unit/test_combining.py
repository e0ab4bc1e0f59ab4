"""Several rows of one step: what pandas gives for them, whatever the batches and the order of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from forecaster.errors import InputError
from forecaster.pyfunc import PyFuncForecaster
from forecaster.reading import read_panel
from forecaster.settings import CovariateSettings, RowSettings
from tests.fixtures_models import make_predictor
from training.planning import prepare
from training.request import Silent, TrainRequest

HOWS = ["sum", "mean", "last"]


def events(n: int = 3000, seed: int = 0) -> pd.DataFrame:
    """Rows of two series at any time within ten weeks, some of them without a value, in no order."""
    generator = np.random.default_rng(seed)
    minutes = generator.choice(10 * 7 * 24 * 60, n, replace=False)
    frame = pd.DataFrame(
        {
            "unique_id": generator.choice(["a", "b"], n),
            "ds": pd.Timestamp("2023-11-29") + pd.to_timedelta(minutes, "min"),
            "y": generator.normal(5, 2, n).astype(np.float32),
        }
    )
    frame.loc[generator.random(n) < 0.2, "y"] = np.nan
    return frame


def in_batches(frame: pd.DataFrame, path: Path) -> Path:
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=97)
    return path


def by_pandas(frame: pd.DataFrame, freq: str, how: str) -> pd.Series[float]:
    """Indexed by series and the step's name; steps without an observed value are left out."""
    known = frame.dropna().sort_values("ds", kind="stable").set_index("ds").groupby("unique_id")["y"]
    steps: Any = known.resample(freq)
    found = {"sum": lambda: steps.sum(min_count=1), "mean": steps.mean, "last": steps.last}[how]()
    return found.dropna()  # type: ignore[no-any-return]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("freq", ["6h", "D", "W", "W-WED", "B", "MS", "ME"])
def test_rows_within_a_step_are_combined_as_by_pandas(freq: str, how: str, tmp_path: Path) -> None:
    frame = events()
    rows = RowSettings.model_validate({"resample": how})
    panel = read_panel(in_batches(frame, tmp_path / "t.parquet"), freq, rows)
    expected = by_pandas(frame, freq, how)
    found = {
        (name, stamp): value
        for i, name in enumerate(panel.ids)
        for stamp, value in zip(panel.timestamps(i), panel.series(i), strict=True)
        if not np.isnan(value)
    }
    wanted = {(name, stamp.to_datetime64()): value for (name, stamp), value in expected.items()}
    assert found.keys() == wanted.keys()
    assert [found[key] for key in wanted] == pytest.approx(list(wanted.values()), rel=1e-5)
    told = f"{frame['y'].notna().sum()} rows with values were combined into {len(expected)} steps, each by its "
    assert panel.notes[0].startswith(told)


@pytest.mark.parametrize(("how", "value"), [("sum", 7.0), ("mean", 3.5), ("last", 4.0)])
def test_rows_of_one_timestamp_are_combined_when_asked_for(how: str, value: float, tmp_path: Path) -> None:
    frame = pd.DataFrame({"unique_id": "a", "ds": [2, 1, 2, 3, 2], "y": [3.0, 1.0, 4.0, 9.0, np.nan]})
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "t.parquet", row_group_size=2)
    panel = read_panel(tmp_path / "t.parquet", "D", RowSettings.model_validate({"duplicates": how}))
    assert panel.values.tolist() == [1.0, value, 9.0]
    words = {"last": "last value"}.get(how, how)
    assert panel.notes == (f"4 rows with values were combined into 3 steps, each by its {words}",)


def test_without_a_rule_the_mend_names_it() -> None:
    frame = pd.DataFrame({"unique_id": "a", "ds": [1, 1], "y": [1.0, 1.0]})
    with pytest.raises(InputError, match=r"occurs more than once; .*duplicates: sum, mean or last"):
        read_panel(frame, "D")
    late = pd.DataFrame({"unique_id": "a", "ds": ["2024-01-01", "2024-01-02 00:05"], "y": 1.0})
    with pytest.raises(InputError, match=r"grid .*or resample"):
        read_panel(late, "D")
    assert read_panel(late, "D", RowSettings(resample="sum")).values.tolist() == [1.0, 1.0]


def test_the_hour_that_a_clock_change_repeats_is_combined() -> None:
    stamps = ["2024-11-03 00:00", "2024-11-03 01:00", "2024-11-03 01:00", "2024-11-03 02:00"]
    frame = pd.DataFrame({"unique_id": "a", "ds": pd.to_datetime(stamps), "y": [1.0, 2.0, 4.0, 5.0]})
    assert read_panel(frame, "h", RowSettings(duplicates="mean")).values.tolist() == [1.0, 3.0, 5.0]


def test_a_last_step_that_may_not_be_over_is_told() -> None:
    hours = pd.date_range("2024-01-01", periods=24 * 5 + 3, freq="h")
    frame = pd.concat([pd.DataFrame({"unique_id": name, "ds": hours, "y": 1.0}) for name in ("a", "b")])
    resampled = RowSettings(resample="sum")
    panel = read_panel(frame, "D", resampled)
    assert panel.notes[1].startswith(
        "the last step of 2 series has far fewer rows than usual (series 'a': 3, usually 2"
    )
    assert len(read_panel(frame[frame.ds < "2024-01-06"], "D", resampled).notes) == 1


def test_two_rules_for_one_step_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="leave duplicates out"):
        RowSettings(duplicates="sum", resample="mean")


def test_a_model_reads_what_it_forecasts_as_it_read_its_training_data() -> None:
    predictor = make_predictor(rows={"resample": "mean"})
    hours = pd.date_range("2024-01-01", periods=24 * 14, freq="h")
    quarters = pd.date_range(hours[0], periods=4 * len(hours), freq="15min")
    values = np.random.default_rng(0).normal(50, 5, len(quarters)).astype(np.float32)
    fine = pd.DataFrame({"unique_id": "a", "ds": quarters, "y": values})
    coarse = pd.DataFrame({"unique_id": "a", "ds": hours, "y": values.reshape(-1, 4).mean(1)})
    served = PyFuncForecaster(predictor)
    pd.testing.assert_frame_equal(served.predict(fine), served.predict(coarse), rtol=1e-5)


def test_what_a_forecast_warns_of_is_logged_where_a_frame_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    young = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=2, freq="h"), "y": [1.0, 2.0]})
    PyFuncForecaster(make_predictor()).predict(young)
    assert "a: only 2 observed values" in caplog.text


def test_a_training_keeps_its_rules_and_the_settings_cannot_contradict_them() -> None:
    request = TrainRequest(data=events(), name="x", freq="D", horizon=7, rows=RowSettings(resample="sum"))
    prepared = prepare(request, Silent())
    assert prepared.plan.model.rows.resample == "sum"
    assert prepared.panel.lengths.tolist() == [70, 70]
    with pytest.raises(InputError, match="use --duplicates or --resample"):
        prepare(request.model_copy(update={"changes": {"model.rows.resample": "mean"}}), Silent())


def test_a_frequency_that_is_not_given_is_read_off_the_data_and_told() -> None:
    days = pd.DataFrame(
        {"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=90, freq="D"), "y": np.arange(90.0)}
    )
    told: list[str] = []

    class Listener(Silent):
        def say(self, text: str) -> None:
            told.append(text)

    prepared = prepare(TrainRequest(data=days, name="x", horizon=7), Listener())
    assert prepared.plan.model.freq == "D"
    assert told[0] == "freq: D, as the timestamps follow each other"
    with pytest.raises(InputError, match="say what one step is"):
        prepare(TrainRequest(data=events(), name="x", horizon=7), Silent())


def test_steps_that_only_covariates_know_are_not_half_over() -> None:
    """Rows of the horizon, one for each step, are there for what is known of it."""
    hours = pd.date_range("2024-01-01", periods=240, freq="h")
    known = pd.DataFrame({"unique_id": "a", "ds": hours, "y": 1.0, "price": 2.0})
    future = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-01-11", periods=5), "y": np.nan, "price": 2.0})
    rows, declared = RowSettings(resample="sum"), CovariateSettings(future=("price",))
    panel = read_panel(pd.concat([known, future]), "D", rows, declared)
    assert panel.notes == ("240 rows with values were combined into 10 steps, each by its sum",)
    short = read_panel(pd.concat([known[:-20], future]), "D", rows, declared)
    assert "the last step of 1 series has far fewer rows than usual" in short.notes[1]
    assert "4, usually 22" in short.notes[1]
