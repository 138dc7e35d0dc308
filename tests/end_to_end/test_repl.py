"""``reactor repl`` without a terminal: lines and programs for scripts, against a running ``reactor dev``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from .conftest import WAIT_S, Bench, benched
from .documented import breaches

MAIN = """\
import asyncio
import logging

limit = 3
ran = []

class Sensor:
    samples = {"porch": [1, 2.5], "hall": []}

    @property
    def effect(self):
        ran.append("property")

sensor = Sensor()

def fail(depth):
    return 1 / 0 if not depth else fail(depth - 1)

async def loops():
    return asyncio.get_running_loop() is home

async def main():
    global home
    home = asyncio.get_running_loop()
    logging.basicConfig(level="INFO")
    while True:
        await asyncio.sleep(0.05)
"""


LOGS = """\
import logging, threading
logging.info("mine")
thread = threading.Thread(target=print, args=["other"])
thread.start()
thread.join()
"""


@dataclass
class Ended:
    status: int
    out: str
    err: str


class Desk:
    """A project that runs, and programs for it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.project = bench.project({"main.py": MAIN}, 'entry = "main:main"\nsettle_s = 0.1')
        self.dev = bench.dev(self.project)
        self.dev.wait("result", healthy=True)

    def repl(self, *arguments: str, program: str = "") -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "reactor", "repl", *arguments],
            env=self.bench.env,
            cwd=self.project,
            input=program,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with benched(tmp_path_factory.mktemp("repl")) as bench:
        yield Desk(bench)


def test_a_line_prints_what_it_is_worth_and_nothing_else(desk: Desk) -> None:
    assert desk.repl("-c", "limit * 2") == Ended(0, "6\n", "")
    assert desk.repl("-c", "x = 1") == Ended(0, "", "")
    assert desk.repl("-c", "sensor.samples") == Ended(0, "{'porch': [1, 2.5], 'hall': []}\n", "")


def test_a_program_on_standard_input_is_run_as_a_whole(desk: Desk) -> None:
    program = "import sys\nfor n in range(3):\n    print(n, end=' ')\n\nprint('err', file=sys.stderr)\n'last'\n"
    assert desk.repl(program=program) == Ended(0, "0 1 2 'last'\n", "err\n")


def test_two_hundred_lines_and_more_are_run_in_their_order(desk: Desk) -> None:
    program = (
        "total = 0\n" + "\n\n".join(f"def f{n}():\n    return {n}\ntotal += f{n}()" for n in range(200)) + "\ntotal"
    )
    assert desk.repl(program=program) == Ended(0, f"{sum(range(200))}\n", "")


def test_what_is_raised_is_told_with_the_projects_own_lines(desk: Desk) -> None:
    ended = desk.repl("-c", "fail(1)")
    assert (ended.status, ended.out) == (1, "")
    file = desk.project / "main.py"
    assert ended.err.splitlines() == [
        "Traceback (most recent call last):",
        '  File "<repl>", line 1, in <module>',
        "    fail(1)",
        f'  File "{file}", line 17, in fail',
        "    return 1 / 0 if not depth else fail(depth - 1)",
        "                                   ^^^^^^^^^^^^^^^",
        f'  File "{file}", line 17, in fail',
        "    return 1 / 0 if not depth else fail(depth - 1)",
        "           ^^^^^",
        "ZeroDivisionError: division by zero",
    ]


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit", 0), ("raise SystemExit(3)", 3), ("raise SystemExit('why')", 1), ("1 +", 1), ("1 / 0", 1)],
)
def test_the_exit_status_is_the_statements(desk: Desk, code: str, status: int) -> None:
    assert desk.repl("-c", code).status == status
    assert desk.repl("-c", "limit").out == "3\n"  # and it ends nothing else


def test_what_it_awaits_runs_on_the_applications_own_loop(desk: Desk) -> None:
    assert desk.repl("-c", "await loops()").out == "True\n"
    assert desk.repl("-c", "async for n in __import__('main').numbers(): print(n)").status == 1


def test_logs_of_the_statement_come_to_it_and_others_go_where_they_always_do(desk: Desk) -> None:
    ended = desk.repl("-c", LOGS)
    assert "mine" in ended.err
    assert "other" not in ended.out + ended.err
    desk.dev.wait("log", text="other")
    assert "mine" not in " ".join(desk.dev.texts())


def test_json_lines_are_as_documented(desk: Desk) -> None:
    ended = desk.repl("--json", "-c", "print('a')\nsensor.nothing")
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert [event["event"] for event in events] == ["session", "output", "answer"]
    assert [breach for event in events for breach in breaches(event)] == []
    assert (events[-1]["outcome"], events[-1]["status"], ended.status, ended.err) == ("raised", 1, 1, "")
    assert events[-1]["why"] == "AttributeError: 'Sensor' object has no attribute 'nothing'"


def test_large_results_are_cut_with_a_note(desk: Desk) -> None:
    ended = desk.repl("-c", "list(range(10 ** 6))")
    assert ended.out.startswith("[0, 1, 2, ")
    assert len(ended.out) < 25_000
    assert ended.err == "(cut: 1000 of 1000000 items)\n"


def test_where_nothing_runs_it_says_so(bench: Bench) -> None:
    project = bench.project({"main.py": MAIN})
    done = bench.plain("repl", "-c", "1", cwd=project)
    assert (done.returncode, done.stdout) == (1, "✗ local: the embedded target does not run (`reactor dev` runs it)\n")


def test_an_application_that_is_held_has_an_interpreter_beside_it(bench: Bench) -> None:
    project = bench.project({"main.py": "1 / 0\n", "more.py": "here = 7\n"}, 'entry = "main"\nsettle_s = 0.1')
    dev = bench.dev(project)
    dev.wait("state", state="failed")
    code, events = bench.run(
        "repl", "--path", str(project), "-c", "import more, os; more.here, os.environ['REACTOR_APPLICATION']"
    )
    assert (code, events[-1]["text"]) == (0, "(7, 'app')")
    assert events[0]["state"] == "beside"
    assert dev.end() == 0
