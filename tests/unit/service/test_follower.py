"""How long a follower waits before it tries a champion again."""

from __future__ import annotations

import time
from pathlib import Path

from forecaster.errors import Unavailable
from forecaster.store.registry import CHAMPION
from service.cache import ModelCache, Serving
from service.engines import ServedModels
from service.follower import Follower, Refusal, RegistryView
from service.registry import RegisteredModel, Registry, Version
from tests.waiting import wait_until


class Away(Registry):
    """A registry that tells of a champion and cannot give it."""

    def models(self) -> list[RegisteredModel]:
        return [RegisteredModel("m", {CHAMPION: 1}, {}, "")]

    def version(self, _name: str, _version: int) -> Version:
        raise Unavailable("its files are gone")


def test_a_champion_that_is_away_for_days_is_tried_each_minute(tmp_path: Path) -> None:
    follower = Follower(Away("http://127.0.0.1:9"), ModelCache(tmp_path), ServedModels(), 1.0)
    follower._look()
    long = follower.view.refusals["m"]
    tried = Refusal(1, long.reason, long.since, attempts=5000, retry_at=time.monotonic() - 1)
    follower.view = RegistryView(follower.view.models, True, None, None, {"m": tried})
    follower._look()
    after = follower.view.refusals["m"]
    assert after.attempts == 5001
    assert after.retry_at is not None
    assert 50 < after.retry_at - time.monotonic() <= 60


class Torn(ModelCache):
    """Local copies on a disk that fails."""

    def all_noted(self) -> list[Serving]:
        raise OSError("input/output error")


def test_local_copies_that_cannot_be_read_do_not_end_the_following(tmp_path: Path) -> None:
    follower = Follower(Away("http://127.0.0.1:9"), Torn(tmp_path), ServedModels(), 0.01)
    follower.start()
    wait_until(lambda: "m" in follower.view.refusals)
    follower.stop()
