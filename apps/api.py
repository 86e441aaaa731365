"""The HTTP API: `python -m uvicorn apps.api:api_app --host 0.0.0.0 --port 8000`. It always starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from .http import indexing, jobs, openapi, probes, problems, processor
from .http.callers import Callers
from .http.connections import guard
from .http.limits import Limits
from .http.services import PROBES, THREADS, Services


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    api = app.state.services.api
    current_default_thread_limiter().total_tokens = THREADS
    unguard = guard(api.most_connections, api.request_timeout)
    yield
    unguard()
    app.state.services.close()


def make_api(services: Services | None = None) -> FastAPI:
    """The application; `services` replaces the ones that the configuration file gives."""
    app = FastAPI(title="jobqueue", lifespan=_life)
    app.state.services = services or Services()
    app.state.callers = Callers(app.state.services)
    app.state.probing = CapacityLimiter(PROBES)
    problems.install(app)
    openapi.describe(app)
    for routes in (jobs, processor, indexing, probes):
        app.include_router(routes.router)
    app.add_middleware(Limits, settings=lambda: app.state.services.api)
    return app


api_app = make_api()
