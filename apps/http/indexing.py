"""Indexing over HTTP: handing back what dead workers held, and searching what was indexed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from backends import Role

from ..search import BadQuery, SearchPage, search_files
from .answers import once
from .bodies import StrictRoute
from .callers import CallerOf
from .given import UNSAID, Because, SearchQuery
from .kinds import ProgramId
from .mistakes import Mistake
from .models import FoundFile, ResetAnswer, SearchAnswer
from .notes import note
from .openapi import refusals
from .permission import require
from .problems import Invalid
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


@router.get("/search/{program_id}", response_model=SearchAnswer, responses=refusals(404))
def search(
    request: Request, caller: CallerOf, program_id: ProgramId, wanted: Annotated[SearchQuery, Query()]
) -> Response:
    """The program's files that have all the words in their name, path or text."""

    def look(connection: Connection) -> SearchPage:
        require(connection, caller, program_id)
        return search_files(connection, program_id, wanted.q, wanted.limit, wanted.cursor, caller.scope())

    try:
        page = services_of(request).queue.read(look)
    except BadQuery as error:
        raise Invalid([Mistake("query", str(error), "Give what the message asks for.")]) from None
    return once(SearchAnswer(results=[FoundFile.of(each) for each in page.results], next_cursor=page.next_cursor))
