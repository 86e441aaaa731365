"""`GET /metrics` for Prometheus: read from the database at each scrape, so that every API process gives the same answer."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from backends import BadDatabaseUrl, DatabaseUnavailable, Measures, SchemaMismatch
from config import ConfigError

from .callers import Callers
from .families import Families
from .peers import from_this_host, refusal
from .problems import Problem
from .services import Services, services_of

KEPT_FOR = 1.0
"""Seconds for which a reading is given to all who ask."""

PATIENCE = 0.9
"""Seconds after which the database counts as away."""

UNREADABLE = (DatabaseUnavailable, SchemaMismatch, ConfigError, BadDatabaseUrl)

router = APIRouter(tags=["probes"])
log = structlog.get_logger("jobqueue.api")


class Readings:
    """The measures, for all who ask one API: one reading at a time, however many ask and however long it takes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reading: asyncio.Task[Measures | None] | None = None
        self._begun_at = 0.0
        self._one = CapacityLimiter(1)
        self.doors = CapacityLimiter(1)
        """For finding out who asks: strangers with bad tokens must not take the threads of others."""

    async def latest(self) -> Measures | None:
        """A reading begun within `KEPT_FOR`, or still under way; None when the database cannot be read."""
        if self._reading is None or (self._reading.done() and time.monotonic() - self._begun_at >= KEPT_FOR):
            self._begun_at = time.monotonic()
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> Measures | None:
        return await run_sync(self._measure, abandon_on_cancel=True, limiter=self._one)

    def _measure(self) -> Measures | None:
        try:
            return self._services.queue.measures(self._services.settings.lock_timeout)
        except UNREADABLE as error:
            log.warning("metrics.unreadable", reason=str(error))
            return None


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """What there is and what happened. This host needs no token; others need an administrator's."""
    measures: Measures | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            readings: Readings = request.app.state.readings
            await _admit(request, readings.doors)
            measures = await readings.latest()
    except (TimeoutError, DatabaseUnavailable):
        pass  # who asks may be unknown then; that the database is away is told to everybody
    return _exposed(request, measures)


async def _admit(request: Request, doors: CapacityLimiter) -> None:
    """Raises a `Problem` for who may not see it."""
    if from_this_host(request) and "authorization" not in request.headers:
        if reason := refusal(request):
            raise Problem(403, "Forbidden", reason)
        return
    callers: Callers = request.app.state.callers
    caller = await run_sync(partial(callers.who, request), abandon_on_cancel=True, limiter=doors)
    if not caller.is_admin:
        raise Problem(403, "Forbidden", "Metrics are about all programs: they need an administrator's token.")


def _exposed(request: Request, measures: Measures | None) -> Response:
    services = services_of(request)
    alive_within, backend = 0.0, ""
    if measures is not None:
        alive_within, backend = services.settings.lock_timeout, services.queue.engine.dialect.name
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families(measures, alive_within, backend))
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), headers={"Cache-Control": "no-store", "Content-Type": media_type})
