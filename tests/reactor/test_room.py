"""How much one call carries."""

from __future__ import annotations

from bootloader.wire.limits import PART_BYTES
from reactor.room import LEAST_BYTES, Room


def test_a_call_carries_what_goes_in_a_moment() -> None:
    room = Room()
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


def test_a_line_that_is_slow_begins_with_little() -> None:
    assert Room(1000).size_bytes == LEAST_BYTES
    assert Room(2 * PART_BYTES).size_bytes < PART_BYTES
