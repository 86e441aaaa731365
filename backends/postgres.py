"""Postgres: connections that never wait for ever, and that leave a server which is no primary any more."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg import conninfo, errors, sql
from psycopg.abc import PQGen
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext

RV = TypeVar("RV")

DISCONNECTED = ("08", "57P01", "57P02", "57P03", "25006", "53300")
"""SQLSTATEs (or their classes) after which a connection must not be used again: lost, shut down, starting, read-only."""

BUSY = ("40001", "40P01", "55P03", "57014", "53100", "53200", "25P03", "25P04", "57P05")
"""SQLSTATEs that say: not now. Serialisation, deadlock, lock or statement timeout, disk or memory full."""

MARGIN = 2.0
"""Seconds that the client waits longer than the server's own statement timeout."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection on which no statement outlives `deadline` seconds, whatever the server or the network does.

    No timeout of libpq's notices a backend that is stopped while its kernel goes on acknowledging.
    """

    deadline: float = 30.0

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait as psycopg does; past the deadline close the connection and raise `OperationalError`."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.deadline)
        except errors._WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer from the server within {self.deadline:g} s") from None


def make_engine(
    url: str, *, pooler: str, statement_timeout: float, connect_timeout: float, pool_size: int, application_name: str
) -> Engine:
    """An engine over psycopg with timeouts and keepalives set; several hosts mean the one that takes writes."""
    pooled = pooler == "transaction"
    arguments = _arguments(url, pooled, statement_timeout, connect_timeout, application_name)

    def connect() -> psycopg.Connection[Any]:
        connection = BoundedConnection.connect(**arguments)
        connection.deadline = statement_timeout + MARGIN
        if pooled:
            connection.prepare_threshold = None
        return connection

    engine = create_engine(
        "postgresql+psycopg://", creator=connect, hide_parameters=True, pool_size=pool_size, max_overflow=4, pool_recycle=300
    )
    event.listen(engine, "handle_error", _leave_lost_servers)
    return engine


def _arguments(url: str, pooled: bool, statement_timeout: float, connect_timeout: float, name: str) -> dict[str, Any]:
    given = conninfo.conninfo_to_dict(url)
    arguments: dict[str, Any] = {
        "connect_timeout": max(2, round(connect_timeout)),
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15000,
        "application_name": name,
    }
    if "," in str(given.get("host", "")):
        arguments["target_session_attrs"] = "read-write"
    if not pooled:
        arguments["options"] = (
            f"-c statement_timeout={round(statement_timeout * 1000)} -c lock_timeout=2s"
            f" -c idle_in_transaction_session_timeout={round(2 * statement_timeout * 1000)} -c timezone=UTC"
        )
    return arguments | given


def _leave_lost_servers(context: ExceptionContext) -> None:
    state = getattr(context.original_exception, "sqlstate", None) or ""
    if state.startswith(DISCONNECTED):
        context.is_disconnect = True


def is_unavailable(error: BaseException | None) -> bool:
    """Whether a driver's error means: not reachable, not answering, or not now."""
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith(DISCONNECTED + BUSY)


class Listener:
    """One connection of its own that listens; `fileno` is readable when something was notified."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """The socket to wait on."""
        return self._connection.fileno()

    def drain(self) -> list[str]:
        """The payloads that have arrived. Raises `psycopg.OperationalError` when the connection is lost."""
        return [note.payload for note in self._connection.notifies(timeout=0)]

    def close(self) -> None:
        """Stop listening."""
        self._connection.close()


def listen(engine: Engine, channel: str) -> Listener | None:
    """Listen on `{channel}_{current schema}`; None behind a transaction pooler, where nobody can."""
    borrowed = engine.raw_connection()
    borrowed.detach()
    connection: psycopg.Connection[Any] = borrowed.dbapi_connection  # type: ignore[assignment]
    if connection.prepare_threshold is None:
        connection.close()
        return None
    connection.rollback()
    connection.autocommit = True
    (schema,) = connection.execute("SELECT current_schema()").fetchone() or ("public",)
    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(f"{channel}_{schema}")))
    return Listener(connection)


