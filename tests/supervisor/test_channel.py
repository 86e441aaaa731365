"""Messages between two processes."""

from __future__ import annotations

import select

from supervisor.channel import Channel


def test_messages_arrive_whole_and_in_order_however_large() -> None:
    here, there = Channel.pair()
    sent = [{"number": number, "text": "x" * 50_000} for number in range(12)]
    received = []
    for message in sent:
        assert here.send(message)
    while len(received) < len(sent):
        here.flush()
        select.select([there.descriptor], [], [], 5)
        received += there.receive()
    assert received == sent


def test_the_end_of_the_other_side_is_noticed() -> None:
    here, there = Channel.pair()
    there.send({"last": "words"})
    there.close()
    assert here.receive() == [{"last": "words"}]
    assert here.closed
    assert not here.send({"anybody": "there"})


def test_a_reader_that_does_not_read_blocks_nobody() -> None:
    here, _there = Channel.pair()
    taken = sum(here.send({"text": "x" * 100_000}) for _ in range(100))
    assert 0 < taken < 100
