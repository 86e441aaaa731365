"""What keeps a database from being used and will not go away by itself: the documented id of each, and its exit code."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from backends import (
    BadDatabaseUrl,
    DatabaseUnavailable,
    InheritedConnection,
    KeyProblem,
    LaneDisagreement,
    SchemaMismatch,
    UnsafeCommits,
    UnsafeFilesystem,
)

UNREACHABLE, NOT_PERMITTED, BAD_SETUP = 69, 77, 78

_INSUFFICIENT_PRIVILEGE = "42501"


def refusal(error: Exception) -> tuple[str, int] | None:
    """The id and the exit code of such an error, whose own words say what to do; None for one that nobody foresaw."""
    match error:
        case SchemaMismatch():
            return "DB-SCHEMA", BAD_SETUP
        case LaneDisagreement():
            return "LANE-DISAGREEMENT", BAD_SETUP
        case UnsafeFilesystem():
            return "SQLITE-FILESYSTEM", BAD_SETUP
        case UnsafeCommits():
            return "PG-SYNCHRONOUS-COMMIT", BAD_SETUP
        case BadDatabaseUrl():
            return "DB-URL", BAD_SETUP
        case KeyProblem():
            return "KEY", BAD_SETUP
        case InheritedConnection():
            return "INHERITED-CONNECTION", BAD_SETUP
        case DatabaseUnavailable() if isinstance(error.__cause__, OSError):
            return "PERMISSION", NOT_PERMITTED  # SQLite's file or its folder; waiting does not bring it
        case DBAPIError() if getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE:
            return "DB-PERMISSION", NOT_PERMITTED
    return None
