import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
from scoring.long_horizon import SETS, split
from scoring.m4 import DECILES, RULES, M4Set, present
from scoring.naive2 import naive2
from scoring.results import Key, Results
from scoring.rolling import rolling_errors
from scoring.tables import write

from forecaster.forecast import mean_of_quantiles
from tests.fixtures_models import make_panel, make_predictor


def test_naive2_repeats_the_last_value_without_a_season() -> None:
    assert naive2(np.array([3.0, 1.0, 2.0]), 4, 1).tolist() == [2.0] * 4
    noise = np.random.default_rng(1).normal(10, 1, 40)
    assert naive2(noise, 5, 12).tolist() == [noise[-1]] * 5


def test_naive2_goes_on_with_a_multiplicative_season() -> None:
    pattern = np.array([0.5, 1.0, 1.5, 1.0])
    history = 20 * np.tile(pattern, 6)[:-1]  # ends with the third quarter
    np.testing.assert_allclose(naive2(history, 5, 4), 20 * np.array([1.0, 0.5, 1.0, 1.5, 1.0]))


def test_naive2_is_the_competitions_own_on_every_frequency(public_data: Path, official: ModuleType) -> None:
    names = present(public_data)
    assert names
    for name in names:
        m4 = M4Set.load(public_data, name)
        for history in m4.histories[:100]:
            expected = official.naive2(history, m4.rules.horizon, m4.rules.season)
            np.testing.assert_allclose(naive2(history, m4.rules.horizon, m4.rules.season), expected, rtol=1e-12)


def random_forecast(m4: M4Set) -> pa.Table:
    """Rows in any order, quantiles and an interval around a wrong median."""
    generator = np.random.default_rng(2)
    median = (m4.truth * generator.lognormal(0, 0.1, m4.truth.shape)).ravel()
    steps = np.concatenate([len(h) + np.arange(1, m4.rules.horizon + 1) for h in m4.histories])
    columns = {f"q{level:g}": median * (0.8 + 0.4 * level) for level in DECILES}
    ids = np.repeat(m4.ids, m4.rules.horizon)
    table = {"unique_id": ids, "ds": steps, "median": median, "lo-95": 0.8 * median, "hi-95": 1.2 * median, **columns}
    return pa.table(table).take(generator.permutation(len(median)))


def test_scores_are_the_competitions_own(public_data: Path, official: ModuleType) -> None:
    m4 = M4Set.load(public_data, "Hourly")
    forecast = random_forecast(m4)
    expected = official.score(forecast.to_pandas(), ["Hourly"], str(public_data), col="median")[0].iloc[0]
    found = m4.scores(forecast)
    names = {"msis": "msis-95", "coverage": "cover-95"}
    assert set(found) == {"smape", "mase", "owa", "msis", "coverage", "wql"}
    for name, value in found.items():
        assert value == pytest.approx(expected[names.get(name, name)], rel=1e-9)


def test_a_forecast_that_lacks_a_step_is_not_scored() -> None:
    history = np.arange(1.0, 31)
    m4 = M4Set("Yearly", pa.table({}), ["Y1"], [history], np.full((1, 6), 31.0))
    whole = pa.table({"unique_id": ["Y1"] * 6, "ds": np.arange(31, 37), "median": np.full(6, 34.0)})
    assert m4.scores(whole)["mase"] == pytest.approx(3.0)
    with pytest.raises(ValueError, match="each series and step"):
        m4.scores(whole.slice(1))


def test_a_sample_is_of_whole_series_and_the_same_for_the_same_seed() -> None:
    names, histories = [f"Y{i}" for i in range(9)], [np.arange(10.0) + i for i in range(9)]
    train = pa.table(
        {"unique_id": np.repeat(names, 10), "ds": np.tile(np.arange(1, 11), 9), "y": np.concatenate(histories)}
    )
    m4 = M4Set("Yearly", train, names, histories, np.arange(54.0).reshape(9, 6))
    few, same, others = m4.sample(4, 1), m4.sample(4, 1), m4.sample(4, 2)
    assert few.ids == same.ids != others.ids
    assert sorted(few.ids) == few.ids
    assert few.train["unique_id"].to_pylist() == [name for name in few.ids for _ in range(10)]
    for row, name in enumerate(few.ids):
        assert few.histories[row][0] == few.truth[row, 0] / 6 == int(name[1:])
    assert m4.sample(100, 1).ids == names


@pytest.mark.parametrize(("share", "block"), [(0.1, 1), (0.3, 24)])
def test_values_are_removed_from_the_training_part_alone(share: float, block: int) -> None:
    names, steps = [f"H{i}" for i in range(50)], 500
    histories = [np.arange(1.0, steps + 1) + i for i in range(50)]
    train = pa.table(
        {
            "unique_id": np.repeat(names, steps),
            "ds": np.tile(np.arange(1, steps + 1), 50),
            "y": np.concatenate(histories),
        }
    )
    m4 = M4Set(
        "Hourly", train.take(np.random.default_rng(0).permutation(len(train))), sorted(names), [], np.ones((50, 48))
    )
    m4 = M4Set(m4.frequency, m4.train, m4.ids, [histories[int(name[1:])] for name in m4.ids], m4.truth)
    less = m4.thinned(share, block, 1)
    assert less.train == m4.thinned(share, block, 1).train != m4.thinned(share, block, 2).train
    kept = less.train.to_pandas()
    assert kept.y.count() / len(train) == pytest.approx(1 - share, abs=0.04)
    assert (kept.groupby("unique_id").ds.max() == steps).all()
    assert (kept.y.isna() <= (kept.ds == steps)).all()
    known = kept.dropna()
    assert (known.y == known.ds + known.unique_id.str[1:].astype(int)).all()
    gaps = known.groupby("unique_id").ds.diff().dropna() - 1
    assert (gaps % block == 0).all()
    assert less.histories is m4.histories


def test_long_horizon_parts_are_the_published_ones() -> None:
    assert split(17420, SETS["ETTh1"].ends) == (8640, 11520, 14400)
    assert split(52696, SETS["Weather"].ends) == (36887, 52696 - 10539, 52696)


def test_rolling_errors_are_those_of_every_window() -> None:
    predictor, panel = make_predictor(), make_panel(n=2, length=200)
    found = rolling_errors(predictor, panel, 24, 150)
    squared, absolute = [], []
    for series in range(2):
        begin = panel.offsets[series]
        for origin in range(150, 200 - 24 + 1):
            place = np.array([begin + origin])
            grid = predictor.quantiles_at(panel, np.array([series]), place, 24)
            truth = panel.series(series)[origin : origin + 24]
            squared.append((mean_of_quantiles(grid, predictor.info.quantiles)[0] - truth) ** 2)
            middle = predictor.info.quantiles.index(0.5)
            absolute.append(np.abs(grid[0, :, middle] - truth))
    assert found["windows"] == len(squared) == 2 * 27
    assert found["mse"] == pytest.approx(float(np.mean(squared)), rel=1e-4)
    assert found["mae"] == pytest.approx(float(np.mean(absolute)), rel=1e-4)


MEASURED = {"smape": 9.0, "mase": 0.8, "owa": 0.41, "wql": 0.02, "msis": 6.4, "coverage": 0.95, "seconds": 100.0}


def key(model: str, seed: int) -> Key:
    return Key("m4", "Hourly", RULES["Hourly"].horizon, model, seed)


def test_results_are_kept_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "accuracy-2026-01-01.json"
    Results(path).add(key("balanced", 1), {**MEASURED, "series": 414})
    again = Results(path)
    assert key("balanced", 1) in again
    assert key("balanced", 2) not in again
    again.add(key("balanced", 2), {**MEASURED, "owa": 0.43, "series": 414})
    document = json.loads(path.read_text())
    assert [result["seed"] for result in document["results"]] == [1, 2]
    assert document["machine"]["cores"] >= 1


def test_the_table_tells_mean_and_spread_of_the_seeds_and_leaves_trials_out(tmp_path: Path) -> None:
    old, new = Results(tmp_path / "accuracy-2026-01-01.json"), Results(tmp_path / "accuracy-2026-02-01.json")
    old.add(key("balanced", 1), {**MEASURED, "owa": 9.9, "series": 414})
    new.add(key("balanced", 1), {**MEASURED, "series": 414})
    new.add(key("balanced", 2), {**MEASURED, "owa": 0.43, "series": 414})
    new.add(key("neuralforecast-gru", 1), {"smape": 20.0, "mase": 3.0, "owa": 1.2, "seconds": 100.0, "series": 414})
    new.add(key("quick", 1), {**MEASURED, "series": 414})
    new.add(Key("m4-100", "Hourly", 48, "balanced", 1), {**MEASURED, "owa": 0.5, "series": 100})
    new.add(Key("missing", "Hourly, 10% in blocks", 48, "balanced", 1), {**MEASURED, "owa": 0.4305, "series": 414})
    new.add(Key("long", "ETTh1", 96, "balanced", 1), {"mse": 0.37, "mae": 0.4, "seconds": 60.0})
    write(tmp_path, tmp_path / "accuracy.md")
    lines = (tmp_path / "accuracy.md").read_text().splitlines()
    balanced = next(line for line in lines if line.startswith("| balanced"))
    assert balanced.startswith("| balanced | 2 | 0.420 ± 0.014 | 9.000 ± 0.000 | 0.800 ± 0.000 |")
    assert "| neuralforecast-gru | 1 | 1.200 | 20.000 | 3.000 |  |  |  | 100 | 2026-02-01 |" in lines
    assert "| Hourly | balanced | 1 | 0.500 | 9.000 | 0.800 | 0.0200 | 6.40 | 0.950 | 100 | 2026-02-01 |" in lines
    worse = f"| Hourly, 10% in blocks | balanced | 1 | {100 * (0.4305 / MEASURED['owa'] - 1):.1f} % | 0.430 |"
    assert any(line.startswith(worse) for line in lines)
    assert "| ETTh1 | 96 | balanced | 1 | 0.351 | 0.370 | 0.400 | 60 | 2026-02-01 |" in lines
    assert not any("quick" in line for line in lines)


def test_a_horizon_measured_alone_stands_beside_what_was_published_for_it(tmp_path: Path) -> None:
    found = {"mse": 0.421, "mae": 0.41, "seconds": 900.0, "windows_per_second": 1.0}
    Results(tmp_path / "accuracy-1.json").add(Key("long", "ETTm1", 720, "balanced", 1), found)
    write(tmp_path, tmp_path / "accuracy.md")
    (row,) = [line for line in (tmp_path / "accuracy.md").read_text().splitlines() if line.startswith("| ETTm1")]
    assert row.startswith("| ETTm1 | 720 | balanced | 1 | 0.410 | 0.421 |")
