"""The processor over HTTP: how it is, start and stop."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from .answers import once
from .bodies import StrictRoute
from .callers import Caller, CallerOf
from .given import UNSAID, Because
from .models import ProcessorChange, ProcessorState
from .notes import note
from .openapi import refusals
from .permission import require_administrator
from .problems import Conflict
from .services import Processor, Services, services_of

router = APIRouter(prefix="/job-queue", tags=["processor"], route_class=StrictRoute)


def state_of(services: Services) -> ProcessorState:
    """How the processor is; without one nothing runs."""
    if services.processor is None:
        return ProcessorState(process_id=None, running=False, thread_alive=False, shutdown_requested=False)
    status = services.processor.status()
    return ProcessorState(
        process_id=status.process_id,
        running=status.running,
        thread_alive=status.thread_alive,
        shutdown_requested=status.shutdown_requested,
    )


@router.post("/start-processor", response_model=ProcessorChange, responses=refusals(403, 409))
def start_processor(request: Request, caller: CallerOf, because: Because = UNSAID) -> Response:
    """Start the processor, unless it runs."""
    services, processor = _steered(request, caller)
    with services.change() as connection:
        note(connection, caller, "processor.start", because.reason)
    return _answer(services, _ordered(processor.start))


@router.post("/stop-processor", response_model=ProcessorChange, responses=refusals(403, 409))
def stop_processor(request: Request, caller: CallerOf, because: Because = UNSAID) -> Response:
    """Ask the processor to finish what it runs and stop, if it runs; `shutdown_requested` is true until it has."""
    services, processor = _steered(request, caller)
    with services.change() as connection:
        note(connection, caller, "processor.stop", because.reason)
    return _answer(services, _ordered(lambda: processor.stop(wait=False)))


def _ordered(order: Callable[[], bool]) -> bool:
    try:
        return order()
    except OSError as error:
        raise Conflict(f"The processor's run directory cannot be written: {error.filename}: {error.strerror}.") from None


def _steered(request: Request, caller: Caller) -> tuple[Services, Processor]:
    require_administrator(caller)
    services = services_of(request)
    if services.processor is None:
        raise Conflict("This API has no processor of its own.")
    return services, services.processor


def _answer(services: Services, changed: bool) -> Response:
    state = state_of(services)
    return once(ProcessorChange(changed=changed, processor=state, is_processor_running=state.running))
