"""The optimised Theta method of statsforecast, in a short-lived process of its own.

statsforecast brings statsmodels, fugue and more, some 45 MB that a training would keep to its end for the sake of one
baseline. `python -m forecaster.theta` reads histories from standard input and writes forecasts to standard output.

Legend: N series, H horizon steps.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forecaster.errors import ForecasterError

Floats = npt.NDArray[np.float32]

_PATIENCE = 600.0  # seconds; a training's sample of windows takes some ten


def theta_forecasts(histories: Sequence[Floats], horizon: int, period: int) -> Floats:
    """[N, H] forecasts of complete histories, each longer than two periods and not constant.

    Raises ForecasterError when the process ends without an answer, or takes longer than is worth waiting for.
    """
    task = io.BytesIO()
    lengths = [len(history) for history in histories]
    np.savez(task, values=np.concatenate(histories), lengths=lengths, horizon=horizon, period=period)
    command = [sys.executable, "-m", "forecaster.theta"]
    try:
        done = subprocess.run(command, input=task.getvalue(), capture_output=True, check=False, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise ForecasterError(f"the Theta baseline gave no answer in {_PATIENCE:.0f} s") from error
    if done.returncode:
        last_words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ForecasterError(f"the Theta baseline ended with exit code {done.returncode}: {last_words}")
    answer: Floats = np.load(io.BytesIO(done.stdout))
    return answer


def main() -> None:
    """Answer one task."""
    task = np.load(io.BytesIO(sys.stdin.buffer.read()))
    histories = np.split(task["values"], np.cumsum(task["lengths"])[:-1])
    with contextlib.redirect_stdout(sys.stderr):  # libraries print; stdout is for the answer alone
        forecasts = _forecast(histories, int(task["horizon"]), int(task["period"]))
    answer = io.BytesIO()  # numpy asks a buffered file for its position, which a pipe has not
    np.save(answer, forecasts)
    sys.stdout.buffer.write(answer.getvalue())


def _forecast(histories: Sequence[Floats], horizon: int, period: int) -> Floats:
    from statsforecast.models import OptimizedTheta

    model = OptimizedTheta(season_length=period)
    return np.stack([model.forecast(history, horizon)["mean"] for history in histories]).astype(np.float32)


if __name__ == "__main__":
    main()
