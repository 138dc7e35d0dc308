"""What docs/editors.md tells editors to look for is found in what the real commands print."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import WAIT_S, Bench, save

DOCUMENT = Path(__file__).parents[2] / "docs" / "editors.md"
SETTINGS = 'entry = "main:main"\nsettle_s = 0.2\ngrace_s = 0.5'
MAIN = "import time\n\ndef main():\n    while True:\n        time.sleep(0.05)\n"
SYNTAX = MAIN.replace("main()", "main(")
CRASH = MAIN.replace("    while", "    divide(0)\n    while") + "\ndef divide(by):\n    1 / by\n"

vim = pytest.mark.skipif(shutil.which("vim") is None, reason="vim is not installed")


def block(kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def task(label: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in json.loads(block("json"))["tasks"] if one["label"] == label)
    return found


def problems(matcher: dict[str, Any], output: str, folder: Path) -> list[tuple[Path, int, int | None, str]]:
    """What VS Code makes of ``output`` with a problem matcher."""
    pattern = matcher["pattern"]
    found = []
    for line in output.splitlines():
        match = re.search(pattern["regexp"], line)
        if match:
            column = match[pattern["column"]]
            place = folder / match[pattern["file"]], int(match[pattern["line"]]), int(column) if column else None
            found.append((*place, match[pattern["message"]]))
    return found


@pytest.mark.parametrize("where", [".", "app"], ids=["from above", "from the project"])
def test_the_problem_matcher_reads_a_syntax_error_and_a_crash(bench: Bench, where: str) -> None:
    project = bench.project({"main.py": SYNTAX, "other.py": "x =\n"}, SETTINGS)
    folder = bench.folder / where
    matcher = task("reactor push")["problemMatcher"]
    arguments = ("push", os.path.relpath(project, folder))
    bare = bench.plain(*arguments, cwd=folder).stdout
    (main, line, column, message), other = sorted(problems(matcher, bare, folder))
    assert (main.samefile(project / "main.py"), line, column) == (True, 3, 10)
    assert message.startswith("syntax error: ")
    assert (other[0].samefile(project / "other.py"), other[1:3]) == (True, (1, 4))
    (project / "other.py").unlink()
    save(project / "main.py", CRASH)
    ((main, line, column, message),) = problems(matcher, bench.plain(*arguments, cwd=folder).stdout, folder)
    assert (main.samefile(project / "main.py"), line, message) == (True, 9, "ZeroDivisionError: division by zero")


def test_wrong_settings_are_read_with_their_place(bench: Bench) -> None:
    project = bench.project({"main.py": MAIN}, "entri = 1")
    ((file, *_),) = problems(task("reactor push")["problemMatcher"], bench.plain("push", "app").stdout, bench.folder)
    assert file == project / "pyproject.toml"


class Task:
    """A task of VS Code: a process in a terminal, whose lines are read as they come."""

    def __init__(self, bench: Bench, described: dict[str, Any]) -> None:
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", described["command"], *described["args"]],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=bench.folder / "app",
            env={**bench.env, **described["options"]["env"]},
            start_new_session=True,
        )
        os.close(theirs)
        self._screen = open(ours, encoding="utf-8", errors="replace", newline="")  # noqa: SIM115
        self.said: list[str] = []

    def until(self, pattern: str) -> list[str]:
        """The lines up to the next one that matches."""
        lines: list[str] = []
        for line in self._screen:
            lines.append(line.rstrip("\r\n"))
            self.said.append(lines[-1])
            if re.search(pattern, lines[-1]):
                return lines
        raise AssertionError("\n".join(self.said))

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(WAIT_S)
        self._screen.close()


@contextmanager
def running(bench: Bench, described: dict[str, Any]) -> Iterator[Task]:
    made = Task(bench, described)
    try:
        yield made
    finally:
        made.end()


def test_the_background_task_begins_with_each_save_and_ends_with_its_result(bench: Bench) -> None:
    project = bench.project({"main.py": MAIN}, SETTINGS)
    described = task("reactor dev")
    matcher = described["problemMatcher"]
    begins, ends = matcher["background"]["beginsPattern"], matcher["background"]["endsPattern"]
    with running(bench, described) as dev:
        dev.until(ends)
        edits: list[tuple[str, str, list[tuple[Path, int, int | None, str]]]] = [
            ("main.py", SYNTAX, [(project / "main.py", 3, 10, "")]),
            ("main.py", CRASH, [(project / "main.py", 9, None, "ZeroDivisionError: division by zero")]),
            ("main.py", MAIN, []),
            ("pyproject.toml", "[tool.reactor]\nentri = 1\n", [(project / "pyproject.toml", 2, None, "")]),
            ("pyproject.toml", f"[tool.reactor]\n{SETTINGS}\n", []),
        ]
        for name, text, expected in edits:
            save(project / name, text)
            before = dev.until(begins)[:-1]
            assert problems(matcher, "\n".join(before), project) == []
            found = problems(matcher, "\n".join(dev.until(ends)), project)
            assert [one[:2] for one in found] == [one[:2] for one in expected]
            assert all(one[3].startswith(wanted[3]) for one, wanted in zip(found, expected, strict=True))
    assert not any("\x1b" in line for line in dev.said)


QUICKFIX = "map(getqflist(), {_, one -> [fnamemodify(bufname(one.bufnr), ':t'), one.lnum, one.col, one.text]})"


@vim
@pytest.mark.parametrize(
    ("main", "places"),
    [(SYNTAX, [("main.py", 3, 10)]), (CRASH, [("main.py", 9, 0), ("main.py", 4, 0), ("main.py", 9, 0)])],
    ids=["syntax error", "crash"],
)
def test_vim_goes_to_the_error_and_then_to_the_frames(
    bench: Bench, main: str, places: list[tuple[str, int, int]]
) -> None:
    project = bench.project({"main.py": main}, SETTINGS)
    (bench.folder / "errors").write_text(bench.plain("push", cwd=project).stdout)
    (bench.folder / "vimrc").write_text(block("vim"))
    command = ["vim", "-N", "-u", "../vimrc", "-i", "NONE", "-es", "-c", "cfile ../errors"]
    ask = (f"call writefile([json_encode({QUICKFIX})], '../found')", "call writefile([expand('%:p')], '../file')")
    for each in (*ask, "qall!"):
        command += ["-c", each]
    subprocess.run(command, cwd=project, env=bench.env, stdin=subprocess.DEVNULL, timeout=WAIT_S, check=False)
    own = [one for one in json.loads((bench.folder / "found").read_text()) if one[0] == "main.py"]
    assert [(name, line, column) for name, line, column, _ in own] == places
    assert own[0][3].strip().startswith(("syntax error: ", "ZeroDivisionError: division by zero"))
    assert (bench.folder / "file").read_text().strip() == str(project / "main.py")
