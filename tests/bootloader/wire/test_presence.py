"""What a device says of itself on the network: read as it was told, and nothing else gets through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.presence import Presence

KEYS = ("id", "name", "protocol", "version", "python", "machine", "root", "pairing")
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
WORD = st.text(max_size=63)
PORT = st.integers(1, 65535).map(str) | st.just("")


@given(st.builds(Presence, HEX, WORD, WORD, WORD, WORD, WORD, HEX | st.just(""), PORT))
def test_what_is_told_is_read(presence: Presence) -> None:
    told = {key.encode(): value.encode() for key, value in presence.told().items()}
    assert Presence.read(told) == presence


@given(st.dictionaries(st.sampled_from([key.encode() for key in KEYS]), st.binary(max_size=300) | st.none()))
def test_nothing_is_read_without_a_key_and_nothing_long_at_all(told: dict[bytes, bytes | None]) -> None:
    presence = Presence.read(told)
    assert presence is None or all(len(value) <= 64 for value in presence.told().values())
    named = Presence.read({**told, b"id": b"a" * 64, b"root": b""})
    assert named is not None
    assert all(len(value) <= 64 for value in named.told().values())


@given(st.binary(max_size=10))
def test_a_port_is_one_or_none(told: bytes) -> None:
    presence = Presence.read({b"id": b"a" * 64, b"pairing": told})
    assert presence is not None
    assert presence.pairing == "" or 0 < int(presence.pairing) < 65536
