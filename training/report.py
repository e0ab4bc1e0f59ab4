"""The profile of a panel as one page: what was found in the data, what is done about it, and a picture."""

from __future__ import annotations

import base64

from pydantic import BaseModel

from forecaster.panel import Panel
from training.findings import find, plain
from training.profile import Finding, Profile
from training.profile_plots import draw_profile
from training.settings import TrainingSettings
from training.summary import describe_settings
from training.templating import render


class DataReport(BaseModel):
    """What `forecaster profile --json` prints."""

    freq: str
    horizon: int
    findings: list[Finding]
    settings: str
    """What would be trained, in a sentence."""
    profile: Profile

    @property
    def span(self) -> str:
        """From the first step to the last."""
        return f"{plain(self.profile.first)} to {plain(self.profile.last)}"


def report(panel: Panel, profile: Profile, plan: TrainingSettings) -> DataReport:
    """Of a panel and what would be trained on it."""
    return DataReport(
        freq=panel.freq.name,
        horizon=plan.model.horizon,
        findings=find(panel, profile, plan),
        settings=describe_settings(plan),
        profile=profile,
    )


def page(told: DataReport, panel: Panel, title: str) -> str:
    """HTML that needs no other file."""
    picture = base64.b64encode(draw_profile(panel)).decode()
    return render("profile.html", report=told, picture=picture, title=title)
