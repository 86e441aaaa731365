"""Forking, watching and reaping, with real processes. Each test forks from a fresh interpreter, for it has one thread."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

import psutil
import pytest

from supervisor.children import Child
from tests.support import comes_true, eventually

from .fresh import in_a_fresh_process


def test_the_answer_of_a_child_is_its_exit_code() -> None:
    body = "print(json.dumps(ended(nursery.fork(lambda: 7, title='t', now=0.0))))"
    assert in_a_fresh_process(body) == [0, 7]


@pytest.mark.parametrize(
    ("main", "ending"),
    [
        ("lambda: 1 / 0", [0, 70]),
        ("lambda: sys.exit(3)", [0, 3]),
        ("lambda: sys.exit('no')", [0, 1]),
        ("lambda: os._exit(0)", [0, 0]),
        ("lambda: os.kill(os.getpid(), 11)", [11, 0]),
    ],
)
def test_however_a_child_ends_the_parent_learns_the_truth_and_goes_on(main: str, ending: list[int]) -> None:
    assert in_a_fresh_process(f"print(json.dumps(ended(nursery.fork({main}, title='t', now=0.0))))") == ending


@pytest.mark.parametrize("lost", ["sys.stdout", "sys.stderr"])
@pytest.mark.parametrize("where", ["a reader that is gone", "a full disk"])
def test_output_that_cannot_be_written_keeps_nobody_from_being_born(lost: str, where: str) -> None:
    body = f"""
    said = os.fdopen(os.dup(1), "w")
    if {where!r} == "a full disk":
        lost = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, lost = os.pipe()
        os.close(reader)
    os.dup2(lost, {lost}.fileno())
    {lost}.write("half a line")
    answers = [ended(nursery.fork(lambda: 7, title="t", now=0.0)) for _ in range(2)]
    print(json.dumps(answers), file=said, flush=True)
    os._exit(0)
    """
    assert in_a_fresh_process(body) == [[0, 7], [0, 7]]


def test_a_child_keeps_only_the_descriptors_it_is_given() -> None:
    body = """
    mine, given = os.pipe()
    nursery.own(mine, given)
    def main():
        try:
            os.fstat(mine)
        except OSError:
            os.write(given, b"closed")
            return 0
        return 1
    child = nursery.fork(main, title="t", now=0.0, keep=[given])
    print(json.dumps([ended(child), os.read(mine, 10).decode()]))
    """
    assert in_a_fresh_process(body) == [[0, 0], "closed"]


def test_a_child_has_default_signals_no_input_and_its_own_group() -> None:
    body = """
    out, given = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts the tests in the background has it ignored
    def main():
        state = [signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, signal.getsignal(signal.SIGINT) == signal.SIG_DFL,
                 len(signal.pthread_sigmask(signal.SIG_BLOCK, ())), sys.stdin.read(), os.getpgid(0) == os.getpid()]
        os.write(given, json.dumps(state).encode())
        return 0
    child = nursery.fork(main, title="t", now=0.0)
    ended(child)
    print(os.read(out, 1000).decode())
    """
    assert in_a_fresh_process(body) == [True, True, 0, "", True]


def test_what_a_child_left_behind_dies_with_it() -> None:
    body = """
    out, given = os.pipe()
    def main():
        pid = os.fork()
        if pid == 0:
            os.closerange(1, 3)
            time.sleep(60)
            os._exit(0)
        os.write(given, str(pid).encode())
        return 0
    ended(nursery.fork(main, title="t", now=0.0))
    print(json.dumps(int(os.read(out, 20))))
    """
    left_behind = in_a_fresh_process(body)
    assert comes_true(lambda: is_dead(left_behind), within=5), "what a child started lives on without it"


def test_a_child_dies_with_its_parent() -> None:
    body = """
    out, given = os.pipe()
    child = nursery.fork(lambda: time.sleep(60) or 0, title="t", now=0.0)
    print(json.dumps(child.pid), flush=True)
    os._exit(0)
    """
    orphan = in_a_fresh_process(body)
    eventually(lambda: is_dead(orphan), within=5)


def is_dead(pid: int) -> bool:
    """Whether there is no such process, or only what is left of one."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"


def test_forking_with_a_second_thread_is_refused() -> None:
    body = """
    import threading
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    try:
        nursery.fork(lambda: 0, title="t", now=0.0)
    except AssertionError as error:
        print(json.dumps("threads" in str(error)), flush=True)
        os._exit(0)
    """
    assert in_a_fresh_process(body) is True


def test_a_stopped_child_is_seen_to_be_stopped() -> None:
    body = """
    child = nursery.fork(lambda: time.sleep(60) or 0, title="t", now=0.0)
    before = child.stopped()
    child.send(signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while not child.stopped() and time.monotonic() < deadline:
        pass
    after = child.stopped()
    child.send_group(signal.SIGKILL)
    print(json.dumps([before, after, ended(child)]))
    """
    assert in_a_fresh_process(body) == [False, True, [9, 0]]


def test_a_signal_never_reaches_who_got_the_number_of_a_child_that_is_gone() -> None:
    gone = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(gone.pid)
    gone.wait()
    stranger = subprocess.Popen(["sleep", "60"])
    Child(stranger.pid, pidfd, 0.0).send(signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        stranger.wait(0.2)
    assert stranger.poll() is None, "a stranger was killed who got the number of a child that is gone"
    stranger.kill()
    stranger.wait()
    os.close(pidfd)


def test_signalling_a_child_that_is_gone_hits_nobody() -> None:
    body = """
    child = nursery.fork(lambda: 0, title="t", now=0.0)
    select.select([child.pidfd], [], [], 5)
    child.send(signal.SIGTERM)
    child.send_group(signal.SIGTERM)
    print(json.dumps(ended(child)))
    """
    assert in_a_fresh_process(body) == [0, 0]


