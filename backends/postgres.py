"""Postgres: connections that never wait for ever, and that leave a server which is no primary any more."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from psycopg import adapt, conninfo, errors, sql
from psycopg.abc import AdaptContext, Buffer, PQGen
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from .column_types import EARLIEST, LATEST, within_reach
from .connections import BadDatabaseUrl, refuse_inherited, remember
from .job import DatabaseUnavailable
from .waiting import waits

RV = TypeVar("RV")

DISCONNECTED = ("08", "57P01", "57P02", "57P03", "25006")
"""SQLSTATEs (or their classes) after which a connection must not be used again: lost, shut down, starting, read-only."""

BUSY = ("40001", "40P01", "55P03", "57014", "53", "58", "25P03", "25P04", "57P05")
"""SQLSTATEs that say: not now. Serialisation, deadlock, lock or statement timeout, disk, memory or connections used up."""

MARGIN = 2.0
"""Seconds that the client waits longer than the server's own statement timeout."""

LEFT_WAITING = """\
SELECT CASE WHEN bool_or(wait_event = 'SyncRep') THEN count(*) ELSE 0 END, current_setting('max_connections')::int / 4
FROM pg_stat_activity
WHERE (wait_event = 'SyncRep' OR wait_event_type = 'Lock') AND query_start < clock_timestamp() - interval '1 s'
"""
"""How many backends of our role wait for a synchronous replica, or for a lock that such a one holds, and how many may."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection on which no statement outlives `deadline` seconds, whatever the server or the network does.

    No timeout of libpq's notices a backend that is stopped while its kernel goes on acknowledging.
    """

    deadline: float = 30.0
    pooled: bool = False

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._opened_by = os.getpid()
        self._unreplicated = False
        self._gave_up: Callable[[], None] = lambda: None
        self.add_notice_handler(self._notice)
        remember(self)

    def _notice(self, notice: errors.Diagnostic) -> None:
        # Known by where the server says it, since its words are in the server's language.
        self._unreplicated |= notice.source_function == "SyncRepWaitForLSN"

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait as psycopg does; past the deadline close the connection and raise `OperationalError`.

        So does a commit for which the server stopped waiting for its synchronous replica: the server only warns, and a
        fail-over would lose what was acknowledged.
        """
        refuse_inherited(self._opened_by)
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        waits(True)
        try:
            answer = super().wait(gen, interval, self.deadline)
        except errors._WaitTimeout:
            self.pgconn.finish()
            self._gave_up()
            raise psycopg.OperationalError(f"no answer from the server within {self.deadline:g} s") from None
        finally:
            waits(False)
        if self._unreplicated:
            self._unreplicated = False
            raise psycopg.OperationalError("committed here, but perhaps on no synchronous replica: the wait for it was cancelled")
        return answer

    @classmethod
    def _connect_gen(cls, *arguments: Any, **keywords: Any) -> Any:
        # psycopg's own way to connect to one of several hosts; the only place where each of its answers can be seen.
        connecting = super()._connect_gen(*arguments, **keywords)
        waits(True)
        try:
            asked = next(connecting)
            while True:
                ready = yield asked
                if ready:
                    waits(False)
                    waits(True)
                asked = connecting.send(ready)
        except StopIteration as end:
            return end.value
        finally:
            connecting.close()
            waits(False)

    def when_giving_up(self, told: Callable[[], None]) -> None:
        """Call this when the deadline has passed and the server is left alone with the statement."""
        self._gave_up = told

    def refuse_to_leave_more(self) -> None:
        """Close it and raise `OperationalError` when a quarter of all connections waits already for a synchronous replica.

        The server does not notice that their clients gave up: they stay until the replica is back, and each further try, which
        has to connect anew, would leave one more, until nobody can connect.
        """
        waiting, most = self.execute(LEFT_WAITING.encode()).fetchone() or (0, 1)
        self.rollback()
        if waiting >= most:
            self.close()
            words = f"{waiting} statements wait already for a synchronous replica that is away"
            raise psycopg.OperationalError(f"{words}; no more than {most} are left with the server")

    def rollback(self) -> None:
        """Roll back; in a forked child do nothing, for the transaction is the parent's."""
        if self._opened_by == os.getpid():
            super().rollback()

    def close(self) -> None:
        """Close it; in a forked child do nothing, for closing would end the parent's session."""
        if self._opened_by == os.getpid():
            super().close()

    def leave_to_the_parent(self) -> None:
        """Nothing to let go of: every further use is refused by `wait`."""


class NearestTime(adapt.Loader):
    """Reads times; those that Python cannot hold (infinity, years before 1 and after 9999) as the nearest that it can."""

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        drivers = psycopg.adapters.get_loader(oid, self.format)
        assert drivers is not None
        self._read = drivers(oid, context).load

    def load(self, data: Buffer) -> datetime:
        """The time that the server's text means."""
        try:
            return within_reach(self._read(data))
        except psycopg.DataError:
            text = bytes(data)
            return EARLIEST if text.startswith(b"-") or text.endswith(b"BC") else LATEST


def make_engine(
    url: str, *, pooler: str, statement_timeout: float, connect_timeout: float, pool_size: int, application_name: str
) -> Engine:
    """An engine over psycopg with timeouts and keepalives set; several hosts mean the one that takes writes.

    Behind a transaction pooler nothing is asked for at start-up, so the server's own timeouts must be set there
    (`ALTER ROLE ... SET statement_timeout`); the client's deadline holds in any case. Raises `BadDatabaseUrl`.
    """
    pooled = pooler == "transaction"
    opened_by = os.getpid()
    gave_up = threading.Event()
    gave_up.set()  # somebody may have, of whom this process is the successor
    engine = create_engine(
        "postgresql+psycopg://",
        connect_args=_arguments(url, pooled, statement_timeout, connect_timeout, application_name),
        hide_parameters=True,
        use_native_hstore=False,
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=connect_timeout,
        pool_recycle=300,
    )

    def connect(dialect: Any, record: Any, positional: Any, arguments: dict[str, Any]) -> BoundedConnection:
        refuse_inherited(opened_by)
        connection = BoundedConnection.connect(**arguments)
        connection.deadline = statement_timeout + MARGIN
        connection.pooled = pooled
        connection.when_giving_up(gave_up.set)
        if gave_up.is_set():
            connection.refuse_to_leave_more()
            gave_up.clear()
        connection.adapters.register_loader("timestamptz", NearestTime)
        return connection

    def returned(connection: BoundedConnection | None, record: Any) -> None:
        if connection is not None:
            connection.deadline = statement_timeout + MARGIN

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkin", returned)
    event.listen(engine, "handle_error", _leave_lost_servers)
    return engine


def allow(connection: Connection, seconds: float) -> None:
    """Let each statement of this transaction, and each wait for a lock in it, take this long."""
    own = connection.connection.driver_connection
    assert isinstance(own, BoundedConnection)
    own.deadline = seconds + MARGIN
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": f"{round(seconds * 1000)}ms"})


def _arguments(url: str, pooled: bool, statement_timeout: float, connect_timeout: float, name: str) -> dict[str, Any]:
    given = _parsed(url)
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
    if pooled:
        return arguments | given | {"prepare_threshold": None}
    ours = (
        f"-c statement_timeout={round(statement_timeout * 1000)} -c lock_timeout=2s"
        f" -c idle_in_transaction_session_timeout={round(2 * statement_timeout * 1000)} -c timezone=UTC"
    )
    return arguments | given | {"options": f"{ours} {given.get('options', '')}".strip()}


def _parsed(url: str) -> dict[str, Any]:
    """libpq's own reading of the URL, which knows several hosts. Raises `BadDatabaseUrl`."""
    try:
        return dict(conninfo.conninfo_to_dict(url))
    except psycopg.ProgrammingError as error:
        # Raised outside, without the chain: libpq quotes the URL, password and all.
        words = str(error).split('"')[0].strip().removesuffix(":")
    raise BadDatabaseUrl(f"{masked(url)} cannot be read ({words}); write postgresql://user:password@host:5432/database")


def masked(url: str) -> str:
    """The URL without its password."""
    return re.sub(r"([?&]password=)[^&]*", r"\1***", re.sub(r"(://[^:/?]*):.*@", r"\1:***@", url))


def _leave_lost_servers(context: ExceptionContext) -> None:
    # SQLAlchemy looks only at whether the connection is closed: a demoted primary would stay in the pool for ever.
    state = getattr(context.original_exception, "sqlstate", None) or ""
    if state.startswith(DISCONNECTED):
        context.is_disconnect = True


def is_unavailable(error: BaseException | None) -> bool:
    """Whether an error, of whichever driver an application uses, means: not reachable, not answering, or not now."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state is not None:
        return bool(state.startswith(DISCONNECTED + BUSY))
    return isinstance(error, psycopg.OperationalError) or (
        hasattr(error, "pgcode") and type(error).__name__ == "OperationalError"
    )


class Listener:
    """One connection of its own that listens; `fileno` is readable when something was notified.

    Every method but `close` raises `DatabaseUnavailable` once the connection is lost; listen again then.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """The socket to wait on."""
        with _as_unavailable():
            return self._connection.fileno()

    def drain(self) -> list[str]:
        """The payloads that have arrived since the last call; never waits."""
        with _as_unavailable():
            return [note.payload for note in self._connection.notifies(timeout=0)]

    def ping(self) -> None:
        """Ask the server whether it still takes writes: the only way to notice that it silently forgot us, or was demoted.

        On a replica nothing is ever notified, and who only listens is never refused. Raises `DatabaseUnavailable` for that, too.
        """
        with _as_unavailable():
            (read_only,) = self._connection.execute("SHOW transaction_read_only").fetchone() or ("on",)
        if read_only == "on":
            raise DatabaseUnavailable("the server that was listened to takes no more writes")

    def close(self) -> None:
        """Stop listening."""
        self._connection.close()


def listen(engine: Engine, channel: str) -> Listener | None:
    """Listen on `{channel}_{current schema}`; None behind a transaction pooler, where nobody can.

    Raises `DatabaseUnavailable`.
    """
    with _as_unavailable():
        borrowed = engine.raw_connection()
        connection = borrowed.driver_connection
        assert isinstance(connection, BoundedConnection)
        if connection.pooled:
            borrowed.close()
            return None
        borrowed.detach()
        connection.rollback()
        connection.autocommit = True
        (schema,) = connection.execute("SELECT current_schema()").fetchone() or ("public",)
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(f"{channel}_{schema}")))
        return Listener(connection)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        raise DatabaseUnavailable(str(getattr(error, "orig", error)).strip()) from error
