"""What is told, and that nothing which a target says reaches the screen as it is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootloader.wire.errors import Fault, Refused
from reactor import report
from reactor.pace import Pace
from reactor.report import clean, lines, problem

# What a terminal acts upon, what turns writing around, and what can't be encoded.
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

HOSTILE = (
    "\x1b[2J\x1b[31mred\x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b\x1b[0m[1m\x9b31m\x07\b\r\x00\x7f"
    "\u202egnp.exe\u2066\u2069\u200f\u061c\ud800\n✓ main.py · restart: code changed · healthy"
)


@given(st.text(st.characters(codec=None)))
@example(HOSTILE)
@example("\x1b" * 100 + "[" * 100)
@example("\x1b]" * 50_000)
def test_clean_text_has_nothing_that_a_terminal_acts_upon(text: str) -> None:
    cleaned = clean(text)
    assert not RAW.search(cleaned)
    assert len(cleaned) <= report.TEXT_CHARS
    cleaned.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
@example("\tdef main():\n\treturn 'süß 🏳️‍🌈 שלום مرحبا'")
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


def test_a_text_without_end_is_cut() -> None:
    assert clean("x" * 10_000_000) == "x" * (report.TEXT_CHARS - 1) + "…"


HANDLER = {"event": "handler", "application": "main", "entry": "m:ask", "ms": 3.0}
HANDOVER = {"event": "handover", "application": "main", "step": "take", "entry": "m:take", "ms": 3.0}

EVENTS: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"event": "ready", "project": "blinky", "generation": 3, "files_count": 9, "python": "3.12", "watching": True},
        ["● blinky on local: generation 3, 9 files, Python 3.12, watching"],
    ),
    (
        {
            "event": "result",
            "files": ["a.py", "b.py"],
            "rung": "restart",
            "reason": "code changed",
            "healthy": True,
            "generation": 4,
            "save_to_running_ms": 12.34,
        },
        ["✓ a.py, b.py · restart: code changed · healthy · generation 4 · 12.3 ms"],
    ),
    (
        {"event": "result", "files": list("abcd"), "rung": "hold", "reason": "it does not compile", "healthy": False},
        ["✗ 4 files · hold: it does not compile · held"],
    ),
    (
        {"event": "result", "files": [], "rung": "restart", "reason": "started; main exited", "healthy": False},
        ["✗ restart: started; main exited · not healthy"],
    ),
    (
        {"event": "result", "files": ["a"], "rung": "restart", "reason": "w", "healthy": False, "replaced": True},
        ["· a · restart: w · replaced"],
    ),
    ({"event": "state", "application": "main", "state": "failed", "why": "exited"}, ["  main failed (exited)"]),
    ({"event": "state", "application": "main", "state": "running", "why": ""}, []),
    ({"event": "log", "application": "main", "stream": "stdout", "text": "hello"}, ["main │ hello"]),
    (
        {
            "event": "problem",
            "message": "syntax error: invalid syntax",
            "file": "a.py",
            "line": 3,
            "column": 9,
            "text": "    if x = 1:",
        },
        ["✗ a.py:3:9: syntax error: invalid syntax", "    if x = 1:", "        ^"],
    ),
    ({"event": "problem", "message": "no", "hint": "do this"}, ["✗ no", "  → do this"]),
    ({"event": "problem", "message": "died", "traceback": "a\n  b\n"}, ["✗ died", "  a", "    b"]),
    ({"event": "problem", "message": "died", "traceback": "died\n"}, ["✗ died"]),
    (
        {"event": "safe", "application": "main", "entry": "m:off", "outcome": "done", "why": "", "ms": 12.0},
        ["  main safe state: m:off done · 12.0 ms"],
    ),
    (
        {"event": "safe", "application": "main", "entry": "m:off", "outcome": "raised", "why": "OSError", "ms": 12.0},
        ["  main safe state: m:off raised (OSError) · 12.0 ms"],
    ),
    (
        {**HANDLER, "outcome": "answered", "answer": "rollback", "why": ""},
        ["  main handler: m:ask says rollback · 3.0 ms"],
    ),
    (
        {**HANDLER, "outcome": "timed-out", "answer": "", "why": "not done within 1 s"},
        ["  main handler: m:ask gave no answer, timed-out (not done within 1 s) · 3.0 ms"],
    ),
    ({**HANDOVER, "outcome": "done", "why": "", "size_bytes": 80}, []),
    (
        {**HANDOVER, "outcome": "raised", "why": "KeyError: 'at'", "size_bytes": 80},
        ["  main takes its state: m:take raised (KeyError: 'at') · 3.0 ms"],
    ),
    ({"event": "link", "state": "down", "why": "gone"}, ["● link down: gone"]),
    ({"event": "link", "state": "up", "why": ""}, ["● link up"]),
    ({"event": "console", "port": "/dev/serial/by-id/usb-pi", "text": "login: "}, ["usb-pi │ login: "]),
    ({"event": "console", "port": "rfc2217://lab:4000/", "text": "ok"}, ["lab:4000 │ ok"]),
    (
        {"event": "port", "port": "/dev/ttyACM0", "state": "up", "why": "115200 8N1"},
        ["● /dev/ttyACM0 is open: 115200 8N1"],
    ),
    ({"event": "port", "port": "ttyACM0", "state": "down", "why": ""}, ["● ttyACM0 is gone"]),
    ({"event": "port", "port": "ttyACM0", "state": "waiting", "why": "no"}, ["● ttyACM0 is waited for: no"]),
    ({"event": "notice", "code": "x", "text": "mind this"}, ["! mind this"]),
    ({"event": "progress", "what": "ship"}, []),
    ({"event": "what nobody knows"}, []),
]


@pytest.mark.parametrize(("event", "shown"), EVENTS, ids=lambda value: str(value)[:60])
def test_an_event_becomes_these_lines(event: dict[str, Any], shown: list[str]) -> None:
    told = {"target": "local", **event}
    assert text_of(told) == shown
    assert text_of(told, many=True) == [f"local {line}" for line in shown]


def text_of(event: dict[str, Any], *, many: bool = False, verbose: bool = False) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines(event, verbose=verbose, many=many)]


def test_verbose_lines_tell_states_and_where_the_time_went() -> None:
    state = {"event": "state", "target": "", "application": "main", "state": "running", "why": ""}
    assert text_of(state, verbose=True) == ["  main running"]
    stages = {"ship": 1.25, "tell": 0.0}
    result = {"event": "result", "files": ["a"], "rung": "r", "reason": "w", "healthy": True, "stages_ms": stages}
    assert text_of(result, verbose=True)[1] == "  ms: ship 1.2  tell 0.0"


def test_an_editor_reads_where_a_save_begins_and_a_problem_is() -> None:
    told = {
        "event": "problem",
        "target": "local",
        "message": "syntax error: no",
        "file": "a.py",
        "line": 3,
        "text": "x",
    }
    column = {**told, "column": 7, "text": "    if x = 1:"}
    died = {"event": "problem", "target": "local", "message": "died", "hint": "do this"}
    rows: list[tuple[dict[str, Any], str, list[str]]] = [
        ({"event": "save", "target": "", "files": ["a.py", "b.py"]}, "", ["saved a.py, b.py"]),
        (told, "", ["a.py:3: error: syntax error: no", "    x"]),
        (column, ".", ["a.py:3:7: error: syntax error: no", "    if x = 1:", "      ^"]),
        (column, "../app", ["../app/a.py:3:7: error: syntax error: no", "    if x = 1:", "      ^"]),
        (died, "app", ["✗ died", "  → do this"]),
    ]
    for event, folder, shown in rows:
        assert [
            "".join(text for text, _ in line) for line in lines(event, verbose=False, many=False, folder=folder)
        ] == shown
    (first, second, _) = lines(column, verbose=False, many=True, folder="")
    assert (first[0][0], second[0][0]) == ("a.py:3:7: error: local: syntax error: no", "local ")


TRACEBACK = """\
Traceback (most recent call last):
  File "/home/me/app/main.py", line 5, in main
    divide(0)
  File "/home/me/app/main.py", line 9, in divide
    1 / by
    ~~^~~~
ZeroDivisionError: division by zero
TypeError: not a lead"""


def test_a_traceback_shows_its_places_its_code_and_what_was_raised() -> None:
    told = {"event": "problem", "target": "local", "message": "died", "traceback": TRACEBACK}
    styles = [[style for _, style in line[1:]] for line in lines(told, verbose=False, many=False)[1:]]
    frame = ["dim", "frame", "dim"]
    assert styles == [["dim"], frame, [""], frame, [""], ["bad"], ["bad"], ["bad"]]
    assert [text for line in lines(told, verbose=False, many=False) for text, style in line if style == "frame"] == [
        '/home/me/app/main.py", line 5',
        '/home/me/app/main.py", line 9',
    ]


def test_no_text_of_a_target_can_pass_for_a_line_of_this_program() -> None:
    spoof = "x\n✓ main.py · restart: code changed · healthy"
    events: list[dict[str, Any]] = [
        {"event": "log", "application": spoof, "stream": "stdout", "text": spoof},
        {"event": "state", "application": "main", "state": "failed", "why": spoof},
        {"event": "problem", "message": spoof, "file": "a.py", "line": 1, "column": 2, "text": spoof, "hint": spoof},
        {"event": "problem", "message": "died", "traceback": spoof},
        {"event": "notice", "code": "x", "text": spoof},
        {"event": "link", "state": "down", "why": spoof},
        {"event": "result", "files": ["a"], "rung": spoof, "reason": spoof, "healthy": False},
    ]
    for event in events:
        rows = "\n".join(text_of(event)).split("\n")
        assert all(row.startswith("  ") for row in rows[1:]), rows


def test_a_column_past_the_line_points_nowhere() -> None:
    told = {"event": "problem", "message": "m", "file": "a.py", "line": 1, "text": "x = 1", "column": 2**53 - 1}
    assert text_of(told) == [f"✗ a.py:1:{2**53 - 1}: m", "    x = 1"]


def test_a_fault_is_told_with_its_place_and_nothing_else_of_its_fields() -> None:
    fault = Fault("bad", "w\x1b[1mhat", to="it", do="that", file="a\x1b[1m.py", line=3, root="ab", other=1)
    told = {"event": "problem", "code": "bad", "message": "it: what (that)"}
    assert problem(fault) == {**told, "file": "a.py", "line": 3}


def test_the_numbers_of_a_refusal_are_kept_in_bounds() -> None:
    refused = Refused.from_fields({"code": "x", "what": "y", "line": 10**300, "column": -4})
    assert (problem(refused)["line"], problem(refused)["column"]) == (0, 0)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([(0.1, False), (0.4, False), (0.49, True)], []),
        ([(0.5, False), (0.55, False), (0.6, False), (0.65, True)], [0.5, 0.6, 0.65]),
        ([(0.2, False), (3.0, False), (3.01, False), (3.2, False)], [3.0, 3.2]),
    ],
)
def test_progress_is_told_of_what_takes_long_ten_times_a_second_and_at_its_end(
    steps: list[tuple[float, bool]], told: list[float]
) -> None:
    pace = Pace(0.0)
    assert [now for now, ended in steps if pace.due(now, ended=ended)] == told


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            {"what": "ship", "target": "porch", "done_bytes": 1_500_000, "total_bytes": 30_000_000},
            "shipping to porch: 1.5 MB of 30 MB",
        ),
        (
            {"what": "apply", "target": "porch", "done_files": 0, "total_files": 9},
            "porch checks and lays out 9 files",
        ),
        ({"what": "scan", "done_files": 0, "total_files": None}, "looking for files"),
        ({"what": "scan", "done_files": 5, "total_files": 10}, "looking at 5 of 10 files"),
    ],
)
def test_progress_has_words(event: dict[str, Any], words: str) -> None:
    assert report.progress(event)[2] == words


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345, "12 kB"), (5 * 10**9, "5.0 GB")]
)
def test_sizes_are_for_people(count: int, shown: str) -> None:
    assert report.size(count) == shown


@pytest.mark.parametrize(("ms", "shown"), [(1.25, "1.2 ms"), (99.94, "99.9 ms"), (100, "100 ms"), (12_345, "12.3 s")])
def test_durations_are_for_people(ms: float, shown: str) -> None:
    assert report.duration(ms) == shown
