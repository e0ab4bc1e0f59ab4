from __future__ import annotations

import pytest

from forecaster.errors import InputError
from service.settings import ServiceSettings


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORECASTER_API_KEYS", "one, two,")
    monkeypatch.setenv("FORECASTER_CORS_ORIGINS", "https://a.example")
    settings = ServiceSettings(_env_file=None)
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two"]
    assert settings.cors_origins == ("https://a.example",)


def test_keys_are_shown_nowhere() -> None:
    settings = ServiceSettings(api_keys="secret", _env_file=None)
    assert "secret" not in repr(settings) + settings.model_dump_json()


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORECASTER_API_KEYS", "")
    assert ServiceSettings(_env_file=None).api_keys == ()


def test_there_are_threads_for_the_cores_but_not_many() -> None:
    assert 1 <= ServiceSettings(_env_file=None).threads <= 4


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"poll_seconds": 0}, {"port": 70000}, {"queue_limit": 0}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError):
        ServiceSettings(**wrong, _env_file=None)  # type: ignore[arg-type]


def test_commas_alone_are_no_wish_to_let_everyone_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORECASTER_API_KEYS", " , ")
    with pytest.raises(InputError, match="holds no key"):
        ServiceSettings(_env_file=None)
