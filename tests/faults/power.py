"""Power loss: from a trace of a program's writes and syncs, the states in which a disk may be found when the power comes back.

What was synced is there. Of what was not, any part may be: each write, in any order, whole or up to a sector; a file that was
made or deleted since its folder was synced is there or is not. What a sync that failed was to put there is nowhere, and no later
sync finds it: a system may forget it then.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

SECTOR = 512
SYNCS = ("fsync", "fdatasync")
FAILED = "failed sync"
CALLS = "pwrite64,write,fdatasync,fsync,ftruncate,unlink,openat"
_LINE = re.compile(r"^\d+\s+(?P<call>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)")
_FILE = re.compile(r"\d+<(?P<path>[^>]*)>")
_TEXT = re.compile(r'"(?P<text>(?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """One system call on one file; `at` is an offset, or the new length of a file that was cut."""

    name: str
    path: str
    at: int = 0
    data: bytes = b""


def trace(command: Sequence[str], to: Path, *options: str, **run: object) -> list[Call]:
    """Run a command of this Python's under strace; returns what it wrote and synced, in order."""
    strace = ["strace", "-f", "-y", "-xx", "-s", "200000", "-e", f"trace={CALLS}", *options, "-o", str(to)]
    subprocess.run([*strace, sys.executable, *command], check=True, **run)  # type: ignore[call-overload]
    return [call for line in to.read_text().splitlines() if (call := parsed(line))]


def parsed(line: str) -> Call | None:
    """The call that a line of strace tells, as far as it changes a disk; None for any other."""
    found = _LINE.match(line)
    if not found:
        return None
    name, arguments = found["call"], found["arguments"]
    if int(found["result"]) < 0:
        if name not in SYNCS:
            return None
        name = FAILED
    texts = [bytes.fromhex(text["text"].replace("\\x", "")) for text in _TEXT.finditer(arguments)]
    if name in ("unlink", "openat"):
        return Call(name, texts[0].decode()) if name == "unlink" or "O_CREAT" in arguments else None
    file = _FILE.match(arguments)
    if file is None:
        return None
    path = bytes.fromhex(file["path"].replace("\\x", "")).decode() if file["path"].startswith("\\x") else file["path"]
    last = arguments.rsplit(", ", 1)[-1]
    return Call(name, path, int(last) if name in ("pwrite64", "ftruncate") else 0, texts[0] if texts else b"")


@dataclass
class _File:
    """What is on the disk for sure, and what came after, in order; `named`: its folder was synced since it was made."""

    synced: bytes = b""
    pending: list[Call] = field(default_factory=list)
    named: bool = True

    def with_some(self, chance: Random) -> bytes:
        """What may be found: nothing that was not synced, all of it, or any part."""
        share = chance.choice([0.0, 1.0, 0.5])
        content = bytearray(self.synced)
        for call in self.pending:
            if chance.random() < share:
                torn = chance.randrange(0, len(call.data) + SECTOR, SECTOR) if chance.random() < 0.3 * (share == 0.5) else None
                _apply(content, call, call.data[:torn])
        return bytes(content)


def _apply(content: bytearray, call: Call, data: bytes) -> None:
    if call.name == "ftruncate":
        del content[call.at:]
        content.extend(bytes(call.at - len(content)))
        return
    content.extend(bytes(max(0, call.at + len(data) - len(content))))
    content[call.at:call.at + len(data)] = data


class Disk:
    """The files of one folder, call by call."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._files = {str(path): _File(path.read_bytes()) for path in folder.iterdir()}
        self._deleted: dict[str, _File] = {}

    def do(self, call: Call) -> None:
        """What a call leaves on the disk and in memory."""
        if call.path == self._folder and call.name in SYNCS:
            self._deleted.clear()
            for file in self._files.values():
                file.named = True
        elif call.name == "openat" and str(Path(call.path).parent) == self._folder:
            self._files.setdefault(call.path, _File(named=False))
        elif call.name == "unlink" and call.path in self._files:
            self._deleted[call.path] = self._files.pop(call.path)
        elif call.path in self._files:
            self._change(self._files[call.path], call)

    def _change(self, file: _File, call: Call) -> None:
        if call.name in ("pwrite64", "ftruncate"):
            file.pending.append(call)
        elif call.name == FAILED:
            file.pending = [each for each in file.pending if each.name == "ftruncate"]  # no data, and no sync reports it
        elif call.name in SYNCS:
            content = bytearray(file.synced)
            for each in file.pending:
                _apply(content, each, each.data)
            file.synced, file.pending = bytes(content), []

    def found(self, chance: Random) -> dict[str, bytes]:
        """One state in which the folder may be found."""
        there = {path: file for path, file in self._files.items() if file.named or chance.random() < 0.5}
        back = {path: file for path, file in self._deleted.items() if path not in there and chance.random() < 0.5}
        return {Path(path).name: file.with_some(chance) for path, file in (there | back).items()}


def losses(
    before: Path, calls: Sequence[Call], chance: Random, number: int, after: int = 0
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """So many moments of losing power, evenly spread: how many calls came before, and the files found. `before`: a copy.

    The first is not before so many calls.
    """
    disk, step = Disk(before), max(1.0, (len(calls) - after) / number)
    wanted = {after + int(step * index + chance.random() * step) for index in range(number)}
    for count, call in enumerate(calls, 1):
        disk.do(call)
        if count in wanted:
            yield count, disk.found(chance)
