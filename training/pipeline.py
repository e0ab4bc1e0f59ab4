"""A training or a comparison, from the request on.

Data and settings come first: a mistake in them is told before libraries are loaded that take seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, get_args

from forecaster.errors import InputError
from forecaster.settings import Cell
from forecaster.store.settings import StoreSettings
from training.planning import prepare
from training.request import Reporter, Silent, TrainRequest, TrainResult

if TYPE_CHECKING:
    from training.comparison import Comparison


def train(
    request: TrainRequest,
    settings: StoreSettings,
    reporter: Reporter | None = None,
    guard: Callable[[], None] = lambda: None,
) -> TrainResult:
    """Run a training. `guard` is called before anything is published and raises when the job is not ours any more.

    Raises InputError and TrainingError; the champion is then what it was.
    """
    began = time.perf_counter()
    reporter = reporter or Silent()
    prepared = prepare(request, reporter)
    reporter.stage("loading")
    from training.run import run_training

    return run_training(prepared, settings, reporter, guard, began)


def compare(
    request: TrainRequest, cells: Sequence[str], seeds: int, settings: StoreSettings, reporter: Reporter | None = None
) -> Comparison:
    """Fit and score each cell with each of `seeds` seeds. Raises InputError and TrainingError."""
    reporter = reporter or Silent()
    _check(cells, seeds, request)
    prepared = prepare(request, reporter)
    reporter.stage("loading")
    from training.compare import run_comparison

    return run_comparison(prepared, cells, seeds, settings, reporter)


def _check(cells: Sequence[str], seeds: int, request: TrainRequest) -> None:
    known = ", ".join(get_args(Cell))
    if not cells:
        raise InputError("no cell is given", field="cells", mend=f"name some of {known}")
    for cell in cells:
        if cell not in get_args(Cell):
            raise InputError(f"there is no cell {cell!r}", field="cells", mend=f"name some of {known}")
    if len(set(cells)) < len(cells):
        twice = next(cell for cell in cells if cells.count(cell) > 1)
        raise InputError(f"{twice} is given twice", field="cells", mend="name each cell once")
    if seeds < 1:
        raise InputError(f"{seeds} is out of range", field="seeds", mend="give 1 or more")
    if "network.cell" in request.changes:
        raise InputError("the cells are what is compared", field="network.cell", mend="leave it out")
