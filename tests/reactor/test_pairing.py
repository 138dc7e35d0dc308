"""Which announcements are of a window that a user can mean, and what a device is called; the rest of pairing is proved
on the target's side.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.presence import Presence
from reactor.discovery import Found
from reactor.pairing import named, windows
from reactor.settings import RESERVED
from reactor.trust import check_name

PORCH, ATTIC, SHUT = "a" * 64, "b" * 64, "c" * 64


def found(key: str, name: str, pairing: str, *addresses: str) -> Found:
    return Found(Presence(key, name, "1", "0.1", "3.11", "armv7l", "", pairing), addresses)


AROUND = [
    found(PORCH, "porch", "7718", "10.0.0.2:7717", "[fe80::1%eth0]:7717"),
    found(ATTIC, "attic", "7720", "10.0.0.3:7717"),
    found(SHUT, "porch", "", "10.0.0.4:7717"),
]


def test_a_window_is_named_by_name_or_by_the_beginning_of_an_id_and_those_that_are_shut_are_none() -> None:
    at_porch = [("10.0.0.2", 7718), ("fe80::1%eth0", 7718)]
    assert windows(AROUND, "porch") == {PORCH: at_porch}
    assert windows(AROUND, "AAAAAA") == {PORCH: at_porch}
    assert windows(AROUND, "aaa") == {}
    assert windows(AROUND, "") == {PORCH: at_porch, ATTIC: [("10.0.0.3", 7720)]}


def test_two_of_one_name_are_two() -> None:
    assert set(windows([*AROUND, found(ATTIC, "porch", "1", "10.0.0.5:1")], "porch")) == {PORCH, ATTIC}


@given(st.text() | st.sampled_from([*RESERVED, "10.0.0.1", "porch.local", "serial:/dev/ttyS0", "usb:00", "..", "-t"]))
def test_a_device_that_names_itself_is_no_address_and_nothing_that_means_something_else(itself: str) -> None:
    name = named(itself, PORCH)
    check_name(name)
    assert not {".", ":", "/"} & set(name)


def test_what_is_reserved_is_told_apart_by_the_key_and_a_name_is_left_as_it_is() -> None:
    assert [named(one, PORCH) for one in ("local", "usb", "all", "", "porch", "pi.lan")] == [
        "local-aaaaaaaa",
        "usb-aaaaaaaa",
        "all-aaaaaaaa",
        "device-aaaaaaaa",
        "porch",
        "pi-lan",
    ]
