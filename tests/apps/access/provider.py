"""An identity provider: a real HTTP server with a JWKS, keys that can be changed, and ways to misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://id.example.com", "jobqueue"

KINDS: dict[str, tuple[Callable[[], Any], Any]] = {
    "RS256": (lambda: rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "PS384": (lambda: rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "ES256": (lambda: ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "EdDSA": (lambda: ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm),
}


class Provider:
    """Serves `/jwks.json` while the block runs. `answer` may be replaced by bytes, or by what writes to the handler."""

    def __init__(self) -> None:
        self.private: dict[str, tuple[str, Any]] = {}
        self.asked = 0
        self.answer: bytes | Callable[[BaseHTTPRequestHandler], None] | None = None
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                provider.serve(self)

            def log_message(self, *words: Any) -> None:
                """Nothing."""

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *words: Any) -> None:
                """Clients that leave are no news."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/jwks.json"
        self.add_key("first")

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_key(self, key_id: str, algorithm: str = "ES256") -> None:
        """Sign with a new key from now on; the others are served still."""
        self.private[key_id] = algorithm, KINDS[algorithm][0]()

    def document(self) -> dict[str, Any]:
        """The JWKS."""
        keys = []
        for key_id, (algorithm, private) in self.private.items():
            public = KINDS[algorithm][1].to_jwk(private.public_key(), as_dict=True)
            keys.append(public | {"kid": key_id, "alg": algorithm, "use": "sig"})
        return {"keys": keys}

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        if callable(self.answer):
            self.answer(handler)
            return
        body = json.dumps(self.document()).encode() if self.answer is None else self.answer
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def token(self, subject: object = "anna@id", key_id: str | None = None, **claims: Any) -> str:
        """A token signed with the newest key, or another; `claims` replace the usual ones, None takes one away."""
        key_id = key_id or list(self.private)[-1]
        algorithm, private = self.private[key_id]
        usual = {"sub": subject, "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, "iat": time.time()}
        kept = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode(kept, private, algorithm, headers={"kid": key_id})
