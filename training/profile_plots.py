"""One picture of a panel: some of its series, how long they are, what is observed when, and the shape of a season."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from forecaster.frequency import IntArray
from forecaster.panel import FloatArray, Panel
from training.plots import COLOURS, INK, clean

_SHOWN_SERIES, _SHOWN_STEPS = 3, 2000  # the last ones
_BINS = 120
_SAMPLE, _MOST_SEASONS = 500, 200


def draw_profile(panel: Panel) -> bytes:
    """A PNG."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    grid = figure.add_gridspec(2 * _SHOWN_SERIES, 2)
    upper, lower = slice(0, _SHOWN_SERIES), slice(_SHOWN_SERIES, None)
    chosen = _telling(panel)
    for row, series in enumerate(chosen):
        _example(figure.add_subplot(grid[row, 0]), panel, series, COLOURS[row])
    for draw, place in ((_lengths, grid[upper, 1]), (_observed, grid[lower, 0]), (_season, grid[lower, 1])):
        draw(figure.add_subplot(place), panel)
    for axes in figure.get_axes():
        clean(axes)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()


def _telling(panel: Panel) -> list[int]:
    """The longest series, one of median length, and the one with most missing (the shortest, where nothing is)."""
    by_length = np.argsort(panel.lengths, kind="stable")
    missing = panel.lengths - panel.observed_counts()
    last = missing.argmax() if missing.any() else by_length[0]
    return list(dict.fromkeys(int(one) for one in (by_length[-1], by_length[len(by_length) // 2], last)))


def _example(axes: Axes, panel: Panel, series: int, colour: str) -> None:
    axes.plot(
        panel.timestamps(series)[-_SHOWN_STEPS:], panel.series(series)[-_SHOWN_STEPS:], color=colour, linewidth=0.8
    )
    axes.set_title(panel.label(series), loc="left", fontsize=9, color=colour, parse_math=False)
    axes.tick_params(labelsize=8)
    _dates(axes, panel)


def _lengths(axes: Axes, panel: Panel) -> None:
    longest = int(panel.lengths.max())
    axes.hist(panel.lengths, bins=np.linspace(0, longest + 1, min(40, longest + 1) + 1), color=COLOURS[0])
    axes.set(xlabel="steps", ylabel="series")
    axes.set_title("How long the series are", loc="left", fontsize=11)


def _observed(axes: Axes, panel: Panel) -> None:
    """How many series are observed, over time."""
    first, last = int(panel.start.min()), int(panel.ends.max())
    edges = np.unique(np.linspace(first, last + 1, _BINS + 1).astype(np.int64))
    chosen = _sample(panel)
    counts = sum(_observed_between(edges - panel.start[one], panel.series(one)) for one in chosen)
    share = counts / np.diff(edges) / len(chosen)
    when = panel.freq.from_grid(edges, panel.phase[:1], integer=panel.integer)
    axes.stairs(share, when, color=COLOURS[0], fill=True, alpha=0.35)
    axes.stairs(share, when, color=COLOURS[0], linewidth=1)
    axes.set(ylabel="share of the series", ylim=(0, 1.05))
    axes.set_title("What is observed when", loc="left", fontsize=11)
    _dates(axes, panel)


def _observed_between(edges: IntArray, values: FloatArray) -> IntArray:
    """[bins] observed values between places of a series, some of which may lie outside it."""
    inside = edges.clip(0, len(values))
    missing = np.searchsorted(np.flatnonzero(np.isnan(values)), inside)
    return np.diff(inside) - np.diff(missing)


def _sample(panel: Panel) -> IntArray:
    return np.random.default_rng(0).permutation(panel.n_series)[:_SAMPLE]


def _season(axes: Axes, panel: Panel) -> None:
    """Median and middle half, over series, of each phase's mean; or the spread of values where there is no season."""
    season = panel.freq.season
    if season == 1:
        values = np.concatenate([panel.series(one)[-_SHOWN_STEPS:] for one in _sample(panel)])
        values = values[~np.isnan(values)]
        if len(values):
            low, high = np.quantile(values.astype(float), [0.005, 0.995])
            axes.hist(values, bins=np.linspace(low, high if high > low else low + 1, 41), color=COLOURS[0])
        axes.set_title("Values, less the outermost percent", loc="left", fontsize=11)
        return
    shapes = np.array([shape for shape in (_shape(panel, int(one)) for one in _sample(panel)) if shape is not None])
    if len(shapes):
        low, middle, high = np.quantile(shapes, [0.25, 0.5, 0.75], axis=0)
        phase = np.arange(1, season + 1)
        axes.fill_between(phase, low, high, color=COLOURS[0], alpha=0.25, linewidth=0)
        axes.plot(phase, middle, color=COLOURS[0], linewidth=1.6)
    axes.axhline(0, color=INK, linewidth=0.6, linestyle=":")
    axes.set(xlabel=f"step of a season of {season}", ylabel="standard deviations")
    axes.set_title("The shape of a season: median and middle half of the series", loc="left", fontsize=11)


def _shape(panel: Panel, series: int) -> np.ndarray | None:
    """[season] the mean of each phase, less a moving mean over a season, in the series' standard deviations.

    None where that cannot be told: too short, constant, or a phase that was never observed.
    """
    season = panel.freq.season
    values = panel.series(series)[-_MOST_SEASONS * season :].astype(float)
    known = ~np.isnan(values)
    if len(values) < 3 * season or not known.any() or not np.nanstd(values) > 0:
        return None
    total, count = (np.convolve(x, np.ones(season), "same") for x in (np.where(known, values, 0.0), known))
    level = total / np.maximum(count, 1)
    inner = slice(season // 2, len(values) - season // 2)
    rest = np.where(known, (values - level) / np.nanstd(values), np.nan)[inner]
    first = int(panel.ends[series]) + 1 - len(values) + season // 2
    whole = len(rest) // season * season
    by_phase = np.roll(rest[:whole].reshape(-1, season), first % season, axis=1)
    seen = (~np.isnan(by_phase)).sum(0)
    return np.asarray(np.nansum(by_phase, 0) / seen) if seen.all() else None


def _dates(axes: Axes, panel: Panel) -> None:
    if not panel.integer:
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
