"""Calls of an application's code: what comes of them, in bounded time, with nothing left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bootloader.caller import Caller
from tests.bootloader.target import SOON_S, alive, descendants


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    made = Caller(tmp_path)
    yield made
    made.close()


def test_an_answer_is_plain_json_and_arguments_are_too(caller: Caller) -> None:
    source = "def call(told, more): return {'told': told, 'more': [more, None, 1.5]}"
    outcome = caller.call(source, {"why": "because"}, True)
    assert (outcome.kind, outcome.answer) == ("answered", {"told": {"why": "because"}, "more": [True, None, 1.5]})


def test_a_coroutine_is_waited_for(caller: Caller) -> None:
    outcome = caller.call("import asyncio\nasync def call():\n    await asyncio.sleep(0)\n    return 'done'\n")
    assert (outcome.kind, outcome.answer) == ("answered", "done")


@pytest.mark.parametrize("result", ["object()", "{1, 2}", "b'bytes'", "deep", "'long' * 10_000"])
def test_an_answer_that_is_not_plain_and_short_is_none(caller: Caller, result: str) -> None:
    outcome = caller.call(f"deep = []\nfor _ in range(5000): deep = [deep]\ndef call(): return {result}\n")
    assert (outcome.kind, outcome.answer) == ("answered", None)


def test_it_runs_with_the_applications_environment_folder_and_path(caller: Caller) -> None:
    told = "os.environ['LED'], os.environ['REACTOR_GENERATION'], os.getcwd(), __file__"
    outcome = caller.call(f"import os\ndef call(): return [{told}]\n", LED="17")
    assert outcome.answer == ["17", "7", str(caller.folder / "data" / "app"), str(caller.tree / "app.py")]


def test_what_it_prints_is_the_applications_log(caller: Caller) -> None:
    source = """
import logging, sys
def call():
    print("out")
    print("err", file=sys.stderr)
    logging.warning("logged")
    print("unfinished", end="")
"""
    assert caller.call(source).kind == "answered"
    assert caller.logs() == [
        ("stdout", "out"),
        ("stderr", "err"),
        ("log", "WARNING:root:logged"),
        ("stdout", "unfinished"),
    ]


RAISES = {
    "def call(): 1 / 0": "ZeroDivisionError: division by zero",
    "def call(): raise SystemExit(0)": "SystemExit: 0",
    "def call(one): pass": "TypeError: call() missing 1 required positional argument: 'one'",
    "import nothing_such": "ModuleNotFoundError: No module named 'nothing_such'",
    "def call(:": "SyntaxError: invalid syntax",
}


@pytest.mark.parametrize("source", RAISES)
def test_what_it_raises_is_told_with_its_traceback(caller: Caller, source: str) -> None:
    outcome = caller.call(source)
    assert outcome.kind == "raised"
    assert RAISES[source] in outcome.why
    assert outcome.problem["traceback"]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("nowhere:call", "there is no module 'nowhere'"),
        ("app.nowhere:call", "there is no module 'app.nowhere'"),
        ("app:nowhere", "app has no 'nowhere'"),
        ("app:Pins.nowhere", "app has no 'Pins.nowhere'"),
        ("app:LED", "'LED' of app can't be called"),
    ],
)
def test_what_is_not_there_is_missing(caller: Caller, entry: str, why: str) -> None:
    (caller.tree / "app.py").write_text("class Pins: pass\nLED = 17\n")
    outcome = caller.begin(entry).get(timeout=SOON_S)
    assert (outcome.kind, outcome.why) == ("missing", why)


DIES = {
    "import os\ndef call(): os._exit(0)": "exited with status 0",
    "import os\ndef call(): os._exit(3)": "exited with status 3",
    "import os\ndef call(): os.kill(os.getpid(), 9)": "killed by SIGKILL",
    "import os\ndef call(): os.abort()": "killed by SIGABRT",
}


@pytest.mark.parametrize("source", DIES)
def test_a_death_without_an_answer_is_told(caller: Caller, source: str) -> None:
    outcome = caller.call(source)
    assert (outcome.kind, outcome.why) == ("died", DIES[source])


HANGS = {
    "a loop": "while True: pass",
    "deaf": "[signal.signal(number, signal.SIG_IGN) for number in (1, 2, 15)]; signal.pause()",
    "in a lock": "threading.Event().wait()",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "with a deaf child": "os.fork(); print(os.getpid()); signal.signal(15, signal.SIG_IGN); signal.pause()",
    "telling for ever that it begins": "while os.write(1, b'\\x1eRn\\x00\\x10{\"begun\": true}\\n'): pass",
}


@pytest.mark.parametrize("hang", HANGS.values(), ids=HANGS)
def test_a_call_that_hangs_is_killed_with_its_whole_group(caller: Caller, hang: str) -> None:
    source = f"import os, signal, threading\ndef call():\n    print(os.getpid())\n    {hang}\n"
    outcome = caller.call(source, limit_s=0.5)
    assert (outcome.kind, outcome.why) == ("timed-out", "not done within 0.5 s, and killed")
    assert not any(map(alive, caller.printed_pids()))


def test_an_import_that_hangs_counts_too(caller: Caller) -> None:
    outcome = caller.call("import time\ntime.sleep(1000)\ndef call(): pass\n", limit_s=0.3)
    assert outcome.kind == "timed-out"


def test_one_that_has_answered_and_does_not_end_has_answered_and_is_ended(caller: Caller) -> None:
    source = """
import os, subprocess, threading
def call():
    threading.Thread(target=threading.Event().wait).start()
    print(os.getpid())
    print(subprocess.Popen(["sleep", "1000"]).pid)
    return "done"
"""
    outcome = caller.call(source, limit_s=0.5)
    assert (outcome.kind, outcome.answer) == ("answered", "done")
    assert not any(map(alive, caller.printed_pids()))


def test_its_end_is_an_orderly_one(caller: Caller) -> None:
    source = "import atexit\ndef call():\n    atexit.register(print, 'at exit')\n    return 1\n"
    assert caller.call(source).answer == 1
    assert caller.logs() == [("stdout", "at exit")]


def test_the_process_that_stands_by_is_not_used(caller: Caller) -> None:
    standby = caller.turns.call(caller.warmth.take, SOON_S)  # the next one to become an application
    pid = caller.call("import os\ndef call(): return os.getpid()").answer
    assert isinstance(pid, int)
    assert pid != standby.pid
    assert not standby.ended
    caller.turns.call(standby.close, SOON_S)


def test_a_call_survives_the_death_of_the_warm_parent_before_it_began(caller: Caller) -> None:
    (caller.tree / "app.py").write_text("def call(): return 'here'\n")
    parent = caller.warm_parent()
    os.kill(parent, signal.SIGSTOP)
    told = caller.begin("app:call")
    os.kill(parent, signal.SIGKILL)
    assert told.get(timeout=SOON_S).answer == "here"


def test_a_call_does_not_hang_where_the_warm_parent_does(caller: Caller) -> None:
    (caller.tree / "app.py").write_text("def call(): return 'here'\n")
    parent = caller.warm_parent()
    os.kill(parent, signal.SIGSTOP)
    before = set(descendants(os.getpid()))
    told = caller.begin("app:call")
    assert told.get(timeout=2 * SOON_S).answer == "here"
    deadline = time.monotonic() + SOON_S
    while not set(descendants(os.getpid())) <= before:
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)
    os.kill(parent, signal.SIGCONT)


def test_a_call_does_not_wait_for_what_is_imported_ahead(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(1000)\n")
    warm = {"modules": ["slow"], "cold": [], "env": {"PYTHONPATH": str(tmp_path)}}
    (tmp_path / "warm.json").write_text(json.dumps(warm))
    caller = Caller(tmp_path)
    assert caller.call("import sys\ndef call(): return 'slow' in sys.modules\n").answer is False
    caller.close()


def test_a_call_whose_code_kills_the_warm_parent_died(caller: Caller) -> None:
    outcome = caller.call("import os, time\ndef call():\n    os.kill(os.getppid(), 9)\n    time.sleep(1000)\n")
    assert outcome.kind == "died"


def test_where_the_bootloader_ends_the_call_is_told_to_have_died(tmp_path: Path) -> None:
    caller = Caller(tmp_path)
    (caller.tree / "app.py").write_text("import time\ndef call():\n    print('there')\n    time.sleep(1000)\n")
    told = caller.begin("app:call")
    while not caller.logs():
        caller.journal.pull(0, 1, 1024, SOON_S)
    caller.close()
    assert told.get(timeout=SOON_S).kind == "died"


def test_ten_calls_at_once_are_each_told_once(caller: Caller) -> None:
    (caller.tree / "app.py").write_text("def call(number): return number\n")
    told = [caller.begin("app:call", number) for number in range(10)]
    assert [one.get(timeout=SOON_S).answer for one in told] == list(range(10))
    assert all(one.empty() for one in told)
