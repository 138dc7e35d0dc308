"""Whom a host keeps of all that announce themselves; the rest needs a network: ``tests/end_to_end``."""

from __future__ import annotations

from bootloader.wire.presence import Presence
from reactor.discovery import MOST_DEVICES, Found, has_room


def found(number: int) -> Found:
    return Found(Presence(f"{number:064x}", "porch", "1", "", "", "", ""), ("10.0.0.1:1",))


def test_thousands_crowd_out_no_device_that_is_known_and_who_says_to_be_it_is_bounded_as_well() -> None:
    known = found(0)
    crowd = [found(number) for number in range(1, MOST_DEVICES + 1)]
    wanted = {known.presence.id}
    assert has_room(crowd[:-1], found(10**6), wanted)
    assert not has_room(crowd, found(10**6), wanted)
    assert has_room(crowd, known, wanted)
    assert has_room([*crowd, *[known] * (MOST_DEVICES - 1)], known, wanted)
    assert not has_room([known] * MOST_DEVICES, known, wanted)
    assert has_room([known] * MOST_DEVICES, found(1), wanted)
