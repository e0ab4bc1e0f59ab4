"""The README as a newcomer follows it: every block is run, in order, against a stack that `forecaster up` started."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def find(start: str) -> tuple[str, str]:
    found = [block for block in BLOCKS if block[1].startswith(start)]
    assert len(found) == 1, f"the README has {len(found)} blocks that begin with {start!r}"
    return found[0]


class Newcomer:
    """Types the README's blocks in a copy of the checkout, with the ports of this run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"8000": str(free_port()), "5000": str(free_port())}
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "FORECASTER_HOME": str(folder / "var"),
            "MLFLOW_TRACKING_URI": "",
            "OMP_NUM_THREADS": "1",
        }

    def here(self, text: str) -> str:
        """With the ports of this run."""
        for usual, actual in self.ports.items():
            text = text.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{actual}")
        return text

    def types(self, block: tuple[str, str]) -> str:
        language, text = block[0], self.here(block[1])
        command = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        return done.stdout


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "forecaster" / "data", folder / "forecaster" / "data")
    someone = Newcomer(folder)
    up = [shutil.which("forecaster", path=someone.environment["PATH"]) or "forecaster", "up"]
    up += ["--port", someone.ports["8000"], "--mlflow-port", someone.ports["5000"]]
    with subprocess.Popen(up, cwd=folder, env=someone.environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        told = ""
        while "Ctrl-C stops everything" not in told:
            line = running.stdout.readline()
            assert line, told
            told += line
        assert "curl -s http://127.0.0.1:" in told
        yield someone
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)


def test_every_block_of_the_readme_is_run_by_a_test_here() -> None:
    tested = (
        "make up",
        "curl -s http",
        "make test",
        "import io",
        "forecaster train",
        "curl -sf -X PUT",
        "cp .env.example",
    )
    assert len(BLOCKS) == len({find(start) for start in tested})


@pytest.mark.parametrize(("target", "command"), [("up", "forecaster up"), ("test", "pytest")])
def test_make_targets_do_what_the_readme_says(target: str, command: str) -> None:
    assert find(f"make {target}")[1].strip() == f"make {target}"
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
    assert command in done.stdout
    assert "constraints.txt" in (ROOT / "Makefile").read_text()


def test_the_curl_answers_a_forecast(newcomer: Newcomer) -> None:
    answer = json.loads(newcomer.types(find("curl -s http")))
    assert answer["model"]["name"] == "new-york-weather"
    assert len(answer["forecasts"][0]["median"]) == 12
    assert answer["forecasts"][0]["timestamps"][0] == "2013-12-31T19:00:00"


@pytest.mark.parametrize(("start", "shown"), [("8000/docs", "/v1/forecast"), ("5000/", "new-york-weather")])
def test_the_pages_open_in_a_browser(newcomer: Newcomer, start: str, shown: str) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here")
    (address,) = re.findall(rf"<(http://127.0.0.1:{start}[^>]*)>", README)
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={newcomer.folder / 'browser'}"]
    page = subprocess.run(
        [browser, *options, "--virtual-time-budget=60000", "--dump-dom", newcomer.here(address)],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    assert shown in re.sub("<[^>]*>", "", page)


def test_the_snippet_prints_forecasts(newcomer: Newcomer) -> None:
    printed = newcomer.types(find("import io"))
    assert "lo-80" in printed
    assert "EWR/humidity" in printed


def test_own_data_and_retraining(newcomer: Newcomer) -> None:
    printed = newcomer.types(find("forecaster train"))
    assert "288 rows for 12 series written to forecasts.parquet" in printed
    assert "weather version 1 (champion)" in printed
    assert "weather" in newcomer.types(find("curl -sf -X PUT"))


def test_the_compose_file_is_valid_and_wants_a_password(tmp_path: Path) -> None:
    compose = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    if (
        shutil.which(compose[0]) is None
        or subprocess.run([*compose, "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("docker compose is not installed")
    # Another project directory, so that a developer's own .env is not read.
    command = [
        *compose,
        "-f",
        str(ROOT / "docker-compose.yml"),
        "--project-directory",
        str(tmp_path),
        "config",
        "--quiet",
    ]
    without = {name: value for name, value in os.environ.items() if name != "POSTGRES_PASSWORD"}
    missing = subprocess.run(command, cwd=tmp_path, env=without, capture_output=True, text=True, check=False)
    assert missing.returncode != 0
    assert "POSTGRES_PASSWORD" in missing.stderr
    given = {**without, "POSTGRES_PASSWORD": "x"}
    done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
