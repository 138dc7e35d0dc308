"""The screen of ``reactor dev``, looked at in a real terminal: what a person sees, line by line."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest

from .conftest import WAIT_S, Bench, save, until

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux, which shows the screen, is not installed")

COLUMNS, LINES, HISTORY = 160, 50, 200_000
PROMPT = "^local>"
CLOCK = r"\d\d:\d\d:\d\d\.\d{3}"
SETTINGS = 'entry = "main:main"\nsettle_s = 0.2\ngrace_s = 0.5'
MAIN = """\
import time

def main():
    print("version 1")
    while True:
        time.sleep(0.05)
"""


class Screen:
    """A terminal in which commands run, one after the other; a line says how each ended. Times are shown as ``N``."""

    def __init__(self, bench: Bench, *commands: Sequence[str | Path], columns: int = COLUMNS) -> None:
        self._sockets = tempfile.mkdtemp(prefix="screen-")  # a socket's path must be short
        self._env = {**bench.env, "TMUX_TMPDIR": self._sockets, "LC_ALL": "C.UTF-8"}
        for name in ("TMUX", "COLUMNS", "LINES"):  # whoever runs the tests may have said how wide it is
            self._env.pop(name, None)
        size = ("-x", str(columns), "-y", str(LINES))
        runs = "".join(f"{shlex.join(map(str, command))}; echo ended with $?; " for command in commands)
        script = f"trap : INT; {runs} cat"  # the shell is not interrupted, what it runs is
        (bench.folder / "tmux.conf").write_text(f"set -g history-limit {HISTORY}\n")
        self._tmux(
            "-f",
            str(bench.folder / "tmux.conf"),
            "new-session",
            "-d",
            *size,
            "-c",
            str(bench.folder),
            "sh",
            "-c",
            script,
        )

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-u", *words]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=WAIT_S, check=True)
        return done.stdout

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def resize(self, columns: int) -> None:
        self._tmux("resize-window", "-x", str(columns))

    def lines(self, *more: str) -> list[str]:
        """What is on it, without the empty rest and the times of output; with ``-S -``, what has scrolled off, too."""
        shown = re.sub(rf"(?m)^{CLOCK} (?=\w+[ !DIWEC]│)", "", self._tmux("capture-pane", "-p", *more))
        return [re.sub(r"\b[\d.]+ (ms|s)\b", r"N \1", line.rstrip()) for line in shown.rstrip("\n").splitlines()]

    def colours(self) -> dict[str, str]:
        """The words on it that are red or green; the last one of those that are there more than once."""
        colour = ""
        found: dict[str, str] = {}
        shown = self._tmux("capture-pane", "-p", "-e")
        for code, text in re.findall(r"(?:\x1b\[([\d;]*)m)?([^\x1b]+|(?=\x1b))", shown):
            for one in code.split(";"):
                colour = {"31": "red", "32": "green", "39": "", "0": ""}.get(one, colour)
            found |= dict.fromkeys(text.split(), colour)
        return {word: colour for word, colour in found.items() if colour}

    def wait(self, pattern: str, wait_s: float = WAIT_S) -> None:
        """Until a line matches."""
        try:
            until(lambda: any(re.search(pattern, line) for line in self.lines()), wait_s)
        except AssertionError:
            raise AssertionError(f"no {pattern} in:\n" + "\n".join(self.lines())) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")
        shutil.rmtree(self._sockets)


REACTOR = (sys.executable, "-m", "reactor")


def test_a_session_of_dev_is_told_in_these_lines(bench: Bench) -> None:
    project = bench.project({"main.py": MAIN}, SETTINGS)
    python = f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}"
    with Screen(bench, [*REACTOR, "dev", "app"]) as screen:
        screen.wait("✓ .* generation 1")
        save(project / "main.py", MAIN.replace("version 1", "version 2"))
        screen.wait("✓ .* generation 2")
        save(project / "main.py", MAIN.replace("main()", "main("))
        screen.wait("held")
        save(project / "main.py", MAIN.replace("    while", "    1 / 0\n    while"))
        screen.wait("✗ .* generation 3")
        save(project / "main.py", MAIN.replace("version 1", "version 4"))
        screen.wait("✓ .* generation 4")
        screen.press("C-c")
        screen.wait("^ended with 0$")

        lines = screen.lines()
        caret = next(number for number, line in enumerate(lines) if line.strip() == "^")
        assert re.fullmatch(r"✗ main\.py:3:10: syntax error: .+", lines[caret - 2])
        lines[caret - 2] = "✗ main.py:3:10: syntax error: …"
        underlines = [line for line in lines if line.strip() == "~~^~~"]
        assert [line for line in lines if line not in underlines] == [
            f"● app on local: generation 1, 3 files, Python {python}, watching",
            "app │ version 1",
            "✓ main.py, pyproject.toml · restart: first start · healthy · generation 1 · N ms",
            "app │ version 2",
            "✓ main.py · restart: code changed · healthy · generation 2 · N ms",
            "✗ main.py:3:10: syntax error: …",
            "    def main(:",
            "             ^",
            "✗ main.py · hold: it does not compile · held",
            "app │ version 1",
            "✗ main.py:5: ZeroDivisionError: division by zero",
            "  Traceback (most recent call last):",
            f'    File "{project}/main.py", line 5, in main',
            "      1 / 0",
            "  ZeroDivisionError: division by zero",
            "  app failed (exited with status 1)",
            "✗ main.py · restart: code changed; app exited with status 1 · not healthy · generation 3 · N ms",
            "app │ version 4",
            "✓ main.py · restart: it was not running · healthy · generation 4 · N ms",
            "ended with 0",
        ]
    until(lambda: not bench.processes())


def test_good_is_green_and_bad_is_red(bench: Bench) -> None:
    project = bench.project({"main.py": MAIN}, SETTINGS)
    with Screen(bench, [*REACTOR, "dev", "app"]) as screen:
        screen.wait("✓ .* generation 1")
        screen.wait(PROMPT)
        assert screen.colours() == {"●": "green", "✓": "green", "healthy": "green"}
        save(project / "main.py", MAIN.replace("main()", "main("))
        screen.wait("held")
        red = [word for word, colour in screen.colours().items() if colour == "red"]
        assert {"✗", "syntax", "^", "held"} <= set(red)
        assert "main.py" not in red
        screen.press("C-c")
        screen.wait("^ended with 0$")


BAR = """\
import sys
from reactor.terminal import Terminal

with Terminal(as_json=False) as terminal:
    try:
        ship = {"event": "progress", "target": "porch-light", "what": "ship", "total_bytes": 4_000_000_000}
        terminal.tell({**ship, "done_bytes": 1_000_000_000})
        log = {"event": "log", "target": "porch-light", "application": "app", "stream": "stdout"}
        for number in range(3):
            terminal.tell({**log, "text": f"line {number}"})
        sys.stdin.readline()
        if sys.argv[1]:
            raise KeyboardInterrupt
        terminal.tell({**ship, "done_bytes": 4_000_000_000})
        terminal.tell({**log, "text": "after"})
    except KeyboardInterrupt:
        terminal.interrupted()
"""


@pytest.mark.parametrize("columns", [60, 80, 160])
@pytest.mark.parametrize("ending", ["", "interrupted"], ids=["done", "interrupted"])
def test_a_bar_stays_below_the_lines_and_leaves_nothing_behind(bench: Bench, columns: int, ending: str) -> None:
    (bench.folder / "bar.py").write_text(BAR)
    with Screen(bench, ["stty", "-echo"], [sys.executable, "bar.py", ending], columns=columns) as screen:
        lines = ["ended with 0", "app │ line 0", "app │ line 1", "app │ line 2"]
        until(lambda: screen.lines()[:-1] == lines)
        bar = screen.lines()[-1]
        assert bar.startswith("shipping to porch-light: 1.0 GB of 4.0 GB ━")
        assert len(bar) < columns
        screen.press("Enter")
        lines += [] if ending else ["app │ after"]
        until(lambda: [line for line in screen.lines() if line] == [*lines, "ended with 0"])


def test_a_table_is_straight(bench: Bench) -> None:
    project = bench.project({"main.py": MAIN}, SETTINGS)
    assert bench.run("push", "app")[0] == 0
    path = ["--path", str(project)]
    with Screen(bench, [*REACTOR, "history", *path], [*REACTOR, "status", *path]) as screen:
        until(lambda: screen.lines().count("ended with 0") == 2)
        header, row, _, first, *more, _ = screen.lines()
        starts = [match.start() for match in re.finditer(r"(?<!\S)\S+( \S+)*", row)]
        assert starts == [header.index(word) for word in ("generation", "when", "fate", "root", "who", "why")]
        assert first.startswith("local: generation 1 (healthy), root ")
        assert any(line.endswith(", does not run now") for line in more)


@pytest.mark.parametrize(("term", "key"), [("dumb", "r"), ("screen", "F5")], ids=["single keys", "beside a prompt"])
def test_a_key_restarts_what_runs_and_what_the_settings_would_not_let_restart(
    bench: Bench, term: str, key: str
) -> None:
    project = bench.project({"main.py": MAIN}, f'{SETTINGS}\nreload = "patch"')
    with Screen(bench, ["env", f"TERM={term}", *REACTOR, "dev", "app"]) as screen:
        screen.wait("^✓ .* generation 1")
        if key == "F5":
            screen.wait(PROMPT)
        screen.press(key)
        screen.wait("^✓ restart: asked to · healthy · generation 1")
        save(project / "main.py", MAIN.replace("import time", "import time\nprint('at import')"))
        screen.wait("hold: it was refused · held")
        screen.press(key)
        screen.wait("^✓ main.py · restart: code changed · healthy · generation 2")
        screen.press("C-c")
        screen.wait("^ended with 0$")
        assert screen.lines().count("app │ at import") == 1
        if term == "dumb":
            assert not any(re.search(PROMPT, line) for line in screen.lines())
