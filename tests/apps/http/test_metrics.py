"""`GET /metrics`: what a real supervisor did is what a real server tells Prometheus."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, event

from apps.http.families import Families
from backends import Measures, NewJob, Queue
from tests.apps.http.conftest import Person, Served
from tests.supervisor.scene import Scene
from tests.support import REPOSITORY, eventually

FORWARDED = {"X-Forwarded-For": "203.0.113.9"}


class Scraped:
    """One answer, parsed as Prometheus parses it."""

    def __init__(self, text: str) -> None:
        self.families: dict[str, Metric] = {each.name: each for each in text_string_to_metric_families(text)}
        self._samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values() for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self._samples.get((f"jobqueue_{name}", tuple(sorted(labels.items()))))

    def total(self, name: str) -> float:
        return sum(value for (each, _), value in self._samples.items() if each == f"jobqueue_{name}")

    @property
    def counters(self) -> dict[Any, float]:
        return {key: value for key, value in self._samples.items() if key[0].endswith(("_total", "_count", "_bucket", "_sum"))}


def scrape(client: httpx2.Client) -> Scraped:
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Scraped(answer.text)


@pytest.fixture
def scene(tmp_path: Path, database_url: str) -> Iterator[Callable[..., Scene]]:
    scenes: list[Scene] = []

    def set_up(name: str) -> Scene:
        scenes.append(Scene(tmp_path, database_url, name, job_types={
            "segfaults": {"handler": "tests.supervisor.handlers:segfaults", "retry": {"max_retries": 0}},
            "raises_the_unspeakable": {
                "handler": "tests.supervisor.handlers:raises_the_unspeakable", "retry": {"max_retries": 0},
            },
        }))
        return scenes[-1].start()

    yield set_up
    for each in scenes:
        each.close()


def test_what_two_supervisors_did_adds_up_and_outlives_them(scene: Callable[..., Scene], served: Served) -> None:
    one, two = scene("one"), scene("two")
    one.enqueue("segfaults")  # first those whose workers take their counts with them
    eventually(lambda: one.queue.counts().failed == 1)
    (held,) = one.enqueue("obedient")
    os.kill(one.runner_of(held), signal.SIGKILL)
    one.runner_of(held, lease=2)
    one.enqueue("raises_the_unspeakable")
    eventually(lambda: one.queue.counts().failed == 2)
    one.enqueue("quick", 40)
    one.until.touch()
    eventually(lambda: one.queue.counts().completed == 41)
    alive = eventually(lambda: (now := scrape(served.client)).value("workers", state="idle") == 4 and now, within=10)
    assert alive.value("processor_running") == 1
    assert {sample.labels["process_id"] for sample in alive.families["jobqueue_worker_heartbeat_age_seconds"].samples} == {
        "one-1", "one-2", "two-1", "two-2"
    }
    assert (one.stop(), two.stop()) == (0, 0)
    served.client.get("/metrics")
    after = eventually(lambda: (now := scrape(served.client)).value("processor_running") == 0 and now)
    expected = {
        ("quick", "completed"): 40, ("raises_the_unspeakable", "failed"): 1, ("segfaults", "crashed"): 1,
        ("obedient", "crashed"): 1, ("obedient", "completed"): 1,
    }
    told = {
        (sample.labels["job_type"], sample.labels["outcome"]): sample.value
        for sample in after.families["jobqueue_job_attempts"].samples
    }
    assert told == expected
    assert after.value("jobs", state="completed") == 41
    assert (after.value("jobs_enqueued_total"), after.value("jobs_discarded_total")) == (43, 2)
    assert after.value("jobs_reclaimed_total", reason="crashed") == 2
    assert after.value("worker_restarts_total") == 2
    assert 41 <= after.total("job_wait_seconds_count") <= 43
    assert after.total("job_duration_seconds_count") == 42
    assert after.value("job_duration_seconds_bucket", job_type="quick", le="+Inf") == 40
    three = scene("three")
    three.enqueue("quick")
    eventually(lambda: three.queue.counts().completed == 42)
    assert three.stop() == 0
    later = eventually(lambda: (now := scrape(served.client)).value("jobs", state="completed") == 42 and now)
    assert all(later.counters[key] >= value for key, value in after.counters.items())
    assert later.value("job_attempts_total", job_type="quick", outcome="completed") == 41


def test_an_empty_installation_tells_everything_that_has_a_value(served: Served) -> None:
    told = scrape(served.client)
    assert (told.value("up"), told.value("processor_running"), told.value("stalled_jobs")) == (1, 0, 0)
    assert told.value("jobs", state="queued") == 0
    assert told.total("build_info") == 1


def test_this_host_needs_no_token_and_others_an_administrators(
    server: Callable[..., Served], database_url: str, person: Person
) -> None:
    served = server(database_url, api={"auth": "tokens"})
    assert served.client.get("/metrics").status_code == 200
    assert served.client.get("/metrics", headers={"Host": "rebound.example.com"}).status_code == 403
    assert served.client.get("/metrics", headers=FORWARDED).status_code == 401
    for name, is_admin, status in (("viewer", False, 403), ("admin", True, 200)):
        token = person(name, {1: "admin"}, is_admin)
        assert served.as_user(token).get("/metrics", headers=FORWARDED).status_code == status
    assert served.as_user("jq_wrong").get("/metrics").status_code == 401


def test_a_database_that_does_not_answer_is_told_within_a_second_to_everybody(server: Callable[..., Served]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        served = server(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing", database={"connect_timeout": 3})
        for headers in ({}, FORWARDED | {"Authorization": "Bearer jq_" + "x" * 43}):
            began = time.monotonic()
            answer = served.client.get("/metrics", headers=headers)
            assert time.monotonic() - began < 2.0
            if answer.status_code == 200:
                assert Scraped(answer.text).value("up") == 0
                assert "jobqueue_jobs" not in answer.text
        assert served.client.get("/livez").status_code == 200


def test_many_scrapes_at_once_are_one_reading(served: Served, engine: Engine) -> None:
    readings: list[str] = []

    def note(*given: Any) -> None:
        if "jobqueue_statistics" in given[2]:
            readings.append(given[2])

    event.listen(served.services.queue.engine, "before_cursor_execute", note)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as many:
        answers = list(many.map(lambda _: served.client.get("/metrics").status_code, range(40)))
    assert answers == [200] * 40
    assert 1 <= len(readings) <= 2 + (time.monotonic() - began)


def test_openmetrics_is_spoken_to_those_who_ask_for_it(served: Served, queue: Queue) -> None:
    queue.enqueue([NewJob("quick", 1)])
    answer = served.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def exported() -> set[str]:
    """The names of all series, with what Prometheus appends to those of histograms and counters."""
    nothing = Measures(dict.fromkeys(["queued"], 0), 0, 0, 0.0, 0, (), {}, oldest_transaction=0.0, log_bytes=0)
    names = set()
    for family in Families(nothing, 30.0, "postgresql").collect():
        match family.type:
            case "histogram":
                names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
            case "counter":
                names.add(f"{family.name}_total")
            case _:
                names.add(family.name)
    return names


def test_every_metric_is_in_the_page_about_them_and_no_other() -> None:
    page = (REPOSITORY / "docs/metrics.md").read_text(encoding="utf-8")
    table = set(re.findall(r"^\| `(jobqueue_\w+)", page, re.MULTILINE))
    known = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()}
    assert table == known


def test_every_metric_that_an_alert_names_is_exported_and_every_alert_says_where_to_read_on() -> None:
    rules = yaml.safe_load((REPOSITORY / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len(alerts) >= 6
    for rule in alerts:
        named = set(re.findall(r"jobqueue_\w+", rule["expr"]))
        assert named, rule["alert"]
        assert named <= exported(), rule["alert"]
        assert re.fullmatch(r"docs/\w+\.md#[\w-]+", rule["annotations"]["runbook_url"]), rule["alert"]
