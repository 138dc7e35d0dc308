"""What follows a bad end: whose callable puts the outputs in their safe state, and what a handler's word is worth."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootloader.store.loans import Loan
from bootloader.supervisor.aftermath import Aftermath
from bootloader.supervisor.application import End
from bootloader.wire.launch import Application, Launch
from tests.bootloader.caller import Caller
from tests.bootloader.target import SOON_S

DIED = End("exited with status 1", code=1)
SPEC = Application("app", "app:main", safe="app:off", safe_s=SOON_S)


class Board:
    """A live tree, and maybe another one of the last healthy generation, number 3. The live one is generation 5."""

    def __init__(self, folder: Path) -> None:
        self.caller = Caller(folder)
        self.healthy = folder / "healthy"
        self.healthy.mkdir()
        (folder / "live").symlink_to(self.caller.tree)
        self.loan: Loan | None = None
        self.fails: OSError | None = None
        self.lent = 0
        self.aftermath = Aftermath(folder, self.caller.journal, self.caller.warmth, self._lend)

    def _lend(self) -> Loan | None:
        if self.fails is not None:
            raise self.fails
        self.lent += self.loan is not None
        return self.loan

    def _back(self) -> None:
        self.lent -= 1

    def lend(self, tree: Path, spec: Application, generation: int = 3) -> None:
        self.loan = Loan(tree, Launch((spec,)), generation, self._back)

    def live(self, source: str) -> None:
        (self.caller.tree / "app.py").write_text(source)

    def last_healthy(self, source: str, spec: Application = SPEC) -> None:
        (self.healthy / "app.py").write_text(source)
        self.lend(self.healthy, spec)

    def make_safe(self, spec: Application = SPEC, end: End = DIED) -> list[dict[str, Any]]:
        """What is told by when the application may start again."""
        done: queue.Queue[None] = queue.Queue()

        def call() -> None:
            self.aftermath.make_safe(Launch((spec,)), spec, 5, end, lambda: done.put(None))

        self.caller.turns.call(call, SOON_S)
        done.get(timeout=SOON_S)
        assert done.empty()
        assert self.lent == 0
        return self.told()

    def ask(self, deaths: int = 1, end: End = DIED, **launch: Any) -> str:
        answers: queue.Queue[str] = queue.Queue()

        def call() -> None:
            self.aftermath.ask(Launch((SPEC,), **launch), SPEC, 5, end, deaths, answers.put)

        self.caller.turns.call(call, SOON_S)
        answer = answers.get(timeout=SOON_S)
        assert answers.empty()
        return answer

    def told(self) -> list[dict[str, Any]]:
        """The events, less logs and what changes from one to the next."""
        lines = map(json.loads, self.caller.journal.pull(0, 10_000, 2**24, 0)[2].splitlines())
        return [{key: event[key] for key in event if key not in ("n", "at", "mono", "ms")} for event in lines
                if event["event"] in ("safe", "handler", "problem")]  # fmt: skip


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path)
    yield made
    made.caller.close()


def safe(outcome: str, generation: int, why: str = "", entry: str = "app:off") -> dict[str, Any]:
    told = {"application": "app", "generation": generation, "entry": entry, "outcome": outcome, "why": why}
    return {"event": "safe", **told}


NO_OTHER = "no healthy generation has one"
NOT_DONE = "the healthy generation's did not do it"


def test_the_last_healthy_generation_makes_safe_and_not_what_died(board: Board) -> None:
    board.live("raise SystemExit('broken')")
    board.last_healthy("def off(): print('off by 3', __file__)\n")
    assert board.make_safe() == [safe("done", 3)]
    assert board.caller.logs() == [("stdout", f"off by 3 {board.healthy / 'app.py'}")]


def test_it_runs_with_the_settings_of_its_own_time(board: Board) -> None:
    board.last_healthy(
        "import os\ndef dark(): print(os.environ['LED'])\n",
        Application("app", "app", env={"LED": "4"}, safe="app:dark"),
    )
    spec = Application("app", "app", env={"LED": "17"}, safe="app:off")
    assert board.make_safe(spec) == [safe("done", 3, entry="app:dark")]
    assert board.caller.logs() == [("stdout", "4")]


def test_where_the_healthy_generation_is_live_its_files_are_told_as_the_live_ones(board: Board) -> None:
    board.live("def off(): 1 / 0\n")
    board.lend(board.caller.tree, SPEC, generation=5)
    problem, outcome = board.make_safe()
    assert problem["frames"] == [{"file": f"{board.caller.folder}/live/app.py", "line": 1, "function": "off"}]
    assert (problem["code"], problem["what"]) == ("call-raised", "app:off: ZeroDivisionError: division by zero")
    assert outcome == safe("raised", 5, "ZeroDivisionError: division by zero")


def test_where_no_generation_was_healthy_the_one_that_died_makes_safe(board: Board) -> None:
    board.live("def off(): print('off by 5')\n")
    assert board.make_safe() == [safe("done", 5, NO_OTHER)]


def test_where_the_healthy_one_has_no_callable_the_one_that_died_makes_safe(board: Board) -> None:
    board.live("def off(): print('off by 5')\n")
    board.last_healthy("", Application("app", "app"))
    assert board.make_safe() == [safe("done", 5, NO_OTHER)]


def test_where_the_healthy_one_fails_the_one_that_died_is_tried(board: Board) -> None:
    board.live("def off(): print('off by 5')\n")
    board.last_healthy("pass\n")
    assert board.make_safe() == [safe("missing", 3, "app has no 'off'"), safe("done", 5, NOT_DONE)]


def test_nothing_is_called_after_a_clean_end_or_where_there_is_nothing_to_call(board: Board) -> None:
    board.last_healthy("def off(): print('off')\n")
    assert board.make_safe(end=End("its entry point returned", code=0, clean=True)) == []
    board.loan = None
    assert board.make_safe(Application("app", "app")) == []


def test_where_the_healthy_generation_can_not_be_had_the_one_that_died_is_tried(board: Board) -> None:
    board.live("def off(): print('off by 5')\n")
    board.fails = OSError("the disk is gone")
    (told,) = board.make_safe()
    assert (told["outcome"], told["generation"]) == ("done", 5)


def test_whatever_it_does_it_is_over_in_its_time(board: Board) -> None:
    board.live("def off(): raise OSError('no pin')\n")
    hangs = Application("app", "app", safe="app:off", safe_s=0.3)
    board.last_healthy("import time\ndef off(): time.sleep(1000)\n", hangs)
    timed_out, problem, raised = board.make_safe()
    assert timed_out == safe("timed-out", 3, "not done within 0.3 s, and killed")
    assert problem["code"] == "call-raised"
    assert raised == safe("raised", 5, f"OSError: no pin; {NOT_DONE}")


# The handler


def handler(outcome: str, answer: str, why: str = "") -> dict[str, Any]:
    told = {"application": "app", "generation": 5, "entry": "app:ask", "outcome": outcome, "answer": answer, "why": why}
    return {"event": "handler", **told}


@pytest.mark.parametrize("answer", ["restart", "continue", "rollback", "stop"])
def test_the_handler_answers(board: Board, answer: str) -> None:
    board.live(f"async def ask(told): return {answer!r}\n")
    assert board.ask(handler="app:ask") == answer
    assert board.told() == [handler("answered", answer)]


def test_the_handler_is_told_which_application_ended_why_and_how_often(board: Board) -> None:
    board.live("import json\ndef ask(told): print(json.dumps(told))\n")
    end = End("killed by SIGSEGV", signal="SIGSEGV")
    board.ask(handler="app:ask", deaths=3, window_s=30.0, end=end)
    told = {"application": "app", "generation": 5, "deaths": 3, "window_s": 30.0}
    (line,) = board.caller.logs()
    assert json.loads(line[1]) == {**told, "why": "killed by SIGSEGV", "code": None, "signal": "SIGSEGV"}


SILENT = {
    "def ask(told): pass": ("answered", "it answered '', which is none of restart, continue, rollback, stop"),
    "def ask(told): return ['stop']": ("answered", "it answered '', which is none of"),
    "def ask(told): return 'Restart'": ("answered", "it answered 'Restart', which is none of"),
    "def ask(told): return 7": ("answered", "it answered '', which is none of"),
    "def ask(): return 'stop'": ("raised", "TypeError"),
    "def ask(told): raise SystemExit('stop')": ("raised", "SystemExit: stop"),
    "def ask(told):\n    while True: pass": ("timed-out", "not done within 0.5 s"),
    "import os\ndef ask(told): os._exit(0)": ("died", "exited with status 0"),
    "def asked(told): return 'stop'": ("missing", "app has no 'ask'"),
}


@pytest.mark.parametrize("source", SILENT)
def test_anything_else_is_no_answer(board: Board, source: str) -> None:
    board.live(source + "\n")
    assert board.ask(handler="app:ask", handler_s=0.5) == ""
    told = board.told()[-1]
    outcome, why = SILENT[source]
    assert told["why"].startswith(why)
    assert {**told, "why": ""} == handler(outcome, "")


def test_where_there_is_no_handler_nobody_is_asked(board: Board) -> None:
    assert board.ask() == ""
    assert board.told() == []
