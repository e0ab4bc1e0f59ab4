import pytest

from forecaster.errors import first_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  the cause\nand a traceback", "the cause"),
        ("", "ValueError"),
        ("x" * 400, "x" * 300),
        ("cannot reach postgresql://ada:secret@db/runs", "cannot reach postgresql://db/runs"),
        ("API request to /runs failed with exception HTTPConnectionPool(...)", "API request to /runs failed"),
        ("Max retries: HTTPConnectionPool(host='x')", "Max retries"),
    ],
)
def test_a_persons_line_of_an_error_is_short_and_keeps_secrets(text: str, line: str) -> None:
    assert first_line(ValueError(text)) == line
