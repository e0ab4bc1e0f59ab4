"""Forecasts that add up."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.errors import InputError
from forecaster.forecast import Forecast
from forecaster.hierarchy import Hierarchy, Reconciliation, reconcile
from forecaster.settings import ModelSettings, NetworkSettings

SUMS = {"all": ["north", "south"], "north": ["a", "b"], "south": ["c"]}
IDS = ["b", "all", "elsewhere", "a", "north", "c", "south"]


def forecast(mean: np.ndarray, ids: list[str] = IDS, targets: np.ndarray | None = None) -> Forecast:
    mean = mean.astype(np.float32)
    ds = np.tile(np.arange(mean.shape[1]), (len(mean), 1))
    return Forecast(
        ids=np.array(ids, object), targets=targets, ds=ds, zone=None, mean=mean, median=mean * 0.9,
        quantiles={0.1: mean - 2, 0.9: mean + 3}, levels=(80.0,), asked=(), warnings=[[] for _ in ids],
        paths=mean[:, None] + np.array([[-1.0], [2.0]], np.float32),
    )  # fmt: skip


def model(**changes: Any) -> ModelSettings:
    members = (NetworkSettings(horizon=3, context=6),)
    return ModelSettings.model_validate({"freq": "D", "season": 7, "members": members, **changes})


PLAIN = model()
MEAN = np.random.default_rng(0).uniform(5, 50, (7, 3))


def by_name(found: Forecast) -> dict[str, np.ndarray]:
    return dict(zip(found.ids.tolist(), found.mean, strict=True))


@pytest.mark.parametrize("how", ["structural", "ols", "bottom-up"])
def test_means_add_up_and_all_else_moves_with_them(how: Reconciliation) -> None:
    before = forecast(MEAN)
    after = reconcile(before, SUMS, how, PLAIN)
    mean = by_name(after)
    for total, parts in SUMS.items():
        np.testing.assert_allclose(mean[total], sum(mean[part] for part in parts), rtol=1e-5)
    np.testing.assert_array_equal(mean["elsewhere"], before.mean[2])
    step = after.mean - before.mean
    np.testing.assert_allclose(after.median - before.median, step, atol=1e-4)
    np.testing.assert_allclose(after.quantiles[0.9] - before.quantiles[0.9], step, atol=1e-4)
    np.testing.assert_allclose(after.paths - before.paths, np.stack([step, step], 1), atol=1e-4)
    if how == "bottom-up":
        np.testing.assert_array_equal(mean["a"], before.mean[3])


def test_structural_weights_are_those_of_the_closed_form() -> None:
    """(S'W⁻¹S)⁻¹S'W⁻¹y with W the number of leaves of each series."""
    hierarchy = Hierarchy.of(SUMS, IDS)
    s = hierarchy.sums.toarray()
    weight = np.diag(1 / s.sum(1))
    expected = s @ np.linalg.solve(s.T @ weight @ s, s.T @ weight @ MEAN[hierarchy.rows])
    found = reconcile(forecast(MEAN), SUMS, "structural", PLAIN)
    np.testing.assert_allclose(found.mean[hierarchy.rows], expected, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["structural", "ols"]))
def test_what_adds_up_already_stays(seed: int, how: Reconciliation) -> None:
    leaves = np.random.default_rng(seed).uniform(0.1, 1000, (3, 4))
    a, b, c = leaves
    mean = np.stack([b, a + b + c, c * 7, a, a + b, c, c])
    found = reconcile(forecast(mean), SUMS, how, PLAIN)
    np.testing.assert_allclose(found.mean, mean.astype(np.float32), atol=1e-5 * mean.max())  # the solver is iterative


def test_positive_forecasts_stay_positive() -> None:
    mean = np.ones((7, 2)) * 10
    mean[[1, 4]] = 1.0  # totals far below their parts
    found = reconcile(forecast(mean), SUMS, "ols", model(transform="log"))
    assert (found.mean >= 0).all()
    moved = found.mean / mean
    np.testing.assert_allclose(found.quantiles[0.9], forecast(mean).quantiles[0.9] * moved, rtol=1e-3)
    counts = reconcile(forecast(mean), SUMS, "ols", model(floor=0.0))
    assert min(counts.mean.min(), counts.quantiles[0.1].min(), counts.paths.min()) >= 0


def test_each_target_is_reconciled_by_itself() -> None:
    both = np.concatenate([MEAN, MEAN * 3])
    found = reconcile(forecast(both, IDS * 2, np.repeat(["load", "price"], 7)), SUMS, "structural", PLAIN)
    alone = reconcile(forecast(MEAN), SUMS, "structural", PLAIN)
    np.testing.assert_allclose(found.mean[:7], alone.mean, rtol=1e-5)
    np.testing.assert_allclose(found.mean[7:], alone.mean * 3, rtol=1e-4)


@pytest.mark.parametrize(
    ("sums", "series", "told"),
    [
        ({}, None, "no sums"),
        ({"all": []}, "all", "no parts"),
        ({"all": ["a", "west"]}, "west", "not there"),
        ({"world": ["a", "b"]}, "world", "not there"),
        ({"all": ["a", "a"]}, "all", "'a' would count twice"),
        ({"all": ["north", "a"], "north": ["a", "b"]}, "all", "'a' would count twice"),
        ({"all": ["north"], "north": ["all"]}, None, "part of itself"),
    ],
)
def test_sums_that_make_no_sense_are_named(sums: dict[str, list[str]], series: str | None, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        reconcile(forecast(MEAN), sums, "structural", PLAIN)
    assert caught.value.field == "sums"
    assert caught.value.mend
    if series:
        assert caught.value.series == series


def test_a_sum_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="32-bit"):
        reconcile(forecast(np.full((7, 2), 3e38)), SUMS, "bottom-up", PLAIN)


def test_series_that_end_elsewhere_do_not_add_up() -> None:
    late = forecast(MEAN)
    late.ds[5] += 1
    with pytest.raises(InputError, match="does not end when") as caught:
        reconcile(late, SUMS, "structural", PLAIN)
    assert caught.value.field == "ds"


@pytest.mark.parametrize(("floor", "lowest"), [(-40.0, -1.0), (10.0, 5.0)])
def test_a_floor_that_is_not_zero_lets_means_add_up(floor: float, lowest: float) -> None:
    mean = np.where(np.arange(7)[:, None] == 3, lowest, MEAN)
    after = by_name(reconcile(forecast(mean), SUMS, "ols", model(floor=floor)))
    for total, parts in SUMS.items():
        np.testing.assert_allclose(after[total], sum(after[part] for part in parts), rtol=1e-4)
    if lowest < 0:
        freely = by_name(reconcile(forecast(mean), SUMS, "ols", PLAIN))
        np.testing.assert_allclose(after["a"], freely["a"], rtol=1e-5)
