"""Bytes into lines: in whatever pieces they come."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.console.lines import LINE_CHARS, Lines


def made(pieces: list[bytes]) -> list[tuple[str, bool]]:
    lines = Lines()
    found = [(line.text, line.ended) for piece in pieces for line in lines.feed(piece, 0.0)]
    return found + [(line.text, line.ended) for line in lines.rest()]


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"a\nb\r\nc\rd\r\r\ne\n", ["a", "b", "c", "d", "e"]),
        (b"\n\r\n\n", ["", "", ""]),
        (b"10%\r20%\r\n", ["10%", "20%"]),
        (b"caf\xc3\xa9 \xff\xfe\n", ["café \ufffd\ufffd"]),
    ],
)
def test_each_of_the_three_line_ends_is_one(data: bytes, texts: list[str]) -> None:
    assert made([data]) == [(text, True) for text in texts]


def test_a_prompt_is_given_out_when_asked_for_and_its_rest_is_another_line() -> None:
    lines = Lines()
    assert not list(lines.feed(b"login: ", 1.0))
    assert [(line.text, line.at, line.ended) for line in lines.rest()] == [("login: ", 1.0, False)]
    assert not list(lines.rest())
    assert [(line.text, line.at, line.ended) for line in lines.feed(b"root\n", 2.0)] == [("root", 2.0, True)]


@pytest.mark.parametrize(("data", "under_way"), [(b"", False), (b"a", True), (b"a\n", False), (b"a\nb", True)])
def test_what_is_under_way_is_a_line_that_has_not_ended(data: bytes, under_way: bool) -> None:
    lines = Lines()
    assert len(list(lines.feed(data, 0.0))) == data.count(b"\n")
    assert lines.is_under_way is under_way


def test_a_line_is_as_old_as_its_first_byte() -> None:
    lines = Lines()
    assert not list(lines.feed(b"a", 1.0))
    assert [line.at for line in lines.feed(b"b\nc\n", 5.0)] == [1.0, 5.0]


def test_an_endless_line_comes_in_parts() -> None:
    found = made([b"x" * 1000] * 20 + [b"\n"])
    assert [(len(text), ended) for text, ended in found] == [(LINE_CHARS, False), (LINE_CHARS, False), (3616, True)]


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_how_the_bytes_are_cut_up_does_not_matter(pieces: list[bytes]) -> None:
    assert made(pieces) == made([b"".join(pieces)]) == made([bytes([code]) for code in b"".join(pieces)])


@given(st.binary(max_size=300))
def test_no_text_is_lost(data: bytes) -> None:
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(data)
    assert "".join(line for line, _ in made([data])) == text.replace("\r", "").replace("\n", "")
