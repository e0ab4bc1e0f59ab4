"""A recurrent layer forth and back: the gradients that `forecaster.scan` writes out against torch's own layer.

    python benchmarks/recurrence.py --json benchmarks/results/recurrence-DATE.json

One thread; the two take turns, and each time is the median of the repeats. More is faster than torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scoring.results import machine
from torch import Tensor, nn

from forecaster import scan

_KINDS = {"gru": nn.GRU, "lstm": nn.LSTM}
# windows, units, steps of a segment, segments
_SHAPES = ((64, 32, 24, 14), (256, 96, 24, 14), (512, 64, 13, 12), (768, 96, 6, 12))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [_row(kind, shape, arguments.repeats) for kind in _KINDS for shape in _SHAPES]
    for row in rows:
        print(row)
    if arguments.json:
        document = {"machine": machine(), "repeats": arguments.repeats, "rows": rows}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _row(kind: str, shape: tuple[int, int, int, int], repeats: int) -> dict[str, Any]:
    windows, units, segment, segments = shape
    torch.manual_seed(1)
    layer, embed = _KINDS[kind](units, units, batch_first=True), nn.Linear(segment, units)
    inputs = torch.randn(windows, segments, segment)

    def written_out() -> Tensor:
        return scan.scan(layer, embed, inputs)[1][0]

    def torchs_own() -> Tensor:
        last = layer(embed(inputs))[1]
        return last[0] if kind == "lstm" else last

    ours, theirs = _in_turns(repeats, written_out, torchs_own)
    told = {"cell": kind, "windows": windows, "units": units, "segments": segments}
    return {**told, "ours_ms": round(ours, 4), "torch_ms": round(theirs, 4), "ratio": round(theirs / ours, 3)}


def _in_turns(repeats: int, *layers: Callable[[], Tensor]) -> list[float]:
    """Median milliseconds of each, forth and back, after one round that does not count."""
    taken: list[list[float]] = [[] for _ in layers]
    for _ in range(repeats + 1):
        for own, layer in zip(taken, layers, strict=True):
            began = time.perf_counter()
            layer().square().sum().backward()
            own.append(1000 * (time.perf_counter() - began))
    return [statistics.median(own[1:]) for own in taken]


if __name__ == "__main__":
    raise SystemExit(main())
