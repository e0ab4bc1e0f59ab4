"""Arrays that may be larger than memory: what lies in a file is read, profiled and told of as what lies in memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from forecaster import mapped
from forecaster.covariates import learn_scales
from forecaster.errors import InputError
from forecaster.frequency import Frequency
from forecaster.panel import Panel
from forecaster.reading import read_panel
from forecaster.settings import CovariateSettings, RowSettings
from training.choose import choose_settings
from training.findings import find
from training.profile import profile_panel
from training.publishing import panel_digest


@pytest.fixture
def all_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every array goes to a file, and no walk over one takes more than a few values at once."""
    monkeypatch.setattr(mapped, "LARGE", 0)
    monkeypatch.setattr(mapped, "PART", 7)


@pytest.mark.parametrize(("dtype", "fill"), [(np.float32, np.nan), (np.int32, 0), (bool, False), (np.int64, -5)])
def test_a_large_array_lies_in_a_file_without_a_name(
    dtype: type, fill: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, all_mapped: None
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    array = mapped.flat_array((3, 5), dtype, fill)
    np.testing.assert_array_equal(array, np.full((3, 5), fill, dtype))
    assert str(tmp_path) in Path("/proc/self/maps").read_text(), "it is not in a file there"
    assert not list(tmp_path.iterdir()), "the file has a name that someone must delete"


def test_a_tensor_shares_it(all_mapped: None) -> None:
    array = mapped.flat_array(4, np.float32, 0)
    torch.as_tensor(array)[2] = 9
    assert array[2] == 9


def test_without_room_on_the_disk_the_error_says_where(all_mapped: None) -> None:
    with pytest.raises(InputError, match="GB beside memory") as caught:
        mapped.flat_array(1 << 48, np.float32, np.nan)
    assert "TMPDIR" in str(caught.value.mend)


def test_groups_are_of_whole_series() -> None:
    bounds = np.array([0, 3, 5, 30, 31, 40])
    found = list(mapped.groups(bounds, 6))
    assert [i for group in found for i in range(group.start, group.stop)] == [0, 1, 2, 3, 4]
    assert all(bounds[group.stop] - bounds[group.start] <= 12 or group.stop - group.start <= 2 for group in found)
    assert list(mapped.groups(np.array([0]))) == []


def _rows() -> pa.Table:
    """Five series with gaps at their beginnings, ends and within, out of order; one of them all missing but one."""
    generator = np.random.default_rng(3)
    records = []
    for series, length in enumerate((40, 3, 25, 60, 9)):
        y = generator.poisson(3, length).astype(float)
        y[generator.random(length) < 0.3] = np.nan
        y[-2:] = np.nan
        y[length // 2] = 4
        x = np.where(generator.random(length) < 0.2, np.nan, generator.normal(5, 2, length))
        for step in range(length):
            color = ["red", "blue", None][generator.integers(3)]
            records.append((f"s{series}", step, y[step], x[step], color, f"place {series % 2}", float(series)))
    order = generator.permutation(len(records))
    names = ["unique_id", "ds", "y", "x", "color", "place", "size"]
    columns = list(zip(*(records[i] for i in order), strict=True))
    return pa.table(dict(zip(names, columns, strict=True)))


_COVARIATES = CovariateSettings(future=("x", "color"), static=("place", "size"))


def _everything(rows: RowSettings, covariates: CovariateSettings | None) -> tuple[Panel, list[str], str]:
    panel = read_panel(_rows(), "h", rows, covariates)
    if panel.covariates is not None:
        panel = _with_scales(panel)
    profile = profile_panel(panel, 4)
    plan = choose_settings(profile, Frequency.parse("h"), 4, "fast", 1)
    if panel.covariates is not None:
        model = plan.model.model_copy(update={"covariates": panel.covariates.settings})
        plan = plan.model_copy(update={"model": model})
    findings = [f"{found.topic} {found.found}" for found in find(panel, profile, plan)]
    return panel, [profile.model_dump_json(), *findings], panel_digest(panel)


def _with_scales(panel: Panel) -> Panel:
    from dataclasses import replace

    assert panel.covariates is not None
    return replace(panel, covariates=learn_scales(panel.covariates))


@pytest.mark.parametrize("rows", [RowSettings(), RowSettings(resample="mean"), RowSettings(duplicates="last")], ids=str)
@pytest.mark.parametrize("covariates", [None, _COVARIATES], ids=["alone", "covariates"])
def test_a_panel_in_files_is_the_panel_in_memory(
    rows: RowSettings, covariates: CovariateSettings | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, told, digest = _everything(rows, covariates)
    monkeypatch.setattr(mapped, "LARGE", 0)
    monkeypatch.setattr(mapped, "PART", 7)
    other, other_told, other_digest = _everything(rows, covariates)
    np.testing.assert_array_equal(other.values, panel.values)
    np.testing.assert_array_equal(other.offsets, panel.offsets)
    np.testing.assert_array_equal(other.observed_counts(5), panel.observed_counts(5))
    if covariates is None:
        assert (other_told, other_digest) == (told, digest)
        return
    assert other.covariates is not None
    assert panel.covariates is not None
    np.testing.assert_array_equal(other.covariates.dynamic, panel.covariates.dynamic)
    np.testing.assert_array_equal(other.covariates.static, panel.covariates.static)
    assert other_told == told
    for column, scale in panel.covariates.settings.scales.items():
        assert other.covariates.settings.scales[column] == pytest.approx(scale, rel=1e-6)
