"""What is known of series besides their values: from table to windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from forecaster.covariate_windows import CovariateWindows
from forecaster.covariates import covariates_for, learn_scales, require_future
from forecaster.errors import InputError
from forecaster.frequency import Frequency
from forecaster.panel import Covariates, Panel, side_by_side
from forecaster.reading import read_panel
from forecaster.settings import CovariateSettings, RowSettings
from tests.fixtures_models import model_settings

DAYS = pd.date_range("2024-01-01", periods=10)
DECLARED = CovariateSettings(static=("region",), past=("visits",), future=("price", "weather"))


def frame(**changes: object) -> pd.DataFrame:
    """Two series of ten days; the first ends two days, the second one day before its covariates do."""
    table = pd.DataFrame(
        {
            "unique_id": ["a"] * 10 + ["b"] * 10,
            "ds": [*DAYS, *DAYS],
            "y": [*np.arange(8.0), None, None, *np.arange(9.0), None],
            "region": ["north"] * 10 + ["south"] * 10,
            "visits": np.arange(20.0) * 2,
            "price": np.arange(20.0),
            "weather": list("rsrsrsrsrsrsrsrsrsrs"),
        }
    )
    return table.assign(**changes)


def read(table: pd.DataFrame, declared: CovariateSettings = DECLARED) -> Panel:
    return read_panel(table, "D", None, declared)


def known(panel: Panel) -> Covariates:
    assert panel.covariates is not None
    return panel.covariates


def test_a_series_ends_with_its_last_value_and_later_rows_are_its_future() -> None:
    panel = read(frame())
    assert panel.lengths.tolist() == [8, 9]
    assert panel.values.tolist() == [*range(8), *range(9)]
    assert np.diff(known(panel).offsets).tolist() == [10, 10]
    require_future(panel, known(panel).settings, 1)


def test_gaps_and_unobserved_values_before_the_last_stay() -> None:
    table = frame()
    table.loc[[2, 5], "y"] = None
    panel = read(table.drop(index=3))
    assert panel.lengths.tolist() == [8, 9]
    assert np.isnan(panel.values[[2, 3, 5]]).all()
    assert np.isnan(known(panel).dynamic[0, 3])


def test_without_future_covariates_a_series_ends_with_its_rows() -> None:
    assert read(frame(), CovariateSettings(past=("visits",))).lengths.tolist() == [10, 10]


def test_the_order_of_rows_changes_nothing() -> None:
    plain, mixed = known(read(frame())), read(frame().sample(frac=1, random_state=3))
    order = [list(mixed.ids).index(name) for name in ("a", "b")]
    again = known(mixed.select(order))
    assert plain.settings == again.settings
    np.testing.assert_array_equal(plain.dynamic, again.dynamic)
    np.testing.assert_array_equal(plain.static, again.static)


def test_categories_are_codes_from_one_in_the_order_of_their_names() -> None:
    found = known(read(frame()))
    assert found.settings.categories == {"region": ("north", "south"), "weather": ("r", "s")}
    assert found.dynamic[1, :4].tolist() == [1, 2, 1, 2]
    assert found.static[:, 0].tolist() == [1, 2]


def test_numbers_that_are_names_are_declared_and_spelt_without_a_point() -> None:
    table = frame(price=[1.0, 2.0] * 10)
    declared = CovariateSettings(future=("price",), categorical=("price",))
    assert known(read(table, declared)).settings.categories == {"price": ("1", "2")}


def test_a_file_of_text_is_read_alike(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "data.csv", index=False)
    frame().to_parquet(tmp_path / "data.parquet")
    for name in ("data.csv", "data.parquet"):
        found = known(read_panel(tmp_path / name, "D", None, DECLARED))
        np.testing.assert_array_equal(found.dynamic, known(read(frame())).dynamic)


def test_numbers_of_a_file_of_text_may_be_missing_in_words(tmp_path: Path) -> None:
    words = ["1", "NA", " nan ", "n/a", "", "2.5", "None", "null", "3", "4"] * 2
    frame(price=words, weather=["NA", "s"] * 10).to_csv(tmp_path / "data.csv", index=False)
    found = known(read_panel(tmp_path / "data.csv", "D", None, DECLARED))
    expected = [1, np.nan, np.nan, np.nan, np.nan, 2.5, np.nan, np.nan, 3, 4] * 2
    np.testing.assert_array_equal(found.dynamic[0], expected)
    assert found.settings.categories["weather"] == ("NA", "s"), "among names it may be one"
    frame(price="NA", weather="NA").to_csv(tmp_path / "later.csv", index=False)
    later = known(read_panel(tmp_path / "later.csv", "D", None, learn_scales(found).settings))
    assert np.isnan(later.dynamic[0]).all()
    np.testing.assert_array_equal(later.dynamic[1], 1)


def test_rows_of_one_step_give_the_mean_of_numbers_and_the_last_of_names() -> None:
    hours = pd.DataFrame(
        {
            "unique_id": "a",
            "ds": pd.date_range("2024-01-01", periods=48, freq="h"),
            "y": 1.0,
            "price": np.arange(48.0),
            "weather": ["r"] * 23 + ["s"] + ["s"] * 23 + ["r"],
        }
    )
    declared = CovariateSettings(past=("price", "weather"))
    found = known(read_panel(hours, "D", RowSettings(resample="sum"), declared))
    np.testing.assert_array_equal(found.dynamic, [[11.5, 35.5], [2, 1]])


def test_a_trained_model_keeps_its_codes_and_tells_what_it_does_not_know() -> None:
    trained = learn_scales(known(read(frame()))).settings
    panel = read(frame(weather=["t"] * 10 + ["s"] * 10), trained)
    assert known(panel).dynamic[1].tolist() == [0] * 10 + [2] * 10
    assert panel.notes == ("column 'weather' has values that training had not ('t'): they count as unknown",)


@pytest.mark.parametrize(
    ("table", "declared", "told"),
    [
        (frame(region=["north"] * 9 + ["south"] * 11), DECLARED, ("series 'a'", "'region'", "changes within")),
        (frame().drop(columns="price"), DECLARED, ("'price'", "missing", "needs this covariate")),
        (frame(price=[*range(19), np.inf]), DECLARED, ("series 'b'", "'price'", "infinite")),
        (frame(price=["1"] * 19 + ["x"]), CovariateSettings(future=("price",), scales={"price": (0, 1)}), ("'x'",)),
    ],
)
def test_what_cannot_be_read_is_named(table: pd.DataFrame, declared: CovariateSettings, told: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        read(table, declared)
    assert all(part in str(caught.value) for part in told), caught.value


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"future": ("y",)}, "column of the series"),
        ({"past": ("a",), "future": ("a",)}, "declared twice"),
        ({"categorical": ("a",)}, "no covariate"),
        ({"country": "US"}, "go together"),
        ({"targets": ("ds",)}, "cannot be forecast"),
        ({"targets": ("a",), "future": ("a",)}, "declared twice"),
        ({"targets": ("a", "a")}, "declared twice"),
    ],
)
def test_declarations_that_contradict_each_other_are_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CovariateSettings.model_validate(wrong)


def test_a_future_that_is_too_short_or_missing_is_named() -> None:
    panel = read(frame())
    with pytest.raises(
        InputError, match=r"series 'b', field 'price': there are 1 future rows of price, weather .* 2 steps"
    ):
        require_future(panel, known(panel).settings, 2)
    blank = read(frame(price=[*range(18), None, None]))
    with pytest.raises(InputError, match=r"series 'b', field 'price': all of its 1 future values are missing"):
        require_future(blank, known(blank).settings, 1)


def test_windows_hold_what_is_known_of_each_step() -> None:
    panel = read(frame())
    settings = learn_scales(known(panel)).settings.model_copy(update={"calendar": ("weekday",)})
    source = CovariateWindows.of(panel, settings, 3)
    assert source is not None
    first, second = source.gather(torch.tensor([0, 1]), torch.tensor([8, 2]), 4, 3).numpy()
    nan = np.nan
    np.testing.assert_array_equal(  # price, weather, visits, region, weekday
        first,
        [
            [4, 1, 8, 1, 5], [5, 2, 10, 1, 6], [6, 1, 12, 1, 7], [7, 2, 14, 1, 1],
            [8, 1, nan, 1, 2], [9, 2, nan, 1, 3], [nan, nan, nan, 1, 4],
        ],
    )  # fmt: skip
    assert np.isnan(second[:2, :3]).all()  # before the series begins
    np.testing.assert_array_equal(second[2:5, 0], [10, 11, 12])
    np.testing.assert_array_equal(second[2:, 2], [20, 22, nan, nan, nan])


def test_windows_written_to_files_are_the_same(tmp_path: Path) -> None:
    panel = read(frame())
    source = CovariateWindows.of(panel, learn_scales(known(panel)).settings, 3)
    assert source is not None
    source.save(tmp_path)
    series, place = torch.tensor([1, 0, 1]), torch.tensor([3, 8, 9])
    found = CovariateWindows.load(tmp_path).gather(series, place, 5, 2)
    torch.testing.assert_close(found, source.gather(series, place, 5, 2), equal_nan=True)


def test_another_models_columns_and_codes_are_found_in_a_panel() -> None:
    panel = read(frame())
    other = CovariateSettings(
        static=("region",), future=("weather",), categories={"region": ("south",), "weather": ("s", "t", "r")}
    )
    found = covariates_for(panel, other)
    assert found.dynamic[0, :4].tolist() == [3, 1, 3, 1]
    assert found.static[:, 0].tolist() == [0, 1]
    with pytest.raises(InputError, match="'stock'"):
        covariates_for(panel, CovariateSettings(past=("stock",)))
    with pytest.raises(InputError, match="knows numbers here"):
        covariates_for(panel, CovariateSettings(future=("weather",), scales={"weather": (0, 1)}))


def test_a_selection_keeps_each_series_its_own() -> None:
    panel = read(frame()).select([1])
    assert known(panel).dynamic[0].tolist() == list(range(10, 20))
    assert known(panel).static.tolist() == [[2]]


def test_targets_are_series_of_their_own_side_by_side() -> None:
    table = frame().rename(columns={"y": "sold"}).assign(cost=range(len(frame())))
    declared = DECLARED.model_copy(update={"targets": ("sold", "cost")})
    panel = read(table, declared)
    alone = {name: read(table.rename(columns={name: "y"})) for name in declared.targets}
    assert panel.targets is not None
    assert panel.targets.tolist() == ["sold", "cost"] * alone["sold"].n_series
    assert panel.ids.tolist() == alone["sold"].ids.repeat(2).tolist()
    assert panel.owners.tolist() == np.arange(alone["sold"].n_series).repeat(2).tolist()
    for series in range(panel.n_series):
        expected = alone[str(panel.targets[series])]
        own = expected.series(series // 2)
        steps = min(len(own), int(panel.lengths[series]))  # both go on until the last value of either
        np.testing.assert_array_equal(panel.series(series)[:steps], own[:steps])
        assert panel.lengths[series] == max(one.lengths[series // 2] for one in alone.values())
        assert panel.start[series] == expected.start[series // 2]
    covariates, other = known(panel), known(alone["sold"])
    np.testing.assert_array_equal(covariates.static, other.static.repeat(2, 0))
    joined = side_by_side([alone["cost"], alone["cost"]], ("a", "b"))
    np.testing.assert_array_equal(joined.series(1), alone["cost"].series(0))
    np.testing.assert_array_equal(known(joined).dynamic, known(joined.select(np.arange(joined.n_series))).dynamic)


def test_a_window_says_which_target_it_is_of() -> None:
    table = frame().rename(columns={"y": "sold"}).assign(cost=range(len(frame())))
    declared = CovariateSettings(targets=("cost", "sold"))
    panel = read(table, declared)
    windows = CovariateWindows.of(panel, declared, 2)
    assert windows is not None
    found = windows.gather(torch.tensor([0, 1, 2]), torch.tensor([1, 1, 1]), 3, 2)
    assert found[..., -1].tolist() == [[1.0] * 5, [2.0] * 5, [1.0] * 5]
    other = CovariateSettings(targets=("wind", "sold"))
    with pytest.raises(InputError, match="does not forecast") as caught:
        CovariateWindows.of(panel, other, 2)
    assert caught.value.field == "cost"
    with pytest.raises(InputError, match="y alone"):
        covariates_for(panel, CovariateSettings())
    with pytest.raises(InputError, match="forecasts cost, sold"):
        covariates_for(read(frame(), CovariateSettings()), declared)


def test_a_target_may_be_seen_by_the_others() -> None:
    table = frame().rename(columns={"y": "sold"}).assign(cost=range(len(frame())))
    panel = read(table, CovariateSettings(targets=("cost", "sold"), past=("cost",)))
    own = [panel.series(series) for series in range(0, panel.n_series, 2)]
    seen = known(panel).select(np.arange(0, panel.n_series, 2)).dynamic[0]
    np.testing.assert_array_equal(seen, np.concatenate(own))


STORES = ["007", "00A", "08:30", "True", "7.0"]


def codes(table: pd.DataFrame, path: Path, learnt: CovariateSettings) -> tuple[list[list[float]], CovariateSettings]:
    """What the column `store` becomes: from a file, from a frame, and from a body of the API."""
    from service.columnar import CSV, _panel_of_text, read_table

    table.to_csv(path, index=False)
    settings = model_settings(freq="D", season=7, network={"season": 7}, covariates=learnt)
    sent = _panel_of_text(read_table(CSV, path.read_bytes()), Frequency.parse("D"), settings, 1)
    panels = [read_panel(source, "D", None, learnt) for source in (path, table)] + [sent]
    return [known(panel).static[:, 0].tolist() for panel in panels], known(panels[0]).settings


def test_a_name_is_the_same_in_every_file_whatever_the_others_look_like(tmp_path: Path) -> None:
    table = pd.DataFrame({"unique_id": list("abcde"), "ds": "2024-01-01", "y": 1.0, "store": STORES})
    _, learnt = codes(table, tmp_path / "all.csv", CovariateSettings(static=("store",)))
    assert learnt.categories["store"] == ("007", "00A", "08:30", "7", "true")
    for name, spelt in zip(STORES, ("007", "00A", "08:30", "true", "7"), strict=True):
        alone = table[table.store == name]
        found, _ = codes(alone, tmp_path / "one.csv", learnt)
        assert found == [[learnt.categories["store"].index(spelt) + 1]] * 3, name


def test_numbers_that_are_names_keep_their_zeros_and_may_be_missing(tmp_path: Path) -> None:
    table = pd.DataFrame({"unique_id": list("abcd"), "ds": "2024-01-01", "y": 1.0, "store": ["007", "8", "NA", "9.0"]})
    declared = CovariateSettings(static=("store",), categorical=("store",))
    found, learnt = codes(table, tmp_path / "all.csv", declared)
    assert learnt.categories["store"] == ("007", "8", "9")
    np.testing.assert_array_equal(found, [[1, 2, np.nan, 3]] * 3)
    records = [{"unique_id": "a", "ds": "2024-01-01", "y": 1.0, "store": 9}]
    assert known(read_panel(records, "D", None, learnt)).static.tolist() == [[3]]


def test_a_model_of_one_column_takes_no_other() -> None:
    table = pd.DataFrame({"unique_id": "a", "ds": DAYS, "y": 1.0, "load": 2.0, "price": 3.0})
    load, price = CovariateSettings(targets=("load",)), CovariateSettings(targets=("price",))
    assert CovariateWindows.of(read(table, load), load, 1) is None
    for other in (price, CovariateSettings()):
        with pytest.raises(InputError, match="forecast"):
            CovariateWindows.of(read(table, load), other, 1)


def test_names_that_look_like_nothing_are_names_where_others_are_no_numbers(tmp_path: Path) -> None:
    table = pd.DataFrame({"unique_id": list("abc"), "ds": "2024-01-01", "y": 1.0, "store": ["None", "flyer", "NA"]})
    declared = CovariateSettings(static=("store",), categorical=("store",))
    found, learnt = codes(table, tmp_path / "all.csv", declared)
    assert learnt.categories["store"] == ("NA", "None", "flyer")
    assert found == [[2, 3, 1]] * 3
    again, _ = codes(table, tmp_path / "all.csv", learnt)
    assert again == found


def test_names_are_known_as_earlier_releases_spelt_them() -> None:
    learnt = CovariateSettings(static=("store",), categorical=("store",), categories={"store": ("7", "8", "true")})
    table = pd.DataFrame({"unique_id": list("abc"), "ds": "2024-01-01", "y": 1.0, "store": ["007", "8.0", "TRUE"]})
    panel = read(table, learnt)
    assert known(panel).static[:, 0].tolist() == [1, 2, 3]
    assert panel.notes == ()
