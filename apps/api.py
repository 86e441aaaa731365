"""The HTTP API: `python -m uvicorn apps.api:api_app --host 0.0.0.0 --port 8000`. It always starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from .http import openapi, probes, problems
from .http.callers import Callers
from .http.connections import guard
from .http.limits import Limits
from .http.services import Services


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    api = app.state.services.api
    unguard = guard(api.most_connections, api.request_timeout)
    yield
    unguard()
    app.state.services.close()


def make_api(services: Services | None = None) -> FastAPI:
    """The application; `services` replaces the ones that the configuration file gives."""
    app = FastAPI(title="jobqueue", lifespan=_life)
    app.state.services = services or Services()
    app.state.callers = Callers(app.state.services)
    problems.install(app)
    openapi.describe(app)
    app.include_router(probes.router)
    app.add_middleware(Limits, settings=lambda: app.state.services.api)
    return app


api_app = make_api()
