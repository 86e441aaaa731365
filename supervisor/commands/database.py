"""`db`: bring the schema up to date, say which one is there, and check both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .opening import load, open_database
from .options import AsJson, ConfigFile
from .problems import Exit

if TYPE_CHECKING:
    from backends import Migration

app = typer.Typer(name="db", help="The database's schema.", no_args_is_help=True)


@app.command()
def upgrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL, and change nothing.")] = False,
    config: ConfigFile = None,
) -> int:
    """Bring the database to the schema of this release; rows are kept, and repeating it is harmless."""
    from backends import upgrade, upgrade_sql

    with open_database(load(config).settings) as engine:
        if dry_run:
            print(upgrade_sql(engine))
            return Exit.OK
        done = upgrade(engine)
    output.line("schema", done.after, outcome(done))
    return Exit.OK


def outcome(done: Migration) -> str:
    """What an upgrade did, in words."""
    return "unchanged" if done.before == done.after else f"upgraded from {done.before or 'nothing'}"


@app.command()
def recount(config: ConfigFile = None) -> int:
    """Count every job, and set the counters of status to what the rows say; needed after changes by hand."""
    from backends import check, recount

    with open_database(load(config).settings) as engine:
        check(engine)
        recount(engine)
    output.line("recounted")
    return Exit.OK


@app.command()
def current(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Print the schema that the database has and the one that this release needs."""
    from backends import current, head

    with open_database(load(config).settings) as engine:
        found = current(engine)
    if as_json:
        output.document({"current": found, "head": head()})
    else:
        output.fields({"current": found or "none", "head": head()})
    return Exit.OK


@app.command()
def check(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Check that the database can be reached and has the schema of this release."""
    from backends import check, head
    from config import mask

    settings = load(config).settings
    with open_database(settings) as engine:
        check(engine)
    if as_json:
        output.document({"ok": True, "database": mask(settings.database_url), "schema": head()})
    else:
        output.line("ok", mask(settings.database_url), f"schema {head()}")
    return Exit.OK
