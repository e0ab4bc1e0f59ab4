from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forecaster.errors import InputError, NotFound
from forecaster.inference import infer_freq
from forecaster.panel import Panel
from forecaster.reading import panel_from_histories, read_panel
from forecaster.settings import CovariateSettings

FRAME = pd.DataFrame(
    {
        "unique_id": ["b", "a", "a", "b", "a"],
        "ds": pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-01", "2024-01-01", "2024-01-04"]),
        "y": [2.0, 30.0, 10.0, 1.0, np.nan],
    }
)


def assert_is_the_frame(panel: Panel) -> None:
    assert list(panel.ids) == ["b", "a"]
    assert panel.lengths.tolist() == [2, 4]
    np.testing.assert_array_equal(panel.values, np.array([1, 2, 10, np.nan, 30, np.nan], np.float32))
    assert str(panel.timestamps(1)[0])[:10] == "2024-01-01"


@pytest.mark.parametrize(
    "source",
    [
        FRAME,
        pl.from_pandas(FRAME),
        pa.Table.from_pandas(FRAME),
        FRAME.astype({"ds": str}).replace({np.nan: None}).to_dict(orient="records"),
        pa.Table.from_pandas(FRAME).set_column(0, "unique_id", pa.array(FRAME.unique_id).dictionary_encode()),
    ],
    ids=["pandas", "polars", "arrow", "records", "dictionary"],
)
def test_every_kind_of_table_gives_the_same_panel(source: Any) -> None:
    assert_is_the_frame(read_panel(source, "D"))


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".arrow"])
def test_every_kind_of_file_gives_the_same_panel(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"data{suffix}"
    if suffix.startswith(".csv"):
        FRAME.to_csv(path, index=False)
    elif suffix == ".parquet":
        FRAME.to_parquet(path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, pa.Table.from_pandas(FRAME).schema) as writer:
            writer.write(pa.Table.from_pandas(FRAME))
    assert_is_the_frame(read_panel(path, "D"))


def test_many_batches_are_read_as_one(tmp_path: Path) -> None:
    table = pa.table({"unique_id": ["a", "b"] * 500, "ds": np.repeat(np.arange(500), 2), "y": np.arange(1000.0)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    panel = read_panel(tmp_path / "t.parquet", "h")
    assert panel.integer
    assert panel.series(0).tolist() == list(range(0, 1000, 2))


def test_gap_in_timestamps_is_unobserved() -> None:
    panel = read_panel([{"unique_id": "a", "ds": d, "y": 1} for d in ("2024-01-31", "2024-04-30")], "ME")
    assert np.isnan(panel.values).tolist() == [False, True, True, False]


def test_integer_ids_stay_integers() -> None:
    panel = read_panel(pd.DataFrame({"unique_id": [7, 7], "ds": [1, 2], "y": [1, 2]}), "D")
    assert panel.ids.tolist() == [7]
    assert panel.ids.dtype == np.int64


def test_a_zone_is_an_instant_by_the_hour_and_a_wall_clock_by_the_day() -> None:
    ds = pd.date_range("2024-03-30", periods=4, freq="D", tz="Europe/Berlin")  # the clocks change on the 31st
    daily = read_panel(pd.DataFrame({"unique_id": "a", "ds": ds, "y": 1.0}), "D")
    assert daily.lengths.tolist() == [4]
    assert daily.zone is None
    hours = pd.date_range("2024-03-31", periods=30, freq="h", tz="Europe/Berlin")
    hourly = read_panel(pd.DataFrame({"unique_id": "a", "ds": hours, "y": 1.0}), "h")
    assert hourly.lengths.tolist() == [30]
    assert hourly.zone == "UTC"


@pytest.mark.parametrize("freq", ["D", "MS", "W-FRI"])
def test_a_day_is_the_one_that_is_written_whatever_the_offset_beside_it(freq: str) -> None:
    days = pd.date_range("2024-03-01", periods=3, freq=freq)  # the clocks change in between
    text = [f"{day.date()}T00:00:00{offset}" for day, offset in zip(days, ("+01:00", "+02:00", "Z"), strict=True)]
    table = read_panel(pd.DataFrame({"unique_id": "a", "ds": text, "y": 1.0}), freq)
    assert table.zone is None
    assert table.timestamps(0).tolist() == days.to_pydatetime().tolist()
    history = panel_from_histories(["a"], [text[0]], [[1.0, 2.0, 3.0]], freq)
    assert history.timestamps(0).tolist() == days.to_pydatetime().tolist()
    assert infer_freq(pd.DataFrame({"unique_id": "a", "ds": text, "y": 1.0})) == freq


def test_a_history_of_business_days_starts_on_one() -> None:
    with pytest.raises(InputError, match=r"2024-01-06.*business day"):
        panel_from_histories(["a"], ["2024-01-06"], [[1.0, 2.0]], "B")


def test_what_is_finer_than_a_microsecond_is_cut_off() -> None:
    panel = panel_from_histories(["a"], ["2024-05-01T13:45:12.1234567Z"], [[1.0, 2.0]], "s")
    assert str(panel.timestamps(0)[0]) == "2024-05-01T13:45:12.123456"


def test_a_zone_that_there_is_not_is_named() -> None:
    ds = pa.array([0], pa.timestamp("us", "Mars/Olympus"))
    with pytest.raises(InputError, match="Mars/Olympus"):
        read_panel(pa.table({"unique_id": ["a"], "ds": ds, "y": [1.0]}), "D")


def test_a_column_that_nobody_asked_for_may_hold_anything(tmp_path: Path) -> None:
    """Its type would be guessed from the first block, of a mebibyte."""
    rows = 60_000
    days = pd.date_range("1900-01-01", periods=rows, freq="h")
    frame = pd.DataFrame({"unique_id": "a", "ds": days, "y": 1.0, "event": None, "promo": 0}).astype({"event": object})
    frame.loc[rows - 1, "event"], frame["promo"] = "Easter", [*[0] * (rows - 1), 0.5]
    text = frame.to_csv(index=False).replace(",0.0\n", ",0\n")
    (tmp_path / "a.csv").write_text(text)
    panel = read_panel(str(tmp_path / "a.csv"), "h")
    assert len(panel.values) == rows
    assert panel.notes == ("columns 'event', 'promo' are not used by this model",)


@pytest.mark.parametrize(
    ("last", "kind"), [("0.5", None), ("Easter", ("0", "Easter")), ("", None), (" 3 ", None), ("true", None)]
)
def test_a_covariate_is_what_all_of_it_can_be_read_as(tmp_path: Path, last: str, kind: tuple[str, ...] | None) -> None:
    """Of the first mebibyte alone, whole numbers."""
    rows = 60_000
    days = pd.date_range("1900-01-01", periods=rows, freq="h")
    frame = pd.DataFrame({"unique_id": "a", "ds": days, "y": 1.0, "promo": [*["0"] * (rows - 1), last]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    known = read_panel(str(tmp_path / "a.csv"), "h", covariates=CovariateSettings(past=("promo",))).covariates
    assert known is not None
    assert known.settings.categories.get("promo") == kind
    if kind is None:
        expected = {"": np.nan, "true": 1.0, "0.5": 0.5, " 3 ": 3.0}[last]
        np.testing.assert_array_equal(known.dynamic[0, -2:], [0, expected])


def test_a_csvs_target_that_is_a_covariate_too_has_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=3), "load": [0.5, None, 2]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    declared = CovariateSettings(targets=("load",), past=("load",))
    known = read_panel(str(tmp_path / "a.csv"), "D", covariates=declared).covariates
    assert known is not None
    assert known.settings.categories == {}
    np.testing.assert_array_equal(known.dynamic, np.array([[0.5, np.nan, 2]], np.float32))


def test_a_header_in_another_encoding_is_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("unique_id,ds,y,größe\na,2024-01-01,1,2\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.csv"):
        read_panel(str(tmp_path / "a.csv"), "D")


def test_a_category_without_rows_is_no_series() -> None:
    frame = FRAME.astype({"unique_id": "category"})
    assert list(read_panel(frame[frame.unique_id == "a"], "D").ids) == ["a"]


def test_text_of_polars_is_read_as_any_text() -> None:
    frame = pl.DataFrame({"unique_id": ["a", "a"], "ds": ["2024-01-01", "2024-01-03"], "y": ["1", "2.5"]})
    np.testing.assert_array_equal(read_panel(frame, "D").values, np.array([1, np.nan, 2.5], np.float32))


def test_columns_that_are_not_used_are_told() -> None:
    assert read_panel(FRAME.assign(price=1.0), "D").notes == ("column 'price' is not used by this model",)
    more = FRAME.assign(**{f"c{number}": 1.0 for number in range(7)})
    (note,) = read_panel(more, "D").notes
    assert note == "columns 'c0', 'c1', 'c2', 'c3', 'c4' and 2 others are not used by this model"


def rows(**changes: Any) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": ["a", "a"], "ds": ["2024-01-01", "2024-01-02"], "y": [1.0, 2.0], **changes})


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (rows().rename(columns={"y": "value"}), ["'y'", "missing", "found: unique_id, ds, value"]),
        (rows(ds=["2024-01-01", "yesterday"]), ["'a'", "'ds'", "'yesterday'"]),
        (rows(ds=["2024-01-01", None]), ["'a'", "'ds'", "missing"]),
        (rows(ds=["2024-01-01", "2024-01-01"]), ["'a'", "'ds'", "more than once"]),
        (rows(ds=["2024-01-01", "2024-01-02T05:00"]), ["'a'", "'ds'", "grid"]),
        (rows(y=["1", "two"]), ["'a'", "'y'", "'two'"]),
        (rows(y=[1.0, np.inf]), ["'a'", "'y'", "infinite"]),
        (rows(y=[1.0, 1e300]), ["'a'", "'y'", "3e38"]),
        (rows(y=[True, False]), ["'y'", "bool"]),
        (rows(unique_id=["a", None]), ["'unique_id'", "no unique_id"]),
        (rows().iloc[:0], ["no rows"]),
        (rows(ds=[1.5, 2.0]), ["'ds'", "whole"]),
        (rows(ds=[20240131, 20240201]), ["'a'", "'ds'", "looks like a date"]),
        (rows(ds=["20240131", "20240201"]), ["'a'", "'ds'", "looks like a date"]),
        (rows(ds=[202401, 202402]), ["'a'", "'ds'", "looks like a date"]),
        (rows(ds=[1, 2**60]), ["'a'", "'ds'", "2**53"]),
        (rows(unique_id=[1.5, 2.5]), ["'unique_id'", "double"]),
    ],
)
def test_bad_rows_are_named_with_series_and_field(frame: pd.DataFrame, told: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        read_panel(frame, "D")
    assert "\n" not in str(caught.value)
    for part in told:
        assert part in str(caught.value)


def test_a_null_among_the_names_of_a_dictionary_is_no_series() -> None:
    ids = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array([None, "a"]))
    assert not ids.null_count
    with pytest.raises(InputError, match="no unique_id"):
        read_panel(pa.table({"unique_id": ids, "ds": [1, 1], "y": [1.0, 2.0]}), "D")


def test_a_duplicate_across_batches_is_found(tmp_path: Path) -> None:
    table = pa.table({"unique_id": ["a"] * 4, "ds": [1, 2, 3, 1], "y": [1.0] * 4})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    with pytest.raises(InputError, match="more than once"):
        read_panel(tmp_path / "t.parquet", "D")


def test_a_far_too_fine_frequency_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(InputError, match="nearly all missing"):
        read_panel(rows(ds=["1990-01-01", "2024-01-02"]), "s")


def test_weekends_are_off_the_business_grid() -> None:
    with pytest.raises(InputError, match="grid"):
        read_panel(rows(ds=["2024-01-05", "2024-01-06"]), "B")


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.parquet", b"PAR1 not really"), ("t.csv.gz", b"no gzip"), ("t.arrow", b"x"), ("t.txt", b"x")],
)
def test_a_damaged_file_is_a_mistake_not_a_crash(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="t\\."):
        read_panel(tmp_path / name, "D")


def test_a_missing_file_is_not_found() -> None:
    with pytest.raises(NotFound, match=r"nowhere\.csv"):
        read_panel("nowhere.csv", "D")


def test_histories_without_a_start_count_steps_from_one() -> None:
    panel = panel_from_histories(["a"], [None], [[1, None, 3]], "D")
    assert panel.future(2).tolist() == [[4, 5]]
    assert np.isnan(panel.values[1])


@pytest.mark.parametrize(
    ("starts", "values", "told"),
    [
        (["2024-01-01", "2024-01-01"], [[1.0], ["x"]], "not a number"),
        (["2024-01-01", "soon"], [[1.0], [1.0]], "'soon' is not a timestamp"),
        (["2024-01-01", None], [[1.0], [1.0]], "start is missing"),
        ([1, "2024-01-01"], [[1.0], [1.0]], "each a step"),
        ([1, 1], [[1.0], [float("inf")]], "infinite"),
    ],
)
def test_bad_histories_are_named(starts: list[Any], values: list[Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        panel_from_histories(["a", "b"], starts, values, "D")


def test_an_id_may_occur_once_only() -> None:
    with pytest.raises(InputError, match="occurs twice"):
        panel_from_histories(["a", "a"], [1, 1], [[1.0], [1.0]], "D")


def test_blanks_around_a_date_change_nothing() -> None:
    days = ["2024-01-30", "2024-01-31", "2024-02-01"]
    for spelt in ([f" {day}" for day in days], [f"{day} " for day in days], [f"\t{day}T00:00:00" for day in days]):
        panel = read_panel(pd.DataFrame({"unique_id": "a", "ds": spelt, "y": [1.0, 2.0, 3.0]}), "D")
        assert [str(stamp)[:10] for stamp in panel.timestamps(0)] == days
    months = pd.DataFrame({"unique_id": "a", "ds": [" 2024-02", " 2024-03"], "y": [1.0, 2.0]})
    assert [str(stamp)[:10] for stamp in read_panel(months, "MS").timestamps(0)] == ["2024-02-01", "2024-03-01"]


def test_years_and_months_of_any_century_are_read() -> None:
    years = pd.DataFrame({"unique_id": "a", "ds": ["1610", "1611", "1612"], "y": [1.0, 2.0, 3.0]})
    assert str(read_panel(years, "YS").timestamps(0)[0])[:10] == "1610-01-01"
    months = pd.DataFrame({"unique_id": "a", "ds": ["1610-03", "1610-04"], "y": [1.0, 2.0]})
    assert str(read_panel(months, "MS").timestamps(0)[1])[:10] == "1610-04-01"


def test_steps_from_one_end_of_the_numbers_to_the_other_are_refused() -> None:
    far = 2**53 - 1
    ids = np.repeat([f"s{i}" for i in range(1024)], 2)
    frame = pd.DataFrame({"unique_id": ids, "ds": np.tile([-far - 1, far], 1024), "y": 1.0})
    with pytest.raises(InputError, match="nearly all missing"):
        read_panel(frame, "D")


def by_month(days: list[str], name: str = "a") -> pd.DataFrame:
    return pd.DataFrame({"unique_id": name, "ds": pd.to_datetime(days), "y": np.arange(len(days)) + 1.0})


@pytest.mark.parametrize(
    "days",
    [
        ["2023-01-28", "2023-02-28", "2023-03-28"],
        ["2023-02-28", "2023-03-28", "2023-04-28"],
        ["2023-01-29", "2023-02-28", "2023-03-29"],
        ["2024-01-30", "2024-02-29", "2024-03-30", "2024-04-30"],
        ["2024-04-30", "2024-05-30", "2024-06-30"],
    ],
)
def test_a_day_that_short_months_lack_is_their_last(days: list[str], tmp_path: Path) -> None:
    frame = pd.concat([by_month(days), by_month(["2023-01-01", "2023-02-01"], "first")])
    path = tmp_path / "months.parquet"
    pq.write_table(pa.Table.from_pandas(frame), path, row_group_size=1)  # one row at a time, too
    for source in (frame, path):
        panel = read_panel(source, "MS")
        assert [str(stamp)[:10] for stamp in panel.timestamps(0)] == days
        assert infer_freq(source) == "MS"
    following = pd.Timestamp(days[-1]) + pd.DateOffset(months=1)
    assert str(panel.future(1)[0, 0])[:10] == str(following.replace(day=int(max(day[-2:] for day in days))))[:10]


@pytest.mark.parametrize(
    "days",
    [
        ["2023-01-31", "2023-02-28", "2023-03-28"],
        ["2023-02-28", "2023-03-28", "2023-05-31"],
        ["2023-01-30", "2023-02-27"],
        ["2023-01-15", "2023-02-28"],
    ],
)
def test_days_that_differ_by_month_are_refused(days: list[str], tmp_path: Path) -> None:
    path = tmp_path / "months.parquet"
    pq.write_table(pa.Table.from_pandas(by_month(days)), path, row_group_size=1)
    for source in (by_month(days), path):
        with pytest.raises(InputError, match="does not lie on the MS grid"):
            read_panel(source, "MS")
