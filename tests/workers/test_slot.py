"""The slot: what a worker says of itself can be read whole, whatever happens while it is being written."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import eventually
from workers import MOST_CLAIMS, Activity, Board, Cause, Claim, ClaimState, Order, Phase, Renewal, Wish, boot_time
from workers.slot import Cancel, Record

LAYOUT = "Qd"
ONE = Claim(b"0123456789abcdef", ClaimState.HELD, 12.5)
BUSY = Activity(3, 4711, Phase.RUNNING, 1.5, 2**40, 2**50, 99.5, 2**60)


def _record() -> tuple[Record, bytearray]:
    memory = bytearray(Record.size(LAYOUT))
    return Record(memoryview(memory), LAYOUT), memory


def test_nothing_written_reads_as_nothing() -> None:
    assert _record()[0].read() is None
    slot = Board(1).slots[0]
    assert slot.activity.phase == Phase.EMPTY
    assert (slot.claims, slot.renewals) == ([], {})
    assert slot.wish == Wish(Order.WORK, 0, 0, Cause.NONE)
    assert slot.cancel == Cancel(0, 0, 0.0)
    assert slot.lapsed == 0


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.floats(allow_nan=False)), min_size=1, max_size=20))
def test_the_newest_values_are_read(values: list[tuple[int, float]]) -> None:
    record, _ = _record()
    for each in values:
        record.write(*each)
        assert record.read() == each


@given(st.integers(1, 9), st.data())
def test_a_kill_in_mid_write_leaves_the_older_copy_readable(writes: int, data: st.DataObject) -> None:
    record, memory = _record()
    for number in range(1, writes + 1):
        record.write(number, float(number))
    whole = bytes(memory)
    record.write(1000, 1000.0)
    torn_at = data.draw(st.integers(0, len(memory)))
    half = len(memory) // 2
    start = half if (writes + 1) & 1 else 0
    cut = min(torn_at, half)
    memory[:] = whole[:start] + bytes(memory[start : start + cut]) + whole[start + cut :]
    survivor = Record(memoryview(memory), LAYOUT)
    assert survivor.read() in [(writes, float(writes)), (1000, 1000.0)]


@pytest.mark.parametrize("copy", [0, 1])
def test_a_corrupt_copy_is_never_believed(copy: int) -> None:
    record, memory = _record()
    record.write(1, 1.0)
    record.write(2, 2.0)
    half = len(memory) // 2
    memory[copy * half + half - 1] ^= 0xFF
    assert record.read() == ((1, 1.0) if copy == 0 else (2, 2.0))
    memory[(1 - copy) * half + half - 1] ^= 0xFF
    assert record.read() is None


def test_a_new_writer_goes_on_counting_where_the_old_one_stopped() -> None:
    old, memory = _record()
    for number in range(7):
        old.write(number, 0.0)
    new = Record(memoryview(memory), LAYOUT)
    new.write(100, 0.0)
    assert old.read() == (100, 0.0)
    old.resume()
    old.write(101, 0.0)
    assert new.read() == (101, 0.0)


def test_a_new_writer_after_a_torn_write_does_not_lose_to_the_past() -> None:
    record, memory = _record()
    for number in range(1, 4):
        record.write(number, 0.0)
    memory[len(memory) - 1] ^= 0xFF  # the third, which is the newest
    heir = Record(memoryview(memory), LAYOUT)
    assert heir.read() == (2, 0.0)
    heir.write(50, 0.0)
    assert heir.read() == (50, 0.0)


def test_a_slot_keeps_what_each_side_writes() -> None:
    slot = Board(2).slots[1]
    slot.act(BUSY)
    slot.book([ONE])
    slot.renew([Renewal(ONE.nonce, 20.5, 1)])
    slot.want(Wish(Order.DRAIN, 2**50, 2**40, Cause.DEADLINE))
    slot.ask_to_cancel(Cancel(2**40, 2**50, 7.5))
    slot.note_lapsed(2**31)
    assert slot.activity == BUSY
    assert slot.claims == [ONE]
    assert slot.renewals == {ONE.nonce: Renewal(ONE.nonce, 20.5, 1)}
    assert slot.wish == Wish(Order.DRAIN, 2**50, 2**40, Cause.DEADLINE)
    assert slot.cancel == Cancel(2**40, 2**50, 7.5)
    assert slot.lapsed == 2**31


def test_slots_do_not_overlap() -> None:
    board = Board(3)
    for number, slot in enumerate(board.slots):
        slot.act(BUSY._replace(pid=number + 1))
        slot.book([ONE._replace(sent_at=float(number))] * MOST_CLAIMS)
        slot.note_lapsed(number)
        board.beat("main", number)
        board.beat("renewal", 10 * number)
    assert [slot.activity.pid for slot in board.slots] == [1, 2, 3]
    assert [slot.claims[-1].sent_at for slot in board.slots] == [0.0, 1.0, 2.0]
    assert [slot.lapsed for slot in board.slots] == [0, 1, 2]
    assert (board.pulse("main").tick, board.pulse("renewal").tick) == (2, 20)


@pytest.mark.parametrize(
    ("claims", "renewed", "fenced_at"),
    [
        ([], {}, float("inf")),
        ([(1, ClaimState.HELD, 10.0)], {}, 40.0),
        ([(1, ClaimState.HELD, 10.0)], {1: 25.0}, 55.0),
        ([(1, ClaimState.HELD, 10.0)], {2: 25.0}, 40.0),
        ([(1, ClaimState.HELD, 10.0)], {1: 0.0}, 40.0),
        ([(1, ClaimState.HELD, 10.0), (2, ClaimState.HELD, 50.0)], {1: 25.0}, 55.0),
        ([(1, ClaimState.DROPPED, 1.0), (2, ClaimState.HELD, 50.0)], {}, 80.0),
    ],
)
def test_the_fence_falls_one_lease_after_the_oldest_claim_was_known_good(
    claims: list[tuple[int, ClaimState, float]], renewed: dict[int, float], fenced_at: float
) -> None:
    slot = Board(1).slots[0]
    slot.book([Claim(f"{name:016d}".encode(), state, sent_at) for name, state, sent_at in claims])
    slot.renew([Renewal(f"{name:016d}".encode(), at, 0) for name, at in renewed.items()])
    assert slot.fenced_at(30.0) == fenced_at


def test_a_reader_in_another_process_sees_whole_values_while_they_are_written_and_the_writer_is_killed() -> None:
    board = Board(1)
    pid = os.fork()
    if not pid:
        board.resume()
        tick = 0
        while True:
            tick += 1
            board.slots[0].act(Activity(tick % 1000, tick % 1000, Phase.RUNNING, float(tick), tick, tick, float(tick), tick))
    try:
        for _ in range(3000):
            seen = board.slots[0].activity
            assert seen.since == seen.job_id == seen.lease == seen.deadline == seen.tick
        eventually(lambda: board.slots[0].activity.tick > 100)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    last = board.slots[0].activity
    assert last.since == last.job_id == last.tick > 0
    board.resume()
    board.slots[0].act(BUSY)
    assert board.slots[0].activity == BUSY


def test_the_clock_of_deadlines_never_goes_back() -> None:
    times = [boot_time() for _ in range(100)]
    assert times == sorted(times)
