"""Training speed against peers: same machine, same run, same windows, equal settings, repeats in turns.

    python benchmarks/train.py --peers-python PEERS/bin/python --m4 FOLDER --json FILE
    python benchmarks/train.py --device cuda --json FILE          # on a machine with a GPU
    python benchmarks/train.py --quick                            # ours alone, a few steps

Each library runs in a process of its own; README.md beside this file says how the peers' environment is made. A row is
our windows per second over the other's: its median over the repeats, with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speed.asking import Library
from speed.rows import Row, claims, measure

PEERS = ("neuralforecast", "darts", "gluonts")
HORIZON, CONTEXT = 48, 336


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", help="interpreter of the peers' environment; without it ours alone")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--m4", type=Path, help="folder of the M4 files; without it a generated panel of that size")
    parser.add_argument("--accuracy", action="store_true", help="also M4 Hourly's MASE in equal time (needs --m4)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--cell", choices=("gru", "lstm", "rnn"), default="gru", help="of the stepwise network")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40, help="measured steps of a stepwise network")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="threads of each library's process")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    arguments = parser.parse_args()
    if arguments.accuracy and not (arguments.m4 and arguments.peers_python):
        parser.error("--accuracy needs --m4 and --peers-python")
    return arguments


def main() -> int:
    arguments = parse()
    machine = {"system": platform.platform(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    if arguments.device == "cuda":
        from speed import on_device

        document = {"machine": machine, "device": on_device.report(quick=arguments.quick)}
        print(on_device.table(document["device"]))
    else:
        rows, versions = compared(arguments)
        document = {"machine": machine, "versions": versions, "rows": [row.document() for row in rows]}
        print(table(rows))
    if arguments.accuracy:
        from scoring.given_time import given_the_same_time  # reads files, which a GPU machine need not

        document["accuracy"] = given_the_same_time(arguments.m4, arguments.peers_python)
        print(json.dumps(document["accuracy"], indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def compared(arguments: argparse.Namespace) -> tuple[list[Row], dict[str, Any]]:
    """All rows that the given environments allow, and the versions of all."""
    peers = arguments.peers if arguments.peers_python else []
    with tempfile.TemporaryDirectory() as folder, processes(arguments, peers) as libraries:
        data = panel_file(arguments.m4, Path(folder)) if peers or arguments.m4 else None
        common: dict[str, Any] = {
            "data": str(data) if data else None, "folder": folder, "horizon": HORIZON, "context": CONTEXT,
            "batch": 8 if arguments.quick else arguments.batch, "width": 8 if arguments.quick else arguments.width,
            "layers": arguments.layers, "cell": arguments.cell, "warm_up": 2,
        }  # fmt: skip
        about = {name: library.ask("about", common) for name, library in libraries.items()}
        common["quantiles"] = about["ours"]["quantiles"]
        steps, default_steps = (12, 20) if arguments.quick else (arguments.steps, 10 * arguments.steps)
        wanted = claims(common, peers, steps, default_steps)
        return measure(wanted, libraries, 1 if arguments.quick else arguments.repeats), about


@contextlib.contextmanager
def processes(arguments: argparse.Namespace, peers: list[str]) -> Iterator[dict[str, Library]]:
    """Ours and the peers', ended at the end."""
    libraries = {"ours": Library("ours", sys.executable, "ours.py", arguments.threads, ours=True)}
    try:
        for name in peers:
            libraries[name] = Library(name, arguments.peers_python, f"with_{name}.py", arguments.threads)
        yield libraries
    finally:
        for library in libraries.values():
            library.close()


def panel_file(m4: Path | None, folder: Path) -> Path:
    """M4 Hourly's training part as Parquet, or a generated panel of its size."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "panel.parquet"
    if m4 is not None:
        from forecaster.data.public import load_m4

        pq.write_table(load_m4(m4, "Hourly")[0], path)
    else:
        from speed.ours import panel_of

        panel = panel_of(None)
        ids, steps = panel.ids.repeat(panel.lengths), [step for n in panel.lengths for step in range(1, n + 1)]
        pq.write_table(pa.table({"unique_id": ids, "ds": steps, "y": panel.values.astype(float)}), path)
    return path


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| | against | ours, windows/s | theirs | ratio (lowest-highest) | at least |",
        "|---|---|---|---|---|---|",
    ]
    for d in (row.document() for row in rows):
        target = "" if d["target"] is None else f"{d['target']:g} {'met' if d['met'] else 'NOT met'}"
        lines.append(
            f"| {d['name']} | {'the bare loop' if d['against'] == 'ours' else d['against']} | {d['ours_median']:.0f} | "
            f"{d['theirs_median']:.0f} | {d['ratio']:.2f} ({d['lowest']:.2f}-{d['highest']:.2f}) | {target} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
