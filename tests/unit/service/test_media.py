from __future__ import annotations

import pytest

from service.errors import NotAcceptable
from service.media import best_of

OFFERS = ("application/json", "text/csv", "text/html")


@pytest.mark.parametrize(
    ("accept", "best"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("text/*;q=0.5, application/json;q=0.4", "text/csv"),
        ("text/csv;q=0.1, */*", "application/json"),
        ("TEXT/CSV", "text/csv"),
        ("application/json;q=0, */*;q=0.1", "text/csv"),
        ("image/png, text/html;level=1", "text/html"),
        ("text/csv;q=often, text/html", "text/html"),
    ],
)
def test_the_client_gets_what_it_likes_best(accept: str, best: str) -> None:
    assert best_of(accept, OFFERS) == best


@pytest.mark.parametrize("accept", ["image/png", "text/csv;q=0", "nonsense"])
def test_what_is_not_offered_is_refused_with_the_offers(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="text/csv"):
        best_of(accept, OFFERS)
