"""The metrics that `GET /metrics` exports: their names, their help, and how they come from the measures."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from backends import (
    ATTEMPTS,
    BUCKET_LABELS,
    DATABASE_ERRORS,
    DURATIONS,
    RECLAIMED,
    RESTARTS,
    TOTAL_SECONDS,
    WAITS,
    Kind,
    Measures,
    Sum,
    SupervisorView,
)

STATES = {
    "starting": "starting", "idle": "idle", "running": "busy", "fenced": "busy", "settling": "busy", "database": "busy",
    "leaving": "leaving", "backing off": "backing_off",
}
"""What a worker's phase counts as."""

SEEN_BY = ("worker", "maintenance", "renewal")


class Families:
    """A collector over one reading; None: the database could not be read, which is all that is told then."""

    def __init__(self, measures: Measures | None, alive_within: float, backend: str) -> None:
        self._measures, self._alive_within, self._backend = measures, alive_within, backend

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are not told before they are collected."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric with its values."""
        yield _gauge("up", "Whether the database could be read for this answer.", float(self._measures is not None))
        if self._measures is None:
            return
        yield _build(self._backend)
        yield from _jobs(self._measures)
        yield from _attempts(self._measures.sums)
        yield from _fleet(self._measures, self._alive_within)
        yield from _troubles(self._measures.sums)


def _build(backend: str) -> Metric:
    family = GaugeMetricFamily(
        "jobqueue_build_info", "Always 1; what runs is in the labels.", labels=["version", "python", "backend"]
    )
    family.add_metric([version("jobqueue"), platform.python_version(), backend], 1.0)
    return family


def _jobs(measures: Measures) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("jobqueue_jobs", "Jobs that are in the table now, each in one state.", labels=["state"])
    for state, number in measures.jobs.items():
        jobs.add_metric([state], number)
    yield jobs
    yield _gauge(
        "oldest_queued_age_seconds", "How long a job that could run now has been waiting; 0 when none is.", measures.oldest_queued
    )
    if measures.oldest_transaction is not None:
        yield _gauge(
            "db_oldest_transaction_age_seconds",
            "How long the oldest transaction has been open that keeps Postgres from cleaning up; 0 when none is.",
            measures.oldest_transaction,
        )
    if measures.log_bytes is not None:
        yield _gauge("db_log_bytes", "How large SQLite's write-ahead log is.", measures.log_bytes)
    yield _gauge("stalled_jobs", "Running jobs whose lease ran out and that nobody has taken back yet.", measures.stalled)
    yield _counter("jobs_enqueued", "Jobs that were ever added.", measures.enqueued)
    yield _counter("jobs_discarded", "How often a job ended as failed, with no retry left.", measures.discarded)


def _attempts(sums: Mapping[Sum, float]) -> Iterator[Metric]:
    attempts = CounterMetricFamily(
        "jobqueue_job_attempts", "Attempts that ended, by what they came to.", labels=["job_type", "outcome"]
    )
    for key, total in _of(sums, ATTEMPTS):
        attempts.add_metric([key.job_type, key.label], total)
    yield attempts
    yield _histogram(sums, DURATIONS, "job_duration_seconds", "How long attempts took whose end their worker saw.")
    yield _histogram(sums, WAITS, "job_wait_seconds", "From when a job could have run to its first claim.")


def _fleet(measures: Measures, alive_within: float) -> Iterator[Metric]:
    living = [each for each in measures.supervisors if each.age <= alive_within]
    yield _gauge("processor_running", "Whether any supervisor is alive.", float(bool(living)))
    workers = GaugeMetricFamily("jobqueue_workers", "Workers of the living supervisors, by what they do.", labels=["state"])
    for state, number in _workers_by_state(living).items():
        workers.add_metric([state], number)
    yield workers
    ages = GaugeMetricFamily(
        "jobqueue_worker_heartbeat_age_seconds", "Since when nothing was heard of a worker.", labels=["process_id"]
    )
    for process_id, age in sorted(_ages(measures.supervisors).items()):
        ages.add_metric([process_id], age)
    yield ages


def _workers_by_state(supervisors: Iterable[SupervisorView]) -> dict[str, int]:
    found = dict.fromkeys(STATES.values(), 0)
    for each in supervisors:
        for worker in each.status.get("workers", ()):
            state = "leaving" if worker["leaving"] else STATES.get(worker["phase"])
            if state is not None:
                found[state] += 1
    return found


def _ages(supervisors: Iterable[SupervisorView]) -> dict[str, float]:
    """By name; a worker whose name was taken over by one of another supervisor is as old as the younger of them."""
    ages: dict[str, float] = {}
    for each in supervisors:
        for worker in each.status.get("workers", ()):
            if worker["pid"]:
                name = worker["process_id"]
                ages[name] = min(ages.get(name, each.age), each.age)
    return ages


def _troubles(sums: Mapping[Sum, float]) -> Iterator[Metric]:
    reclaimed = CounterMetricFamily(
        "jobqueue_jobs_reclaimed", "Jobs taken back from workers and hosts that were lost or made to stop.", labels=["reason"]
    )
    counted = {key.label: total for key, total in _of(sums, RECLAIMED)}
    for kind in (Kind.CRASHED, Kind.TIMED_OUT, Kind.CANCELLED, Kind.INTERRUPTED, Kind.RELEASED):
        reclaimed.add_metric([kind.value], counted.get(kind.value, 0.0))
    yield reclaimed
    restarts = sum(total for _, total in _of(sums, RESTARTS))
    yield _counter("worker_restarts", "Workers that ended without having been told to.", restarts)
    errors = CounterMetricFamily(
        "jobqueue_db_errors", "Calls to which the database gave no answer, told when it is back.", labels=["seen_by"]
    )
    seen = {key.label: total for key, total in _of(sums, DATABASE_ERRORS)}
    for who in SEEN_BY:
        errors.add_metric([who], seen.get(who, 0.0))
    yield errors


def _histogram(sums: Mapping[Sum, float], name: str, metric: str, meaning: str) -> Metric:
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for key, total in _of(sums, name):
        found[key.job_type][key.label] = total
    family = HistogramMetricFamily(f"jobqueue_{metric}", meaning, labels=["job_type"])
    for job_type, totals in found.items():
        cumulated = accumulate(totals.get(label, 0.0) for label in BUCKET_LABELS)
        family.add_metric([job_type], list(zip(BUCKET_LABELS, cumulated, strict=True)), totals.get(TOTAL_SECONDS, 0.0))
    return family


def _of(sums: Mapping[Sum, float], name: str) -> list[tuple[Sum, float]]:
    return sorted((key, total) for key, total in sums.items() if key.name == name)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"jobqueue_{name}", meaning, value=value)


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"jobqueue_{name}", meaning, value=value)
