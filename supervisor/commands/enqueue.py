"""`jobs enqueue`: one job from what was typed, and following it to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .audited import change
from .opening import Opened, open_queue
from .options import AsJson, ConfigFile, Reason, small
from .problems import Exit, Problem, did_you_mean, usage
from .secrets import read_pairs_of_secrets
from .wording import read_moment, read_pairs

if TYPE_CHECKING:
    from backends import NewJob


def enqueue(
    job_type: Annotated[str, typer.Argument(metavar="TYPE", help="One of the job_types of the configuration file.")],
    program: Annotated[
        int,
        typer.Option("--program", metavar="N", callback=small, help="The program the job is for.", show_default=False),
    ],
    user: Annotated[
        int | None, typer.Option("--user", metavar="N", callback=small, help="The user who asks for it.")
    ] = None,
    folder: Annotated[str | None, typer.Option("--folder", metavar="ID", help="The folder to index.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", metavar="NAME=VALUE", help="A parameter; JSON when it reads as JSON, else text. Repeatable."
        ),
    ] = None,
    secret: Annotated[
        str | None, typer.Option("--secret", metavar="NAME", help="A secret for the job, read from standard input.")
    ] = None,
    secret_env: Annotated[
        list[str] | None,
        typer.Option("--secret-env", metavar="NAME=VAR", help="One from an environment variable. Repeatable."),
    ] = None,
    priority: Annotated[int, typer.Option("--priority", metavar="N", callback=small, help="Higher runs first.")] = 0,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="Not before this time, in ISO 8601.")] = None,
    max_retries: Annotated[
        int | None, typer.Option("--max-retries", metavar="N", min=0, max=1000, help="Instead of what its type says.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Repeated with the same key it is the same job.")
    ] = None,
    any_type: Annotated[bool, typer.Option("--any-type", help="Accept a type that the file does not declare.")] = False,
    reason: Reason = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job, and exit with its outcome: 0, 1 or 5.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Put one job into the queue and print it."""
    from backends import NewJob

    new = NewJob(
        job_type=job_type,
        program_id=program,
        user_id=user,
        folder_id=folder,
        priority=priority,
        max_retries=max_retries,
        scheduled_at=read_moment(at, "--at") if at else None,
        unique_key=key,
        parameters=_without_secrets(read_pairs(param or [], "--param")),
    )
    secrets = read_pairs_of_secrets(secret, secret_env or [])
    with open_queue(config) as opened:
        if not any_type:
            require_known_type(job_type, [*opened.settings.job_types])
        job_id = put(opened, new, reason, secrets)
        if wait:
            from .follow import follow

            return follow(opened, job_id, as_json)
        job = opened.queue.get(job_id)
    if job is None:
        raise Problem("JOB-NOT-FOUND", f"job {job_id} was enqueued, and is gone again", "supervisor jobs list")
    if as_json:
        output.document(job.as_dict())
    elif output.for_people():
        output.line(
            f"job {job_id} ({job_type}, program {program}) is {job.status}. Follow it: supervisor jobs show {job_id}"
        )
    else:
        output.line(job_id, job.status, job_type)
    return Exit.OK


def require_known_type(job_type: str, known: list[str]) -> None:
    """Refuse a type that the configuration file does not declare: no supervisor of this file would run it."""
    if job_type not in known:
        what = f"no job type is called {job_type!r}{did_you_mean(job_type, known)}"
        raise usage(what, "Declare it under job_types, or pass --any-type for one that others serve.", "JOB-TYPE")


def _without_secrets(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters; refused when there is a secret among them: other processes and the shell's history show it."""
    from backends import secret_paths

    for path in secret_paths(parameters):
        what = f"--param shows the secret {path} to everybody on this host"
        raise usage(what, f"Take it for spent, and give it by --secret {path} < file, or --secret-env {path}=VAR.", "SECRET")
    return parameters


def put(opened: Opened, new: NewJob, reason: str | None, secrets: Mapping[str, str]) -> int:
    """Enqueue one job and return its id; parameters that cannot be stored are a usage error."""
    from backends import BadParameters, Owner, store_secret

    try:
        with change(opened, reason) as made:
            added = opened.queue.enqueue_once(new, made.connection)
            if added.is_new:
                for name, value in secrets.items():
                    store_secret(made.connection, Owner.JOB, added.id, name, value)
                made.record("job.create", program_id=new.program_id, job_id=added.id, job_type=new.job_type)
    except BadParameters as error:
        raise usage(
            str(error), "Parameters must be JSON: text, numbers, true, false, null, lists, objects.", "BAD-PARAM"
        ) from None
    return added.id
