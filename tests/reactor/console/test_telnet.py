"""What a telnet server sends, taken apart: against pyserial's own server, and against nonsense."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reactor.console.telnet import Negotiation, Subnegotiation, Telnet

PIECES = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.sampled_from([b"\xff", b"\xff\xff", b"\xff\xfa", b"\xff\xf0", b"\xff\xfb", b"\xff\xfd\x2c", b"\x00"]),
    ),
    max_size=12,
)


def parts(pieces: list[bytes]) -> list[bytes | Negotiation | Subnegotiation]:
    telnet = Telnet()
    merged: list[bytes | Negotiation | Subnegotiation] = []
    for part in (part for piece in pieces for part in telnet.feed(piece)):
        if isinstance(part, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def test_data_and_what_is_said_about_it_come_apart() -> None:
    data = b"ab\xff\xffc\xff\xfb\x2cd\xff\xfa\x2c\x65\xff\xff\x01\xff\xf0e\xff\xf1f"
    assert parts([data]) == [
        b"ab\xffc",
        Negotiation(b"\xfb", b"\x2c"),
        b"d",
        Subnegotiation(b"\x2c\x65\xff\x01"),
        b"ef",
    ]


@given(st.binary(max_size=200))
def test_what_a_server_escapes_arrives_as_it_was(data: bytes) -> None:
    assert b"".join(part for part in parts([data.replace(b"\xff", b"\xff\xff")]) if isinstance(part, bytes)) == data


@given(PIECES)
def test_how_it_is_cut_up_does_not_matter(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert parts(pieces) == parts([data]) == parts([bytes([code]) for code in data])


def test_what_never_ends_is_not_kept() -> None:
    telnet = Telnet()
    assert list(telnet.feed(b"\xff\xfa" + b"x" * 10**6)) == []
    (found,) = [part for part in telnet.feed(b"\xff\xf0") if isinstance(part, Subnegotiation)]
    assert len(found.content) <= 4096
