"""Whether a model's intervals held what they promise, on the origins that its backtest held out."""

from __future__ import annotations

from collections.abc import Mapping

_LEVEL = "95"
_LEAST = 0.85  # of the values: three times the misses that are promised are no chance any more


def promise_broken(coverage: Mapping[str, float]) -> str | None:
    """What to tell whoever reads the intervals; None where they held, or where it is not known.

    coverage: by level in per cent, as a name, the share of the held-out values within the interval
    """
    held = coverage.get(_LEVEL)
    if held is None or not held < _LEAST:
        return None
    return (
        f"in the backtest the {_LEVEL} % interval held {held:.0%} of the values: do not rely on intervals before the "
        "model has more data, or a shorter horizon"
    )
