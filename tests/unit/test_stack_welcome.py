import pytest

from forecaster.cli.stack import _welcome
from forecaster.store.settings import StoreSettings


@pytest.mark.parametrize("example", [True, False])
def test_the_example_is_told_where_its_model_is_trained(example: bool, capsys: pytest.CaptureFixture[str]) -> None:
    _welcome("http://127.0.0.1:1", "http://127.0.0.1:2", StoreSettings(), json=False, example=example)
    told = capsys.readouterr().out
    assert "http://127.0.0.1:1/docs" in told
    assert "http://127.0.0.1:2/#/experiments" in told
    assert ("curl" in told) == example
