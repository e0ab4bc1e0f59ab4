"""The rows of the speed comparison: who is asked what, and the ratios of the answers.

Repeats take turns (ours, first peer, second peer, ours, ...), so that whatever else the machine does meets all alike.
A ratio is taken within each turn; its median, smallest and largest are reported.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from speed.asking import Library


@dataclass(frozen=True)
class Claim:
    """One thing that is measured. `target`: our windows per second over the other's, at least."""

    name: str
    task: str
    settings: dict[str, Any]
    against: str
    other_task: str | None = None
    target: float | None = None


@dataclass
class Row:
    """A claim's outcome; `ratios` are ours over theirs, one of each turn."""

    name: str
    against: str
    target: float | None
    settings: dict[str, Any]
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    def document(self) -> dict[str, Any]:
        """All of it, and medians, for JSON."""
        ratio = statistics.median(self.ratios)
        settings = {name: value for name, value in self.settings.items() if name not in ("data", "folder")}
        return {
            **asdict(self), "settings": settings, "ours_median": statistics.median(self.ours),
            "theirs_median": statistics.median(self.theirs), "ratio": ratio,
            "lowest": min(self.ratios), "highest": max(self.ratios),
            "met": None if self.target is None else ratio >= self.target,
        }  # fmt: skip


def measure(claims: Sequence[Claim], libraries: dict[str, Library], repeats: int) -> list[Row]:
    """Ask for everything `repeats` times in turns. Claims on the same task of ours share our answer of that turn."""
    rows = [Row(c.name, c.against, c.target, c.settings) for c in claims]
    for turn in range(repeats):
        answered: dict[str, float] = {}
        for claim, row in zip(claims, rows, strict=True):
            if claim.name not in answered:
                answered[claim.name] = _rate(libraries["ours"], claim.task, claim.settings)
            row.ours.append(answered[claim.name])
            row.theirs.append(_rate(libraries[claim.against], claim.other_task or claim.task, claim.settings))
            print(
                f"turn {turn + 1}, {row.name}: {row.ours[-1]:.0f} windows/s, {row.against} {row.theirs[-1]:.0f}",
                file=sys.stderr,
            )
    return rows


def _rate(library: Library, task: str, settings: dict[str, Any]) -> float:
    answer = library.ask(task, {**settings, **settings.get(library.name, {})})
    if "error" in answer:
        raise RuntimeError(f"{library.name} could not do {task}: {answer['error']}")
    return float(answer["windows"] / answer["seconds"])


def claims(common: dict[str, Any], peers: Sequence[str], steps: int, default_steps: int) -> list[Claim]:
    """What is claimed, for the peers that there are; `steps` are of a stepwise network."""
    # A draw of ours takes microseconds, one of theirs up to a tenth of a second.
    drawing = {**common, "batches": steps, "ours": {"batches": 50 * steps}, "darts": {"batches": 10 * steps}}
    stepwise = {**common, "plan": "stepwise", "steps": steps}
    default = {**common, "plan": "default", "steps": default_steps}
    targets = {"drawing": {"neuralforecast": 30.0}, "stepwise": {"neuralforecast": 1.5}}
    found = [Claim("drawing batches", "drawing", drawing, p, target=targets["drawing"].get(p)) for p in peers]
    found += [Claim("equal stepwise network", "fitting", stepwise, p, target=targets["stepwise"].get(p)) for p in peers]
    bare = {"against": "ours", "other_task": "bare_loop", "target": 1 / 1.25}
    found.append(Claim("fit over the bare loop, stepwise", "fitting", stepwise, **bare))
    found.append(Claim("fit over the bare loop, default", "fitting", default, **bare))
    if "neuralforecast" in peers:
        slow = {"steps": max(1, default_steps // 100), "warm_up": 1}  # a step of theirs takes seconds
        settings = {**default, "neuralforecast": slow}
        found.append(Claim("default networks", "fitting", settings, "neuralforecast", target=50.0))
    return found
