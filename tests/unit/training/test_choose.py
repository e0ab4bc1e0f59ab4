from dataclasses import replace

import numpy as np
import pytest

from forecaster.errors import InputError
from forecaster.frequency import Frequency
from forecaster.settings import NetworkSettings
from tests.fixtures_models import make_panel
from training.choose import choose_settings, override
from training.profile import Profile, profile_panel
from training.settings import TrainingSettings


def profile(**changes: object) -> Profile:
    many = {"observed": 1_000_000}
    return profile_panel(make_panel(length=900), 48).model_copy(update={**many, **changes})


def choose(
    freq: str = "h", horizon: int = 48, preset: str = "balanced", season: int | None = None, **changes: object
) -> TrainingSettings:
    step = Frequency.parse(freq, season)
    return choose_settings(profile(**changes), step, horizon, preset, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("freq", "context"), [("h", 336), ("15min", 1024), ("D", 900), ("MS", 900)])
def test_a_window_is_three_horizons_long_but_within_the_day(freq: str, context: int) -> None:
    assert choose(freq, 300, longest=20_000).model.members[0].context == context


@pytest.mark.parametrize("freq", ["YS", "QS", "MS", "W", "D", "B", "h", "10s"])
@pytest.mark.parametrize("season", [1, 2, 11, 59, 97, 168, 2880])
def test_a_season_of_ones_own_shapes_lags_and_segments(freq: str, season: int) -> None:
    network = choose(freq, 12, season=season, longest=20_000).model.members[0]
    assert network.season == season
    assert network.context >= 2 * season
    assert 1 <= network.segment <= 48
    assert network.input_segments <= 256
    if season > 1:
        assert any(lag % season == 0 for lag in network.lags)


@pytest.mark.parametrize(
    "freq",
    [
        "10s",
        "min",
        "15min",
        "30min",
        "h",
        "2h",
        "6h",
        "12h",
        "D",
        "2D",
        "B",
        "W",
        "W-THU",
        "MS",
        "2ME",
        "QE",
        "YS",
        "5YE",
    ],
)
@pytest.mark.parametrize("horizon", [1, 7, 48, 720])
@pytest.mark.parametrize("longest", [3, 30, 5000])
def test_any_frequency_horizon_and_length_has_settings_that_fit_together(freq: str, horizon: int, longest: int) -> None:
    plan = choose(freq, horizon, longest=longest, shortest=2, median_length=float(longest))
    network = plan.model.members[0]
    assert network.horizon == horizon
    assert network.context < longest
    assert plan.backtest.windows >= 1


def test_positive_data_is_logged_where_seasons_multiply_and_other_data_is_not() -> None:
    assert choose().model.transform == choose("MS", 18).model.transform == "log"
    assert choose("YS", 6).model.transform == choose("W", 13).model.transform == "identity"
    assert choose(share_positive=0.8).model.transform == "identity"
    assert choose(share_positive=0.8).fit.percentage_weight == 0


def test_counts_are_never_forecast_below_zero_and_other_data_may_be() -> None:
    assert choose(smallest=0.0, share_whole=1.0).model.floor == 0
    assert choose(smallest=0.0, share_whole=0.99).model.floor is None  # not all whole: rain, in millimetres
    assert choose(smallest=2.0, share_whole=1.0).model.floor is None  # no zero yet: temperatures in summer
    assert choose(smallest=-3.0, share_whole=1.0).model.floor is None


def test_a_distribution_of_counts_is_chosen_where_many_are_zero() -> None:
    rare = choose(smallest=0.0, share_whole=1.0, share_zero=0.5, share_positive=0.5)
    network = rare.model.members[0]
    assert (network.head, network.location, network.scale) == ("negative_binomial", "zero", "size")
    assert (rare.fit.loss, rare.model.floor, rare.model.transform) == ("likelihood", 0.0, "identity")
    for other in (
        choose(smallest=0.0, share_whole=1.0, share_zero=0.01),
        choose(smallest=0.0, share_whole=0.99, share_zero=0.5),
        choose(smallest=-1.0, share_whole=1.0, share_zero=0.5),
    ):
        assert (other.model.members[0].head, other.fit.loss) == ("quantile", "quantile")


@pytest.mark.parametrize(("freq", "fewest"), [("YS", 100), ("QS", 200), ("h", 200)])
def test_a_small_panel_is_not_learnt_by_heart(freq: str, fewest: int) -> None:
    steps = [choose(freq, 6, observed=observed).fit.steps for observed in (100, 20_000, 1_000_000)]
    assert steps[0] == fewest
    assert sorted(steps) == steps
    assert steps[-1] == choose(freq, 6).fit.steps


def test_a_long_horizon_is_learnt_in_fewer_steps_since_its_windows_overlap() -> None:
    steps = [choose("h", horizon, observed=60_000).fit.steps for horizon in (12, 96, 336, 720)]
    assert steps == sorted(steps, reverse=True)
    assert steps[2] == 720 * 60_000 // 336 // 256
    assert choose("h", 96, observed=10_000_000).fit.steps == choose("h", 12, observed=10_000_000).fit.steps


def test_late_windows_are_drawn_more_often_where_levels_drift() -> None:
    assert choose("W", series=300).fit.recency > choose("h", series=300).fit.recency == 0
    assert choose("h", series=300, seasonal_skill=-0.5).fit.recency > 0
    few = choose("W", series=200).fit  # whose late windows all show the same weeks
    assert (few.recency, few.shortest_target) == (0, 48)
    assert choose("W", series=200, seasonal_skill=-0.5).fit.shortest_target == 1
    assert choose("W", series=300).fit.shortest_target < choose("h").fit.shortest_target


@pytest.mark.parametrize("freq", ["W", "h"])
def test_nothing_is_made_of_a_season_that_tells_less_than_the_last_value(freq: str) -> None:
    walk, wave = choose(freq, seasonal_skill=-0.5), choose(freq, seasonal_skill=0.5)
    assert walk.model.season == wave.model.season > 1  # what errors are scaled by stays comparable
    assert (walk.model.members[0].season, walk.model.members[0].scale) == (1, "change")
    assert wave.model.members[0].season == wave.model.season
    assert choose(freq, seasonal_skill=None).model == wave.model


def test_the_profile_tells_whether_the_season_says_more_than_the_last_value() -> None:
    waves = make_panel(n=4, length=600)
    assert 0.5 < profile_panel(waves, 24).seasonal_skill < 1
    drift = np.random.default_rng(0).normal(size=waves.values.shape).cumsum().astype(np.float32)
    for horizon in (24, 96):  # farther ahead both naive methods are equally wrong
        assert profile_panel(replace(waves, values=drift), horizon).seasonal_skill < -0.25
    assert profile_panel(make_panel(n=4, length=30), 24).seasonal_skill is None
    assert profile_panel(replace(waves, freq=Frequency.parse("YS")), 6).seasonal_skill is None
    flat = np.ones_like(waves.values)
    assert profile_panel(replace(waves, values=flat), 24).seasonal_skill is None
    day_of_two = (np.arange(len(drift)) + 36) % 48 < 24  # no pair is a season apart, but last values are known
    alternate = np.where(day_of_two, drift, np.nan)
    assert profile_panel(replace(waves, values=alternate), 24).seasonal_skill is None


def test_presets_differ_in_effort() -> None:
    fast, balanced, best = (choose(preset=name) for name in ("fast", "balanced", "best"))
    assert fast.fit.steps < balanced.fit.steps
    assert len(best.model.members) > len(balanced.model.members)


@pytest.mark.parametrize(
    ("freq", "changes"),
    [
        ("h", {"observed": 50_000}),
        ("W", {}),
        ("YS", {}),
        ("D", {"smallest": 0.0, "share_whole": 1.0, "share_zero": 0.5}),
    ],
)
def test_members_of_the_best_preset_read_a_window_differently(freq: str, changes: dict[str, object]) -> None:
    members = choose(freq, 6, "best", **changes).model.members
    assert len(members) == 5
    assert [member.cell for member in members] == ["gru", "lstm", "gru", "gru", "gru"]
    assert len({member.segment for member in members}) == 2
    assert len({member.context for member in members}) == 2
    assert len({member.scale for member in members}) == (2 if freq in ("h", "W") else 1)
    short = choose(freq, 6, "best", longest=8, **changes).model.members
    assert all(member.segment <= member.context <= 7 for member in short)


def test_where_fits_are_long_the_best_preset_goes_without_an_lstm() -> None:
    plain, resegmented, reaching, rescaled = choose("h", 48, "best", observed=1_000_000, longest=20_000).model.members
    assert {member.cell for member in (plain, resegmented, reaching, rescaled)} == {"gru"}
    assert resegmented == plain.model_copy(update={"segment": 12})
    assert reaching == plain.model_copy(update={"context": 504})
    assert rescaled.scale != plain.scale


@pytest.mark.parametrize("freq", ["YS", "QS"])
def test_where_levels_drift_by_the_year_one_member_works_on_logarithms(freq: str) -> None:
    assert [member.logarithm for member in choose(freq, 6).model.members] == [False, True]
    assert sum(member.logarithm for member in choose(freq, 6, "best").model.members) == 2
    assert not any(member.logarithm for member in choose(freq, 6, "fast").model.members)
    for other in (choose(freq, 6, share_positive=0.8), choose("MS", 6), choose("W", 6)):
        assert not any(member.logarithm for member in other.model.members)
    rare = choose(freq, 6, smallest=0.0, share_whole=1.0, share_zero=0.1)
    assert rare.model.members[0].head == "negative_binomial"
    assert not any(member.logarithm for member in rare.model.members)


def test_the_variability_is_told_where_values_are_positive_and_windows_many() -> None:
    assert all(member.variability for member in choose("W", 13).model.members)
    for other in (choose("W", 13, share_positive=0.98), choose("W", 13, observed=20_000)):
        assert not any(member.variability for member in other.model.members)


def test_single_settings_can_be_overridden() -> None:
    plan = override(choose(), {"fit.steps": 7, "network.cell": "lstm", "model.transform": "identity"})
    assert (plan.fit.steps, plan.model.members[0].cell, plan.model.transform) == (7, "lstm", "identity")


@pytest.mark.parametrize(
    ("name", "value"),
    [("fit.stepz", 1), ("nothing", 1), ("network", 1), ("fit", 3), ("fit.steps", -1), ("fit.steps", "many"),
     ("network.cell", "transformer"), ("network.segment", 10_000), ("network.lags", [99_999])],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        override(choose(), {name: value})
    assert "\n" not in str(caught.value)


def test_the_profile_tells_lengths_gaps_and_signs() -> None:
    panel = make_panel(n=4, length=100, missing=0.25)
    panel.values[:3] = [0.0, -1.0, 0.0]
    found = profile_panel(panel, 24)
    assert (found.series, found.steps, found.shortest, found.longest) == (4, 400, 100, 100)
    assert 0.15 < found.share_missing < 0.35
    assert found.share_zero == pytest.approx(2 / found.observed)
    assert found.share_whole == pytest.approx(3 / found.observed)
    assert found.smallest == -1
    assert found.first.startswith("2024-01-01")
    assert found.last.startswith("2024-01-05T03")


def test_hours_that_a_fit_sees_often_are_scaled_by_their_changes_and_those_of_few_series_cut_finer() -> None:
    def found(observed: int, series: int, freq: str = "h") -> tuple[int, str]:
        network = choose(freq, observed=observed, series=series).model.members[0]
        return network.segment, network.scale

    assert found(1_000_000, 400) == found(1_000_000, 5) == (24, "std")
    assert found(50_000, 100) == (24, "change")
    assert found(50_000, 5) == (12, "change")
    assert found(50_000, 5, "15min") == (48, "change"), "half a day already"
    assert choose(observed=50_000, series=5, preset="fast").model.members[0].segment == 12
    many = choose(observed=50_000, series=400).fit
    assert many.recency == 0, "the scale alone does not mean that levels drift"


def test_a_short_fit_is_tried_where_a_full_one_sees_all_values_often() -> None:
    assert choose(observed=50_000).fit.shorter == (0.125, 0.35)
    assert choose(observed=1_000_000).fit.shorter == ()
    assert choose(observed=50_000, preset="fast").fit.shorter == ()
    assert choose(observed=3_000).fit.shorter == (), "what is short already is not shortened"


@pytest.mark.parametrize("preset", ["fast", "balanced", "best"])
def test_the_shortcut_of_a_small_panel_is_fitted_first(preset: str) -> None:
    assert choose(observed=50_000, preset=preset).fit.linear_start
    assert not choose(observed=1_000_000, preset=preset).fit.linear_start
    assert not choose(observed=33_000, preset=preset).fit.linear_start, "too few values for 168 steps that are seen"
    counts = {"share_whole": 1.0, "smallest": 0.0, "share_zero": 0.5, "share_positive": 0.5}
    assert not choose(observed=50_000, preset=preset, **counts).fit.linear_start, "counts have no linear shortcut"


def test_a_linear_start_of_hours_sees_two_weeks() -> None:
    assert {member.highway for member in choose(observed=50_000, preset="best").model.members} == {336}
    assert {member.highway for member in choose(observed=1_000_000, preset="best").model.members} == {168}
    short = choose(observed=45_000, series=300, longest=151, median_length=151, shortest=151)
    assert short.fit.linear_start
    assert {member.highway for member in short.model.members} == {150}, "no less than without one"


@pytest.mark.parametrize("preset", ["fast", "balanced", "best"])
def test_what_is_added_to_a_linear_start_is_tried_in_shares(preset: str) -> None:
    assert choose(observed=50_000, preset=preset).fit.corrections == (1.0, 0.75, 0.5, 0.25)
    assert choose(observed=1_000_000, preset=preset).fit.corrections == ()


@pytest.mark.parametrize(
    ("freq", "preset", "observed", "skill", "expected"),
    [
        ("5min", "best", 5_000, 0.5, {("change", 1000), ("std", 50)}),
        ("h", "best", 1_000_000, 0.5, {("std", 50), ("change", 1000)}),
        ("D", "balanced", 1_000_000, -0.5, {("change", 50)}),
    ],
)
def test_a_season_is_seen_as_far_as_it_goes_where_changes_are_the_unit(
    freq: str, preset: str, observed: int, skill: float, expected: set[tuple[str, float]]
) -> None:
    members = choose(freq, 24, preset, observed=observed, seasonal_skill=skill, longest=20_000).model.members
    assert {(member.scale, member.reach) for member in members} == expected


def test_a_model_of_an_earlier_release_sees_as_far_as_it_did() -> None:
    assert NetworkSettings(horizon=1, context=2).reach == 50
