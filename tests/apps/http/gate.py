"""A gate in front of a Postgres server: shut, nobody gets through; frozen, nobody hears anything any more."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit


class Gate:
    """Passes connections on to the server of a URL. `url` leads through it; `shut`, `freeze` and `open` change it at once."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "localhost", parts.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        here = "{}:{}".format(*self._listener.getsockname())
        self.url = urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{here}"))
        self._open, self._thawed, self._over = True, threading.Event(), threading.Event()
        self._thawed.set()
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thawed.set()
        self._listener.close()
        self.shut()

    def shut(self) -> None:
        """Break every connection, and take no more."""
        self._open = False
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Keep every connection, and pass nothing on."""
        self._thawed.clear()

    def open(self) -> None:
        """Let everybody through again."""
        self._open = True
        self._thawed.set()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._open:
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()
            else:
                client.close()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, selectors.DefaultSelector() as selector:
            self._sockets |= {client, server}
            for one, other in ((client, server), (server, client)):
                selector.register(one, selectors.EVENT_READ, other)
            with suppress(OSError):
                while self._moved(selector):
                    pass
            self._sockets -= {client, server}

    def _moved(self, selector: selectors.BaseSelector) -> bool:
        for key, _ in selector.select():
            self._thawed.wait()
            data = key.fileobj.recv(65536)  # type: ignore[union-attr]
            if not data:
                return False
            key.data.sendall(data)
        return True
