"""The queue over HTTP. The tests are the worker: they claim jobs from the same database."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from forecaster.store.database import connect
from forecaster.store.jobs import Job, JobStore, News
from tests.fixtures_service import Serve

SPEC = {"model": "m", "dataset": "sales", "freq": "D", "horizon": 7}
CSV = b"unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\n"


@pytest.fixture
def client(serve: Serve) -> httpx.Client:
    client = serve()
    client.put("/v1/datasets/sales?format=csv", content=CSV)
    return client


@pytest.fixture
def store(tmp_path: Path, client: httpx.Client) -> Iterator[JobStore]:
    engine = connect(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield JobStore(engine)
    engine.dispose()


def submit(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    response = client.post("/v1/training-jobs", json={**SPEC, **changes})
    assert response.status_code == 202, response.text
    return dict(response.json())


def claim(store: JobStore) -> Job:
    job = store.claim("test")
    assert job is not None
    return job


def test_a_job_is_queued_and_found_again(client: httpx.Client) -> None:
    response = client.post("/v1/training-jobs", json={**SPEC, "preset": "fast", "started_by": "cli"})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/training-jobs/{job['id']}"
    assert job["status"] == "queued"
    assert job["spec"]["preset"] == "fast"
    assert job["spec"]["started_by"] == "api"
    assert client.get(response.headers["location"]).json() == job
    assert [one["id"] for one in client.get("/v1/training-jobs").json()["jobs"]] == [job["id"]]


def test_the_same_key_gives_the_same_job(client: httpx.Client) -> None:
    def post(horizon: int) -> httpx.Response:
        body = {**SPEC, "horizon": horizon}
        return client.post("/v1/training-jobs", json=body, headers={"Idempotency-Key": "monday"})

    first, again, other = post(7), post(7), post(8)
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert other.status_code == 409
    assert "monday" in other.json()["detail"]
    assert len(client.get("/v1/training-jobs").json()["jobs"]) == 1


def test_the_same_key_gives_the_same_job_though_newer_data_has_come(client: httpx.Client) -> None:
    def post(**changes: Any) -> httpx.Response:
        return client.post("/v1/training-jobs", json={**SPEC, **changes}, headers={"Idempotency-Key": "tuesday"})

    first = post()
    client.put("/v1/datasets/sales?format=csv", content=CSV + b"a,2024-01-03,3\n").raise_for_status()
    again = post()
    assert again.status_code == 202, again.text
    assert again.json() == first.json()
    assert post(horizon=8).status_code == 409
    assert submit(client)["spec"]["dataset"] != first.json()["spec"]["dataset"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"dataset": "nobody"}, "/dataset"),
        ({"dataset": "../sales"}, "/dataset"),
        ({"horizon": 0}, "/horizon"),
        ({"horizon": "many"}, "/horizon"),
        ({"freq": "fortnight"}, "/freq"),
        ({"preset": "slow"}, "/preset"),
        ({"model": "a/b"}, "/model"),
        ({"colour": "red"}, "/colour"),
        ({"settings": {"a b": 1}}, None),
    ],
)
def test_a_wrong_job_is_refused_at_its_place(client: httpx.Client, changes: dict[str, Any], pointer: str) -> None:
    response = client.post("/v1/training-jobs", json={**SPEC, **changes})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert pointer is None or response.json()["errors"][0]["pointer"] == pointer
    assert client.get("/v1/training-jobs").json() == {"jobs": []}


@pytest.mark.parametrize(("content", "status"), [(b"{", 400), (b"[" * 3000, 400), (b'{"settings": {"a": NaN}}', 422)])
def test_what_is_no_job_at_all_is_refused(client: httpx.Client, content: bytes, status: int) -> None:
    response = client.post("/v1/training-jobs", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    assert response.json()["status"] == status


def test_a_body_that_is_not_json_is_415(client: httpx.Client) -> None:
    assert client.post("/v1/training-jobs", content=b"model=m").status_code == 415


def test_jobs_are_listed_in_pages_and_by_status(client: httpx.Client) -> None:
    ids = [submit(client, model=f"m{i}")["id"] for i in range(3)]
    client.delete(f"/v1/training-jobs/{ids[0]}")

    def listed(query: str) -> list[str]:
        return [one["id"] for one in client.get(f"/v1/training-jobs?{query}").json()["jobs"]]

    assert listed("limit=2") == ids[:0:-1]
    assert listed(f"before={ids[1]}") == ids[:1]
    assert listed("status=cancelled") == ids[:1]
    assert listed("model=m2") == ids[2:]
    assert client.get("/v1/training-jobs?limit=0").json()["errors"][0]["pointer"] == "/query/limit"
    assert client.get("/v1/training-jobs?status=asleep").status_code == 422


def test_a_waiting_job_is_cancelled_at_once(client: httpx.Client) -> None:
    job = submit(client)
    response = client.delete(f"/v1/training-jobs/{job['id']}")
    assert response.status_code == 202
    assert response.json()["status"] == "cancelled"


def test_a_running_job_is_asked_to_end(client: httpx.Client, store: JobStore) -> None:
    job = submit(client)
    claimed = claim(store)
    assert client.delete(f"/v1/training-jobs/{job['id']}").json()["cancel_requested"] is True
    assert store.heartbeat(claimed.id, claimed.token) is True
    store.fail(claimed.id, claimed.token, "stopped")
    assert client.get(f"/v1/training-jobs/{job['id']}").json()["status"] == "cancelled"


def test_a_job_that_has_ended_cannot_be_cancelled(client: httpx.Client, store: JobStore) -> None:
    submit(client)
    claimed = claim(store)
    store.succeed(claimed.id, claimed.token, {"version": 1})
    assert client.delete(f"/v1/training-jobs/{claimed.id}").status_code == 409


def test_an_unknown_job_is_404_everywhere(client: httpx.Client) -> None:
    for path in ("", "/logs", "/events"):
        response = client.get(f"/v1/training-jobs/{'0' * 32}{path}")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"


def test_the_log_is_the_file_where_it_is_at_hand_and_else_its_tail(
    client: httpx.Client, store: JobStore, tmp_path: Path
) -> None:
    job = submit(client)
    claimed = claim(store)
    store.heartbeat(claimed.id, claimed.token, News(log_tail="the tail\n"))
    assert client.get(f"/v1/training-jobs/{job['id']}/logs").text == "the tail\n"
    folder = tmp_path / "jobs" / job["id"]
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("x" * (2 << 20) + "all of it\n")
    logs = client.get(f"/v1/training-jobs/{job['id']}/logs").text
    assert logs.endswith("all of it\n")
    assert len(logs) == 1 << 20


def events(client: httpx.Client, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with client.stream("GET", f"/v1/training-jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


def test_events_tell_every_step_until_the_end(client: httpx.Client, store: JobStore) -> None:
    job = submit(client)
    seen = []
    for kind, news in events(client, job["id"]):
        seen.append((kind, news["status"], (news["progress"] or {}).get("epoch")))
        if len(seen) == 1:
            claimed = claim(store)
        elif len(seen) == 2:
            store.heartbeat(claimed.id, claimed.token, News(progress={"epoch": 3, "epochs": 20}))
        elif len(seen) == 3:
            store.succeed(claimed.id, claimed.token, {"version": 4})
        else:
            assert news["result"] == {"version": 4}
    assert seen == [
        ("progress", "queued", None), ("progress", "running", None), ("progress", "running", 3),
        ("end", "succeeded", 3),
    ]  # fmt: skip


def test_a_number_that_json_does_not_know_is_null(client: httpx.Client, store: JobStore) -> None:
    job = submit(client)
    claimed = claim(store)
    store.heartbeat(claimed.id, claimed.token, News(progress={"loss": float("nan")}))
    assert client.get(f"/v1/training-jobs/{job['id']}").json()["progress"] == {"loss": None}
    assert next(events(client, job["id"]))[1]["progress"] == {"loss": None}


def test_events_of_a_job_that_has_ended_are_its_end(client: httpx.Client) -> None:
    job = submit(client)
    client.delete(f"/v1/training-jobs/{job['id']}")
    assert [kind for kind, _ in events(client, job["id"])] == ["end"]


def test_many_open_streams_do_not_hold_up_others(client: httpx.Client) -> None:
    job = submit(client)
    opened = threading.Barrier(31)

    def watch() -> None:
        for kind, _ in events(client, job["id"]):
            if kind == "progress":
                opened.wait(20)

    threads = [threading.Thread(target=watch) for _ in range(30)]
    for thread in threads:
        thread.start()
    opened.wait(20)
    assert client.get("/healthz/live").status_code == 200
    assert all(thread.is_alive() for thread in threads)
    client.delete(f"/v1/training-jobs/{job['id']}")
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_a_database_that_is_away_is_503_and_forecasts_are_not_touched(tmp_path: Path, serve: Serve) -> None:
    client = serve(database_url="postgresql://nobody@127.0.0.1:9/none")
    response = client.get("/v1/training-jobs")
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert client.get("/healthz/live").status_code == 200
