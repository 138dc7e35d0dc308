from __future__ import annotations

import os
import select
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootloader.wire import records
from bootloader.wire.limits import LINE_BYTES
from bootloader.wire.records import KINDS, LEVELS, NOTE, STDERR, STDOUT, Lines, encode, level_kind

Line = tuple[str, str]
Item = tuple[str, bytes]  # a record's kind and payload; RAW for bytes that no record holds
RAW = ""

kinds = st.sampled_from(sorted(KINDS))
texts = st.text(st.sampled_from("ab\n\n\ré🙂 "), max_size=12).map(str.encode) | st.binary(max_size=9)
raw = texts.map(lambda data: data.replace(b"\x1e", b""))
items = st.lists(st.tuples(kinds, texts) | st.tuples(st.just(RAW), raw), max_size=10)


def written(things: list[Item]) -> bytes:
    """What the pipe carries."""
    return b"".join(data if kind == RAW else b"".join(encode(kind, data)) for kind, data in things)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


def read(parts: list[bytes]) -> list[Line]:
    reader = Lines()
    return [line for part in parts for line in reader.feed(part)] + list(reader.close())


def expected(things: list[Item]) -> list[Line]:
    """The lines of ``things``, the plain way: a line belongs where it ends, what never ends comes last."""
    rest: dict[str, bytes] = {}
    out: list[Line] = []
    for kind, data in ((kind or STDOUT, data) for kind, data in things if data):
        *whole, left = (rest.pop(kind, b"") + data).split(b"\n")
        if left:
            rest[kind] = left
        out += [(kind, line.removesuffix(b"\r").decode("utf-8", "replace")) for line in whole]
    return out + [(kind, line.decode("utf-8", "replace")) for kind, line in rest.items()]


@given(items, st.lists(st.integers(0, 10_000), max_size=6))
@example([(STDOUT, b"one\n"), (RAW, b"raw\n"), (STDERR, b"two\n"), (STDOUT, b"three\n")], [])
@example([(RAW, b"a"), (STDERR, b"b"), ("D", b"c")], [8])
@example([(RAW, b"no end"), (STDERR, b"err\n"), (STDOUT, b", until here\n")], [1, 2, 3])
def test_lines_come_out_in_order_whatever_the_chunks(things: list[Item], cuts: list[int]) -> None:
    assert read(chunks(written(things), cuts)) == expected(things)


@given(items, st.lists(st.integers(0, 10_000), max_size=6))
@example([(STDOUT, b"x" * 33 + b"\n")], [])
@example([(STDOUT, b"x" * 32 + b"\n")], [5, 16, 32])
@example([(STDOUT, "é".encode() * 20 + b"\n")], [3])
def test_a_long_line_is_split_at_the_same_places_whatever_the_chunks(things: list[Item], cuts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "LINE_BYTES", 16)
        patch.setattr(records, "_NOTE_BYTES", 16)
        whole = read([written(things)])
        assert read(chunks(written(things), cuts)) == whole
        assert all(len(text.encode("utf-8", "replace")) <= 16 * 3 for _, text in whole)  # a broken byte becomes three


@given(st.text(st.sampled_from("aé日🙂"), max_size=60), st.lists(st.integers(0, 10_000), max_size=6))
def test_splitting_a_long_line_breaks_no_character(text: str, cuts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "LINE_BYTES", 16)
        lines = read(chunks(written([(STDERR, text.encode() + b"\n")]), cuts))
    assert "".join(line for _, line in lines) == text
    assert all(len(line.encode()) <= 16 for _, line in lines)


@given(st.binary(), st.lists(st.integers(0, 10_000), max_size=6))
@example(b"\x1eRo", [])
@example(b"\x1e\x1eRo\0\x01x", [])
@example(b"\x1eRo\xff\xffx\n", [])
@example(b"\x1eR?\0\x01x\n", [1])
def test_arbitrary_bytes_become_lines_whatever_the_chunks(data: bytes, cuts: list[int]) -> None:
    assert read(chunks(data, cuts)) == read([data])


def test_raw_bytes_that_look_like_half_a_mark_are_not_lost() -> None:
    assert read([b"a\x1e", b"b\n", b"\x1eRno record\n", b"\x1e"]) == [
        (STDOUT, "a\x1eb"),
        (STDOUT, "\x1eRno record"),
        (STDOUT, "\x1e"),
    ]


def test_a_line_without_an_end_does_not_grow_in_memory() -> None:
    reader = Lines()
    seen = 0
    for _ in range(64):
        seen += sum(len(text) for _, text in reader.feed(b"x" * 4096))
        assert len(reader._buffer) + sum(map(len, reader._open.values())) <= LINE_BYTES
    assert seen + sum(len(text) for _, text in reader.close()) == 64 * 4096


@given(kinds, st.binary(max_size=20_000))
def test_a_record_is_written_whole_by_the_kernel(kind: str, payload: bytes) -> None:
    assert all(len(record) <= select.PIPE_BUF for record in encode(kind, payload))


def test_a_note_longer_than_a_line_stays_whole() -> None:
    note = "n" * (40 * LINE_BYTES)
    assert read([written([(NOTE, f"{note}\n".encode())])]) == [(NOTE, note)]


def test_two_writers_of_one_pipe_do_not_break_each_others_records() -> None:
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        for number in range(200):
            for record in encode(STDERR, f"child {number}\n".encode()):
                os.write(writing, record)
        os._exit(0)
    for number in range(200):
        for record in encode(STDOUT, f"parent {number}\n".encode()):
            os.write(writing, record)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        lines = read([pipe.read()])
    assert [text for kind, text in lines if kind == STDOUT] == [f"parent {number}" for number in range(200)]
    assert [text for kind, text in lines if kind == STDERR] == [f"child {number}" for number in range(200)]
    assert len(lines) == 400


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (0, "debug"),
        (5, "debug"),
        (10, "debug"),
        (19, "debug"),
        (20, "info"),
        (25, "info"),
        (30, "warning"),
        (40, "error"),
        (50, "critical"),
        (99, "critical"),
    ],
)
def test_a_log_level_has_a_kind(level: int, name: str) -> None:
    assert LEVELS[level_kind(level)] == name
