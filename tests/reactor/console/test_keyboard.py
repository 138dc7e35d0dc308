"""Keys on their way to a port, and what the escape key makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.console.keyboard import COMMANDS, DEFAULT, Do, Keyboard, escape_key, help_lines, name

ESCAPE = escape_key(DEFAULT)


def typed(keys: bytes, escape: bytes = ESCAPE) -> list[bytes | Do]:
    return list(Keyboard(escape).feed(keys))


@pytest.mark.parametrize(
    ("text", "key", "shown"),
    [("^]", b"\x1d", "Ctrl-]"), ("^a", b"\x01", "Ctrl-A"), ("ctrl-t", b"\x14", "Ctrl-T"), ("C-x", b"\x18", "Ctrl-X"),
     ("~", b"~", "~"), ("^\\", b"\x1c", "Ctrl-\\")],
)  # fmt: skip
def test_an_escape_key_is_written_as_people_write_it(text: str, key: bytes, shown: str) -> None:
    assert escape_key(text) == key
    assert name(key) == shown
    assert shown in help_lines(key)[0]


@pytest.mark.parametrize("text", ["", "a", "7", "^M", "^[", "^J", "^?", "ctrl-", "F1", "~~", " ", "é"])
def test_a_key_that_would_be_in_the_way_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        escape_key(text)


@pytest.mark.parametrize(
    ("keys", "orders"),
    [
        (b"ls\r", [b"ls\r"]),
        (b"\x03\x04\x1a\x1b[A", [b"\x03\x04\x1a\x1b[A"]),
        (b"ab\x1d.cd", [b"ab", Do.QUIT, b"cd"]),
        (b"\x1db\x1dt\x1d?", [Do.BREAK, Do.STAMPS, Do.HELP]),
        (b"\x1d\x1d", [b"\x1d"]),
        (b"\x1dz", [Do.UNKNOWN]),
        (b"\x1d", []),
    ],
)
def test_all_keys_are_the_ports_but_those_after_the_escape_key(keys: bytes, orders: list[bytes | Do]) -> None:
    assert typed(keys) == orders


@pytest.mark.parametrize(
    ("keys", "orders"),
    [
        (b"~.", [Do.QUIT]),
        (b"cd ~.\r", [b"cd ~.\r"]),
        (b"x\r~.", [b"x\r", Do.QUIT]),
        (b"~~x", [b"~x"]),
        (b"~~.", [b"~."]),
    ],
)
def test_a_character_as_escape_key_counts_where_a_line_begins(keys: bytes, orders: list[bytes | Do]) -> None:
    assert typed(keys, b"~") == orders


@given(st.lists(st.binary(max_size=8), max_size=8), st.sampled_from([b"\x1d", b"\x01", b"~"]))
def test_how_keys_arrive_does_not_matter(pieces: list[bytes], escape: bytes) -> None:
    keyboard = Keyboard(escape)
    found = [order for piece in pieces for order in keyboard.feed(piece)]
    merged: list[bytes | Do] = []
    for order in found:
        if isinstance(order, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += order
        else:
            merged.append(order)
    assert merged == typed(b"".join(pieces), escape)


@given(st.binary(max_size=60).filter(lambda keys: ESCAPE not in keys))
def test_without_the_escape_key_every_byte_is_sent(keys: bytes) -> None:
    assert b"".join(order for order in typed(keys) if isinstance(order, bytes)) == keys


def test_every_command_is_in_the_help() -> None:
    shown = "\n".join(help_lines(ESCAPE))
    assert all(f"  {command}  {do.value}" in shown for command, do in COMMANDS.items())
