"""Pictures of a backtest, and of a comparison: forecasts of the best, a median and the worst series, the calibration.

Figures are made without pyplot, whose global state is not safe in threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from forecaster.frequency import IntArray
from forecaster.panel import FloatArray
from training.comparison import CellSummary
from training.evaluation import Evaluation

INK, _FORECAST, _GRID = "#1f2933", "#0b6fa4", "#d9dee3"
_BANDS = ((0.025, 0.975, 0.18), (0.1, 0.9, 0.30))  # lower, upper, opacity
_SHOWN_HORIZONS = 4
COLOURS = (_FORECAST, "#c2570c", "#147d64", "#a23b72", "#6b4fa0", INK)  # told apart by colour-blind people too


def draw_forecasts(evaluation: Evaluation, quantiles: tuple[float, ...], path: Path) -> None:
    """Truth, median and 80 % and 95 % bands of the best, the median and the worst window by MASE."""
    score = evaluation.scores.by_window["mase"]
    order = np.argsort(np.where(np.isfinite(score), score, np.inf))[: int(np.isfinite(score).sum())]
    if not len(order):
        return
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    figure = Figure(figsize=(10, 9), layout="constrained")
    for axes, (name, row) in zip(figure.subplots(3, 1), chosen.items(), strict=True):
        _forecast(axes, evaluation, quantiles, int(row))
        series = evaluation.windows.panel.label(int(evaluation.windows.series[row]))
        axes.set_title(f"{name}: {series}, MASE {score[row]:.2f}", loc="left", fontsize=11, parse_math=False)
    # Outside the panels: inside one, it would hide what it explains.
    handles = figure.get_axes()[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper right", fontsize=9, frameon=False, ncols=4)
    figure.savefig(path, dpi=110)


def _forecast(axes: Axes, evaluation: Evaluation, quantiles: tuple[float, ...], row: int) -> None:
    windows = evaluation.windows
    horizon = windows.horizon
    begin, origin, series = windows.begin[row], windows.origin[row], windows.series[row]
    shown = min(origin - begin, _SHOWN_HORIZONS * horizon)
    panel = windows.panel
    ordinal: IntArray = panel.start[series] + np.arange(origin - begin - shown, origin - begin + horizon)
    ds = panel.freq.from_grid(ordinal, panel.phase[series : series + 1], integer=panel.integer)
    truth = np.concatenate([panel.values[origin - shown : origin], windows.truth[row]])
    axes.plot(ds, truth, color=INK, linewidth=1.1, label="truth")
    grid = evaluation.quantiles[row]
    axes.plot(ds[shown:], grid[:, quantiles.index(0.5)], color=_FORECAST, linewidth=1.6, label="median")
    for low, high, opacity in _BANDS:
        if low in quantiles and high in quantiles:
            limits = grid[:, quantiles.index(low)], grid[:, quantiles.index(high)]
            label = f"{round(100 * (high - low))} %"
            axes.fill_between(ds[shown:], *limits, color=_FORECAST, alpha=opacity, linewidth=0, label=label)
    if not panel.integer:
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
    axes.axvline(ds[shown - 1], color=INK, linewidth=0.6, linestyle=":")
    clean(axes)


def draw_calibration(evaluation: Evaluation, quantiles: tuple[float, ...], path: Path) -> None:
    """How often the truth fell below each quantile, against what was promised."""
    truth = evaluation.windows.truth[:, :, None]
    known = ~np.isnan(truth[..., 0])
    below = np.where(known[..., None], truth <= evaluation.quantiles, False).sum((0, 1)) / max(1, known.sum())
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="perfect")
    axes.plot(quantiles, below, color=_FORECAST, marker="o", markersize=4, label="this model")
    axes.set(xlabel="promised probability", ylabel="share of truths below", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_title("Calibration on held-out origins", loc="left", fontsize=11)
    axes.legend(frameon=False, loc="upper left")
    clean(axes)
    figure.savefig(path, dpi=110)


def draw_error_by_step(model: FloatArray, path: Path) -> None:
    """Scaled absolute error against the step of the horizon."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(1, len(model) + 1), model, color=_FORECAST)
    axes.set(xlabel="step of the horizon", ylabel="scaled absolute error", ylim=(0, None))
    axes.set_title("Error on held-out origins", loc="left", fontsize=11)
    clean(axes)
    figure.savefig(path, dpi=110)


def draw_comparison(cells: Sequence[CellSummary], path: Path) -> None:
    """Accuracy against the time that a fit takes: a point for each cell, bars of one standard deviation over seeds."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for rank, cell in enumerate(sorted(cells, key=lambda cell: cell.seconds)):
        colour = COLOURS[rank % len(COLOURS)]
        axes.errorbar(
            cell.seconds, cell.mase, xerr=cell.seconds_sd, yerr=cell.mase_sd,
            color=colour, marker="o", capsize=3, elinewidth=1,
        )  # fmt: skip
        # Neighbours in time have their labels on opposite sides.
        place = {"xytext": (6, 6)} if rank % 2 else {"xytext": (-6, -6), "ha": "right", "va": "top"}
        axes.annotate(cell.cell, (cell.seconds, cell.mase), textcoords="offset points", color=colour, **place)
    axes.margins(0.15)
    axes.set(xlabel="seconds of a fit, one thread", ylabel="MASE on held-out origins (lower is better)")
    axes.set_title("Accuracy against training time", loc="left", fontsize=11)
    clean(axes)
    figure.savefig(path, dpi=110)


def clean(axes: Axes) -> None:
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
