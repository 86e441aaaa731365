"""The HTTP API: `python -m uvicorn apps.api:api_app --host 0.0.0.0 --port 8000`. It always starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from .http import docs, indexing, jobs, metrics, openapi, probes, problems, processor
from .http.access_log import AccessLog
from .http.bodies import LARGE_AT_ONCE
from .http.callers import Callers
from .http.connections import guard
from .http.head import HeadAsGet
from .http.limits import Limits
from .http.server_logs import adopt_server_logs
from .http.services import PROBES, THREADS, Services
from .processor import JobQueueProcessor


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    adopt_server_logs(lambda: app.state.services.settings.logging)
    api = app.state.services.api
    current_default_thread_limiter().total_tokens = THREADS
    unguard = guard(api.most_connections, api.request_timeout)
    own = app.state.services.processor
    if own is not None:
        await asyncio.to_thread(own.open)
    yield
    if own is not None:
        await asyncio.to_thread(own.close)
    unguard()
    app.state.services.close()


def make_api(services: Services | None = None) -> FastAPI:
    """The application; `services` replaces the ones that the configuration file gives. Their processor lives with it."""
    app = FastAPI(docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=_life)
    app.state.services = services or Services()
    app.state.callers = Callers(app.state.services)
    app.state.probing = CapacityLimiter(PROBES)
    app.state.large_bodies = CapacityLimiter(LARGE_AT_ONCE)
    app.state.readings = metrics.Readings(app.state.services)
    problems.install(app)
    openapi.describe(app)
    for routes in (jobs, processor, indexing, probes, metrics, docs):
        app.include_router(routes.router)
    app.add_middleware(Limits, settings=lambda: app.state.services.api)
    app.add_middleware(HeadAsGet)
    app.add_middleware(AccessLog)
    return app


def _embedding_services() -> Services:
    services = Services()
    services.processor = JobQueueProcessor(read=lambda: services.loaded)
    return services


api_app = make_api(_embedding_services())
adopt_server_logs(lambda: api_app.state.services.settings.logging)
