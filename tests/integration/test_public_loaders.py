from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forecaster.data.public import load_ett, load_m4
from forecaster.errors import InputError, NotFound

DATA = Path(os.environ.get("FORECASTER_TEST_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")
needs_public_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no public data in {DATA}; name their folder in FORECASTER_TEST_DATA"
)

M4_TRAIN = '"V1","V2","V3","V4"\n"H1","605","586","559.5"\n"H2","3124","2990",""\n"H3","1"\n'
M4_TEST = '"V1","V2","V3"\n"H1","619","565"\n"H2","2983","2859"\n"H3","2","3"\n'
ETT = (
    "date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT\n"
    "2016-07-01 00:00:00,5.827,2.009,1.599,0.462,4.203,1.340,30.531\n"
    "2016-07-01 01:00:00,5.693,2.076,1.492,0.426,4.142,1.371,\n"
)


def write_m4(folder: Path, train: str = M4_TRAIN, test: str = M4_TEST) -> Path:
    (folder / "Hourly-train.csv").write_text(train)
    (folder / "Hourly-test.csv").write_text(test)
    return folder


def test_m4_csv_becomes_long_and_padding_is_not_part_of_a_series(tmp_path: Path) -> None:
    train, _ = load_m4(write_m4(tmp_path), "Hourly")
    assert train.to_pydict() == {
        "unique_id": ["H1", "H1", "H1", "H2", "H2", "H3"],
        "ds": [1, 2, 3, 1, 2, 1],
        "y": [605.0, 586.0, 559.5, 3124.0, 2990.0, 1.0],
    }


def test_an_m4_test_series_goes_on_where_its_train_ends(tmp_path: Path) -> None:
    _, test = load_m4(write_m4(tmp_path), "Hourly")
    assert test["ds"].to_pylist() == [4, 5, 3, 4, 2, 3]
    assert test["y"].to_pylist() == [619.0, 565.0, 2983.0, 2859.0, 2.0, 3.0]


def test_a_gap_inside_an_m4_series_is_null(tmp_path: Path) -> None:
    train, _ = load_m4(write_m4(tmp_path, train="V1,V2,V3,V4,V5\nH1,1,NA,3,NA\nH2,1\nH3,1\n"), "Hourly")
    assert train["y"].to_pylist() == [1.0, None, 3.0, 1.0, 1.0]


def test_m4_csv_in_the_folders_train_and_test_is_found(tmp_path: Path) -> None:
    for part, text in (("Train", M4_TRAIN), ("Test", M4_TEST)):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"Hourly-{part.lower()}.csv").write_text(text)
    train, test = load_m4(tmp_path, "Hourly")
    assert (train.num_rows, test.num_rows) == (6, 6)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("id,V2\nH1,1\n", "field 'V1': Hourly-train.csv does not begin with a header V1, V2, ..."),
        ("", "field 'V1': Hourly-train.csv does not begin with a header V1, V2, ..."),
        ("V1,V2,V3\nH1,1,2\nH2,5,many\n", "series 'H2', field 'V3': 'many' is not a number"),
        ("V1,V2\nH1,1\nH1,2\n", "series 'H1', field 'V1': there is more than one line in Hourly-train.csv"),
        ("V1,V2\nH1,1\nH3,1\n", "series 'H2', field 'V1': Hourly-test.csv has it, the train file has not"),
    ],
)
def test_a_malformed_m4_file_names_series_and_field(tmp_path: Path, train: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_m4(write_m4(tmp_path, train=train), "Hourly")
    assert str(caught.value) == message


def test_an_unknown_m4_frequency_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"field 'frequency': 'h' is unknown; use one of Yearly, .*Hourly"):
        load_m4(tmp_path, "h")


def test_absent_files_are_not_found_and_the_names_looked_for_are_given(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"Weekly-train.csv, Train/Weekly-train.csv, m4_weekly_train.parquet"):
        load_m4(tmp_path, "Weekly")
    with pytest.raises(NotFound, match=r"ETTm1.csv, ETT-small/ETTm1.csv, ettm1.parquet"):
        load_ett(tmp_path / "nowhere", "ETTm1")


def test_ett_csv_becomes_seven_series_on_one_clock(tmp_path: Path) -> None:
    (tmp_path / "ETTh1.csv").write_text(ETT)
    table = load_ett(tmp_path, "ETTh1")
    assert table["unique_id"].unique().to_pylist() == ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    assert table["ds"].to_pylist() == [datetime(2016, 7, 1, 0), datetime(2016, 7, 1, 1)] * 7
    assert table["y"].to_pylist()[:4] == [5.827, 5.693, 2.009, 2.076]
    assert table["y"].to_pylist()[-2:] == [30.531, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ETT.replace("MULL", "XXXX"), "field 'MULL': ETTh1.csv has no such column; it has date, HUFL, "),
        (ETT.replace("5.693", "hot"), "ETTh1.csv cannot be read: .*hot"),
        (ETT.replace("2016-07-01 01", "noon"), "ETTh1.csv cannot be read: .*noon"),
        ("", "ETTh1.csv cannot be read"),
    ],
)
def test_a_malformed_ett_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "ETTh1.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_ett(tmp_path, "ETTh1")
    assert "\n" not in str(caught.value)


def test_an_unknown_ett_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="field 'name': 'etth1' is unknown; use one of ETTh1"):
        load_ett(tmp_path, "etth1")


def test_long_parquet_keeps_its_rows_and_turns_nan_into_null(tmp_path: Path) -> None:
    rows = {"unique_id": ["OT", "OT"], "ds": [datetime(2016, 7, 1, 0), datetime(2016, 7, 1, 1)]}
    pq.write_table(pa.table({**rows, "y": [30.5, float("nan")], "extra": [0, 0]}), tmp_path / "etth1.parquet")
    assert load_ett(tmp_path, "ETTh1").to_pydict() == {**rows, "y": [30.5, None]}


def test_long_parquet_without_a_column_or_of_a_wrong_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "etth1.parquet"
    pq.write_table(pa.table({"unique_id": ["OT"], "ds": [datetime(2016, 7, 1)]}), path)
    with pytest.raises(InputError, match=r"field 'y': etth1.parquet has no such column; it has unique_id, ds"):
        load_ett(tmp_path, "ETTh1")
    pq.write_table(pa.table({"unique_id": ["OT"], "ds": ["soon"], "y": [1.0]}), path)
    with pytest.raises(InputError, match=r"etth1.parquet cannot be read: .*soon"):
        load_ett(tmp_path, "ETTh1")
    path.write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"etth1.parquet cannot be read"):
        load_ett(tmp_path, "ETTh1")


def ends_of(table: pa.Table, end: str) -> dict[str, int]:
    steps = table.group_by("unique_id").aggregate([("ds", end)])
    return dict(zip(steps["unique_id"].to_pylist(), steps[f"ds_{end}"].to_pylist(), strict=True))


@needs_public_data
@pytest.mark.parametrize(
    ("frequency", "series", "horizon"),
    [
        ("Yearly", 23000, 6),
        ("Quarterly", 1268, 8),
        ("Monthly", 576, 18),
        ("Weekly", 359, 13),
        ("Daily", 720, 14),
        ("Hourly", 414, 48),
    ],
)
def test_the_public_m4_files_load_with_every_test_on_the_heels_of_its_train(
    frequency: str, series: int, horizon: int
) -> None:
    train, test = load_m4(DATA, frequency)
    assert train.schema == test.schema == pa.schema({"unique_id": pa.string(), "ds": pa.int64(), "y": pa.float64()})
    last, first = ends_of(train, "max"), ends_of(test, "min")
    assert len(last) == series
    assert test.num_rows == series * horizon
    assert first == {unique_id: step + 1 for unique_id, step in last.items()}


@needs_public_data
@pytest.mark.parametrize(("name", "steps"), [("ETTh1", 17420), ("ETTm1", 69680)])
def test_the_public_ett_files_load(name: str, steps: int) -> None:
    table = load_ett(DATA, name)
    assert table.num_rows == 7 * steps
    assert table["y"].null_count == 0
    assert table["ds"][0].as_py() == datetime(2016, 7, 1)
