"""docs/accuracy.md, written from the results alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scoring.long_horizon import HORIZONS, SETS
from scoring.m4 import RULES
from scoring.results import Key, read_all

Measured = dict[Key, dict[str, Any]]
_OURS = ("fast", "balanced", "best")
_COLUMNS = {
    "m4": {"owa": 3, "smape": 3, "mase": 3, "wql": 4, "msis": 2, "coverage": 3, "seconds": 0},
    "long": {"mse": 3, "mae": 3, "seconds": 0},
}
_TITLES = {
    "owa": "OWA", "smape": "sMAPE", "mase": "MASE", "wql": "wQL", "msis": "MSIS 95", "coverage": "coverage 95",
    "mse": "MSE", "mae": "MAE", "seconds": "seconds",
}  # fmt: skip
# Of the competition's own ranking file: sMAPE, MASE, OWA; MSIS where it was told. Complete sets only.
_PUBLISHED = {
    "Yearly": {"ES-RNN (winner)": (13.176, 2.980, 0.778, 23.898)},
    "Weekly": {"ES-RNN (winner)": (7.817, 2.356, 0.851, 22.034)},
    "Hourly": {"ES-RNN (winner)": (9.328, 0.893, 0.440, 7.928)},
}
_PUBLISHED_MSE = {  # SegRNN, a GRU over segments of 720 steps back (Lin et al. 2023)
    "ETTh1": (0.351, 0.392, 0.423, 0.466), "ETTm1": (0.293, 0.328, 0.357, 0.410),
    "Weather": (0.143, 0.189, 0.243, 0.316),
}  # fmt: skip
_INTRODUCTION = """# Accuracy

Written by `python benchmarks/accuracy.py --table` from the files in `benchmarks/results/`; do not edit.

Ours is `forecaster train DATA --freq F --horizon H` and `forecaster predict`, with nothing else set but the preset
and the seed: settings are chosen from the training part. The test part is looked at for these scores only. Lower is
better; the coverage of a 95 % interval is best at 0.95. A figure of several seeds is their mean ± standard deviation.
Seconds are the wall time of the whole command (both fits, backtest, registration), fits side by side on the cores
that there are, with one thread each, on the machines below, of which one is half as fast as another; some were taken
beside other work. Peers are as their defaults make them, with our context and horizon, and train for as long as
`balanced` took on the same data; the statistical ones (AutoETS, and Theta in its dynamic optimised form) take the time
that they take.

The last column says by date which files have a row's results, and so of which code they are. What has changed since:

- 2026-11-26e: small panels keep two lengths of the fit; factors of intervals that are read off few windows are believed
  less.
- 2026-11-27e: where a season rules, small panels have a linear start in its present form, and keep a share of what is
  added to it; factors from few windows are the same on both sides.
- 2026-11-27h: held-out windows of series that were younger than what is served are left out.
- 2026-11-27i: of a small panel `best` keeps five networks, not ten.
- 2026-12-01: of large panels within the day `best` has four networks, without an LSTM; of panels of few
  values factors of intervals are believed more.

The neural peers had the time that `balanced` took then.
"""


def write(folder: Path, document: Path) -> None:
    """Write the document from all `accuracy-*.json` of a folder."""
    results, machines = read_all(list(folder.glob("accuracy-*.json")))
    # A trial with a few steps says nothing of accuracy.
    results = {key: result for key, result in results.items() if key.model != "quick"}
    parts = [_INTRODUCTION, *_m4(results), *_small(results), *_missing(results), *_long(results), _machines(machines)]
    document.write_text("\n".join(parts))


def _m4(results: Measured) -> Iterable[str]:
    if not any(key.suite == "m4" for key in results):
        return
    yield "## M4\n"
    yield "OWA is relative to Naive2 on the same series; for a subset it cannot be compared with published tables.\n"
    for frequency, rules in RULES.items():
        found = {key: result for key, result in results.items() if key.suite == "m4" and key.data == frequency}
        if not found:
            continue
        series = next(iter(found.values()))["series"]
        whole = "complete" if series == rules.of else f"subset of {rules.of}"
        yield f"### {frequency}: {series} series, {whole}, {rules.horizon} steps\n"
        yield _head("", "seeds", *(_TITLES[name] for name in _COLUMNS["m4"]), "measured")
        for model, seeds in _by_model(found):
            yield _row(model, len(seeds), *_figures(seeds, _COLUMNS["m4"]))
        for name, (smape, mase, owa, msis) in (_PUBLISHED.get(frequency, {}) if series == rules.of else {}).items():
            point = (f"{owa:.3f}", f"{smape:.3f}", f"{mase:.3f}")
            yield _row(f"{name}, published", "", *point, "", f"{msis:.2f}", "", "", "")
        yield ""


def _small(results: Measured) -> Iterable[str]:
    sizes = sorted({int(key.suite[3:]) for key in results if key.suite.startswith("m4-")})
    for size in sizes:
        yield f"## {size} series of M4\n"
        yield f"Trained on {size} series alone, other ones for each seed, and scored on their test parts.\n"
        yield _head("", "", "seeds", *(_TITLES[name] for name in _COLUMNS["m4"]), "measured")
        for frequency in RULES:
            found = {key: one for key, one in results.items() if (key.suite, key.data) == (f"m4-{size}", frequency)}
            for model, seeds in _by_model(found):
                yield _row(frequency, model, len(seeds), *_figures(seeds, _COLUMNS["m4"]))
        yield ""


def _missing(results: Measured) -> Iterable[str]:
    found = {key: result for key, result in results.items() if key.suite == "missing"}
    if not found:
        return
    yield "## Missing values\n"
    yield "M4 with values removed from the training part, one by one or a season at a time, as absent rows. Worse: OWA"
    yield "against that of the same preset and seeds on the complete data, which may be of later code.\n"
    yield _head("", "", "seeds", "worse", *(_TITLES[name] for name in _COLUMNS["m4"]), "measured")
    for data in sorted({key.data for key in found}):
        for model, seeds in _by_model({key: result for key, result in found.items() if key.data == data}):
            pairs = [(found[key], _whole(results, key)) for key in found if (key.data, key.model) == (data, model)]
            worse = [100 * (less["owa"] / whole["owa"] - 1) for less, whole in pairs if whole]
            told = f"{_figure(worse, 1)} %" if worse else ""
            yield _row(data, model, len(seeds), told, *_figures(seeds, _COLUMNS["m4"]))
    yield ""


def _whole(results: Measured, key: Key) -> dict[str, Any] | None:
    """What the same preset and seed gave on the data as it is."""
    return results.get(replace(key, suite="m4", data=key.data.split(",")[0]))


def _long(results: Measured) -> Iterable[str]:
    found = {key: result for key, result in results.items() if key.suite == "long"}
    if not found:
        return
    yield "## Long horizons\n"
    yield "Usual splits, standardised by the training part, trained on the training part alone; all windows of the test"
    yield "part, stride 1. MSE is of the mean forecast, MAE of the median. Published: SegRNN, 720 steps back.\n"
    yield _head("", "horizon", "", "seeds", "published MSE", *(_TITLES[name] for name in _COLUMNS["long"]), "measured")
    for name in SETS:
        of_set = [key for key in found if key.data == name]
        published = {h: f"{mse:.3f}" for h, mse in zip(HORIZONS, _PUBLISHED_MSE[name], strict=True)}
        for horizon in sorted({key.horizon for key in of_set}):
            of_horizon = {key: found[key] for key in of_set if key.horizon == horizon}
            for model, seeds in _by_model(of_horizon):
                told = published.get(horizon, "")
                yield _row(name, horizon, model, len(seeds), told, *_figures(seeds, _COLUMNS["long"]))
    yield ""


def _by_model(found: Measured) -> list[tuple[str, list[dict[str, Any]]]]:
    """Ours first, then the peers by name."""
    models = sorted({key.model for key in found}, key=lambda m: (_OURS.index(m) if m in _OURS else len(_OURS), m))
    return [(model, [result for key, result in found.items() if key.model == model]) for model in models]


def _figures(seeds: Sequence[dict[str, Any]], columns: dict[str, int]) -> list[str]:
    """Each column's, and the dates of the files that have them."""
    found = [_figure([s[name] for s in seeds if s.get(name) is not None], places) for name, places in columns.items()]
    return [*found, ", ".join(sorted({s["measured"] for s in seeds}))]


def _figure(values: Sequence[float], places: int) -> str:
    """Mean ± standard deviation; nothing where there is nothing."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.{places}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{places}f}"


def _machines(machines: Sequence[dict[str, Any]]) -> str:
    lines = ["## Machines\n", _head("file", "processor", "cores", "Python", "torch", "Lightning", "statsforecast")]
    names = ("file", "processor", "cores", "python", "torch", "pytorch-lightning", "statsforecast")
    lines += [_row(*(machine[name] for name in names)) for machine in machines]
    return "\n".join(lines) + "\n"


def _head(*titles: str) -> str:
    return f"{_row(*titles)}\n|{'---|' * len(titles)}"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
