from dataclasses import replace

import numpy as np
import pytest

from forecaster.frequency import Frequency
from tests.fixtures_models import make_panel
from training.choose import choose_settings
from training.profile import Profile, profile_panel
from training.settings import Preset
from training.summary import describe_data, describe_settings

HOURLY = Frequency.parse("h")


def profile(**changes: object) -> Profile:
    return profile_panel(make_panel(n=5, length=600), 24).model_copy(update=changes)


def test_the_data_is_described_in_a_sentence() -> None:
    found, season = describe_data(profile(seasonal_skill=0.5), HOURLY).split("; ")
    assert found == "data: 5 series of 600 steps (h)"
    assert season == "the last season (24 steps) tells more than the last value (skill 0.50)"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"shortest": 9, "longest": 12_345}, "5 series of 9 to 12,345 steps (h)"),
        ({"share_missing": 0.0312}, ", 3.1% missing;"),
        ({"smallest": 0.0, "share_whole": 1.0}, ", counts;"),
        ({"share_positive": 0.25}, ", 25% above zero;"),
        ({"seasonal_skill": -0.5}, "tells less than the last value (skill -0.50)"),
        ({"seasonal_skill": None}, "no telling whether there is a season of 24"),
    ],
)
def test_what_is_special_about_the_data_is_told(changes: dict[str, object], told: str) -> None:
    assert told in describe_data(profile(**changes), HOURLY)


def test_a_frequency_without_a_season_has_none() -> None:
    panel = make_panel(n=3, length=30)
    yearly = replace(panel, freq=Frequency.parse("YS"), values=np.abs(panel.values))
    assert describe_data(profile_panel(yearly, 6), yearly.freq).endswith("; no season")


@pytest.mark.parametrize(
    ("freq", "preset", "cells"),
    [
        ("h", "balanced", "gru,"),
        ("W", "balanced", "gru + lstm,"),
        ("h", "best", "4 gru,"),
        ("W", "best", "4 gru + lstm,"),
        ("QS", "balanced", "2 gru (1 on logarithms),"),
    ],
)
def test_the_settings_are_described_in_a_sentence(freq: str, preset: Preset, cells: str) -> None:
    plan = choose_settings(profile(observed=10**6), Frequency.parse(freq), 24, preset, 1)
    told = describe_settings(plan)
    assert told.startswith(f"settings: {cells} width {plan.model.members[0].width}, sees ")
    assert f"{plan.fit.steps:,} optimiser steps of {plan.fit.batch:,} windows" in told
    assert ("of the log" in told) == (plan.model.transform == "log")


def test_the_lengths_of_the_members_are_described() -> None:
    plan = choose_settings(profile(observed=10**6), Frequency.parse("W"), 13, "balanced", 1)
    shared = plan.fit.model_copy(update={"steps": 1000, "shares": (1.0, 0.35)})
    assert "; 350 and 1,000 optimiser steps of" in describe_settings(plan.model_copy(update={"fit": shared}))
