"""Scans of Google Drive with every kind of credential, and what becomes of them when it expires."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import Engine, update

from apps.indexing import oauth
from apps.indexing.drive import calls
from apps.indexing.jobs import full_scan
from backends import Owner, forget_secrets, indexing_jobs, new_key, store_secret
from tests import drive as fake
from tests.apps.context import DatabaseContext, Installation
from tests.drive import DriveServer, Rule
from workers import GiveUp, RetryLater

ROBOT = "robot@project.iam.gserviceaccount.com"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key for secrets, and the same patience with shorter pauses."""
    usual = calls.Patience
    monkeypatch.setattr(calls, "Patience", lambda: usual(first=0.002, longest=0.01, waits=2.0, timeout=2.0))
    monkeypatch.setenv("JOBQUEUE_ENCRYPTION_KEYS", new_key())


@pytest.fixture
def server() -> Iterator[DriveServer]:
    """A Drive that takes no token yet, whose OAuth client and robot are known, and which has two files of alice's."""
    with DriveServer(tokens={}) as server:
        server.oauth.clients["client"] = "client's secret"
        server.oauth.refresh_tokens["1//refresh-of-alice"] = "alice"
        server.oauth.accounts[ROBOT] = robots_key()[1]
        server.drive.file("one.txt", "1")
        server.drive.file("two.txt", "2")
        yield server


@cache
def robots_key() -> tuple[str, str]:
    """The key of a service account, as the Cloud console gives it (with a hostile address in it), and its public half."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    info = {"type": "service_account", "client_email": ROBOT, "private_key": private, "private_key_id": "1",
            "token_uri": "http://127.0.0.1:1/steal", "universe_domain": "evil.example"}
    return json.dumps(info), public.decode()


def program_on(installation: Installation, server: DriveServer, **settings: Any) -> int:
    given = {"endpoint": server.url, "token_uri": server.token_url, "client_id": "client"}
    return installation.program("google_drive", None, given | settings)


def scan(engine: Engine, ctx: DatabaseContext, *secrets: tuple[Owner, str, str], user_id: int = 7) -> dict[str, Any]:
    """Store these secrets for the job, its user or its program, and run it for that user."""
    ctx.job = ctx.job._replace(user_id=user_id)
    ids = {Owner.JOB: ctx.job.id, Owner.USER: user_id, Owner.PROGRAM: ctx.job.program_id}
    with engine.begin() as connection:
        connection.execute(update(indexing_jobs).where(indexing_jobs.c.id == ctx.job.id).values(user_id=user_id))
        for owner, name, value in secrets:
            store_secret(connection, owner, ids[owner], name, value)
    full_scan(ctx)
    return ctx.reports[-1]


REFRESH = (("refresh_token", "1//refresh-of-alice"), ("client_secret", "client's secret"))


@pytest.mark.parametrize("owner", list(Owner))
def test_a_refresh_token_of_the_job_its_user_or_its_program_reads_the_drive(
    installation: Installation, server: DriveServer, engine: Engine, owner: Owner
) -> None:
    ctx = installation.context(program_on(installation, server))
    assert scan(engine, ctx, *((owner, *each) for each in REFRESH))["successful"] == 2
    assert len(server.asked("token")) == 1


def test_the_jobs_credential_goes_before_its_users_and_that_before_the_programs(
    sqlite_installation: Installation, server: DriveServer
) -> None:
    installation, engine = sqlite_installation, sqlite_installation.engine
    program = program_on(installation, server, access_token_env="NOBODY_SETS_THIS")
    server.tokens.update(of_job="alice", of_user="alice", of_program="alice")
    given = [(owner, "access_token", f"of_{owner.value}") for owner in Owner]
    for owner in Owner:
        ctx = installation.context(program)
        scan(engine, ctx, *(each for each in given if list(Owner).index(each[0]) >= list(Owner).index(owner)))
        assert server.log[-1].token == f"of_{owner.value}"
        with engine.begin() as connection:
            forget_secrets(connection, owner, ctx.job.id if owner is Owner.JOB else 7 if owner is Owner.USER else program)
    with pytest.raises(GiveUp, match="environment variable NOBODY_SETS_THIS is not set"):
        full_scan(installation.context(program))


@pytest.mark.parametrize("owner", [Owner.JOB, Owner.PROGRAM])
def test_a_service_account_stands_in_for_its_subject(
    sqlite_installation: Installation, server: DriveServer, owner: Owner
) -> None:
    """The job names the subject for its own account only; the address in the key is never asked."""
    installation = sqlite_installation
    program = program_on(installation, server, **({"subject": "alice"} if owner is Owner.PROGRAM else {}))
    ctx = installation.context(program, parameters={"subject": "alice" if owner is Owner.JOB else "mallory"})
    assert scan(installation.engine, ctx, (owner, "service_account", robots_key()[0]))["successful"] == 2
    assert server.oauth.scopes == [oauth.SCOPE]


def test_an_access_token_that_expires_in_mid_scan_is_refreshed_once(
    sqlite_installation: Installation, server: DriveServer
) -> None:
    installation = sqlite_installation
    server.tokens["old"] = "alice"
    server.rules.append(Rule(fake.refused(401, "authError"), route="files.media", token="old", times=100))
    ctx = installation.context(program_on(installation, server))
    said = scan(installation.engine, ctx, (Owner.JOB, "access_token", "old"), *((Owner.JOB, *each) for each in REFRESH))
    assert (said["successful"], said["failed"]) == (2, 0)
    assert len(server.asked("token")) == 1
    assert server.asked("files.media")[-1].token == "ya29.issued-1"


def test_a_new_token_that_is_refused_too_ends_the_job(sqlite_installation: Installation, server: DriveServer) -> None:
    server.rules.append(Rule(fake.refused(401, "authError"), route="files.get", times=100))
    ctx = sqlite_installation.context(program_on(sqlite_installation, server))
    with pytest.raises(GiveUp, match="refuses even a new access token of user 7"):
        scan(sqlite_installation.engine, ctx, *((Owner.USER, *each) for each in REFRESH))
    assert len(server.asked("token")) == 1


def test_an_access_token_alone_that_expires_ends_the_job_and_says_what_to_do(
    sqlite_installation: Installation, server: DriveServer
) -> None:
    ctx = sqlite_installation.context(program_on(sqlite_installation, server))
    with pytest.raises(GiveUp) as caught:
        scan(sqlite_installation.engine, ctx, (Owner.JOB, "access_token", "ya29.expired"))
    assert f"supervisor secrets set --job {ctx.job.id} access_token" in str(caught.value)
    assert "ya29" not in str(caught.value)


def test_a_revoked_refresh_token_ends_the_job_and_says_what_to_do(
    sqlite_installation: Installation, server: DriveServer
) -> None:
    server.rules.append(Rule(fake.invalid_grant(), route="token"))
    ctx = sqlite_installation.context(program_on(sqlite_installation, server))
    with pytest.raises(GiveUp, match=r"\(invalid_grant\): it was revoked.*secrets set --user 7 refresh_token") as caught:
        scan(sqlite_installation.engine, ctx, *((Owner.USER, *each) for each in REFRESH))
    assert "1//" not in str(caught.value)
    assert len(server.asked("token")) == 1


def test_trouble_of_the_token_endpoint_is_outlived(sqlite_installation: Installation, server: DriveServer) -> None:
    server.rules.append(Rule(fake.refused(503), route="token"))
    ctx = sqlite_installation.context(program_on(sqlite_installation, server))
    assert scan(sqlite_installation.engine, ctx, *((Owner.USER, *each) for each in REFRESH))["successful"] == 2
    assert [each.status for each in server.asked("token")] == [503, 200]


def test_lasting_trouble_of_the_token_endpoint_puts_the_job_off_and_spends_no_retry(
    sqlite_installation: Installation, server: DriveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "TIMEOUT", 0.2)
    ctx = sqlite_installation.context(program_on(sqlite_installation, server))
    server.rules.append(Rule(fake.hanging(5.0), route="token", times=10))
    with pytest.raises(RetryLater, match="token endpoint does not answer") as caught:
        scan(sqlite_installation.engine, ctx, *((Owner.USER, *each) for each in REFRESH))
    assert caught.value.after == oauth.PAUSE


@pytest.mark.parametrize(("secrets", "settings", "what"), [
    ([("refresh_token", "x")], {}, "can only be used with the id and the secret of its OAuth client"),
    ([("refresh_token", "x"), ("client_secret", "x")], {"client_id": None}, "put client_id into the settings"),
    ([("refresh_token", "x"), ("client_secret", "wrong")], {}, r"\(invalid_client\): see the OAuth client"),
    ([("service_account", "{}")], {}, "is not the JSON of a service account's key"),
    ([("service_account", "hush-hush")], {}, "is not the JSON of a service account's key"),
    ([("service_account", '{"client_email": "a", "private_key": "hush"}')], {}, "is not the JSON of a service account's key"),
    ([("refresh_token", "x"), ("client_secret", "x")], {"token_uri": "file:///etc"}, "settings.token_uri"),
    ([], {}, "has no credential for Google Drive; store one: supervisor secrets set --program"),
])
def test_what_is_incomplete_is_told_with_what_to_do(
    sqlite_installation: Installation, server: DriveServer, secrets: list[tuple[str, str]], settings: dict[str, Any], what: str
) -> None:
    ctx = sqlite_installation.context(program_on(sqlite_installation, server, **settings))
    with pytest.raises(GiveUp, match=what) as caught:
        scan(sqlite_installation.engine, ctx, *((Owner.PROGRAM, *each) for each in secrets))
    assert "hush" not in str(caught.value)
