import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_page_of_settings_is_what_the_classes_say() -> None:
    subprocess.run([sys.executable, "docs/make_settings.py", "--check"], cwd=ROOT, check=True)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_links_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text()):
        if "://" not in target:
            assert (folder / target).exists(), target


def test_every_dependency_has_its_reason() -> None:
    names = re.findall(r'^    "([a-z0-9-]+)[>\[";]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    wanted = {
        name for name in names if not name.startswith(("types-", "pandas-stubs", "forecaster", "error", "service"))
    }
    assert len(wanted) > 20
    assert not {name for name in wanted if name not in reasons}
