"""``reactor repl`` at a prompt, in a real terminal: what a person types, and what they see."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .conftest import Bench, save, until
from .test_repl import MAIN
from .test_screen import REACTOR, Screen, pytestmark

__all__ = ["pytestmark"]

SETTINGS = 'entry = "main:main"\nsettle_s = 0.1'


@contextmanager
def prompt(bench: Bench, text: str = MAIN, *more: str) -> Iterator[tuple[Screen, Path]]:
    """A prompt in an application that runs, and its project."""
    project = bench.project({"main.py": text}, SETTINGS)
    dev = bench.dev(project)
    dev.wait("result")
    with Screen(bench, [*REACTOR, "repl", "--path", "app", *more], columns=200) as screen:
        screen.wait("^local>")
        yield screen, project
        screen.press("C-d")
        screen.wait("^ended with 0$")
    assert dev.end() == 0


def enter(screen: Screen, text: str) -> None:
    screen.type(text)
    screen.press("Enter")


def test_a_session_is_shown_in_these_lines(bench: Bench) -> None:
    with prompt(bench) as (screen, project):
        enter(screen, "limit * 14")
        screen.wait("^42$")
        enter(screen, "fail(0)")
        screen.wait("^ZeroDivisionError: division by zero$")
        assert [line.replace(str(project), "PROJECT") for line in screen.lines()[1:-1] if line] == [
            "local> limit * 14",
            "42",
            "local> fail(0)",
            "Traceback (most recent call last):",
            '  File "<repl>", line 1, in <module>',
            "    fail(0)",
            '  File "PROJECT/main.py", line 17, in fail',
            "    return 1 / 0 if not depth else fail(depth - 1)",
            "           ^^^^^",
            "ZeroDivisionError: division by zero",
            "local>",
        ]
        assert screen.colours()["ZeroDivisionError:"] == "red"


def test_a_block_is_indented_by_itself_and_ends_with_an_empty_line(bench: Bench) -> None:
    with prompt(bench) as (screen, _):
        for line in ("for n in range(2):", "print('n is', n)", ""):
            enter(screen, line)
        screen.wait("^n is 1$")
        assert "......     print('n is', n)" in screen.lines()


def test_tab_completes_from_what_is_there_and_the_call_is_explained(bench: Bench) -> None:
    with prompt(bench) as (screen, _):
        screen.type("sensor.sa")
        screen.wait(r"samples +dict")
        screen.press("Tab")
        screen.type("['po")
        screen.wait(r"porch'\]")
        screen.press("Tab")
        screen.wait(r"^local> sensor\.samples\['porch'\]$")
        screen.press("Enter")
        screen.press("Enter")
        screen.wait(r"^\[1, 2\.5\]$")
        screen.type("fail(")
        screen.wait(r"^ fail\(depth\)$")
        screen.press("C-c")
        screen.wait("^local>$")
        enter(screen, "ran")
        screen.wait(r"^\[\]$")


def test_two_hundred_pasted_lines_are_one_block(bench: Bench, tmp_path: Path) -> None:
    lines = ["total = 0", *(f"if {n} >= 0:\n    total += {n}\n" for n in range(100)), "print('total is', total)"]
    file = tmp_path / "pasted"
    file.write_text("\n".join(lines))
    with prompt(bench) as (screen, _):
        screen._tmux("load-buffer", str(file))
        screen._tmux("paste-buffer", "-p")
        screen.wait("print\\('total is', total\\)$")
        screen.press("Enter")
        until(lambda: "total is 4950" in screen.lines("-S", "-"))  # where so much was typed, it may have scrolled off


def test_ctrl_c_reaches_the_statement_and_again_leaves_it_behind(bench: Bench) -> None:
    with prompt(bench) as (screen, _):
        enter(screen, "print('spins'); exec('while True: pass')")
        screen.wait("^spins$")
        screen.press("C-c")
        screen.wait("^! interrupted$")
        enter(screen, "import time; print('asleep'); time.sleep(3600)")
        screen.wait("^asleep$")
        screen.press("C-c")
        screen.press("C-c")
        screen.wait("^! it does not hear the interruption, and was left behind")
        enter(screen, "limit")
        screen.wait("^3$")


def test_where_the_program_hangs_in_c_its_stack_is_shown_while_somebody_is_at_the_prompt(bench: Bench) -> None:
    hangs = "import ctypes, os, time\ndef main():\n    while not os.path.exists('stop'):\n        time.sleep(0.01)\n"
    with prompt(bench, hangs + "    ctypes.PyDLL(None).sleep(600)\n") as (screen, project):
        enter(screen, "open('stop', 'w').close()")
        shown = bench.plain("stack", "--path", str(project))
        assert "! app did not answer within 2 s: a call into C that takes long" in shown.stdout
        assert "    main.py:5 in main\n      ctypes.PyDLL(None).sleep(600)\n" in shown.stdout
        enter(screen, "6 * 7")
        screen.wait("^ running: Ctrl-C interrupts")
        screen.press("C-c")
        screen.press("C-c")
        screen.wait("^! the process does not answer at all, and the statement was left behind")


def test_what_happens_meanwhile_is_shown_above_what_is_typed(bench: Bench) -> None:
    with prompt(bench) as (screen, project):
        screen.type("limit + 1")
        save(project / "main.py", MAIN.replace("limit = 3", "limit = 6\nprint(limit)"))
        screen.wait("^● in app, process .*, generation 2$")
        screen.wait("^local> limit \\+ 1$")
        screen.press("Enter")
        screen.wait("^7$")


def test_what_was_entered_is_there_the_next_time_for_this_user_alone(bench: Bench) -> None:
    with prompt(bench) as (screen, project):
        enter(screen, "limit * 100")
        screen.wait("^300$")
    (file,) = (bench.home / "history").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    dev = bench.dev(project)
    with Screen(bench, [*REACTOR, "repl", "--path", "app"], columns=200) as screen:
        screen.wait("^local>")
        screen.press("Up")
        screen.wait(r"^local> limit \* 100$")
    assert dev.end() == 0


def test_another_project_has_a_history_of_its_own(bench: Bench) -> None:
    with prompt(bench) as (screen, _):
        enter(screen, "limit * 100")
        screen.wait("^300$")
        other = bench.project({"main.py": MAIN}, SETTINGS, "other")
        dev = bench.dev(other)
        dev.wait("result")
        with Screen(bench, [*REACTOR, "repl", "--path", "other"], columns=200) as second:
            second.wait("^local>")
            second.press("Up")
            enter(second, "6 * 7")
            second.wait("^42$")
            assert "local> 6 * 7" in second.lines()
        assert dev.end() == 0


def test_keys_are_vis_where_the_users_inputrc_says_so(bench: Bench) -> None:
    bench.env["INPUTRC"] = str(bench.folder / "inputrc")
    Path(bench.env["INPUTRC"]).write_text("set editing-mode vi\n")
    with prompt(bench) as (screen, _):
        screen.type("mitli")
        screen.press("Escape")
        screen.type("0dwilimit")
        screen.press("Enter")
        screen.wait("^3$")


def test_orders_are_listed_and_values_move(bench: Bench) -> None:
    with prompt(bench) as (screen, _):
        enter(screen, "%help")
        screen.wait("^%get NAME")
        enter(screen, "%get table = sensor.samples")
        screen.wait("^● table is here now: a dict of 2$")
        enter(screen, "%host sorted(table)")
        screen.wait(r"^\['hall', 'porch'\]$")
        enter(screen, "%nonsense")
        screen.wait("^✗ '%nonsense' is none")
