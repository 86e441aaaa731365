"""Whether a commit on this database is on a disk when it returns: without that, no enqueue that returned is safe."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.engine import Connection


class UnsafeCommits(Exception):
    """The server acknowledges commits before it has written them down; the message says who told it to, and the cure."""


_SETTING = text("""
SELECT setting, source, sourcefile, sourceline, quote_ident(current_user) AS role, quote_ident(current_database()) AS database
FROM pg_settings WHERE name = 'synchronous_commit'
""")

_ON = "SET synchronous_commit = on;"


def refuse_unsafe_commits(connection: Connection) -> None:
    """Raise `UnsafeCommits` when `synchronous_commit` is off for this role in this Postgres database.

    Setting it for our own connections would not do: any program may add jobs with an INSERT of its own, and the promise is
    about those, too.
    """
    if connection.dialect.name == "sqlite":
        return
    found = connection.execute(_SETTING).one()
    if found.setting != "off":
        return
    where, cure = _place(found.source, found.role, found.database, f"{found.sourcefile}:{found.sourceline}")
    raise UnsafeCommits(
        f"synchronous_commit is off {where}, so a crash of the server can lose jobs whose enqueue returned;"
        f" {cure} then start again"
    )


def _place(source: str, role: str, database: str, line: str) -> tuple[str, str]:
    """Where it was set, and what sets it right there."""
    match source:
        case "client":
            return "by the options of the connection (database_url, or PGOPTIONS)", "take it out of them,"
        case "user":
            return f"for the role {role}", f"ALTER ROLE {role} {_ON}"
        case "global":
            return "for all roles", f"ALTER ROLE ALL {_ON}"
        case "database":
            return f"for the database {database}", f"ALTER DATABASE {database} {_ON}"
        case "database user":
            return f"for the role {role} in the database {database}", f"ALTER ROLE {role} IN DATABASE {database} {_ON}"
        case "command line" | "environment variable":
            return f"for the whole server, by its {source}", "take it out of that, restart the server,"
    place = "" if line.startswith("None") else f" ({line})"
    return f"for the whole server{place}", f"ALTER SYSTEM {_ON} SELECT pg_reload_conf();"
