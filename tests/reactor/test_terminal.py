"""The screen: lines for people, JSON for programs, bars on a terminal, whoever tells and whoever reads."""

from __future__ import annotations

import io
import json
import os
import re
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from bootloader.wire.errors import Fault, Refused
from reactor import terminal as module
from reactor.filters import Filter
from reactor.terminal import Terminal
from tests.reactor.board import until
from tests.reactor.test_report import HOSTILE, RAW

LOG = {"event": "log", "target": "local", "application": "main", "stream": "stdout", "text": "hello"}
RESULT = {
    "event": "result",
    "target": "local",
    "files": ["a.py"],
    "rung": "restart",
    "reason": "edited",
    "healthy": True,
}


class Screen(io.StringIO):
    """A terminal's screen, as far as programs look."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "REACTOR_LINKS"):
        monkeypatch.delenv(name, raising=False)


def ship(done: int, total: int, target: str = "local") -> dict[str, Any]:
    return {"event": "progress", "target": target, "what": "ship", "done_bytes": done, "total_bytes": total}


# For programs


def test_json_is_one_object_a_line_with_event_target_and_time_first() -> None:
    output = io.StringIO()
    terminal = Terminal(as_json=True, output=output)
    terminal.tell({"event": "notice", "code": "x", "text": "line\nbreak \x85 süß"})
    terminal.tell(ship(1, 2))
    terminal.fault(Fault("bad", "what", to="it", do="that", file="a.py", line=2), "porch")
    lines = output.getvalue().split("\n")
    assert lines.pop() == ""
    told = [json.loads(line) for line in lines]
    assert [list(one)[:3] for one in told] == [["event", "target", "at"]] * 3
    assert told[0]["text"] == "line\nbreak \x85 süß"
    assert (told[1]["done_bytes"], told[1]["total_bytes"]) == (1, 2)
    assert told[2] == {
        "event": "problem",
        "target": "porch",
        "at": told[2]["at"],
        "code": "bad",
        "message": "it: what (that)",
        "file": "a.py",
        "line": 2,
    }
    assert datetime.fromisoformat(told[0]["at"]).tzinfo is not None


def test_json_is_ascii_whatever_is_in_it() -> None:
    output = io.StringIO()
    Terminal(as_json=True, output=output).tell({"event": "log", "target": "", "text": HOSTILE})
    assert output.getvalue().isascii()
    assert not RAW.search(output.getvalue())


# For people


def test_what_a_device_says_is_in_one_line_of_a_table_in_bounds_and_none_of_ours() -> None:
    output = io.StringIO()
    with Terminal(as_json=False, output=output) as terminal:
        terminal.table(["name", "why"], [["anna", "x\n✓ main.py · healthy"], ["✓ main.py · healthy", "y" * 10**6]])
    _, first, second = output.getvalue().splitlines()
    assert first.split() == ["anna", "x", "✓", "main.py", "·", "healthy"]
    assert second.startswith("  ✓ ")
    assert len(second) < 500


def test_a_pipe_gets_lines_without_colour_and_no_bars() -> None:
    output = io.StringIO()
    with Terminal(as_json=False, output=output) as terminal:
        terminal.tell(LOG)
        terminal.tell(ship(1, 10))
        terminal.tell(RESULT)
        terminal.table(["a", "b"], [["1", "[red]2[/red]"]])
        terminal.line("[bold]three")
    assert [row.split() for row in output.getvalue().splitlines()] == [
        ["main", "│", "hello"],
        ["✓", "a.py", "·", "restart:", "edited", "·", "healthy"],
        ["a", "b"],
        ["1", "[red]2[/red]"],
        ["[bold]three"],
    ]


def test_a_long_line_is_not_broken_and_markup_is_only_text() -> None:
    for output in (io.StringIO(), Screen()):
        text = "[red]x[/red] :smile: " + "word " * 200
        Terminal(as_json=False, output=output).tell({**LOG, "text": text})
        assert text.rstrip() in output.getvalue().replace("\x1b[0m", "").replace("\x1b[2m", "")
        assert output.getvalue().count("\n") == 1


def test_a_line_of_a_target_can_not_begin_one_of_ours() -> None:
    output = io.StringIO()
    terminal = Terminal(as_json=False, output=output)
    terminal.tell({**LOG, "text": "x\n✓ a.py"})
    terminal.line("x\n✓ a.py")
    terminal.fault(Refused("x", "y\n✓ a.py"))
    assert "\n✓ a.py" not in output.getvalue()


def test_a_screen_that_lacks_characters_gets_others(tmp_path: Any) -> None:
    with open(tmp_path / "out", "w", encoding="ascii") as output:
        Terminal(as_json=False, output=output).tell({**RESULT, "files": ["süß.py"]})
    assert (tmp_path / "out").read_text() == "? s??.py ? restart: edited ? healthy\n"


def link(place: str, address: str) -> str:
    return f"\x1b]8;;{address}\x1b\\{place}\x1b]8;;\x1b\\"


def test_places_in_the_project_are_links_where_the_terminal_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REACTOR_LINKS", "vscode://file{path}:{line}:{column}")
    monkeypatch.setenv("NO_COLOR", "1")
    problem = {"event": "problem", "target": "", "message": "m", "file": "a b.py", "line": 3, "column": 7}
    traceback = 'Traceback (most recent call last):\n  File "/p/app/m.py", line 2\n  File "/etc/passwd", line 1\nE: x'
    screen, pipe = Screen(), io.StringIO()
    for output in (screen, pipe):
        terminal = Terminal(as_json=False, output=output)
        terminal.belongs_to(["/p/app", "/p/lib"])
        terminal.tell({**problem, "traceback": traceback})
    shown = re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue())
    assert link("a b.py:3:7", "vscode://file/p/app/a%20b.py:3:7") in shown
    assert link('/p/app/m.py", line 2', "vscode://file/p/app/m.py:2:1") in shown
    assert '  File "/etc/passwd", line 1' in shown
    assert "\x1b" not in pipe.getvalue()


def test_a_line_above_a_bar_keeps_its_colours_and_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REACTOR_LINKS", "on")
    screen = Screen()
    with Terminal(as_json=False, output=screen) as terminal:
        terminal.belongs_to(["/p/app"])
        terminal.tell(ship(1, 10, "porch"))
        terminal.tell({"event": "problem", "target": "", "message": "m", "file": "a.py", "line": 3})
        assert "/p/app/a.py" in screen.getvalue()
        assert "\x1b[31m" in screen.getvalue()


# Bars


def test_a_bar_shows_how_far_it_is_and_is_gone_at_the_end() -> None:
    screen = Screen()
    terminal = Terminal(as_json=False, output=screen)
    terminal.tell(ship(1_000_000, 10_000_000))
    assert bars(terminal) == [(1_000_000, 10_000_000)]
    until(lambda: "shipping to local: 1.0 MB of 10 MB" in screen.getvalue())
    terminal.tell(LOG)
    terminal.tell(ship(10_000_000, 10_000_000))
    assert not bars(terminal)
    until(lambda: not threads())


@pytest.mark.parametrize(
    "event",
    [
        RESULT,
        {"event": "problem", "target": "local", "message": "refused"},
        {"event": "link", "target": "local", "state": "down"},
    ],
    ids=lambda event: event["event"],
)
def test_a_bar_of_what_was_cut_short_is_gone_too(event: Mapping[str, Any]) -> None:
    terminal = Terminal(as_json=False, output=Screen())
    terminal.tell(ship(1, 10))
    terminal.tell(ship(1, 10, "porch"))
    terminal.tell(event)
    assert list(terminal._tasks) == ["porch"]
    terminal.tell({**event, "target": "porch"})
    assert not bars(terminal)
    terminal.tell(ship(3, 7))  # and the next one has a bar of its own, with its own end
    assert bars(terminal) == [(3, 7)]
    terminal.__exit__()
    until(lambda: not threads())


def test_a_scan_has_a_bar_also_while_it_is_not_known_how_many_files_there_are() -> None:
    terminal = Terminal(as_json=False, output=Screen())
    scan = {"event": "progress", "target": "", "what": "scan"}
    terminal.tell({**scan, "done_files": 0, "total_files": None})
    terminal.tell({**scan, "done_files": 5, "total_files": 10})
    assert bars(terminal) == [(5, 10)]
    terminal.tell({"event": "problem", "target": "", "message": "can't be read"})
    assert not bars(terminal)


def test_what_the_target_does_with_a_shipment_has_a_bar_until_it_is_done() -> None:
    terminal = Terminal(as_json=False, output=Screen())
    apply = {"event": "progress", "target": "porch", "what": "apply", "total_files": 9}
    terminal.tell({**ship(10, 10), "target": "porch"})
    terminal.tell({**apply, "done_files": 0})
    assert bars(terminal) == [(0, None)]
    terminal.tell({**apply, "done_files": 9})
    assert not bars(terminal)


def test_leaving_takes_the_bars_along() -> None:
    with Terminal(as_json=False, output=Screen()) as terminal:
        terminal.tell(ship(1, 10))
        assert threads()
    until(lambda: not threads())


def bars(terminal: Terminal) -> list[tuple[float, float | None]]:
    """How much of how much each bar shows."""
    return [(task.completed, task.total) for task in terminal._progress.tasks] if terminal._progress else []


def threads() -> list[str]:
    """Those that keep bars moving."""
    return [thread.name for thread in threading.enumerate() if "_RefreshThread" in type(thread).__name__]


# Whoever tells, whoever reads


@pytest.mark.parametrize("as_json", [True, False])
def test_lines_of_many_threads_are_whole(as_json: bool) -> None:
    output = Screen() if not as_json else io.StringIO()
    terminal = Terminal(as_json=as_json, output=output)

    def tell(name: str) -> None:
        for number in range(100):
            terminal.tell({**LOG, "text": f"{name}-{number}", "target": name})
            terminal.tell(ship(number, 99, name))

    tellers = [threading.Thread(target=tell, args=(name * 50,)) for name in "abcd"]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    for name in "abcd":
        for number in (0, 50, 99):
            assert f"{name * 50}-{number}" in output.getvalue()
    if as_json:
        assert all(json.loads(line) for line in output.getvalue().splitlines())
    assert not bars(terminal)


def test_leaving_does_not_wait_for_a_reader_that_reads_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCK_S", 0.05)
    end, start = os.pipe()
    output = open(start, "w", encoding="utf-8")  # noqa: SIM115 - closed below, when somebody reads again
    terminal = Terminal(as_json=True, output=output)
    stuck = threading.Thread(target=lambda: terminal.tell({**LOG, "text": "x" * 1_000_000}), daemon=True)
    with terminal:
        stuck.start()
        os.read(end, 1)  # it is in the middle of it
    drain = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(end, 65536), b"")])
    drain.start()
    stuck.join()
    output.close()
    drain.join()
    os.close(end)


def test_a_reader_that_is_gone_is_an_error_for_the_one_who_tells() -> None:
    end, start = os.pipe()
    os.close(end)
    with open(start, "w", encoding="utf-8", closefd=False) as output:
        terminal = Terminal(as_json=True, output=output)
        with pytest.raises(BrokenPipeError):
            terminal.tell(LOG)
        os.dup2(os.open(os.devnull, os.O_WRONLY), start)
    os.close(start)


def lines_of(count: int) -> list[dict[str, Any]]:
    return [{**LOG, "text": f"line {number}"} for number in range(count)]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_filter_that_is_set_while_it_runs_holds_from_the_next_line_on(as_json: bool) -> None:
    output = io.StringIO()
    terminal = Terminal(as_json=as_json, output=output)
    terminal.tell_all(lines_of(3))
    terminal.filter = Filter("/[02]$/")
    terminal.tell_all(lines_of(3))
    terminal.tell({**LOG, "text": "line 1"})
    terminal.tell({"event": "notice", "target": "", "code": "x", "text": "always"})
    terminal.filter = Filter()
    terminal.tell({**LOG, "text": "line 9"})
    shown = re.findall(r"line \d|always", output.getvalue())
    assert shown == ["line 0", "line 1", "line 2", "line 0", "line 2", "always", "line 9"]


def test_a_screen_gets_as_many_lines_at_once_as_can_be_looked_at_and_says_how_many_there_were() -> None:
    screen, pipe = Screen(), io.StringIO()
    for output in (screen, pipe):
        terminal = Terminal(as_json=False, output=output)
        terminal.tell_all([*lines_of(5000), RESULT, *lines_of(1)])
    shown = re.findall(r"line (\d+)", screen.getvalue())
    assert shown == [*map(str, range(5000 - 199, 5000)), "0"]
    assert "4801 lines came at once and are not shown" in screen.getvalue()
    assert len(re.findall(r"line \d+", pipe.getvalue())) == 5001
    assert "not shown" not in pipe.getvalue()


def test_a_line_says_when_and_where_it_was_written() -> None:
    times = {"host_at": "2026-11-30T10:17:00.123+01:00", "target_at": "1970-01-01T00:00:12.500+00:00"}
    rows = [
        ({"stream": "stdout"}, "10:17:00.123 main │ hello"),
        ({"stream": "stderr"}, "10:17:00.123 main!│ hello"),
        ({"stream": "log", "level": "error"}, "10:17:00.123 mainE│ hello"),
    ]
    for more, line in rows:
        output = io.StringIO()
        Terminal(as_json=False, output=output).tell({**LOG, **times, **more})
        Terminal(as_json=False, verbose=True, output=output).tell({**LOG, **times, **more})
        assert output.getvalue().splitlines() == [line, line.replace(" main", " (00:00:12.500 there) main")]
