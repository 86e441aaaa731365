"""Probes: does this process answer, and can it do its work. They need no token; `/livez` needs no database."""

from __future__ import annotations

from functools import partial

import anyio
import structlog
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import Response

from backends import BadDatabaseUrl, DatabaseUnavailable, SchemaMismatch, check
from config import ConfigError

from .answers import once
from .models import Alive, Readiness
from .services import Services, services_of

PATIENCE = 1.0
"""Seconds within which the database must have answered."""

router = APIRouter(tags=["probes"])
log = structlog.get_logger("jobqueue.api")


@router.get("/livez", response_model=Alive)
async def livez() -> Response:
    """This process answers requests."""
    return once(Alive())


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness, "description": "Not now: see reasons."}})
async def readyz(request: Request) -> Response:
    """This process can do its work: it is not about to stop, the database answers, and its schema is right."""
    services = services_of(request)
    reasons = ["this process is about to stop"] if services.draining else await _of_database(request, services)
    return once(Readiness(ready=not reasons, reasons=reasons), 503 if reasons else 200)


async def _of_database(request: Request, services: Services) -> list[str]:
    """Asked in a thread that is left alone when it takes too long: the requests' own threads may all be waiting."""
    with anyio.move_on_after(PATIENCE):
        return await run_sync(partial(_look, services), abandon_on_cancel=True, limiter=request.app.state.probing)
    return [f"the database did not answer within {PATIENCE:g} s"]


def _look(services: Services) -> list[str]:
    try:
        check(services.queue.engine)
    except DatabaseUnavailable:
        return ["the database cannot be reached"]
    except SchemaMismatch as error:
        return [str(error)]
    except (ConfigError, BadDatabaseUrl):
        return ["the configuration cannot be used: supervisor config check"]
    return []
