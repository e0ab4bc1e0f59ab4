import re

from tests.unit.training.test_comparison import trial
from training.comparison import Comparison, conclude, summarise
from training.request import TrainResult
from training.templating import render

MEASURES = {"mase": 0.81234, "smape": 12.0, "sql": 0.5, "coverage-80": 0.8, "coverage-95": 0.951}


def described(**changes: object) -> str:
    result = TrainResult(
        run_id="r", model="m", version=7, promoted=True, reason="promoted: better", seconds=1.0, windows_per_second=1.0,
        metrics=MEASURES, baselines={"seasonal_naive": {"mase": 1.0, "smape": 20.0}}, preset="fast", settings={},
    )  # fmt: skip
    return render("run.md", result=result.model_copy(update=changes), data="data: few", settings="settings: small")


def table(markdown: str) -> list[list[str]]:
    """Rows of cells; fails where a row has another number of cells than the head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", markdown, re.M)]
    assert {len(row) for row in rows} == {len(rows[0])}
    return rows


def test_a_run_is_described_by_its_verdict_and_a_table() -> None:
    text = described()
    assert text.startswith("**Version 7, promoted: better**\n\n|")
    head, line, model, baseline = table(text)
    assert set("".join(line)) == {"-"}
    assert dict(zip(head[1:], model[1:], strict=True))["MASE"] == "0.8123"
    assert baseline == ["seasonal naive", "1", "20", "–", "–", "–"]
    assert "data: few\n\nsettings: small\n" in text


def test_targets_a_champion_and_a_baseline_on_fewer_windows_have_their_rows() -> None:
    theta = {"theta": {"mase": 1.0, "smape": 20.0, "windows": 200.0, "model_mase": 0.75}}
    rows = table(described(targets={"a|b<i>": MEASURES}, champion=MEASURES, baselines=theta))
    assert [row[0] for row in rows[3:]] == [
        "this model, a/b&lt;i&gt;",
        "theta (200 windows; this model there 0.75)",
        "champion so far",
    ]


def test_warnings_are_paragraphs() -> None:
    assert described(warnings=["a gap", "a spike"]).endswith("\n\nNote: a gap\n\nNote: a spike\n")


def test_a_comparison_has_a_row_for_each_cell() -> None:
    cells = summarise([trial("gru", 1, 0.7), trial("rnn", 1, 0.9)])
    found = Comparison(
        run_id="r", model="m", freq="h", horizon=2, preset="fast", seeds=[1], windows=9, processes=1, cells=cells,
        baselines={}, verdict=conclude(cells, 1), trials=[],
    )  # fmt: skip
    text = render("comparison.md", found=found)
    assert table(text)[2] == ["gru", "0.7", "–", "10", "0.5", "0.95", "10.0"]
    assert "Means over 1 seed on 9 held-out windows" in text
