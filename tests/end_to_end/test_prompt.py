"""The prompt and the status line of ``reactor dev``, in a real terminal: what a person types, and what they see."""

from __future__ import annotations

import os
import re
import shlex
import signal

import pytest

from .conftest import Bench, save, until
from .test_screen import MAIN, PROMPT, REACTOR, SETTINGS, Screen, pytestmark

__all__ = ["pytestmark"]

FLOOD_LINES = 100_000
FLOOD_S = 90.0
FLOOD = """\
import time

LINES = 0

def main():
    print("ready for it")
    while not LINES:
        time.sleep(0.05)
    for number in range(LINES):
        print(f"line {number} is as long as lines mostly are, which is not very long")
    print("it is over")
    while True:
        time.sleep(0.05)
"""
DIES = MAIN.replace("    while", "    1 / 0\n    while")


def dev(bench: Bench, *more: str, columns: int = 160) -> Screen:
    return Screen(bench, [*REACTOR, "dev", "app", *more], ["stty", "-a"], columns=columns)


def last(screen: Screen) -> list[str]:
    """The prompt and the status line, as they stand at the lower end."""
    return screen.lines()[-2:]


def test_the_status_line_says_how_the_target_is(bench: Bench) -> None:
    project = bench.project({"main.py": MAIN}, SETTINGS)
    with dev(bench) as screen:
        screen.wait(r"^ local · ✓ healthy · generation 1 · restart N m?s · link N ms +F1 help$")
        assert last(screen)[0] == "local>"
        save(project / "main.py", MAIN.replace("main()", "main("))
        screen.wait(r"^ local · ✓ healthy · generation 1 · last save held · link N ms")
        save(project / "main.py", DIES)
        screen.wait(r"^ local · ✗ app failed · generation 2 · restart N m?s · link N ms")
        screen.press("C-c")
        screen.wait("^ended with 0$")
        assert not any(re.search(f"{PROMPT}|F1 help", line) for line in screen.lines())


def test_a_burst_of_100000_lines_leaves_the_prompt_whole_and_what_is_typed_in_it(bench: Bench) -> None:
    project = bench.project({"main.py": FLOOD}, f'{SETTINGS}\nreload = "auto"')
    with dev(bench) as screen:
        screen.wait("ready for it")
        screen.wait(PROMPT)
        screen.type("%no")
        save(project / "main.py", FLOOD.replace("LINES = 0", f"LINES = {FLOOD_LINES}"))
        screen.wait("line [0-9]+ is")
        screen.type("such")
        screen.wait("it is over", FLOOD_S)
        screen.wait(f"{PROMPT} %nosuch$")
        screen.press("Enter")
        screen.wait("'%nosuch' is none")
        assert last(screen)[0] == "local>"
        shown = screen.lines("-S", "-")
        flood = [line for line in shown if line.startswith("app │ line ")]
        counts = (re.match(r"! (\d+) (?:events were dropped|lines came at once)", line) for line in shown)
        lost = [int(found[1]) for found in counts if found]
        assert len(flood) + sum(lost) == FLOOD_LINES
        assert set(flood) <= {
            f"app │ line {number} is as long as lines mostly are, which is not very long"
            for number in range(FLOOD_LINES)
        }
        torn = [at for at, line in enumerate(shown[:-2]) if re.search("local>|F1 help", line)]
        assert [shown[at] for at in torn] == ["local> %nosuch"], [shown[at - 2 : at + 3] for at in torn]


def test_a_key_and_an_order_show_the_last_error_again(bench: Bench) -> None:
    project = bench.project({"main.py": MAIN}, SETTINGS)
    with dev(bench) as screen:
        screen.wait(PROMPT)
        screen.wait("✓ .* generation 1")
        screen.press("F8")
        screen.wait("^no error so far$")
        save(project / "main.py", MAIN.replace("main()", "main("))
        screen.wait("^✗ main.py · hold")
        for number, press in enumerate(["F8", "%error"], 2):
            (screen.press if press == "F8" else screen.type)(press)
            if press != "F8":
                screen.press("Enter")
            until(lambda: sum(line.endswith("^") for line in screen.lines()) == number)  # noqa: B023 - waited for here
        lines = screen.lines()
        for at in (at for at, line in enumerate(lines) if line.endswith("^")):
            assert lines[at - 2].startswith("✗ main.py:3:10: syntax error: ")
            assert lines[at - 1 : at + 1] == ["    def main(:", "             ^"]


SPEAKS = """\
import logging
import time

def main():
    number = 0
    while True:
        number += 1
        print(f"calm {number}")
        logging.warning("beware %d", number)
        time.sleep(0.05)
"""


def test_lines_of_output_are_filtered_while_they_come(bench: Bench) -> None:
    bench.project({"main.py": SPEAKS}, SETTINGS)

    def shows(what: str) -> bool:
        """Whether all that is on the screen is that."""
        lines = [line for line in screen.lines() if "│ " in line and "local" not in line]
        return len(lines) > 40 and all(what in line for line in lines)

    with dev(bench) as screen:
        screen.wait("calm")
        screen.press("F4")
        screen.wait("^ local .* │ only level:warning")
        until(lambda: shows("beware"))
        screen.type("%filter calm")
        screen.press("Enter")
        screen.wait("^ local .* │ only calm")
        until(lambda: shows("calm"))
        screen.type("%filter level:nonsense")
        screen.press("Enter")
        screen.wait("^✗ nonsense: is no level")
        screen.press("F4")
        screen.wait("beware")
        assert "only" not in last(screen)[1]


def test_where_an_application_is_is_shown_above_the_prompt(bench: Bench) -> None:
    bench.project({"main.py": MAIN}, SETTINGS)
    with dev(bench) as screen:
        screen.wait("healthy · generation 1")
        screen.press("F6")
        screen.wait(r"^● app \(pid \d+\): 1 thread$")
        screen.wait(r"^    main.py:\d+ in main$")
        screen.type("%stack nobody")
        screen.press("Enter")
        screen.wait(r"^✗ nobody: no application of that name")
        assert last(screen)[0] == "local>"


def test_help_lists_the_orders_with_their_keys(bench: Bench) -> None:
    bench.project({"main.py": MAIN}, SETTINGS)
    with dev(bench) as screen:
        screen.wait(PROMPT)
        screen.type("%help")
        screen.press("Enter")
        screen.wait("^%restart +F5 +stop what runs, and start it again$")
        assert "local> %help" in screen.lines()


LIVES = """\
import threading
import time

turns = 0

class Lamp:
    def __init__(self):
        self.bright = 7
    def brighten(self, step):
        self.bright += step

lamp = Lamp()

def main():
    global turns
    while True:
        turns += 1
        print(f"turn {turns}")
        time.sleep(0.2)
"""


def enter(screen: Screen, *lines: str) -> None:
    for line in lines:
        screen.type(line)
        screen.press("Enter")


def test_what_is_typed_runs_in_the_live_application_while_its_output_goes_by(bench: Bench) -> None:
    project = bench.project({"main.py": LIVES}, SETTINGS)
    with dev(bench) as screen:
        screen.wait("✓ .* generation 1")
        screen.wait(PROMPT)
        enter(screen, "lamp.brighten(35)", "lamp.bright")
        screen.wait("^42$")
        enter(screen, "for each in range(3):", "print(each * 100)", "")
        screen.wait("^200$")
        screen.type("lamp.br")
        screen.wait("^ *bright +int")
        screen.wait("^ *brighten +")
        screen.press("C-c")
        enter(screen, "1 / 0")
        screen.wait("^ZeroDivisionError: division by zero$")
        save(project / "main.py", LIVES.replace("self.bright = 7", "self.bright = 8"))
        screen.wait("✓ .* generation 2")
        enter(screen, "lamp.bright")
        screen.wait("^8$")
        assert "local> lamp.bright" in screen.lines()
        assert not any(line.startswith("● in app") for line in screen.lines())
        screen.press("C-d")
        screen.wait("^ended with 0$")


def test_what_is_typed_before_the_target_runs_is_run_once_it_does(bench: Bench) -> None:
    bench.project({"main.py": MAIN}, SETTINGS)
    with dev(bench) as screen:
        screen.type("6 * 7")  # the terminal keeps it until there is a prompt
        screen.press("Enter")
        screen.wait("^42$")
        assert not [line for line in screen.lines() if line.startswith("✗")]


def test_an_endless_statement_is_interrupted_and_neither_saves_nor_keys_wait_for_it(bench: Bench) -> None:
    project = bench.project({"main.py": LIVES}, SETTINGS)
    with dev(bench) as screen:
        screen.wait("✓ .* generation 1")
        screen.wait(PROMPT)
        enter(screen, "while True: pass", "")
        screen.wait("^ local .* │ running: Ctrl-C interrupts")
        screen.press("F8")
        screen.wait("^no error so far$")
        save(project / "main.py", LIVES.replace("main()", "main("))
        screen.wait("^✗ main.py · hold")
        screen.press("C-c")
        screen.wait("interrupted|KeyboardInterrupt")
        until(lambda: not any("running: Ctrl-C" in line for line in screen.lines()))
        enter(screen, "6 * 7")
        screen.wait("^42$")
        enter(screen, "while True: pass", "")
        screen.wait("^ local .* │ running: Ctrl-C interrupts")
        screen.press("C-d")
        screen.wait("^ended with 0$")


def test_a_terminal_that_becomes_narrow_and_wide_again_has_one_prompt_and_one_status_line(bench: Bench) -> None:
    bench.project({"main.py": MAIN}, SETTINGS)
    with dev(bench, columns=100) as screen:
        screen.wait("^ local · ✓ healthy · generation 1 .*F1 help$")
        screen.type("12345")
        for columns, status in [
            (40, " local · ✓ healthy · restart N ms"),
            (100, " local · ✓ healthy · generation 1 · restart N ms · link N ms"),
        ]:
            screen.resize(columns)
            screen.wait(f"^{status}(  +F1 help)?$")
            screen.wait(f"{PROMPT} 12345$")
            shown = screen.lines()
            assert sum(line.startswith("local> 1") for line in shown) == 1
            assert sum(line.startswith(" local") for line in shown) == 1


def test_40_columns_are_enough(bench: Bench) -> None:
    project = bench.project({"main.py": MAIN}, SETTINGS)
    with dev(bench, columns=40) as screen:
        screen.wait("^ local · ✓ healthy · restart N ms$")
        save(project / "main.py", MAIN.replace("main()", "main("))
        screen.wait("^ local · ✓ healthy · last save held$")
        screen.type("1234567890" * 5)
        screen.wait("^local> 123456789012345678901234567890123$")
        screen.wait("^ {7}45678901234567890$")
        screen.press("C-c")
        screen.wait(f"{PROMPT}$")
        screen.press("C-c")
        screen.wait("^ended with 0$")


@pytest.mark.parametrize("key", ["C-c", "C-d", "%quit"])
def test_the_end_leaves_the_terminal_as_it_was(bench: Bench, key: str) -> None:
    bench.project({"main.py": MAIN}, SETTINGS)
    with Screen(bench, ["stty", "-a"], [*REACTOR, "dev", "app"], ["stty", "-a"]) as screen:
        screen.wait(PROMPT)
        screen.type("dropped")
        screen.wait(f"{PROMPT} dropped")
        screen.press("C-c")
        screen.wait(f"{PROMPT}$")
        if key.startswith("%"):
            screen.type(key)
            key = "Enter"
        screen.press(key)
        until(lambda: screen.lines().count("ended with 0") == 3)
        modes = [line for line in screen.lines() if "icanon" in line or "isig" in line]
        assert modes[: len(modes) // 2] == modes[len(modes) // 2 :]
        assert modes


def test_sigterm_ends_it_as_ctrl_c_does(bench: Bench) -> None:
    bench.project({"main.py": MAIN}, SETTINGS)
    kill = f"{shlex.join(REACTOR)} dev app & echo $! > pid; fg >/dev/null"
    with Screen(bench, ["stty", "-a"], ["bash", "-m", "-c", kill], ["stty", "-a"]) as screen:
        screen.wait(PROMPT)
        os.kill(int((bench.folder / "pid").read_text()), signal.SIGTERM)
        until(lambda: screen.lines().count("ended with 0") == 3)
        modes = [line for line in screen.lines() if "icanon" in line]
        assert len(modes) == 2
        assert modes[0] == modes[1]


def test_it_is_suspended_and_goes_on(bench: Bench) -> None:
    bench.project({"main.py": LIVES}, SETTINGS)
    stopped = bench.folder / "stopped"
    place = shlex.quote(str(stopped))
    told = f"{{ echo with $?; stty -a; }} >{place}.new; mv {place}.new {place}"
    job = f"{shlex.join(REACTOR)} dev app; {told}; fg >/dev/null; echo over"
    with Screen(bench, ["bash", "-m", "-c", job]) as screen:
        screen.wait(PROMPT)
        screen.wait("turn")
        screen.press("C-z")
        until(stopped.exists)  # on the screen it may have scrolled away
        assert "with 148" in stopped.read_text()
        assert "isig icanon iexten echo" in stopped.read_text()
        screen.wait(PROMPT)
        enter(screen, "6 * 7")
        screen.wait("^42$")
        screen.press("C-d")
        screen.wait("^over$")


def test_reactor_repl_has_the_same_prompt(bench: Bench) -> None:
    project = bench.project({"main.py": LIVES}, SETTINGS)
    bench.dev(project).wait("result", healthy=True)
    with Screen(bench, [*REACTOR, "repl", "--path", "app"], ["stty", "-a"]) as screen:
        screen.wait(PROMPT)
        enter(screen, "lamp.brighten(35); lamp.bright")
        screen.wait("^42$")
        enter(screen, "while True: pass", "")
        screen.wait("running: Ctrl-C interrupts")
        screen.press("C-c")
        screen.wait("interrupted|KeyboardInterrupt")
        until(lambda: not any("running: Ctrl-C" in line for line in screen.lines()))
        enter(screen, "%nosuch")
        screen.wait("^✗ '%nosuch' is none")
        screen.type("dropped")
        screen.wait(f"{PROMPT} dropped$")
        screen.press("C-c")
        screen.wait(f"{PROMPT}$")
        screen.press("C-c")
        enter(screen, "exit")
        screen.wait("^ended with 0$")
        screen.wait("isig icanon iexten echo")
        assert not any("F1 help" in line for line in screen.lines())


def test_reactor_repl_without_a_target_says_so(bench: Bench) -> None:
    bench.project({"main.py": LIVES}, SETTINGS)
    with Screen(bench, [*REACTOR, "repl", "--path", "app"]) as screen:
        screen.wait("does not run")
        screen.wait("^ended with 1$")


def test_a_terminal_without_colours_gets_none(bench: Bench) -> None:
    project = bench.project({"main.py": MAIN}, SETTINGS)
    with Screen(bench, ["env", "NO_COLOR=1", *REACTOR, "dev", "app"]) as screen:
        screen.wait(PROMPT)
        save(project / "main.py", MAIN.replace("main()", "main("))
        screen.wait("last save held")
        assert screen.colours() == {}


def test_with_verbose_a_save_tells_its_stages(bench: Bench) -> None:
    project = bench.project({"main.py": MAIN}, SETTINGS)
    with dev(bench, "-v") as screen:
        screen.wait("✓ .* generation 1")
        save(project / "main.py", MAIN.replace("version 1", "version 2"))
        screen.wait(r"^  ms: watch [\d.]+  hash [\d.]+ .* ship [\d.]+ .* start [\d.]+  tell [\d.]+$")
