"""Who asks: bearer tokens, and what `auth: none` takes without one; over real connections."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy import Engine, select, update

from apps.access.tokens import create_token, revoke_token
from apps.access.users import add_user, disable_user
from apps.api import make_api
from apps.http.callers import Caller, CallerOf
from backends import EVERYTHING, Role, Scope, api_tokens, later
from tests.apps.http.serving import services_for, serving
from tests.support import eventually

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
"""For what does not depend on the database."""

CLIENT = httpx2.Client(trust_env=False, verify=False, timeout=30)
"""One for all: to make one takes longer than most requests."""

CHALLENGE = {"type": "/problems/unauthenticated", "title": "Unauthenticated", "status": 401}


def application(folder: Path, database_url: str, **given: Any) -> FastAPI:
    """The API with one more route, which says who asks."""
    app = make_api(services_for(folder, database_url, **given))

    @app.get("/whoami")
    @app.post("/whoami")
    def whoami(caller: CallerOf) -> dict[str, Any]:
        return asdict(caller)

    return app


@pytest.fixture
def url(tmp_path: Path, database_url: str) -> Iterator[str]:
    """An API that wants tokens."""
    with serving(application(tmp_path, database_url)) as url:
        yield url


@pytest.fixture
def open_url(tmp_path: Path, engine: Engine, database_url: str) -> Iterator[str]:
    """An API with `auth: none`."""
    with serving(application(tmp_path, database_url, auth="none")) as url:
        yield url


@pytest.fixture
def anna(engine: Engine) -> int:
    """A user."""
    with engine.begin() as connection:
        return add_user(connection, "anna")


def token_of(engine: Engine, user_id: int, lifetime: float | None = 60.0) -> str:
    with engine.begin() as connection:
        return create_token(connection, user_id, "test", lifetime).secret


def ask(url: str, token: str | None = None, method: str = "GET", **headers: str) -> httpx2.Response:
    given = {} if token is None else {"Authorization": f"Bearer {token}"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return CLIENT.request(method, f"{url}/whoami", headers={**given, **named})


def test_a_token_says_who_asks(url: str, engine: Engine, anna: int) -> None:
    answer = ask(url, token_of(engine, anna))
    assert answer.json() == {"user_id": anna, "name": "anna", "is_admin": False, "via": "api"}


def test_the_scheme_is_read_in_any_case(url: str, engine: Engine, anna: int) -> None:
    assert ask(url, Authorization=f"bearer  {token_of(engine, anna)}").status_code == 200


def test_every_token_that_is_not_valid_is_answered_with_the_same_bytes(url: str, engine: Engine, anna: int) -> None:
    expired, revoked, disabled = token_of(engine, anna), token_of(engine, anna), token_of(engine, anna)
    with engine.begin() as connection:
        tokens = api_tokens.c
        ids = connection.execute(select(tokens.id).order_by(tokens.id)).scalars().all()
        connection.execute(update(api_tokens).where(tokens.id == ids[0]).values(expires_at=later(-0.001)))
        revoke_token(connection, ids[1])
        disable_user(connection, anna)
    good = ("Bearer", token_of(engine, anna))
    headers: list[list[tuple[str, str | bytes]]] = [
        [],
        *([("Authorization", f"Bearer {secret}")] for secret in (expired, revoked, disabled)),
        *([("Authorization", text)] for text in ("", "Bearer", "Basic YTpi", "Bearer jq_", good[1], "jq_")),
        [("Authorization", f"Bearer jq_{'A' * 43}")],
        [("Authorization", f"Bearer {'x' * 9000}")],
        [("Authorization", "Bearer eyJh.eyJz.c2ln")],
        [("Authorization", b"Bearer jq_\xff\xfe")],
        [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
    ]
    answers = [CLIENT.get(f"{url}/whoami", headers=each) for each in headers]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert CHALLENGE.items() <= answers[0].json().items()
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}


def test_two_authorization_headers_are_refused_though_one_is_good(url: str, engine: Engine, anna: int) -> None:
    good = ("Authorization", f"Bearer {token_of(engine, anna)}")
    assert CLIENT.get(f"{url}/whoami", headers=[good, good]).status_code == 401


@pytest.mark.parametrize("deed", ["revoke", "disable", "expire"])
def test_what_ends_a_token_ends_it_within_five_seconds(url: str, engine: Engine, anna: int, deed: str) -> None:
    token = token_of(engine, anna)
    assert ask(url, token).status_code == 200
    with engine.begin() as connection:
        if deed == "disable":
            disable_user(connection, anna)
        elif deed == "revoke":
            revoke_token(connection, connection.execute(select(api_tokens.c.id)).scalar_one())
        else:
            connection.execute(update(api_tokens).values(expires_at=later(0.1)))
    eventually(lambda: ask(url, token).status_code == 401, within=5)


def test_a_busy_client_costs_one_lookup_for_many_requests(tmp_path: Path, database_url: str, engine: Engine, anna: int) -> None:
    app = application(tmp_path, database_url)
    token, asked = token_of(engine, anna), []
    with serving(app) as url:
        read = app.state.services.queue.read
        app.state.services.queue.read = lambda work: asked.append(1) or read(work)
        for _ in range(20):
            assert ask(url, token).status_code == 200
            assert ask(url, f"jq_{'A' * 43}").status_code == 401
    assert 2 <= len(asked) <= 6


def test_the_use_of_a_token_is_written_down(url: str, engine: Engine, anna: int) -> None:
    token = token_of(engine, anna)

    def last_used() -> Any:
        with engine.connect() as connection:
            return connection.execute(select(api_tokens.c.last_used_at)).scalar_one()

    assert last_used() is None
    assert ask(url, token).status_code == 200
    eventually(last_used)


def test_a_token_counts_while_its_row_and_the_right_to_write_are_taken(url: str, engine: Engine, anna: int) -> None:
    token = token_of(engine, anna)
    with engine.begin() as connection:
        connection.execute(update(api_tokens).values(name="held"))
        assert CLIENT.get(f"{url}/whoami", headers={"Authorization": f"Bearer {token}"}, timeout=3).status_code == 200


@on_sqlite
def test_the_log_says_once_how_a_token_is_made(tmp_path: Path, database_url: str, engine: Engine) -> None:
    with serving(application(tmp_path, database_url)) as url, structlog.testing.capture_logs() as logged:
        assert [ask(url).status_code for _ in range(3)] == [401] * 3
        assert ask(url, "jq_secret").status_code == 401
    [hint] = [each for each in logged if each["event"] == "request.unauthenticated"]
    assert "supervisor tokens create" in hint["hint"]
    assert "secret" not in str(logged)


def test_the_scope_is_everything_for_administrators_only() -> None:
    assert Caller(7, "anna", is_admin=False).scope(Role.OPERATOR) == Scope(7, Role.OPERATOR)
    assert Caller(7, "anna", is_admin=True).scope() == EVERYTHING
    with pytest.raises(ValueError, match="neither"):
        Caller(None, "nobody", is_admin=False).scope()


@on_sqlite
def test_without_auth_this_host_needs_no_token(open_url: str) -> None:
    assert ask(open_url).json() == {"user_id": None, "name": "localhost", "is_admin": True, "via": "api"}
    assert ask(open_url, method="POST").status_code == 200


def test_without_auth_a_token_that_is_given_is_checked(open_url: str, engine: Engine, anna: int) -> None:
    assert ask(open_url, f"jq_{'A' * 43}").status_code == 401
    assert ask(open_url, token_of(engine, anna)).json()["name"] == "anna"


def own_address() -> str:
    """An address of this host that is not a loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])


@on_sqlite
def test_without_auth_another_address_needs_a_token_and_this_host_does_not(
    tmp_path: Path, database_url: str, engine: Engine, anna: int
) -> None:
    everywhere = socket.create_server(("0.0.0.0", 0))
    port = everywhere.getsockname()[1]
    with serving(application(tmp_path, database_url, auth="none"), everywhere):
        from_elsewhere = f"http://{own_address()}:{port}"
        assert ask(from_elsewhere).status_code == 401
        assert ask(from_elsewhere, Host="localhost").status_code == 401
        assert ask(from_elsewhere, token_of(engine, anna)).status_code == 200
        assert ask(f"http://127.0.0.1:{port}").status_code == 200


@on_sqlite
def test_without_auth_ipv4_mapped_and_ipv6_loopback_need_no_token(tmp_path: Path, database_url: str, engine: Engine) -> None:
    both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    port = both.getsockname()[1]
    with serving(application(tmp_path, database_url, auth="none"), both):
        assert ask(f"http://127.0.0.1:{port}").status_code == 200
        assert ask(f"http://[::1]:{port}").status_code == 200
        assert ask(f"http://{own_address()}:{port}").status_code == 401


@on_sqlite
@pytest.mark.parametrize("trusted", ["127.0.0.1", "*"])
def test_a_forwarded_header_never_makes_a_peer_local(tmp_path: Path, database_url: str, engine: Engine, trusted: str) -> None:
    with serving(application(tmp_path, database_url, auth="none"), forwarded_allow_ips=trusted) as url:
        assert ask(url).status_code == 200
        for address in ("127.0.0.1", "::1", "203.0.113.9"):
            assert ask(url, X_Forwarded_For=address).status_code == 401
            assert ask(url, Forwarded=f"for={address}").status_code == 401


@on_sqlite
def test_a_peer_on_a_unix_socket_needs_a_token(tmp_path: Path, database_url: str, engine: Engine, anna: int) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "api.sock"))
    listener.listen()
    client = httpx2.Client(transport=httpx2.HTTPTransport(uds=str(tmp_path / "api.sock")))
    with serving(application(tmp_path, database_url, auth="none"), listener) as url, client:
        assert client.get(f"{url}/whoami").status_code == 401
        token = {"Authorization": f"Bearer {token_of(engine, anna)}"}
        assert client.get(f"{url}/whoami", headers=token).status_code == 200


FOREIGN_HOSTS = [
    "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0", "10.0.0.1",
    "[::2]", "[::1",
]  # fmt: skip
OWN_HOSTS = ["localhost", "LOCALHOST:1", "127.0.0.1", "127.1.2.3:80", "[::1]:8000", "[::ffff:127.0.0.1]"]


@on_sqlite
def test_a_name_that_leads_here_is_no_way_in(open_url: str) -> None:
    assert {host: ask(open_url, Host=host).status_code for host in FOREIGN_HOSTS} == dict.fromkeys(FOREIGN_HOSTS, 403)
    assert {host: ask(open_url, Host=host).status_code for host in OWN_HOSTS} == dict.fromkeys(OWN_HOSTS, 200)


@on_sqlite
def test_a_request_without_a_host_needs_a_token(open_url: str) -> None:
    with socket.create_connection(("127.0.0.1", int(open_url.rpartition(":")[2]))) as connection:
        connection.sendall(b"GET /whoami HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


FOREIGN = [
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Sec_Fetch_Site": "nonsense"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost"},
    {"Origin": ""},
]


@on_sqlite
def test_a_page_of_another_site_changes_nothing(open_url: str, engine: Engine, anna: int) -> None:
    token = token_of(engine, anna)
    for headers in FOREIGN:
        assert ask(open_url, method="POST", **headers).status_code == 403, headers
        assert ask(open_url, token, method="POST", **headers).status_code == 200
        assert ask(open_url, **headers).status_code == 200


@on_sqlite
def test_a_page_of_our_own_may_change_things(open_url: str) -> None:
    own = {"Origin": open_url, "Sec_Fetch_Site": "same-origin"}
    assert ask(open_url, method="POST", **own).status_code == 200
    assert ask(open_url, method="POST", Sec_Fetch_Site="none").status_code == 200
