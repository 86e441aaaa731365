"""What no single value shows: settings that do not fit to each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .durations import format_duration
from .settings import RestartBackoff, Retry, Settings
from .tree import Path

HEARTBEATS_IN_LOCK_TIMEOUT = 3

_SAFE_URL = re.compile(r"https://.|http://(localhost|127\.0\.0\.1|\[::1\])[:/]", re.IGNORECASE)


class Finding(NamedTuple):
    """Something that does not fit: the path to point at, and the other paths it depends on."""

    path: Path
    code: str
    message: str
    hint: str
    depends_on: tuple[Path, ...] = ()


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything about these settings that does not fit together."""
    for check in CHECKS:
        yield from check(settings)


def _lock_timeout(settings: Settings) -> Iterator[Finding]:
    least = HEARTBEATS_IN_LOCK_TIMEOUT * settings.heartbeat_interval
    if settings.lock_timeout < least:
        lock_timeout, heartbeat = format_duration(settings.lock_timeout), format_duration(settings.heartbeat_interval)
        yield Finding(
            ("lock_timeout",), "CFG-LOCK-TIMEOUT",
            f"{lock_timeout} is less than three times heartbeat_interval ({heartbeat}); one late beat loses the job",
            f"write {format_duration(least)} or more, or a shorter heartbeat_interval", (("heartbeat_interval",),),
        )


def _process_ids(settings: Settings) -> Iterator[Finding]:
    ids, path = settings.workers.process_ids, ("workers", "process_ids")
    for index, process_id in enumerate(ids):
        if process_id in ids[:index]:
            hint = "give every worker its own id"
            yield Finding((*path, index), "CFG-DUPLICATE-ID", f"the process id '{process_id}' is there already", hint)
    if len(ids) > settings.workers.count:
        message = f"{len(ids)} ids for {settings.workers.count} workers"
        yield Finding(path, "CFG-RANGE", message, "raise workers.count, or name fewer", (("workers", "count"),))


def _programs(settings: Settings) -> Iterator[Finding]:
    seen: dict[int, int] = {}
    for index, program in enumerate(settings.programs):
        path = ("programs", index)
        if program.id in seen:
            message = f"the id {program.id} belongs to programs[{seen[program.id]}] already"
            yield Finding((*path, "id"), "CFG-DUPLICATE-ID", message, "give every program its own id")
        if program.source == "local" and program.folder is None:
            message = "'folder' is missing: a local program needs one"
            yield Finding((*path, "folder"), "CFG-MISSING", message, "write folder: ./path", ((*path, "source"),))
        seen.setdefault(program.id, index)


def _longest_delays(settings: Settings) -> Iterator[Finding]:
    rules: dict[Path, Retry | RestartBackoff] = {("retry",): settings.retry}
    rules[("supervision", "restart_backoff")] = settings.supervision.restart_backoff
    rules |= {("job_types", name, "retry"): job_type.retry for name, job_type in settings.job_types.items()}
    for path, rule in rules.items():
        if rule.max < rule.initial:
            longest, first = format_duration(rule.max), format_duration(rule.initial)
            hint = f"write {first} or more"
            yield Finding(
                (*path, "max"), "CFG-RANGE", f"{longest} is shorter than the first delay, initial: {first}", hint,
                ((*path, "initial"),),
            )


def _identity_provider(settings: Settings) -> Iterator[Finding]:
    jwt, path = settings.api.jwt, ("api", "jwt")
    for key, value in (("issuer", jwt.issuer), ("audience", jwt.audience)):
        if jwt.jwks_url and not value:
            message = f"'{key}' is missing: tokens made for others would be taken"
            yield Finding((*path, key), "CFG-MISSING", message, f"write {key}: ...", ((*path, "jwks_url"),))
    if jwt.jwks_url and not _SAFE_URL.match(jwt.jwks_url):
        message = "whoever is on the way to it could put keys of their own in the provider's place"
        yield Finding((*path, "jwks_url"), "CFG-JWKS-URL", message, "write https://...; http:// is for this host alone")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _lock_timeout, _process_ids, _programs, _longest_delays, _identity_provider,
)
