"""The networks of a model, each fitted by itself so that their errors differ: one after the other, or side by side.

Both ways give the same weights, bit for bit, if this process computes with one thread as the others do.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from forecaster.network import ForecastNetwork
from forecaster.panel import Panel
from training.fit import FitResult, fit, is_finished, summed, training_device
from training.memory import give_back
from training.preparation import build_network, build_objective, member_weights, training_windows
from training.processes import run_side_by_side
from training.progress import Progress
from training.request import Reporter
from training.sampling import TrainingWindows
from training.settings import TrainingSettings
from training.watch import Observer

_LARGE_PANEL = 64_000_000  # bytes
_SHORT_FITS, _USUAL_HORIZON = 200_000, 48  # windows in all, of horizons up to so many steps: seconds
Tell = Callable[[str, Progress], None]


@dataclass(frozen=True)
class MemberFit:
    """One network to fit, without the last `held_out` steps. plan: settings with this member alone and a seed of its
    own"""

    name: str
    plan: TrainingSettings
    held_out: int
    weights: Mapping[str, Tensor] | None

    def run(self, windows: TrainingWindows, work: Path, observer: Observer) -> tuple[ForecastNetwork, FitResult]:
        """Fit it, or take it from `work` as far as an earlier attempt got there."""
        network = build_network(self.plan, windows, self.weights)
        loss = build_objective(self.plan, windows)
        checkpoint = self._checkpoint(work)
        return network, fit(network, windows, loss, self.plan.fit, observer=observer, checkpoint=checkpoint)

    def is_finished(self, work: Path) -> bool:
        return is_finished(self._checkpoint(work))

    def _checkpoint(self, work: Path) -> Path:
        return work / self.name.replace(" ", "_")


@dataclass(frozen=True)
class ModelFit:
    """A model to fit without the last `held_out` steps, from `weights` (None: afresh)."""

    name: str
    plan: TrainingSettings
    held_out: int
    weights: Mapping[str, Tensor] | None = None

    @property
    def members(self) -> list[MemberFit]:
        return [self._member(number) for number in range(len(self.plan.model.members))]

    def _member(self, number: int) -> MemberFit:
        """Named and seeded by its place among those that are fitted as long, whatever else the model has."""
        plan = self.plan
        shares = plan.fit.shares or (1.0,) * len(plan.model.members)
        lengths = [plan.fit.steps_of(share) for share in shares]  # two shares of very few steps may be as long
        steps, place = lengths[number], lengths[:number].count(lengths[number])
        name = f"{steps}-step {self.name}" if plan.fit.shares else self.name
        if lengths.count(steps) > 1:
            name = f"{name} {place + 1}"
        model = plan.model.model_copy(update={"members": (plan.model.members[number],)})
        own = with_fit(plan, {"seed": plan.fit.seed + place, "steps": steps, "shares": ()})
        alone = own.model_copy(update={"model": model})
        return MemberFit(name, alone, self.held_out, member_weights(self.weights, number))


def with_fit(plan: TrainingSettings, changes: Mapping[str, Any]) -> TrainingSettings:
    """The plan with other settings of its fit."""
    return plan.model_copy(update={"fit": plan.fit.model_copy(update=changes)})


def members_of(models: Sequence[ModelFit]) -> list[MemberFit]:
    """The members of all, each name once, those that take longest first, so that no core waits for one of them."""
    named = {member.name: member for model in models for member in model.members}
    return sorted(named.values(), key=lambda member: -_size(member.plan))


@dataclass(frozen=True)
class Fitter:
    """Fits models on a panel.

    work: where checkpoints lie; tell: is told the name of a fit and its progress
    processes: how many fits run at once when they are fitted ahead
    """

    panel: Panel
    work: Path
    reporter: Reporter
    tell: Tell
    processes: int = 1

    def fit(self, model: ModelFit) -> tuple[ForecastNetwork, FitResult]:
        """Fit the members one after the other, in this process; those that are finished are taken as they are."""
        windows = training_windows(self.panel, model.plan, model.held_out, training_device())
        whole = ForecastNetwork(model.plan.model)
        results = []
        for number, member in enumerate(model.members):
            self.reporter.stage(member.name)
            network, result = member.run(windows, self.work, partial(self.tell, member.name))
            whole.members[number] = network.members[0].to("cpu")
            results.append(result)
            give_back()
        whole.restrain(model.plan.fit.correction)  # no checkpoint has it: it may be chosen after the fits
        return whole.eval(), summed(results)

    def fit_ahead(self, models: Sequence[ModelFit]) -> None:
        """Fit the members of all models side by side, unless it is one at a time: `fit` then finds them finished."""
        left = [member for member in members_of(models) if not member.is_finished(self.work)]
        if self.processes == 1 or len(left) <= 1:
            return
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            tasks = _hand_over(left, self.panel, self.work, Path(folder))
            self.reporter.stage(f"fitting {len(tasks)} networks, {self.processes} at a time")
            run_side_by_side(tasks, self.processes, lambda news: self.tell(*news))


def processes_for(models: Sequence[ModelFit], panel: Panel) -> int:
    """How many fits run at once: `fit.processes`, or as many as this process has cores; a GPU is not shared.

    One at a time unless asked for otherwise when the panel is large, since memory matters more then, and when the fits
    are so short that starting processes would take longer.
    """
    if training_device().type == "cuda":
        return 1
    sizes = [_size(member.plan) for member in members_of(models)]
    fits, asked = len(sizes), models[0].plan.fit.processes
    if asked:
        return min(asked, fits)
    if panel.values.nbytes > _LARGE_PANEL or sum(sizes) < _SHORT_FITS:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, fits)


def _size(plan: TrainingSettings) -> float:
    """Windows of a fit; those of a long horizon take longer."""
    return plan.fit.steps * plan.fit.batch * max(1, plan.model.horizon / _USUAL_HORIZON)


@dataclass(frozen=True)
class _HandedOver:
    """A member's fit for another process. Data and weights are in files: mapped, so that all share one copy."""

    fit: MemberFit
    work: Path
    panel: Path
    windows: Path
    weights: Path | None

    def __call__(self, tell: Callable[[Any], None]) -> None:
        weights = None if self.weights is None else load_file(self.weights)
        windows = TrainingWindows.load(self.panel, self.windows)
        name = self.fit.name
        replace(self.fit, weights=weights).run(windows, self.work, lambda progress: tell((name, progress)))


def _hand_over(members: Sequence[MemberFit], panel: Panel, work: Path, folder: Path) -> list[_HandedOver]:
    """Members of the same training settings: their windows differ by what is held out alone."""
    shared = folder / "panel"
    tasks: list[_HandedOver] = []
    for number, member in enumerate(members):
        windows = folder / f"windows of all but {member.held_out}"
        if not windows.exists():
            windows.mkdir()
            drawn = training_windows(panel, member.plan, member.held_out, training_device())
            drawn.save(windows)
            if not shared.exists():
                drawn.save_panel(shared)
        weights = folder / f"{number}.safetensors" if member.weights is not None else None
        if weights is not None:
            save_file({name: tensor.contiguous() for name, tensor in member.weights.items()}, weights)
        tasks.append(_HandedOver(replace(member, weights=None), work, shared, windows, weights))
    return tasks
