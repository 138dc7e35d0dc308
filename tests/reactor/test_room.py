"""How much one call carries."""

from __future__ import annotations

from bootloader.wire.limits import PART_BYTES
from reactor.room import LEAST_BYTES, Flow, Room


def test_a_call_carries_what_goes_in_a_moment() -> None:
    room = Room()
    assert room.size_bytes == LEAST_BYTES, "a link that is slow is not known yet"
    for _ in range(20):
        room.took(room.size_bytes, 0.01)
    assert room.size_bytes == PART_BYTES
    room.took(room.size_bytes // 4, 0.01)
    assert room.size_bytes == PART_BYTES
    for _ in range(20):
        room.took(room.size_bytes, 5.0)
    assert room.size_bytes == LEAST_BYTES
    room.took(100, 0.01)
    assert room.size_bytes == LEAST_BYTES, "a small call says nothing of a large one"


MOST = 128 * 1024


def flowing(*rates: float, there_and_back_s: float = 0.0) -> Flow:
    """What is known once so much a second came, batch after batch."""
    flow = Flow(MOST)
    flow.came(100, there_and_back_s)
    for rate in rates:
        flow.came(flow.batch_bytes, flow.batch_bytes / rate + there_and_back_s)
    return flow


def test_a_quick_link_is_asked_for_all_that_waits() -> None:
    for far_s in (0.0, 0.3, 2.0):
        flow = flowing(10e6, 10e6, 10e6, there_and_back_s=far_s)
        assert (flow.batch_bytes, flow.newest_bytes) == (MOST, 0)


def test_a_slow_one_for_what_it_carries_in_a_moment_and_the_newest_that_it_carries_in_seconds() -> None:
    flow = flowing(*[20_000] * 3, there_and_back_s=0.5)
    assert (flow.batch_bytes, flow.newest_bytes) == (10_000, 100_000)
    flow.came(100, 3.0)
    assert flow.newest_bytes == 100_000, "a small answer says nothing of a large one"
    assert flowing(1).batch_bytes == 4 * 1024


def test_one_that_becomes_slow_is_slow_from_its_first_batch_on_and_an_end_that_is_busy_for_a_moment_is_not() -> None:
    assert flowing(10e6, 10e6, 10_000).newest_bytes == 50_000
    flow = flowing(10e6, 10e6)
    flow.came(flow.batch_bytes, 0.5)
    assert flow.newest_bytes == 0


def test_a_serial_line_is_never_asked_for_more_than_goes_over_it() -> None:
    flow = Flow(1024)
    flow.came(1024, 0.0001)
    assert flow.batch_bytes == 1024
