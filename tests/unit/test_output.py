import pytest
from rich.console import Console

from forecaster.cli import output


def test_an_id_with_brackets_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=80, record=True, quiet=False)
    monkeypatch.setattr(output, "stdout", console)
    output.show_table("forecasts", ["unique_id", "y"], [["item[small]", 1.5], ["a[/b]", None]])
    told = console.export_text()
    assert "item[small]" in told
    assert "a[/b]" in told
