"""Secrets of jobs, users and programs: kept encrypted, each bound to its owner and name, read one at a time."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Select, delete, exists, func, select, update
from sqlalchemy.engine import Connection, Engine

from .dialects import AnyRow, insert_for
from .job import FINAL
from .keys import KeyProblem, Keyring, keyring_of
from .paths import stored_name
from .statements import later
from .tables import indexing_jobs, now
from .tables import secrets as table

job = indexing_jobs.c
secret = table.c

STRAY_AFTER = 3600.0
"""Seconds that a secret of a finished job is left alone: an operator stores a new one first, and then retries the job."""


class Owner(StrEnum):
    """Whose a secret is."""

    JOB = "job"
    USER = "user"
    PROGRAM = "program"


class SecretView(NamedTuple):
    """A secret as people may see it: whose it is, how it is called, and under which key it lies."""

    owner: Owner
    owner_id: int
    name: str
    key_id: str
    created_at: datetime


def store_secret(connection: Connection, owner: Owner, owner_id: int, name: str, value: str) -> None:
    """Keep a secret, in place of a former one of that name. Raises `KeyProblem` without a key."""
    row = _sealed(keyring_to_seal(connection), owner, owner_id, name, value)
    _hold_job(connection, owner, owner_id)
    _store(connection, [row])
    if owner is Owner.JOB:
        connection.execute(update(indexing_jobs).where(job.id == owner_id).values(holds_secrets=True))


def read_secret(connection: Connection, owner: Owner, owner_id: int, name: str) -> str | None:
    """The secret of that name; None when there is none.

    Raises `KeyProblem` when its key is missing, or when the row was changed or copied from another.
    """
    row = connection.execute(_one(owner, owner_id, name)).first()
    return _opened(keyring_of(connection), row) if row else None


def forget_secrets(connection: Connection, owner: Owner, owner_id: int, name: str | None = None) -> int:
    """Delete the secret of that name, or all of the owner's; returns how many there were."""
    _hold_job(connection, owner, owner_id)
    theirs = delete(table).where(secret.owner == owner.value, secret.owner_id == owner_id)
    gone = connection.execute(theirs if name is None else theirs.where(secret.name == stored_name(name))).rowcount
    if owner is Owner.JOB and gone:
        others = exists().where(secret.owner == Owner.JOB.value, secret.owner_id == owner_id)
        connection.execute(update(indexing_jobs).where(job.id == owner_id, ~others).values(holds_secrets=False))
    return gone


def forget_under_key(connection: Connection, key_id: str) -> int:
    """Delete every secret under a key that is lost; returns how many there were."""
    theirs = secret.key_id == key_id
    of_jobs = select(secret.owner_id).where(theirs, secret.owner == Owner.JOB.value)
    others = exists().where(secret.owner == Owner.JOB.value, secret.owner_id == job.id, ~theirs)
    # The jobs first, as whoever settles them locks them.
    connection.execute(update(indexing_jobs).where(job.id.in_(of_jobs), ~others).values(holds_secrets=False))
    return connection.execute(delete(table).where(theirs)).rowcount


def secret_names(connection: Connection, owner: Owner, owner_id: int) -> list[str]:
    """The names of the owner's secrets, in order."""
    theirs = select(secret.name).where(secret.owner == owner.value, secret.owner_id == owner_id).order_by(secret.name)
    return list(connection.execute(theirs).scalars())


def list_secrets(connection: Connection, owner: Owner | None, owner_id: int | None, limit: int = 1000) -> list[SecretView]:
    """What secrets there are, of one owner or of all, in the order in which they were stored."""
    columns = [secret[name] for name in SecretView._fields]
    statement = select(*columns).order_by(secret.id).limit(limit)
    for column, wanted in ((secret.owner, owner), (secret.owner_id, owner_id)):
        if wanted is not None:
            statement = statement.where(column == wanted)
    return [SecretView(Owner(row.owner), *row[1:]) for row in connection.execute(statement)]


def keys_in_want(connection: Connection) -> str | None:
    """Why secrets that there are cannot be decrypted, in words; None when every key they lie under is at hand."""
    used = set(connection.execute(select(secret.key_id).distinct()).scalars())
    try:
        check_keys(connection)
        known = keyring_of(connection).ring().keys if used else {}
    except KeyProblem as problem:
        return str(problem)
    missing = sorted(used - set(known))
    return f"secrets lie under keys that are not at hand: {', '.join(missing)}; add them as older ones" if missing else None


class Rotation(NamedTuple):
    """What a rotation came to: secrets encrypted anew, those left under older keys, and why some cannot be, by their row ids."""

    done: int
    left: int
    broken: Mapping[int, str]


def rotate_secrets(engine: Engine, batch: int = 500, patience: float = 10.0) -> Rotation:
    """Encrypt under the newest key what lies under older ones, `batch` rows in a transaction.

    Nobody needs to stop: what another transaction holds is come back to, for `patience` seconds, and is `left` then. What
    cannot be decrypted stays as it is. Raises `KeyProblem` when the keys cannot be used.
    """
    keyring, done, until = keyring_of(engine), 0, time.monotonic() + patience
    broken: dict[int, str] = {}
    with engine.connect().execution_options(jobqueue_read=True) as connection:
        check_keys(connection)
    while keyring.is_named:
        done += _rotate(engine, keyring, batch, broken)
        left = _count_older(engine, keyring) - len(broken)
        if left <= 0 or time.monotonic() > until:
            return Rotation(done, max(0, left), broken)
        time.sleep(0.1)
    return Rotation(0, 0, {})


def _rotate(engine: Engine, keyring: Keyring, batch: int, broken: dict[int, str]) -> int:
    after, done = 0, 0
    while True:
        with engine.begin() as connection:
            rows = _older(connection, keyring.ring().newest.id, after, batch)
            done += _encrypt_anew(connection, keyring, rows, broken)
        if not rows:
            return done
        after = rows[-1].id


def _count_older(engine: Engine, keyring: Keyring) -> int:
    older = select(func.count()).select_from(table).where(secret.key_id != keyring.ring().newest.id)
    with engine.connect().execution_options(jobqueue_read=True) as connection:
        return int(connection.execute(older).scalar_one())


def _older(connection: Connection, newest: str, after: int, batch: int) -> list[AnyRow]:
    older = select(table).where(secret.id > after, secret.key_id != newest).order_by(secret.id).limit(batch)
    # What others hold is about to be replaced or deleted; and who waits for nobody is in nobody's deadlock.
    return list(connection.execute(older.with_for_update(skip_locked=True)))


def _encrypt_anew(connection: Connection, keyring: Keyring, rows: Iterable[AnyRow], broken: dict[int, str]) -> int:
    done = 0
    for row in rows:
        try:
            key_id, sealed = keyring.seal(_opened(keyring, row), _place(row.owner, row.owner_id, row.name))
        except KeyProblem as problem:
            broken[row.id] = str(problem)
        else:
            connection.execute(update(table).where(secret.id == row.id).values(key_id=key_id, sealed=sealed))
            done += 1
    return done


# What the queue itself does with the secrets of jobs


def keep_for_jobs(connection: Connection, taken: Mapping[int, Mapping[str, str]]) -> None:
    """Keep what was taken from jobs' parameters (by job, then by name), and mark the jobs.

    Raises `KeyProblem` before anything is written.
    """
    named = [(job_id, name, value) for job_id, found in taken.items() for name, value in found.items()]
    if named:
        keyring = keyring_to_seal(connection)
        rows = [_sealed(keyring, Owner.JOB, *each) for each in named]
        _store(connection, rows)
        connection.execute(update(indexing_jobs).where(job.id.in_(list(taken))).values(holds_secrets=True))


def keyring_to_seal(connection: Connection) -> Keyring:
    """The keyring under whose newest key secrets are kept; beside a SQLite database its file is made at first need.

    In a transaction that writes, so that only one makes it. Raises `KeyProblem`, and then nothing was made.
    """
    keyring = keyring_of(connection)
    if keyring.can_be_made:
        refuse_to_replace(connection, keyring.place)
        keyring.make()
    keyring.ring()
    return keyring


def refuse_to_replace(connection: Connection, place: object) -> None:
    """Raise `KeyProblem` when there are secrets although `place` holds no key: a new one would open none of them."""
    used = connection.execute(select(secret.key_id).distinct().order_by(secret.key_id)).scalars().all()
    if used:
        raise KeyProblem(
            f"there are secrets under the keys {', '.join(used)}, and {place} is not there; restore it from your backup, or"
            f" forget what nobody can read any more: supervisor secrets forget --key {used[0]}"
        )


def check_keys(connection: Connection) -> None:
    """Raise `KeyProblem` when keys cannot be used, or are gone while secrets lie under them. No key and no secret is fine."""
    keyring = keyring_of(connection)
    if keyring.is_named:
        keyring.ring()
    else:
        refuse_to_replace(connection, keyring.place)


def problem_of_key(connection: Connection) -> str | None:
    """Why no secret can be encrypted now, in words; None when one can, or when its key will be made for it."""
    keyring = keyring_of(connection)
    try:
        check_keys(connection) if keyring.can_be_made else keyring.ring()
    except KeyProblem as problem:
        return str(problem)
    return None


def delete_of_jobs(connection: Connection, job_ids: Collection[int]) -> None:
    """Delete the secrets of jobs that are over or gone; the caller marks those that stay."""
    if job_ids:
        connection.execute(delete(table).where(secret.owner == Owner.JOB.value, secret.owner_id.in_(job_ids)))


def sweep_secrets(connection: Connection, batch: int, after: int) -> tuple[int, int]:
    """Look at `batch` secrets of jobs with row ids above `after`; delete strays: their job is gone, or over for a while.

    Returns how many went, and where to go on; 0 at the end.
    """
    seen = connection.execute(
        select(secret.id, job.status)
        .outerjoin(indexing_jobs, job.id == secret.owner_id)
        .where(secret.id > after, secret.owner == Owner.JOB.value, secret.created_at < later(-STRAY_AFTER))
        .order_by(secret.id)
        .limit(batch)
    ).all()
    strays = [row.id for row in seen if row.status is None or row.status in FINAL]
    if strays:
        connection.execute(delete(table).where(secret.id.in_(strays)))
    return len(strays), seen[-1].id if len(seen) == batch else 0


def _hold_job(connection: Connection, owner: Owner, owner_id: int) -> None:
    """Lock a job before its secrets, as whoever settles it does."""
    if owner is Owner.JOB:
        connection.execute(select(job.id).where(job.id == owner_id).with_for_update(key_share=True))


def _store(connection: Connection, rows: list[dict[str, Any]]) -> None:
    kept = insert_for(connection, table)
    anew = {"key_id": kept.excluded.key_id, "sealed": kept.excluded.sealed, "created_at": now()}
    connection.execute(kept.on_conflict_do_update(index_elements=["owner", "owner_id", "name"], set_=anew), rows)


def _sealed(keyring: Keyring, owner: Owner, owner_id: int, name: str, value: str) -> dict[str, Any]:
    row = _place(owner, owner_id, name)
    key_id, sealed = keyring.seal(value, row)
    return {"owner": row[0], "owner_id": row[1], "name": row[2], "key_id": key_id, "sealed": sealed}


def _opened(keyring: Keyring, row: AnyRow) -> str:
    return keyring.open(row.key_id, row.sealed, _place(row.owner, row.owner_id, row.name))


def _place(owner: str, owner_id: int, name: str) -> tuple[str, int, str]:
    """What a secret is bound to: the parts that make its row the only one."""
    return Owner(owner).value, owner_id, stored_name(name)


def _one(owner: Owner, owner_id: int, name: str) -> Select[Any]:
    return select(table).where(
        secret.owner == owner.value, secret.owner_id == owner_id, secret.name == stored_name(name)
    )
