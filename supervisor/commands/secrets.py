"""`secrets`: credentials of jobs, users and programs. Their values are read from standard input or the environment only."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .audited import change
from .opening import Opened, open_queue
from .options import AsJson, ConfigFile, Reason, small
from .problems import Exit, Problem, usage
from .wording import when

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backends import Owner, Rotation

app = typer.Typer(name="secrets", help="Credentials of jobs, users and programs, kept encrypted.", no_args_is_help=True)

COLUMNS = ("owner", "id", "name", "key", "stored")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="What it is called: access_token, refresh_token ...", show_default=False)
]
OfJob = Annotated[
    int | None, typer.Option("--job", metavar="ID", min=1, max=2**63 - 1, help="It belongs to this job.")
]
OfUser = Annotated[
    int | None, typer.Option("--user", metavar="ID", callback=small, help="It belongs to the user of this number.")
]
OfProgram = Annotated[
    int | None, typer.Option("--program", metavar="ID", callback=small, help="It belongs to this program.")
]


@app.command("set")
def set_secret(
    name: Name,
    job: OfJob = None,
    user: OfUser = None,
    program: OfProgram = None,
    from_env: Annotated[
        str | None, typer.Option("--from-env", metavar="VAR", help="Read it from this environment variable.")
    ] = None,
    reason: Reason = None,
    config: ConfigFile = None,
) -> int:
    """Store a secret, in place of a former one. Its value is read from standard input: never from the command line."""
    from backends import store_secret

    owner, owner_id = _owner(job, user, program)
    value = read_secret_value(from_env)
    with open_queue(config) as opened, change(opened, reason) as made:
        details = _about(opened, owner, owner_id)
        store_secret(made.connection, owner, owner_id, name, value)
        made.record("secret.set", **details, name=name, owner=owner.value, owner_id=owner_id)
    output.line(f"{owner.value} {owner_id}", name, "stored")
    return Exit.OK


@app.command("list")
def list_secrets(
    job: OfJob = None, user: OfUser = None, program: OfProgram = None, as_json: AsJson = False, config: ConfigFile = None
) -> int:
    """List what secrets there are, and under which keys they lie; never what they are."""
    from backends import list_secrets as stored

    owner, owner_id = _owner(job, user, program) if (job, user, program) != (None, None, None) else (None, None)
    with open_queue(config) as opened:
        found = opened.queue.read(lambda connection: stored(connection, owner, owner_id))
    if as_json:
        output.document([each._asdict() for each in found])
        return Exit.OK
    rows = [(each.owner.value, each.owner_id, each.name, each.key_id, when(each.created_at)) for each in found]
    output.table(COLUMNS, rows)
    if not found:
        output.say("No secrets. supervisor secrets set --help")
    return Exit.OK


@app.command()
def forget(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which one.", show_default="all of them")] = None,
    job: OfJob = None,
    user: OfUser = None,
    program: OfProgram = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="ID", help="All that lie under this key, whosever they are: it is lost.")
    ] = None,
    reason: Reason = None,
    config: ConfigFile = None,
) -> int:
    """Delete one secret of a job, user or program, or all of them; or all that lie under a key that is lost."""
    from backends import forget_secrets

    if key is not None:
        if (name, job, user, program) != (None, None, None, None):
            raise usage("--key forgets whatever lies under that key", "Give it alone.")
        return _forget_under_key(key, reason, config)
    owner, owner_id = _owner(job, user, program)
    with open_queue(config) as opened, change(opened, reason) as made:
        gone = forget_secrets(made.connection, owner, owner_id, name)
        if gone:
            details = _about(opened, owner, owner_id)
            made.record("secret.forget", **details, name=name, owner=owner.value, owner_id=owner_id, count=gone)
    if not gone:
        what = f"{owner.value} {owner_id} has no secret" + (f" called {name!r}" if name else "")
        raise Problem("SECRET-NOT-FOUND", what, "supervisor secrets list", Exit.NOT_FOUND)
    output.line(f"{owner.value} {owner_id}", f"{gone} forgotten")
    return Exit.OK


def _forget_under_key(key: str, reason: str | None, config: Path | None) -> int:
    from backends import forget_under_key

    with open_queue(config) as opened, change(opened, reason) as made:
        gone = forget_under_key(made.connection, key)
        if not gone:
            raise Problem("SECRET-NOT-FOUND", f"no secret lies under key {key}", "supervisor secrets list", Exit.NOT_FOUND)
        made.record("secret.forget", key_id=key, count=gone)
    output.line(f"key {key}", f"{gone} forgotten")
    return Exit.OK


@app.command()
def rotate(reason: Reason = None, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Encrypt everything under the newest key that lies under an older one. Nothing needs to stop, and it may be repeated.

    When it says 0, and no error, no secret needs the older keys any more.
    """
    from backends import rotate_secrets

    with open_queue(config) as opened:
        rotation = rotate_secrets(opened.queue.engine)
        with change(opened, reason) as made:
            made.record("secrets.rotate", count=rotation.done, left=rotation.left, broken=len(rotation.broken))
    if as_json:
        output.document({"encrypted_anew": rotation.done, "left": rotation.left, "broken": len(rotation.broken)})
    else:
        output.line(rotation.done, "encrypted anew")
    _complain_of_what_is_left(rotation)
    return Exit.OK


def _complain_of_what_is_left(rotation: Rotation) -> None:
    if rotation.broken:
        first = next(iter(rotation.broken.values()))
        what = f"{len(rotation.broken)} secrets could not be encrypted anew; the first: {first}"
        fix = "Or forget what lies under a lost key: supervisor secrets forget --key ID"
        raise Problem("KEY", what, fix, Exit.BAD_CONFIGURATION)
    if rotation.left:
        what = f"{rotation.left} secrets lie under older keys still: other transactions hold them"
        raise Problem("KEY", what, "Keep the older keys, and repeat it: supervisor secrets rotate")


@app.command("new-key")
def make_key(
    add: Annotated[
        bool, typer.Option("--add", help="Put it in front of the key file's others, and print only its id.")
    ] = False,
    config: ConfigFile = None,
) -> int:
    """Print a new key for secrets, or add it to the key file: running processes encrypt with it from then on."""
    from backends import add_key, key_file_of, new_key, refuse_to_replace

    if not add:
        print(new_key(), flush=True)
        output.say("Put it before the older ones: in JOBQUEUE_ENCRYPTION_KEYS, or in a file of mode 600 (encryption.key_file)")
        return Exit.OK
    with open_queue(config) as opened:
        file = key_file_of(opened.queue.engine)
        if file is None:
            what = "no key file is configured, or the environment's JOBQUEUE_ENCRYPTION_KEYS are used"
            raise Problem("KEY", what, "Set encryption: {key_file: ...}, or print a key without --add.", Exit.BAD_CONFIGURATION)
        if not file.exists():
            opened.queue.read(lambda connection: refuse_to_replace(connection, file))
        key_id = add_key(file)
    output.line(key_id, str(file))
    output.say("Now: supervisor secrets rotate")
    return Exit.OK


def read_secret_value(variable: str | None) -> str:
    """A secret from an environment variable or, without one, from standard input; its last line break is not part of it."""
    if variable is not None:
        value = os.environ.get(variable, "")
    elif sys.stdin.isatty():
        import getpass

        value = getpass.getpass("Secret (not shown): ")
    else:
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not value:
        where = f"the environment variable {variable}" if variable else "standard input"
        raise usage(f"{where} holds no secret", "Give it as in: supervisor secrets set --user 1 access_token < file", "SECRET")
    return value


def read_pairs_of_secrets(from_input: str | None, from_environment: list[str]) -> Mapping[str, str]:
    """The secrets that `--secret NAME` and `--secret-env NAME=VAR` mean, by their names."""
    found = {from_input: read_secret_value(None)} if from_input else {}
    for given in from_environment:
        name, equals, variable = given.partition("=")
        if not (name and equals and variable):
            raise usage(f"--secret-env: {name!r} is not NAME=VAR", "--secret-env access_token=DRIVE_TOKEN", "SECRET")
        found[name] = read_secret_value(variable)
    return found


def _owner(job: int | None, user: int | None, program: int | None) -> tuple[Owner, int]:
    from backends import Owner

    given = [(Owner.JOB, job), (Owner.USER, user), (Owner.PROGRAM, program)]
    named = [(owner, number) for owner, number in given if number is not None]
    if len(named) != 1:
        raise usage("say whose the secret is", "Give one of --job ID, --user ID, --program ID.")
    return named[0]


def _about(opened: Opened, owner: Owner, owner_id: int) -> dict[str, int]:
    """What the audit is told of the owner; a problem for a job that does not exist."""
    from backends import Owner

    from .jobs import no_such_job

    if owner is Owner.PROGRAM:
        return {"program_id": owner_id}
    if owner is Owner.USER:
        return {}
    job = opened.queue.get(owner_id)
    if job is None:
        raise no_such_job(owner_id)
    return {"job_id": owner_id, "program_id": job.program_id}
