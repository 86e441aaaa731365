"""Indexing over HTTP: handing back what dead workers held, and searching what was indexed."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from backends import Role

from .answers import once
from .bodies import StrictRoute
from .callers import CallerOf
from .kinds import ProgramId
from .models import UNSAID, Because, ResetAnswer
from .notes import note
from .openapi import refusals
from .permission import require
from .services import services_of

router = APIRouter(prefix="/indexing", tags=["indexing"], route_class=StrictRoute)


@router.post("/reset-stuck-jobs/{program_id}", response_model=ResetAnswer, responses=refusals(403, 404))
def reset_stuck_jobs(
    request: Request, caller: CallerOf, program_id: ProgramId, because: Because = UNSAID
) -> Response:
    """Hand back the program's running jobs whose lease is dead; never one whose worker is alive."""
    services, scope = services_of(request), caller.scope(Role.OPERATOR)
    with services.change() as connection:
        require(connection, caller, program_id, Role.OPERATOR)
        settled = services.queue.reset_stuck(program_id, services.settings.lock_timeout, scope, connection)
        handed_back = {"jobs": [each.job_id for each in settled]}
        note(connection, caller, "jobs.reset_stuck", because.reason, program_id, detail=handed_back)
    return once(ResetAnswer.of(program_id, settled))
