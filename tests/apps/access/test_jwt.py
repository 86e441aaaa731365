"""Tokens of an identity provider: which are taken, and what its outages and its nonsense do."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Engine

from apps.access.jwt import IdentityProvider
from apps.access.signing_keys import KeysUnavailable, SigningKeys
from apps.access.users import add_user, disable_user, list_users
from apps.api import make_api
from apps.http.callers import CallerOf
from config import Jwt
from tests.apps.access.provider import AUDIENCE, ISSUER, KINDS, Provider
from tests.apps.http.serving import services_for, serving
from tests.support import eventually

CLIENT = httpx2.Client(trust_env=False, verify=False, timeout=30)
PAST, FUTURE = 1_700_000_000, 4_000_000_000


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider with one key."""
    with Provider() as provider:
        yield provider


def trusting(
    provider: Provider, subject_claim: str = "sub", spacing: float = 60.0, patience: float = 3.0, deadline: float = 5.0
) -> IdentityProvider:
    settings = Jwt(jwks_url=provider.url, issuer=ISSUER, audience=AUDIENCE, subject_claim=subject_claim)
    return IdentityProvider(settings, SigningKeys(provider.url, spacing, patience, deadline))


def part(value: Any) -> str:
    """JSON as a part of a token."""
    return plain(json.dumps(value).encode())


def plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], token: str) -> str:
    """The same claims under another header, with an empty signature."""
    return f"{part(header)}.{token.split('.')[1]}."


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_token_signed_with_any_asymmetric_key_names_its_subject(provider: Provider, algorithm: str) -> None:
    provider.add_key("second", algorithm)
    assert trusting(provider).subject_of(provider.token()) == "anna@id"


def test_the_audience_may_be_one_of_several_and_the_subject_another_claim(provider: Provider) -> None:
    assert trusting(provider).subject_of(provider.token(aud=["other", AUDIENCE])) == "anna@id"
    assert trusting(provider, subject_claim="email").subject_of(provider.token(email="anna@example.com")) == "anna@example.com"


def test_a_clock_may_differ_by_a_few_seconds(provider: Provider) -> None:
    assert trusting(provider).subject_of(provider.token(exp=time.time() - 5, iat=time.time() + 5)) == "anna@id"


@pytest.mark.parametrize("claims", [
    {"iss": "https://evil.example"}, {"iss": None}, {"iss": f"{ISSUER}/"},
    {"aud": "another"}, {"aud": None}, {"aud": []}, {"aud": {AUDIENCE: 1}},
    {"exp": PAST}, {"exp": None}, {"exp": "soon"}, {"exp": 1e400}, {"nbf": FUTURE}, {"iat": FUTURE},
    {"sub": None}, {"sub": ""}, {"sub": 7}, {"sub": "a\0b"}, {"sub": "x" * 201}, {"sub": ["anna@id"]},
], ids=str)  # fmt: skip
def test_a_token_whose_claims_are_not_as_they_must_be_is_not_taken(provider: Provider, claims: dict[str, Any]) -> None:
    assert trusting(provider).subject_of(provider.token(**claims)) is None


def test_a_token_that_was_not_signed_with_the_private_key_is_not_taken(provider: Provider) -> None:
    token = provider.token()
    head, body, signature = token.split(".")
    public = provider.private["first"][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    symmetric = f"{part({'alg': 'HS256', 'kid': 'first'})}.{body}"
    another_subject = part(jwt.decode(token, options={"verify_signature": False}) | {"sub": "root"})
    forged = [
        unsigned({"alg": "none", "kid": "first"}, token),
        unsigned({"alg": "None", "kid": "first"}, token),
        unsigned({"alg": "ES256", "kid": "first"}, token),
        f"{symmetric}.{plain(hmac.digest(public, symmetric.encode(), 'sha256'))}",
        f"{head}.{another_subject}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        unsigned({"alg": "ES256"}, token),
        unsigned({"alg": "ES256", "kid": 7}, token),
        unsigned({"alg": "ES256", "kid": "first", "crit": ["x"], "x": 1}, token),
    ]
    trusted = trusting(provider)
    assert [trusted.subject_of(each) for each in forged] == [None] * len(forged)
    assert trusted.subject_of(token) == "anna@id"


@pytest.mark.parametrize("nonsense", ["..", "a.b.c", "é.é.é", "." * 100, f"{'WyJ' * 2000}.e30.e30", "eyJhbGciOiJFUzI1NiJ9.e30."])
def test_nonsense_is_not_taken_and_asks_the_provider_nothing(provider: Provider, nonsense: str) -> None:
    assert trusting(provider).subject_of(nonsense) is None
    assert provider.asked == 0


def test_a_symmetric_key_among_the_keys_is_not_used(provider: Provider) -> None:
    document = provider.document()
    document["keys"].append({"kty": "oct", "kid": "shared", "k": plain(b"k" * 32), "alg": "HS256"})
    provider.answer = json.dumps(document).encode()
    claims = {"sub": "anna@id", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60}
    assert trusting(provider).subject_of(jwt.encode(claims, b"k" * 32, "HS256", headers={"kid": "shared"})) is None


def test_keys_are_fetched_once_for_many_tokens(provider: Provider) -> None:
    trusted = trusting(provider)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(trusted.subject_of, [provider.token()] * 40)) == {"anna@id"}
    assert provider.asked == 1


def test_a_new_key_is_found_and_one_that_was_withdrawn_is_forgotten(provider: Provider) -> None:
    trusted, old = trusting(provider, spacing=0.0), provider.token()
    assert trusted.subject_of(old) == "anna@id"
    provider.add_key("second")
    del provider.private["first"]
    assert trusted.subject_of(provider.token()) == "anna@id"
    assert trusted.subject_of(old) is None


def test_made_up_key_ids_do_not_have_the_keys_fetched_each_time(provider: Provider) -> None:
    trusted, good = trusting(provider), provider.token()
    assert trusted.subject_of(good) == "anna@id"
    for number in range(50):
        assert trusted.subject_of(unsigned({"alg": "ES256", "kid": f"made-up-{number}"}, good)) is None
    assert provider.asked == 1


def hanging(handler: BaseHTTPRequestHandler) -> None:
    """Never answers."""
    handler.connection.settimeout(20)
    handler.rfile.read(1)


def trickling(handler: BaseHTTPRequestHandler) -> None:
    """Answers a byte at a time."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.05)


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Answers without end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65536)


def redirecting(handler: BaseHTTPRequestHandler) -> None:
    """Sends one elsewhere: to itself."""
    handler.send_response(302)
    handler.send_header("Location", "/elsewhere")
    handler.end_headers()


def failing(handler: BaseHTTPRequestHandler) -> None:
    """Is broken."""
    handler.send_error(500)


MISBEHAVIOURS = [
    failing, redirecting, hanging, trickling, endless, b"", b"<html>", b"\xff\xfe", b"[]", b"null", b'{"keys": []}',
    b'{"keys": 7}', b'{"keys": [7, null, {"kty": "EC"}]}', b'{"keys": [{"kty": "oct", "kid": "first", "k": "AAAA"}]}',
    b"[" * 100_000,
]  # fmt: skip


def _name(misbehaviour: Any) -> str:
    return misbehaviour.__name__ if callable(misbehaviour) else repr(misbehaviour[:30])


@pytest.mark.parametrize("misbehaviour", MISBEHAVIOURS, ids=_name)
def test_without_keys_it_says_so_soon(provider: Provider, misbehaviour: Any) -> None:
    provider.answer = misbehaviour
    trusted, began = trusting(provider, patience=0.3), time.monotonic()
    for _ in range(5):
        with pytest.raises(KeysUnavailable):
            trusted.subject_of(provider.token())
    assert time.monotonic() - began < 2
    assert provider.asked <= 1


@pytest.mark.parametrize("misbehaviour", [failing, hanging, b"<html>"])
def test_known_keys_count_while_the_provider_misbehaves_and_new_ones_when_it_is_back(
    provider: Provider, misbehaviour: Any
) -> None:
    trusted, known = trusting(provider, spacing=0.0, patience=0.2, deadline=0.5), provider.token()
    eventually(lambda: _taken(trusted, known))
    provider.add_key("second")
    provider.answer = misbehaviour
    with pytest.raises(KeysUnavailable):
        trusted.subject_of(provider.token())
    assert trusted.subject_of(known) == "anna@id"
    provider.answer = None
    eventually(lambda: _taken(trusted, provider.token()), within=15)


def _taken(trusted: IdentityProvider, token: str) -> bool:
    try:
        return trusted.subject_of(token) == "anna@id"
    except KeysUnavailable:
        return False


def test_a_provider_that_is_down_is_told_from_a_bad_token(provider: Provider) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    down = IdentityProvider(
        Jwt(jwks_url=f"http://127.0.0.1:{port}/", issuer=ISSUER, audience=AUDIENCE), SigningKeys(f"http://127.0.0.1:{port}/")
    )
    with pytest.raises(KeysUnavailable):
        down.subject_of(provider.token())


@pytest.fixture
def url(tmp_path: Path, database_url: str, provider: Provider) -> Iterator[str]:
    """An API that trusts the provider."""
    more = f"  jwt: {{jwks_url: '{provider.url}', issuer: '{ISSUER}', audience: {AUDIENCE}}}\n"
    app = make_api(services_for(tmp_path, database_url, more=more))

    @app.get("/whoami")
    def whoami(caller: CallerOf) -> str:
        return caller.name

    with serving(app) as url:
        yield url


def ask(url: str, token: str) -> httpx2.Response:
    return CLIENT.get(f"{url}/whoami", headers={"Authorization": f"Bearer {token}"})


def test_a_subject_is_a_user_who_was_made_here(url: str, engine: Engine, provider: Provider) -> None:
    with engine.begin() as connection:
        anna = add_user(connection, "anna", subject="anna@id")
    assert ask(url, provider.token()).json() == "anna"
    unknown = ask(url, provider.token("bob@id"))
    assert unknown.status_code == 401
    assert unknown.content == ask(url, provider.token(aud="another")).content == ask(url, "a.b.c").content
    with engine.begin() as connection:
        assert [user.name for user in list_users(connection)] == ["anna"]
        disable_user(connection, anna)
    eventually(lambda: ask(url, provider.token()).content == unknown.content, within=5)


@pytest.mark.parametrize("backend", ["sqlite"])
def test_an_outage_of_the_provider_is_no_refusal(url: str, engine: Engine, provider: Provider) -> None:
    provider.answer = failing
    answer = ask(url, provider.token())
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "10"
    assert ask(url, f"jq_{'A' * 43}").status_code == 401
