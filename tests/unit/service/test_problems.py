from __future__ import annotations

import json

import pytest

from forecaster.errors import InputError
from service.errors import InvalidRequest, PlacedInputError, pointer, problem


def test_a_pointer_is_escaped_as_rfc_6901_says() -> None:
    assert pointer("series", 3, "a/b~c") == "/series/3/a~1b~0c"


@pytest.mark.parametrize("status", [429, 503])
def test_who_may_try_again_is_told_when(status: int) -> None:
    assert int(problem(status, "full").headers["retry-after"]) >= 1


def test_a_problem_without_a_type_of_its_own_is_about_blank() -> None:
    document = json.loads(bytes(problem(404, "nothing here").body))
    assert document == {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "nothing here"}


def test_text_that_is_not_unicode_is_told_all_the_same() -> None:
    assert json.loads(bytes(problem(422, "model \ud800").body))["detail"] == "model ?"


def test_errors_are_told_up_to_a_number() -> None:
    error = InvalidRequest([{"pointer": f"/{i}", "message": "wrong"} for i in range(1000)])
    assert len(error.errors) == 20
    assert len(str(error)) < 100


def test_an_error_takes_the_words_of_the_request() -> None:
    placed = PlacedInputError(InputError("bad", series="a", field="y", mend="mend it"), "series", 0, "values")
    assert str(placed) == "series 'a', field 'values': bad; mend it"
