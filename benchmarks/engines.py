"""The forecast of a few windows by the artifact's graph, against the same network in torch; one thread each.

    python benchmarks/engines.py

The network is the default one for hourly data, untrained. Turns alternate, and a ratio is taken within each turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from forecaster.frequency import Frequency
from forecaster.graph import Graph, export_graph
from forecaster.network import ForecastNetwork
from forecaster.reading import panel_from_histories
from training.choose import choose_settings
from training.profile import profile_panel

Forward = Callable[[Tensor, Tensor], Tensor]


def hourly_network() -> ForecastNetwork:
    """As `forecaster train --freq h --horizon 48` chooses it for a thousand hours with a daily season."""
    torch.manual_seed(1)
    history = 10 + (torch.arange(1000) * 2 * torch.pi / 24).sin() + 0.1 * torch.randn(1000)
    panel = panel_from_histories(["a"], ["2024-01-01"], [history.numpy()], "h")
    plan = choose_settings(profile_panel(panel, 48), Frequency.parse("h"), 48, "balanced", 1)
    return ForecastNetwork(plan.model).eval()


def seconds(forward: Forward, values: Tensor, observed: Tensor, calls: int) -> float:
    """Median of one call."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        forward(values, observed)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(network: ForecastNetwork, graph: Graph, windows: int, turns: int, calls: int) -> dict[str, float]:
    values = 10 + torch.randn(windows, network.settings.context)
    observed = torch.rand(values.shape) > 0.1
    values = torch.where(observed, values, 0.0)
    with torch.inference_mode():
        difference = (graph(values, observed) - network(values, observed)).abs().max()
        pairs = [[seconds(engine, values, observed, calls) for engine in (graph, network)] for _ in range(turns)]
    ratios = [torch_seconds / graph_seconds for graph_seconds, torch_seconds in pairs]
    return {
        "windows": windows,
        "graph_ms": round(1000 * statistics.median(pair[0] for pair in pairs), 3),
        "torch_ms": round(1000 * statistics.median(pair[1] for pair in pairs), 3),
        "ratio": round(statistics.median(ratios), 2),
        "lowest_ratio": round(min(ratios), 2),
        "highest_ratio": round(max(ratios), 2),
        "largest_difference": float(f"{float(difference):.1e}"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--calls", type=int, default=30, help="of each engine in a turn")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = hourly_network()
    with tempfile.TemporaryDirectory() as folder:
        export_graph(network, Path(folder) / "graph.onnx")
        graph = Graph(Path(folder) / "graph.onnx")
    rows = [measure(network, graph, windows, arguments.turns, arguments.calls) for windows in arguments.windows]
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
