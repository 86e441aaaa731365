"""An API that is really served: by uvicorn, in a thread, on a port that the system gives."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from apps.http.services import Services
from config import load
from tests.support import eventually


def services_for(folder: Path, database_url: str, auth: str = "tokens", more: str = "") -> Services:
    """Services that read a configuration file made for the test; `more` is further YAML under `api`."""
    file = folder / "api.yaml"
    file.write_text(f"database_url: {database_url}\napi:\n  auth: {auth}\n{more}")
    return Services(lambda: load(file))


@contextmanager
def serving(app: FastAPI, listener: socket.socket | None = None, **options: Any) -> Iterator[str]:
    """Serve an application until the block ends; gives its URL. `options` are uvicorn's."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, **options))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started)
        name = listener.getsockname()
        yield f"http://{name[0]}:{name[1]}" if isinstance(name, tuple) else "http://localhost"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
