"""What a person is told of their data, on panels made to have it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecaster.data import bundled
from forecaster.reading import panel_from_histories
from forecaster.settings import RowSettings
from training.findings import find
from training.planning import prepare
from training.profile import Finding
from training.profile_plots import draw_profile
from training.report import page, report
from training.request import Silent, TrainRequest

HORIZON = 24


def frame(change: Callable[[pd.DataFrame], None] | None = None, freq: str = "h") -> pd.DataFrame:
    """Five clean series of 400 steps, changed in place."""
    step = np.arange(400)
    noise = np.random.default_rng(0).normal(0, 0.5, (5, 400))
    stamps = pd.date_range("1800-01-01" if freq == "YS" else "2024-01-01", periods=400, freq=freq)
    parts = [
        pd.DataFrame({"unique_id": f"s{i}", "ds": stamps, "y": 50 + 10 * np.sin(2 * np.pi * step / 24) + noise[i]})
        for i in range(5)
    ]
    data = pd.concat(parts, ignore_index=True)
    if change:
        change(data)
    return data


def told(data: pd.DataFrame, **changes: object) -> dict[str, list[Finding]]:
    request = TrainRequest.model_validate({"data": data, "name": "x", "freq": "h", "horizon": HORIZON, **changes})
    prepared = prepare(request, Silent())
    by_topic: dict[str, list[Finding]] = {}
    for finding in find(prepared.panel, prepared.profile, prepared.plan):
        by_topic.setdefault(finding.topic, []).append(finding)
    return by_topic


def test_clean_data_has_nothing_to_tell_but_its_size_and_season() -> None:
    found = told(frame())
    assert set(found) == {"size", "season", "values"}
    assert found["size"][0].found == "5 series of 400 steps, 2,000 values"
    assert found["values"][0].found == "positive"
    assert found["season"][0].done == "steps 24 apart are read together"


def set_values(rows: slice, value: object) -> Callable[[pd.DataFrame], None]:
    def change(data: pd.DataFrame) -> None:
        data.iloc[rows, 2] = value

    return change


@pytest.mark.parametrize(
    ("change", "topic", "sentence"),
    [
        (set_values(slice(500, 530), np.nan), "gaps", "1.5% of all steps are missing, in 1 of 5 series; "
         "the longest gap has 30 steps (series 's1')"),
        (set_values(slice(2000 - 100, 2000 - 99), 9e5), "outliers", "1 values lie more than ten usual ranges away "
         "(series 's4' at 2024-01-13 12:00:00: 900000)"),
        (set_values(slice(400, 800), 7.0), "constants", "1 of 5 series never change"),
        (set_values(slice(0, 2000, 7), -3.0), "values", "a share of 0.14 of them zero or below, from -3 on"),
        (set_values(slice(0, 2000), np.tile([0.0, 0.0, 4.0, 1.0], 500)), "values", "counts, 50% of them zero"),
    ],
    ids=["gaps", "outliers", "constants", "negative", "counts"],
)  # fmt: skip
def test_what_was_put_into_the_data_is_found(change: Callable[[pd.DataFrame], None], topic: str, sentence: str) -> None:
    assert topic not in told(frame()) or topic == "values"
    assert [finding.found for finding in told(frame(change))[topic]] == [sentence]


def test_series_that_are_short_or_end_early_are_named() -> None:
    data = frame()
    short = data[(data.unique_id == "s3") & (data.ds < "2024-01-02")]
    found = told(pd.concat([data[data.unique_id != "s3"], short]))
    assert found["short series"][0].found == "1 of 5 series are shorter than two seasons and a horizon"
    assert found["ends"][0].found == "1 of 5 series end more than a horizon before the latest one (series 's3')"


def test_what_was_done_to_rows_is_among_them() -> None:
    found = told(frame(), freq="D", horizon=7, rows=RowSettings(resample="sum"))
    assert found["rows"][0].found == "2000 rows with values were combined into 85 steps, each by its sum"


@pytest.mark.parametrize("freq", ["h", "MS", "YS"])
def test_the_page_says_it_all_and_escapes_names(freq: str) -> None:
    data = frame(set_values(slice(500, 530), np.nan), freq)
    data["unique_id"] = data.unique_id.replace("s1", "<script>alert(1)</script>")
    request = TrainRequest(data=data, name="x", freq=freq, horizon=12)
    prepared = prepare(request, Silent())
    document = report(prepared.panel, prepared.profile, prepared.plan)
    text = page(document, prepared.panel, "<b>data</b>")
    assert "<script>" not in text
    assert "&lt;b&gt;data&lt;/b&gt;" in text
    assert "the longest gap has 30 steps" in text
    assert text.count("data:image/png;base64,") == 1


def test_bundled_data(tmp_path: Path) -> None:
    prepared = prepare(TrainRequest(data=str(bundled()), name="x", horizon=24), Silent())
    (tmp_path / "p.html").write_text(page(report(prepared.panel, prepared.profile, prepared.plan), prepared.panel, "x"))
    assert (tmp_path / "p.html").stat().st_size > 20_000


_LATE = [1.0, 2.0, *[None] * 5000]
_PHASE_UNSEEN = [None if step % 24 == 0 else float(step % 7) for step in range(400)]


@pytest.mark.parametrize(
    ("names", "starts", "values", "freq"),
    [
        (["a", "b"], [1, 5], [[1.0], [2.0, None, 4.0]], "D"),
        (["a$b_{$c"], ["2024-01-01"], [list(range(100))], "h"),
        (["late"], [1], [_LATE], "YS"),
        (["late"], ["2024-01-01"], [_LATE], "h"),
        (["gappy"], ["2024-01-01"], [_PHASE_UNSEEN], "h"),
        (["huge"], ["2024-01-01"], [[1e37 * (step % 24) for step in range(200)]], "h"),
    ],
    ids=["tiny", "dollars", "late-years", "late-hours", "phase-unseen", "huge"],
)
def test_strange_panels_are_drawn(names: list[str], starts: list[Any], values: list[Any], freq: str) -> None:
    assert draw_profile(panel_from_histories(names, starts, values, freq)).startswith(b"\x89PNG")


def test_it_is_told_that_one_network_forecasts_logarithms() -> None:
    yearly = told(frame(freq="YS"), freq="YS", horizon=6)
    assert yearly["values"][0].done.startswith("one network forecasts logarithms")
    assert told(frame())["values"][0].done.startswith("logarithms are forecast")
