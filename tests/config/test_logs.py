"""Log lines and the file that several processes share."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from config.logs import SharedFile
from tests.support import REPOSITORY
from workers import readable


def test_many_processes_write_one_file_through_its_rotation_without_losing_a_line(tmp_path: Path) -> None:
    log = tmp_path / "job_processor.log"
    code = f"""
import logging, sys
from pathlib import Path
from config.logs import SharedFile
handler = SharedFile(Path({str(log)!r}), most_bytes=500, keep=100)
for number in range(200):
    handler.handle(logging.LogRecord("n", 20, "", 0, f"{{sys.argv[1]}} {{number}}", (), None))
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(n)], cwd=REPOSITORY) for n in range(3)]
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    files = [each for each in tmp_path.iterdir() if not each.name.endswith(".lock")]
    lines = [line for each in files for line in each.read_text().splitlines()]
    assert len(files) > 2
    assert sorted(lines) == sorted(f"{writer} {number}" for writer in range(3) for number in range(200))


def test_no_more_than_the_wanted_number_of_old_files_is_kept(tmp_path: Path) -> None:
    handler = SharedFile(tmp_path / "log", most_bytes=10, keep=2)
    for number in range(20):
        handler.handle(logging.LogRecord("n", 20, "", 0, f"line {number:05}", (), None))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.1", "log.2", "log.lock"]


def test_lines_of_the_standard_library_and_of_structlog_look_the_same() -> None:
    code = """
import logging, structlog
from supervisor.events import WorkersWanted, tell
from config import set_up_logs
set_up_logs("INFO", "json")
tell(WorkersWanted(3))
logging.getLogger("jobqueue.x").info("plain %s", "words")
logging.getLogger("jobqueue.x").debug("not this")
logging.getLogger("foreign").info("nor this")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=30)
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert (first["event"], first["count"], first["level"]) == ("workers.wanted", 3, "info")
    assert (second["event"], second["logger"], second["level"]) == ("plain words", "jobqueue.x", "info")
    assert first.keys() - {"count"} == second.keys()


def test_no_secret_stands_in_a_line_whoever_logs_it() -> None:
    code = """
import logging, structlog
from config import set_up_logs
set_up_logs("INFO", "json", scrub=lambda line: line.replace("remembered", "***"))
log = structlog.get_logger("jobqueue.x")
log.info("keys", access_token="hidden", deep={"password": ["hidden", {"clientSecret": "hidden"}]}, n_tokens=3)
log.info("texts", a="Authorization: Bearer hidden.hidden", b="ya29.hidden-x", c="postgresql://u:hidden@host/db", d="remembered")
log.info("key", a="-----BEGIN PRIVATE KEY-----\\nhidden\\n-----END PRIVATE KEY----- and more")
try:
    raise ValueError("ya29.hidden and remembered")
except ValueError:
    logging.getLogger("jobqueue.y").exception("it failed with Bearer hidden-hidden")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=30)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) == 4
    assert "hidden" not in done.stderr
    assert "remembered" not in done.stderr
    assert (lines[0]["access_token"], lines[0]["n_tokens"]) == ("***", 3)
    assert lines[2]["a"] == "*** and more"
    assert "ValueError: *** and ***" in lines[3]["exception"]


WRITES = """
import logging, sys
from pathlib import Path
from config import set_up_logs
set_up_logs("INFO", "json", Path(sys.argv[1]))
log = logging.getLogger("jobqueue.x")
"""


def written(code: str, file: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that logs to the file."""
    return subprocess.run(
        [sys.executable, "-c", WRITES + code, str(file)], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=30
    )


def test_on_a_full_disk_lines_go_to_standard_error_and_that_is_said_once() -> None:
    done = written("log.info('first')\nlog.info('second')", Path("/dev/full"))
    said, *lines = done.stderr.splitlines()
    assert said == "log file /dev/full: No space left on device; its lines go to standard error until it can be written"
    assert [json.loads(line)["event"] for line in lines] == ["first", "second"]


def test_a_file_that_cannot_be_renamed_is_written_on(tmp_path: Path) -> None:
    (tmp_path / "log.1").mkdir()
    (tmp_path / "log.1" / "full").touch()
    handler = SharedFile(tmp_path / "log", most_bytes=10, keep=1)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(3):
        handler.handle(logging.LogRecord("n", 20, "", 0, f"line {number:05}", (), None))
    assert (tmp_path / "log").read_text() == "line 00000\nline 00001\nline 00002\n"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_was_removed_comes_back_and_one_that_cannot_costs_no_line(tmp_path: Path) -> None:
    code = """
import os, shutil
file = Path(sys.argv[1])
log.info("first")
shutil.rmtree(file.parent)
log.info("second")
shutil.rmtree(file.parent)
file.parent.touch()
log.info("third")
with open(os.devnull) as other:
    log.info("fourth")
"""
    done = written(code, tmp_path / "folder" / "log")
    said, *lines = done.stderr.splitlines()
    assert "Not a directory; its lines go to standard error" in said
    assert [json.loads(line)["event"] for line in lines] == ["third", "fourth"]


PATIENT = """
import logging, sys
from config import set_up_logs
set_up_logs("INFO", "json")
log = logging.getLogger("jobqueue.x")
for number in range(2000):
    log.info("line %s", number)
print("done", flush=True)
sys.stdin.readline()
log.info("after")
"""


def ends_of(kind: str) -> tuple[int, int]:
    """Where one reads, and where another writes."""
    if kind == "terminal":
        return os.openpty()
    if kind == "socket":
        ours, theirs = socket.socketpair()
        return ours.detach(), theirs.detach()
    return os.pipe()


@pytest.mark.parametrize("kind", ["pipe", "terminal", "socket"])
def test_nobody_waits_for_who_reads_and_what_was_dropped_meanwhile_is_told_when_there_is_room(kind: str) -> None:
    reader, writer = ends_of(kind)
    process = subprocess.Popen(
        [sys.executable, "-c", PATIENT], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer
    )
    os.close(writer)
    try:
        assert process.stdout is not None
        assert readable([process.stdout.fileno()], 20), "it waits for who reads its log"
        text = os.read(reader, 100)
        while readable([reader], 0.2):
            text += os.read(reader, 65536)
        process.communicate(b"go on\n", timeout=20)
        while b"after" not in text:
            assert readable([reader], 5)
            text += os.read(reader, 65536)
    finally:
        process.kill()
        process.wait()
        os.close(reader)
    lines = [json.loads(line) for line in text.decode().splitlines()]
    [dropped] = [line["lines"] for line in lines if line["event"] == "logs.dropped"]
    assert dropped > 0
    assert sum(line["event"].startswith("line ") for line in lines) + dropped == 2000
    assert lines[-1]["event"] == "after"


def test_a_reader_that_is_gone_costs_nothing_but_the_lines() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", PATIENT], cwd=REPOSITORY, input=b"go on\n", stdout=subprocess.PIPE, stderr=writer, timeout=30,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, b"done\n")


@pytest.mark.parametrize("line", ['set_up_logs("INFO"', 'log.info("after")'], ids=["before all lines", "before the last"])
def test_a_standard_error_that_was_closed_costs_nothing_but_the_lines(line: str) -> None:
    assert line in PATIENT
    code = "import os\n" + PATIENT.replace(line, f"os.close(2)\n{line}")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, input=b"go on\n", capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert (b"line 0" in done.stderr, b"after" in done.stderr) == ("after" in line, False)
