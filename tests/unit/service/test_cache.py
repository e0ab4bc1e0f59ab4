"""Local copies: checked before they are in place, and never half there."""

from __future__ import annotations

from pathlib import Path

import pytest

from forecaster.errors import ArtifactError, Unavailable
from service.cache import Download, ModelCache, Serving
from service.registry import Version
from tests.fixtures_models import make_predictor, save_model

FIRST, SECOND, THIRD = (Version("m", number, f"{number:x}".ljust(32, "0")) for number in (1, 2, 3))


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "models")


def deliver(seed: int = 0) -> Download:
    def download(version: Version, folder: Path) -> Path:
        save_model(folder / "model", make_predictor(version.name, seed=seed))
        return folder / "model"

    return download


def deliver_broken(_: Version, folder: Path) -> Path:
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    return folder / "model"


def refuse(_: Version, __: Path) -> Path:
    raise Unavailable("the registry is away")


def copies(tmp_path: Path, name: str = "m") -> list[str]:
    return sorted(path.name for path in (tmp_path / "models" / name).glob("*/"))


def test_a_copy_is_fetched_once(cache: ModelCache, tmp_path: Path) -> None:
    assert cache.obtain(FIRST, deliver()).info.name == "m"
    assert copies(tmp_path) == ["1-10000000"]
    assert cache.obtain(FIRST, refuse).info.name == "m"
    assert list((tmp_path / "models" / ".incoming").iterdir()) == []


def test_a_broken_model_never_gets_into_place(cache: ModelCache, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        cache.obtain(FIRST, deliver_broken)
    assert copies(tmp_path) == []
    assert list((tmp_path / "models" / ".incoming").iterdir()) == []


def test_a_damaged_copy_is_fetched_anew(cache: ModelCache, tmp_path: Path) -> None:
    cache.obtain(FIRST, deliver())
    (tmp_path / "models" / "m" / "1-10000000" / "weights.safetensors").unlink()
    assert cache.obtain(FIRST, deliver()).info.name == "m"
    assert cache.load(FIRST).info.name == "m"


def test_the_fit_without_the_end_is_fetched_again_where_the_copy_was_dropped(cache: ModelCache, tmp_path: Path) -> None:
    cache.obtain(FIRST, deliver())
    assert cache.load_held_out(FIRST, refuse) is None  # none was kept; but the copy is there
    cache.note(Serving(THIRD, SECOND))
    assert copies(tmp_path) == []
    assert cache.load_held_out(FIRST, deliver()) is None
    assert copies(tmp_path) == ["1-10000000"]


def test_what_is_served_survives_with_the_one_before(cache: ModelCache, tmp_path: Path) -> None:
    for version in (FIRST, SECOND, THIRD):
        cache.obtain(version, deliver())
    cache.note(Serving(THIRD, SECOND))
    assert copies(tmp_path) == ["2-20000000", "3-30000000"]
    assert ModelCache(tmp_path / "models").all_noted() == [Serving(THIRD, SECOND)]
    cache.forget("m")
    assert cache.all_noted() == []


def test_a_copy_that_is_served_is_not_dropped(cache: ModelCache, tmp_path: Path) -> None:
    for version in (FIRST, SECOND):
        cache.obtain(version, deliver())
    cache.note(Serving(SECOND, FIRST))
    cache.obtain(THIRD, deliver())
    for version in (FIRST, SECOND, THIRD):
        cache.drop(version)
    assert copies(tmp_path) == ["1-10000000", "2-20000000"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"current": {}}', '{"current": null, "previous": null}'])
def test_a_note_that_cannot_be_read_is_left_aside(cache: ModelCache, tmp_path: Path, text: str) -> None:
    cache.obtain(FIRST, deliver())
    (tmp_path / "models" / "m" / "serving.json").write_text(text)
    assert cache.all_noted() == []


@pytest.mark.parametrize("name", ["..", ".hidden", "a name", "ü/x", "..%2f"])
def test_every_name_gets_a_folder_of_its_own_inside(cache: ModelCache, tmp_path: Path, name: str) -> None:
    version = Version(name, 1, None)
    cache.obtain(version, deliver())
    cache.note(Serving(version))
    assert {path.name for path in tmp_path.iterdir()} == {"models"}
    assert [serving.current.name for serving in cache.all_noted()] == [name]
