"""A TCP proxy between the queue and its server that can be told to lose, hold, slow down and cut what passes through it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from random import Random

_PIECE = 65_536
_COMMIT = (b"COMMIT\0", b"COMMIT;\0")
Picks = Callable[[bytes], bool]
"""Whether a request is meant, by its bytes."""


class Proxy:
    """Forwards a loopback port to `host:port`, in a thread of its own.

    `hold_requests`, `hold_answers`: nothing passes in that direction, and nobody is told (a black hole; the kernel still
    acknowledges). `delay`: seconds that each piece is late, half of it by chance. `piece`: bytes that pass at once.
    `refusing`: new connections are reset.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", random: Random | None = None) -> None:
        self._target = host, port
        self._random = random or Random(0)
        self._pairs: set[_Pair] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.hold_requests = self.hold_answers = self.refusing = False
        self.delay, self.piece = 0.0, _PIECE
        self.lost_answers = 0
        self._lose_after: Picks | None = None
        self._on: Picks | None = None
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # At its end the runner cancels what is still under way, and nothing else ever does.
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, sock=self._listener)
        await self._over.wait()
        server.close()

    def close(self) -> None:
        """End all connections and stop listening."""
        self.cut()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(5)

    def heal(self) -> None:
        """Let everything pass again; connections on which something was held or lost are cut, as their ends must find out."""
        stained = self.hold_requests or self.hold_answers
        self.hold_requests = self.hold_answers = self.refusing = False
        self.delay, self.piece, self._lose_after = 0.0, _PIECE, None
        if stained:
            self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        done = threading.Event()

        def reset() -> None:
            for pair in list(self._pairs):
                pair.reset()
            done.set()

        self._loop.call_soon_threadsafe(reset)
        done.wait(5)

    def lose_next_answer(self, to: Picks = lambda request: request.endswith(_COMMIT), on: Picks | None = None) -> None:
        """Forward the next request that `to` picks, by default a COMMIT, and reset its connection instead of answering.

        With `on` only on a connection that sends a request which `on` picks, from now on and not later than the other.
        `lost_answers` counts how often that happened.
        """
        for pair in list(self._pairs):
            pair.is_meant = False
        self._on, self._lose_after = on, to

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            _reset(writer)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except (OSError, asyncio.CancelledError):
            _reset(writer)
            return
        pair = _Pair(writer, server_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._requests(reader, server_writer, pair), self._answers(server_reader, writer, pair))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair) -> None:
        while data := await reader.read(self.piece):
            await self._pass(lambda: self.hold_requests)
            self._look_at(data, pair)
            writer.write(data)
            await writer.drain()
        pair.close()

    def _look_at(self, request: bytes, pair: _Pair) -> None:
        """Note whether the answer to this request is the one to lose."""
        if self._lose_after is None:
            return
        pair.is_meant = pair.is_meant or self._on is None or self._on(request)
        if pair.is_meant and self._lose_after(request):
            self._lose_after, pair.loses_answer = None, True

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair) -> None:
        while data := await reader.read(self.piece):
            if pair.loses_answer:
                self.lost_answers += 1
                pair.reset()
                return
            await self._pass(lambda: self.hold_answers)
            writer.write(data)
            await writer.drain()
        pair.close()

    async def _pass(self, held: Callable[[], bool]) -> None:
        if self.delay:
            await asyncio.sleep(self.delay * self._random.uniform(0.5, 1.0))
        while held():
            await asyncio.sleep(0.02)


class _Pair:
    """One connection through the proxy: its client's end and its server's end."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._client, self._server = client, server
        self.loses_answer = self.is_meant = False

    def reset(self) -> None:
        """End both with a reset."""
        _reset(self._client)
        _reset(self._server)

    def close(self) -> None:
        """End both in order."""
        for writer in (self._client, self._server):
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
