"""Accuracy with the defaults: train and forecast by the `forecaster` command, score by the published measures.

    python benchmarks/accuracy.py FOLDER --preset balanced best --seeds 5
    python benchmarks/accuracy.py FOLDER --small 100 --seeds 3
    python benchmarks/accuracy.py FOLDER --frequencies Hourly --missing
    python benchmarks/accuracy.py FOLDER --long-horizon
    python benchmarks/accuracy.py FOLDER --peers --peers-python PEERS/bin/python
    python benchmarks/accuracy.py --table

FOLDER holds the public files (M4 as published or as Parquet; etth1, ettm1, weather as Parquet). Every M4 frequency that
is there is run. Results go to a dated JSON file; what that file holds is not computed again, so a run that was
interrupted goes on (name the file with --out on another day), and more seeds are added to those that are there.
docs/accuracy.md is written from all such files at the end, or by --table alone.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date
from pathlib import Path
from typing import Any

from scoring import tables
from scoring.commands import PRESETS
from scoring.experiments import IN_OUR_ENVIRONMENT, NEURAL, long_ours, m4_ours, m4_peer
from scoring.long_horizon import HORIZONS, SETS
from scoring.m4 import RULES, M4Set, present
from scoring.results import Key, Results

_ROOT = Path(__file__).parents[1]
Task = tuple[Key, Callable[[], dict[str, Any]]]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="folder of the public data")
    parser.add_argument("--frequencies", nargs="*", choices=list(RULES), help="of M4; all that are there if not given")
    parser.add_argument("--preset", nargs="+", choices=list(PRESETS), default=["balanced"])
    parser.add_argument("--seeds", type=int, default=1, help="seeds up to this")
    parser.add_argument("--first-seed", type=int, default=1, help="seeds from this on; others are in an earlier file")
    parser.add_argument("--small", type=int, help="only so many series of each frequency, others for each seed")
    parser.add_argument("--missing", action="store_true", help="also with a tenth and three of the values removed")
    parser.add_argument("--long-horizon", nargs="*", choices=list(SETS), help="all three sets when none is named")
    parser.add_argument("--horizons", nargs="+", type=int, default=list(HORIZONS), help="of the long-horizon sets")
    parser.add_argument("--peers", nargs="*", choices=[*IN_OUR_ENVIRONMENT, *NEURAL], help="all when none is named")
    parser.add_argument("--peers-python", help="interpreter of the neural peers' environment (README.md)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, one thread each")
    parser.add_argument("--out", type=Path, default=_ROOT / "benchmarks" / "results" / f"accuracy-{date.today()}.json")
    parser.add_argument("--document", type=Path, default=_ROOT / "docs" / "accuracy.md")
    parser.add_argument("--table", action="store_true", help="only write the document from the results there are")
    arguments = parser.parse_args()
    if not arguments.table and arguments.folder is None:
        parser.error("name the folder of the data, or give --table")
    return arguments


def main() -> int:
    arguments = parse()
    if not arguments.table:
        results = Results(arguments.out)
        names = present(arguments.folder) if arguments.frequencies is None else arguments.frequencies
        sets = [M4Set.load(arguments.folder, name) for name in names]
        m4 = small_tasks(arguments, sets) if arguments.small else m4_tasks(arguments, sets)
        own = itertools.chain(m4, missing_tasks(arguments, sets), long_tasks(arguments))
        failed = perform(own, results, arguments.jobs)
        # Peers are given the times that ours took.
        failed = failed or perform(peer_tasks(arguments, sets, results), results, arguments.jobs)
        if failed:
            return 1
    tables.write(arguments.out.parent, arguments.document)
    return 0


def m4_tasks(arguments: argparse.Namespace, sets: list[M4Set]) -> Iterator[Task]:
    for m4, preset, seed in itertools.product(sets, arguments.preset, _seeds(arguments)):
        key = Key("m4", m4.frequency, m4.rules.horizon, preset, seed)
        yield key, lambda m4=m4, preset=preset, seed=seed: m4_ours(m4, preset, seed)


def _seeds(arguments: argparse.Namespace) -> range:
    return range(arguments.first_seed, arguments.seeds + 1)


def small_tasks(arguments: argparse.Namespace, sets: list[M4Set]) -> Iterator[Task]:
    """Ours and the statistical methods on a few series, drawn anew for each seed."""
    for m4, seed in itertools.product(sets, _seeds(arguments)):
        few = m4.sample(arguments.small, seed)
        for preset in arguments.preset:
            key = Key(f"m4-{arguments.small}", m4.frequency, m4.rules.horizon, preset, seed)
            yield key, lambda few=few, preset=preset, seed=seed: m4_ours(few, preset, seed)
        for model in IN_OUR_ENVIRONMENT:
            key = Key(f"m4-{arguments.small}", m4.frequency, m4.rules.horizon, model, seed)
            yield key, lambda few=few, model=model, seed=seed: m4_peer(few, model, seed, None, 0, 0)


def missing_tasks(arguments: argparse.Namespace, sets: list[M4Set]) -> Iterator[Task]:
    """The same with values removed from the training part: one by one, and a season at a time."""
    if not arguments.missing:
        return
    seeds = _seeds(arguments)
    for m4, preset, seed, share in itertools.product(sets, arguments.preset, seeds, (0.1, 0.3)):
        for how, block in (("one by one", 1), ("in blocks", m4.rules.season)):
            key = Key("missing", f"{m4.frequency}, {share:.0%} {how}", m4.rules.horizon, preset, seed)
            less = m4.thinned(share, block, seed)
            yield key, lambda less=less, preset=preset, seed=seed: m4_ours(less, preset, seed)


def long_tasks(arguments: argparse.Namespace) -> Iterator[Task]:
    names = arguments.long_horizon if arguments.long_horizon else list(SETS)
    names = [] if arguments.long_horizon is None else names
    seeds = _seeds(arguments)
    for name, horizon, preset, seed in itertools.product(names, arguments.horizons, arguments.preset, seeds):
        key = Key("long", name, horizon, preset, seed)
        yield key, lambda n=name, h=horizon, p=preset, s=seed: long_ours(arguments.folder, n, h, p, s)


def peer_tasks(arguments: argparse.Namespace, sets: list[M4Set], results: Results) -> Iterator[Task]:
    """Peers have the mean time of our `balanced` trainings on the same data, or of another preset when alone."""
    if arguments.peers is None:
        return
    wanted = arguments.peers or [*IN_OUR_ENVIRONMENT, *(NEURAL if arguments.peers_python else ())]
    paced_by = "balanced" if "balanced" in arguments.preset else arguments.preset[0]
    seeds = _seeds(arguments)
    for m4, model in itertools.product(sets, wanted):
        ours = [results[Key("m4", m4.frequency, m4.rules.horizon, paced_by, seed)] for seed in seeds]
        budget, context = statistics.mean(one["seconds"] for one in ours), ours[0]["context"]
        for seed in [1] if model in IN_OUR_ENVIRONMENT else seeds:
            key = Key("m4", m4.frequency, m4.rules.horizon, model, seed)
            yield key, lambda a=m4, m=model, s=seed, b=budget, c=context: m4_peer(a, m, s, arguments.peers_python, b, c)


def perform(tasks: Iterable[Task], results: Results, jobs: int) -> int:
    """Do what is not there yet, `jobs` at once; each is a process, so threads only wait. Gives how many failed."""
    failed = 0
    with ThreadPoolExecutor(jobs) as threads:
        running = {threads.submit(do): key for key, do in tasks if key not in results}
        for done in as_completed(running):
            key = running[done]
            try:
                results.add(key, done.result())
                print(key, {name: round(value, 4) for name, value in results[key].items() if isinstance(value, float)})
            except (RuntimeError, ValueError) as error:  # the others go on; the run ends with an error
                failed += 1
                print(f"{key} failed: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
