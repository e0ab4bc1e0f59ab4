import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_training_memory_grows_by_at_most_three_times_the_panel() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "memory.py"

    def peak(series: int) -> tuple[float, float]:
        command = [sys.executable, str(script), "--series", str(series), "--steps", "200", "--json"]
        command += ["--set", "fit.steps=20", "--set", "backtest.baseline_series=20"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        report = json.loads(done.stdout)
        return report["panel_mb"], report["peak_mb"]

    small, large = peak(500), peak(20_000)
    assert large[1] - small[1] <= 3 * (large[0] - small[0]) + 60  # allocators grow in steps
