"""What a device may do to the user's terminal, and what it may not: judged by an emulated terminal, too."""

from __future__ import annotations

import re

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.console.harmless import Harmless

PASSED = [
    "\x1b[0;1;31mred\x1b[0m",
    "\x1b[38;5;196m\x1b[48;2;1;2;3m\x1b[4:3m",
    "\x1b[2J\x1b[H\x1b[5;10H\x1b[K",
    "\x1b[A\x1b[3C\x1b[10G\x1b[2P\x1b[4@\x1b[2L\x1b[M\x1b[3X",
    "\x1b7\x1b8\x1bM\x1bD\x1bE\x1b[s\x1b[u",
    "\x1b[?25l\x1b[?1049h\x1b[?2004h\x1b[?1h\x1b=",
    "\x1b[2;20r\x1b[3S\x1b[T\x1b[20b",
    "\x1b(0lqqk\x1b(B",
    "\x1b[6n",
    "tab\tbell\aback\b\r\n",
    "Grüße, 世界 ✓",
]

STOPPED = [
    "\x1b]0;title\x07",
    "\x1b]2;title\x1b\\",
    "\x1b]52;c;cm0gLXJmIH4K\x07",
    "\x1b]8;;http://x\x1b\\",
    "\x1bP$qm\x1b\\",
    "\x1bPq#0;2;0;0;0#0~~\x1b\\",
    "\x1b_Gi=1;AAAA\x1b\\",
    "\x1b^private\x1b\\",
    "\x1bXstring\x1b\\",
    "\x1b[c\x1b[>c\x1b[=c\x1b[0c",
    "\x1b[5n\x1b[?6n\x1b[?15n",
    "\x1b[21t\x1b[8;200;200t\x1b[18t",
    "\x1b[3J",
    "\x1b[?1000h\x1b[?1006h\x1b[?1003h\x1b[?1004h\x1b[?3h\x1b[?2026h",
    "\x1b[?25;1000h",
    "\x1b[2h\x1b[20h",
    "\x1b[5i\x1b[4i",
    "\x1b[>4;2m\x1b[>1u\x1b[?u",
    "\x1b[3g\x1bH",
    "\x1b[!p\x1b[2 q\x1b[61;1\"p\x1b[?5W",
    "\x1b[x\x1b[1;1;1;1;1;1*y",
    "\x1b[99999999b",
    "\x1b[1;2;3;4;5T",
    "\x1bc\x1bZ\x1b#8\x1b%G\x1b)0\x1b(A\x1bN\x1bO\x1bn\x1bo\x1b F",
    "\x05",
    "\x00",
]  # fmt: skip


def passed(data: bytes) -> str:
    return Harmless().feed(data)


@pytest.mark.parametrize("text", PASSED)
def test_what_a_shell_or_an_editor_needs_is_passed(text: str) -> None:
    assert passed(text.encode()) == text


@pytest.mark.parametrize("text", STOPPED)
def test_what_is_not_for_a_device_to_do_is_stopped(text: str) -> None:
    assert passed(f"a{text}b".encode()) == "ab"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"\x9b31m", "\ufffd31m"),
        ("\x9b6n\x9d0;x\x9c".encode(), "\ufffd6n\ufffd0;x\ufffd"),
        (b"\x0e\x0f\x7f\x1a", "\ufffd" * 4),
        ("\u202egnp.exe".encode(), "\ufffdgnp.exe"),
        (b"\xff\xc3", "\ufffd"),
    ],
)
def test_what_is_no_text_is_seen_to_be_none(data: bytes, shown: str) -> None:
    assert passed(data) == shown


@pytest.mark.parametrize("begin", ["\x1b]", "\x1bP", "\x1b_", "\x1b]52;c;"])
def test_a_string_that_never_ends_hides_neither_the_next_line_nor_all_that_follows(begin: str) -> None:
    assert passed(f"{begin}junk\nnext".encode()) == "\nnext"
    assert passed(f"{begin}junk\x1b[1mnext".encode()) == "\x1b[1mnext"
    endless = passed((begin + "x" * 10_000).encode())
    assert 5_000 < len(endless) <= 10_000


def test_what_would_stay_is_undone_once_and_the_last_first() -> None:
    harmless = Harmless()
    assert harmless.undo() == "\x1b[0m"
    harmless.feed(b"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b(0\x1b[4h\x1b[1;5r\x1b=\x1b[?1h\x1b[?7l")
    undone = harmless.undo()
    assert re.findall(r"\x1b(?:\[\??[\d;]*[a-z]|[()].|[78>=])", undone) == [
        "\x1b[0m", "\x1b[?7h", "\x1b[?1l", "\x1b>", "\x1b7", "\x1b[r", "\x1b8", "\x1b[4l", "\x1b(B", "\x1b[?2004l",
        "\x1b[?25h", "\x1b[?1049l",
    ]  # fmt: skip
    assert harmless.undo() == "\x1b[0m"


def test_what_the_device_undid_itself_is_not_undone_again() -> None:
    harmless = Harmless()
    harmless.feed(b"\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l")
    assert harmless.undo() == "\x1b[0m"


ALLOWED = re.compile(
    r"\x1b\[[0-9:;]*[A-HIJKLMPXZST`abdefhlmnr@su]|\x1b\[\?[0-9;]+[hl]|\x1b[78DEM=>]|\x1b\([0B]|[\x07-\x0d]|[^\x00-\x1f\x7f-\x9f]"
)
NOISE = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.sampled_from([*PASSED, *STOPPED]).map(str.encode),
        st.sampled_from([b"\x1b", b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b\\", b";", b"?", b"[", b"c", b"n", b"\x9b"]),
    ),
    max_size=12,
)


@given(NOISE)
def test_whatever_comes_only_what_is_listed_gets_through(pieces: list[bytes]) -> None:
    harmless = Harmless()
    text = "".join(map(harmless.feed, pieces))
    assert ALLOWED.sub("", text) == ""


@given(NOISE)
def test_how_it_is_cut_up_does_not_matter(pieces: list[bytes]) -> None:
    whole, cut = Harmless(), Harmless()
    data = b"".join(pieces)
    assert "".join(cut.feed(bytes([code])) for code in data) == whole.feed(data)
    assert cut.undo() == whole.undo()


@given(NOISE)
def test_after_the_end_a_terminal_is_as_it_was(pieces: list[bytes]) -> None:
    screen = pyte.Screen(40, 10)
    stream = pyte.Stream(screen)
    before = (set(screen.mode), screen.margins, screen.g0_charset, screen.title)
    harmless = Harmless()
    for piece in pieces:
        stream.feed(harmless.feed(piece))
    stream.feed(harmless.undo())
    margins = None if screen.margins in (None, (0, 9)) else screen.margins
    assert (set(screen.mode), margins, screen.g0_charset, screen.title) == before
    stream.feed("\r\n$ ")
    assert not screen.cursor.attrs.bold
    assert screen.cursor.attrs.fg == "default"
    assert not screen.cursor.hidden
