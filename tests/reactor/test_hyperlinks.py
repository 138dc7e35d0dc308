"""Which terminals get links, and where these lead."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.hyperlinks import PLAIN, address, form

FOLDERS = ("/p/app", "/p/lib")
KITTY = f"{PLAIN}#{{line}}"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ""),
        ({"TERM": "xterm-256color"}, ""),
        ({"TERM": "linux"}, ""),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7006"}, PLAIN),
        ({"TERM": "xterm-256color", "VTE_VERSION": "4205"}, ""),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "220401"}, PLAIN),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, PLAIN),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, PLAIN),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, ""),
        ({"TERM": "xterm-256color", "WT_SESSION": "1"}, PLAIN),
        ({"TERM": "alacritty"}, PLAIN),
        ({"TERM": "xterm-kitty"}, KITTY),
        ({"TERM": "screen-256color", "VTE_VERSION": "7006"}, ""),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.4"}, PLAIN),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.3a"}, ""),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7" * 5000}, ""),
        ({"TERM": "linux", "REACTOR_LINKS": "on"}, PLAIN),
        ({"TERM": "xterm-kitty", "REACTOR_LINKS": "on"}, KITTY),
        ({"TERM": "xterm-kitty", "REACTOR_LINKS": "off"}, ""),
        ({"REACTOR_LINKS": "vscode://file{path}:{line}"}, "vscode://file{path}:{line}"),
    ],
    ids=str,
)
def test_a_terminal_gets_links_where_it_is_known_for_them_or_somebody_says_so(
    environ: dict[str, str], expected: str
) -> None:
    assert form(environ) == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("a.py", "file://me/p/app/a.py#1,1"),
        ("a.py:3", "file://me/p/app/a.py#3,1"),
        ("src/a.py:3:9", "file://me/p/app/src/a.py#3,9"),
        ('/p/app/a.py", line 7', "file://me/p/app/a.py#7,1"),
        ("../lib/a.py:3", "file://me/p/lib/a.py#3,1"),
        ("../other/a.py:3", ""),
        ("../apple/a.py", ""),
        ("/etc/passwd", ""),
        ("/p/app/../../etc/passwd", ""),
        ("a b%.py:1", "file://me/p/app/a%20b%25.py#1,1"),
        ("a:b.py:1", "file://me/p/app/a%3Ab.py#1,1"),
        ("{host}.py", "file://me/p/app/%7Bhost%7D.py#1,1"),
        ("", ""),
    ],
)
def test_a_place_leads_to_a_file_of_the_project_or_nowhere(place: str, expected: str) -> None:
    assert address(place, FOLDERS, "me", f"{PLAIN}#{{line}},{{column}}") == expected


def test_without_a_form_or_a_project_nothing_is_linked() -> None:
    assert address("a.py", FOLDERS, "me", "") == address("a.py", (), "me", PLAIN) == ""


@given(st.text())
def test_whatever_a_place_says_its_address_has_only_harmless_characters(place: str) -> None:
    found = address(place, FOLDERS, "me", PLAIN)
    assert not found or found == f"file://me{quote(found.removeprefix('file://me'), safe='/%')}"
    assert found.isascii()
