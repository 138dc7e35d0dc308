"""Where a running application is: asked over the link, of a real bootloader, while the application goes on."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from bootloader.dump import BYTES, SIGNAL, Dump
from bootloader.wire.errors import Refused
from bootloader.wire.messages import Fields
from tests.bootloader.target import SOON_S, Target, app

HOLDS = "ctypes.PyDLL(None).sleep"
"""A call into C that does not give the interpreter's lock away meanwhile; it returns the seconds that were left."""


def look(target: Target, application: str = "app") -> tuple[Fields, list[bytes]]:
    return target.control.call("stack", {"application": application}, timeout_s=2 * SOON_S)


def run(target: Target, source: str) -> None:
    """Have the target run ``source``, up to where it has said `here`."""
    target.ship(source, app(settle_s=0.0))
    target.log("here")


def stick(target: Target, source: str) -> None:
    """Have the target run ``source``, up to where its main thread sleeps in C."""
    run(target, source)
    deadline, pause = monotonic() + SOON_S, threading.Event()
    while "nanosleep" not in Path(f"/proc/{target.status()['pid']}/wchan").read_text():
        assert monotonic() < deadline, "it does not get there"
        pause.wait(0.01)


def innermost(stack: dict[str, Any], files: list[str]) -> tuple[str, int, str]:
    """The application's own frame that is nearest to where it is."""
    file, line, function, _ = [frame for frame in stack["frames"] if files[frame[0]].endswith("/live/app.py")][-1]
    return files[file], line, function


SPINS = """
import threading

def spin():
    print("here")
    while True:
        pass

def main():
    threading.Thread(target=spin, name="spinner", daemon=True).start()
    threading.Event().wait()
"""


def test_every_thread_is_told_with_its_name_while_one_spins(target: Target) -> None:
    run(target, SPINS)
    answer, blobs = look(target)
    stacks = answer.child("stacks").plain()
    main, spinner = stacks["threads"]
    assert (main["name"], main["main"], main["daemon"]) == ("MainThread", True, False)
    assert (spinner["name"], spinner["main"], spinner["daemon"]) == ("spinner", False, True)
    assert innermost(main, stacks["files"])[1:] == (11, "main")
    assert innermost(spinner, stacks["files"])[1] in (5, 6, 7)
    assert (blobs, answer.text("why"), answer.integer("pid")) == ([], "", target.status()["pid"])
    assert {main["id"], spinner["id"]} <= {one.integer("id") for one in answer.objects("system")}


TASKS = """
import asyncio

async def work(number):
    await wait(number)

async def wait(number):
    await asyncio.sleep(1000)

async def main():
    tasks = [asyncio.create_task(work(number), name=f"worker {number}") for number in range(2)]
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(print, "here")
    await asyncio.gather(*tasks)
"""


def test_every_task_is_told_with_its_name_and_the_coroutines_that_it_waits_in(target: Target) -> None:
    run(target, TASKS)
    stacks = look(target)[0].child("stacks").plain()
    tasks = {task["name"]: task for task in stacks["tasks"]}
    assert {"worker 0", "worker 1"} < tasks.keys()
    worker = tasks["worker 1"]
    assert [frame[2] for frame in worker["frames"]][:2] == ["work", "wait"]
    assert (worker["coroutine"], worker["state"], worker["waits_for"]) == ("work", "waiting", "Future")
    (own,) = [task for name, task in tasks.items() if name not in ("worker 0", "worker 1")]
    assert (own["coroutine"], own["frames"][-1][1]) == ("main", 14)


def test_a_task_that_runs_is_told_with_all_that_it_is_at(target: Target) -> None:
    run(target, "async def main():\n    await spin()\nasync def spin():\n    print('here')\n    while True: pass\n")
    (task,) = look(target)[0].child("stacks").plain()["tasks"]
    assert (task["coroutine"], task["state"]) == ("main", "running")
    assert [frame[2] for frame in task["frames"]][:2] == ["main", "spin"]


STUCK = f"""
import ctypes, threading

def main():
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    print("here")
    print("left:", hold())
    threading.Event().wait()

def hold():
    return {HOLDS}(6)
"""


def test_a_call_into_c_that_holds_the_lock_is_told_and_not_cut_short(target: Target) -> None:
    stick(target, STUCK)
    answer, (dump,) = look(target)
    assert answer.text("why").startswith("did not answer within 2 s: a call into C")
    assert answer.child("stacks").plain() == {}
    assert b'/live/app.py", line 11 in hold' in dump
    assert b"in _bootstrap" in dump, "the other thread is there, too"
    assert {one.text("waits_in") for one in answer.objects("system")} >= {"hrtimer_nanosleep"}
    target.log("left: 0")
    assert "threads" in look(target)[0].child("stacks"), "it answers again"


def test_an_expression_that_never_comes_to_an_end_is_told(target: Target) -> None:
    run(target, "import re\ndef main():\n    print('here'), re.match('(a*)*b', 'a' * 60)\n")
    _, (dump,) = look(target)
    assert b'/live/app.py", line 3 in main' in dump


def test_two_dumps_are_two(target: Target) -> None:
    stick(target, STUCK.replace("(6)", "(600)"))
    (first,), (second,) = look(target)[1], look(target)[1]
    assert first == second


def test_an_application_that_is_stuck_at_its_import_is_told(target: Target) -> None:
    stick(target, "import time\nprint('here')\ntime.sleep(600)\n")
    answer, (dump,) = look(target)
    assert answer.text("why") == "is starting"
    assert b'/live/app.py", line 3 in <module>' in dump


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (f"import faulthandler; faulthandler.unregister({SIGNAL})", "does not take that signal any more"),
        (f"import signal; signal.signal({SIGNAL}, lambda *_: None)", "put a handler of its own"),
        (f"import signal; signal.signal({SIGNAL}, signal.SIG_IGN)", "does not take that signal any more"),
        ("import os; os.closerange(3, 1000)", "has closed the descriptor"),
    ],
)
def test_where_it_can_t_be_had_by_the_signal_that_is_said_and_nothing_happens(
    target: Target, before: str, why: str
) -> None:
    stick(target, f"import ctypes, threading\ndef main():\n    {before}\n    print('here')\n    {HOLDS}(600)\n")
    answer, blobs = look(target)
    assert why in answer.text("why")
    assert blobs == []
    assert answer.objects("system")[0].text("state") == "sleeping"
    assert target.status()["state"] == "healthy"


def test_what_the_application_has_forked_does_not_answer_for_it(target: Target) -> None:
    stick(
        target,
        "import ctypes, os\ndef main():\n    forked()\n    print('here')\n"
        f"    {HOLDS}(600)\ndef forked():\n    if os.fork() == 0:\n        {HOLDS}(600)\n",
    )
    _, (dump,) = look(target)
    assert b"in main" in dump
    assert b"in forked" not in dump


def test_an_application_that_is_patched_goes_on_to_answer(target: Target) -> None:
    source = (
        "import threading\ndef step():\n    return 1\ndef main():\n    print('here')\n    threading.Event().wait()\n"
    )
    target.ship(source, app(settle_s=0.0), reload="auto")
    target.log("here")
    look(target)
    change = target.ship(source.replace("return 1", "return 2"), app(settle_s=0.0), reload="auto")
    assert change.answer.text("rung") == "patch"
    assert "threads" in look(target)[0].child("stacks")


def test_an_application_that_does_not_run_is_refused(target: Target) -> None:
    with pytest.raises(Refused) as refused:
        look(target)
    assert refused.value.code == "unknown-application"
    change = target.ship("def main(): ...\n")
    change.state("finished")
    with pytest.raises(Refused) as refused:
        look(target)
    assert refused.value.code == "not-running"


def test_a_dump_takes_no_more_than_its_memory() -> None:
    dump = Dump()
    assert os.write(dump.descriptor, b"x" * (BYTES - 10)) == BYTES - 10
    assert os.write(dump.descriptor, b"y" * 20) == 10
    with pytest.raises(PermissionError):
        os.write(dump.descriptor, b"y")
    assert (dump.size, dump.text) == (BYTES, b"x" * (BYTES - 10) + b"y" * 10)
    dump.clear()
    assert dump.text == b""
    dump.close()


def test_the_signal_is_one_of_those_that_have_no_meaning() -> None:
    assert signal.SIGRTMIN < SIGNAL < signal.SIGRTMAX
