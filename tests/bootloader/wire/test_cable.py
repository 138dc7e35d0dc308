"""What follows from a board's id: who it is on USB, and where."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.cable import Cable

boards = st.text(min_size=1, max_size=64)


@given(boards)
def test_a_board_is_the_same_on_each_cable_and_has_addresses_that_are_its_own_to_give(board: str) -> None:
    cable = Cable.of(board)
    assert cable == Cable.of(board) == Cable.read(cable.serial)
    for mac in (cable.device_mac, cable.host_mac):
        assert int(mac[:2], 16) & 0b11 == 0b10  # locally administered, of one interface
    assert cable.device_mac != cable.host_mac
    assert cable.ipv6.is_link_local
    assert cable.ipv4.is_link_local
    assert cable.ipv4.packed[2] in range(1, 255)
    assert cable.ipv4.packed[3] in range(1, 255)


@given(boards, boards)
def test_two_boards_are_told_apart_by_all_of_it(one: str, other: str) -> None:
    if one != other:
        first, second = Cable.of(one), Cable.of(other)
        assert not {first.device_mac, first.host_mac} & {second.device_mac, second.host_mac}
        assert first.serial != second.serial
        assert first.ipv6 != second.ipv6


@given(st.text() | st.from_regex("[0-9a-f]{12}", fullmatch=True))
def test_a_serial_number_is_read_only_where_a_device_of_ours_can_have_it(text: str) -> None:
    cable = Cable.read(text)
    assert cable is None or (cable.serial == text and cable.device_mac.replace(":", "") == text)


def test_addresses_are_what_the_standards_make_of_them() -> None:
    cable = Cable.read("02ab10fe0004")
    assert cable is not None
    assert (cable.device_mac, cable.host_mac) == ("02:ab:10:fe:00:04", "02:ab:10:fe:00:05")
    assert str(cable.ipv6) == "fe80::ab:10ff:fefe:4"
    assert str(cable.ipv4) == "169.254.1.4"


def test_an_id_cannot_be_read_from_what_is_told() -> None:
    assert "10000000abcdef12" not in repr(Cable.of("10000000abcdef12"))
