from __future__ import annotations

import os
import time
from pathlib import Path

from forecaster.store.incoming import INCOMING, incoming


def test_what_a_killed_process_left_behind_is_removed_in_time(tmp_path: Path) -> None:
    for name in ("old", "fresh"):
        (tmp_path / INCOMING / name).mkdir(parents=True)
        (tmp_path / INCOMING / name / "data.csv").write_text("half")
    os.utime(tmp_path / INCOMING / "old", (time.time() - 90_000,) * 2)
    with incoming(tmp_path) as aside:
        assert aside.is_dir()
        assert {path.name for path in (tmp_path / INCOMING).iterdir()} == {"fresh", aside.name}
    assert [path.name for path in (tmp_path / INCOMING).iterdir()] == ["fresh"]
