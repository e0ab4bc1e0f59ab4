"""Results as a dated JSON file that a later run goes on with."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_LIBRARIES = ("torch", "pytorch-lightning", "numpy", "statsforecast")
_DETAILS = {"family": "cpu family", "model": "model", "MHz": "cpu MHz"}


@dataclass(frozen=True, order=True)
class Key:
    """What a result is of.

    suite: `m4`, `m4-100` (so many series drawn from it), `missing` or `long`; model: a preset of ours or a peer
    """

    suite: str
    data: str
    horizon: int
    model: str
    seed: int


class Results:
    """The results of one file. Each is written as soon as it is known, aside and then renamed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        document = json.loads(path.read_text()) if path.exists() else {}
        self._machine = document.get("machine") or machine()
        self._results = {_key(result): result for result in document.get("results", [])}

    def __contains__(self, key: Key) -> bool:
        return key in self._results

    def __getitem__(self, key: Key) -> dict[str, Any]:
        return self._results[key]

    def add(self, key: Key, measured: dict[str, Any]) -> None:
        self._results[key] = {**vars(key), **measured}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        ordered = [self._results[one] for one in sorted(self._results)]
        aside = self.path.with_suffix(".part")
        aside.write_text(json.dumps({"machine": self._machine, "results": ordered}, indent=1) + "\n")
        os.replace(aside, self.path)


def read_all(paths: Sequence[Path]) -> tuple[dict[Key, dict[str, Any]], list[dict[str, Any]]]:
    """Results of several files, those of a later file before those of an earlier, each with the date that its file is
    named by; and the machines, file by file."""
    results: dict[Key, dict[str, Any]] = {}
    machines = []
    for path in sorted(paths):
        document = json.loads(path.read_text())
        machines.append({"file": path.name, **document["machine"]})
        date = path.stem.partition("-")[2]
        results.update({_key(result): {**result, "measured": date} for result in document["results"]})
    return results, machines


def machine() -> dict[str, Any]:
    """Where and with what: system, cores, processor, GPU if there is one, versions."""
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        "system": platform.platform(), "cores": os.cpu_count(), "processor": _processor(), **gpu,
        "python": platform.python_version(), **{name: version(name) for name in _LIBRARIES},
    }  # fmt: skip


def _processor() -> str:
    """As Linux tells it, with family, model and clock: of one name some are twice as fast. Else what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in info.read_text().splitlines()] if info.exists() else []
    told = {name.strip(): value.strip() for name, _, value in lines}
    if "model name" not in told:
        return platform.machine()
    details = [f"{name} {told[key]}" for name, key in _DETAILS.items() if key in told]
    return f"{told['model name']} ({', '.join(details)})" if details else told["model name"]


def _key(result: dict[str, Any]) -> Key:
    return Key(result["suite"], result["data"], result["horizon"], result["model"], result["seed"])
