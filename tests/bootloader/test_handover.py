"""An application's state outlives its restart, and nothing that can go wrong with that costs the restart."""

from __future__ import annotations

import os
import signal
from itertools import count
from typing import Any

import pytest

from bootloader.wire.records import STATE_BYTES
from tests.bootloader.target import Change, Event, Target, app

ROBOT = """
import asyncio, atexit, json, os, pathlib, signal, sys, threading
state = None

def main():
    print(NAME, "begins with", state)
    {main}

{give}

{take}
"""
WAITS = "threading.Event().wait()"
GIVES = "def give(): return NAME"
TAKES = "def take(given, version): global state; state = given"
NAMES = (f"robot {number}" for number in count())


def robot(
    shared: Target, give: str = "def give(): pass", take: str = TAKES, main: str = WAITS, **more: Any
) -> tuple[Change, str]:
    """A generation that has been asked for, and its name."""
    name = next(NAMES)
    source = f"NAME = {name!r}\n" + ROBOT.format(main=main, give=give, take=take)
    spec = app(**{"settle_s": 0.0, "give": "app:give", "take": "app:take", "handover_s": 5.0, **more})
    return shared.ship(source, spec), name


def well(shared: Target, give: str = "def give(): pass", take: str = TAKES, **more: Any) -> tuple[Change, str]:
    """A generation that has got to its entry."""
    change, name = robot(shared, give, take, **more)
    shared.event("state", after=change.state("starting"), application="app", state="healthy")
    return change, name


def step(shared: Target, kind: str, change: Change) -> Event:
    return shared.event("handover", generation=change.generation, step=kind)


def steps(shared: Target, change: Change) -> list[Event]:
    return [
        event for event in shared.events if event["event"] == "handover" and event["generation"] == change.generation
    ]


def test_what_one_gives_the_next_takes_and_is_told_whose_it_is(shared: Target) -> None:
    old, _ = well(shared, "def give(): return {'at': [1.5, None, True], 'name': 'é'}")
    root = shared.tree.root
    _, name = well(shared, take="def take(given, version): global state; state = json.dumps([given, version])")
    version = {"generation": old.generation, "root": root}
    assert shared.event("log", text=f'{name} begins with [{{"at": [1.5, null, true], "name": "\\u00e9"}}, '
                                    f'{{"generation": {old.generation}, "root": "{version["root"]}"}}]')  # fmt: skip


def test_both_are_told_of(shared: Target) -> None:
    old, _ = well(shared, GIVES)
    new, name = well(shared)
    gave, took = step(shared, "give", old), step(shared, "take", new)
    assert gave["n"] < took["n"] < shared.log(f"{name} begins with {name[:6]}{int(name[6:]) - 1}")["n"]
    for told, entry in ((gave, "app:give"), (took, "app:take")):
        assert (told["application"], told["entry"], told["outcome"], told["why"]) == ("app", entry, "done", "")
        assert told["size_bytes"] == len(f'"{name}"')
        assert told["ms"] >= 0
    assert took["given_by"] == old.generation


def test_both_may_be_async(shared: Target) -> None:
    _, old = well(shared, "async def give(): return NAME")
    _, new = well(shared, take="async def take(given, version): global state; await asyncio.sleep(0); state = given")
    shared.log(f"{new} begins with {old}")


def test_a_rollback_hands_over_too(shared: Target) -> None:
    old, older = well(shared, GIVES)
    tree = shared.tree
    _, newer = well(shared, GIVES)
    shared.roll_back(old.generation)
    shared.tree = tree
    shared.log(f"{older} begins with {newer}")


def test_it_is_given_when_all_else_has_been_cleaned_up(shared: Target) -> None:
    main = "atexit.register(lambda: globals().update(NAME='cleaned up'))\n    threading.Event().wait()"
    well(shared, GIVES, main=main)
    _, new = well(shared)
    shared.log(f"{new} begins with cleaned up")


def test_one_that_ends_by_itself_gives_and_its_forks_do_not(shared: Target) -> None:
    main = "pid = os.fork()\n    if pid: os.waitpid(pid, 0)"
    change, old = robot(shared, GIVES, main=main)
    change.state("finished")
    assert len(steps(shared, change)) == 1
    _, new = well(shared)
    shared.log(f"{new} begins with {old}")


def test_a_megabyte_is_handed_over_as_it_is(shared: Target) -> None:
    most = STATE_BYTES - 2
    well(shared, f"def give(): return '\\\\\"' * ({most} // 4)")
    check = f"state = given == '\\\\\"' * ({most} // 4)"
    new, name = well(shared, take=f"def take(given, version): global state; {check}")
    shared.log(f"{name} begins with True")
    assert step(shared, "take", new)["size_bytes"] == most // 4 * 4 + 2


def test_it_waits_for_a_start_that_gets_as_far_as_its_entry(shared: Target) -> None:
    _, old = well(shared, GIVES)
    broken, _ = robot(shared, take="1 / 0")
    broken.state("failed")
    _, new = well(shared)
    shared.log(f"{new} begins with {old}")


def test_one_that_is_stopped_while_it_takes_leaves_the_state_to_the_next(shared: Target) -> None:
    _, old = well(shared, GIVES)
    slow, _ = robot(shared, take="def take(given, version): print(NAME, 'takes'); threading.Event().wait()")
    shared.event("log", after=slow.state("starting"), stream="stdout")
    _, new = well(shared)
    shared.log(f"{new} begins with {old}")
    assert steps(shared, slow) == []


def test_what_nobody_takes_is_gone(shared: Target) -> None:
    well(shared, GIVES)
    shared.ship("def main(): pass", app()).state("finished")
    _, new = well(shared)
    shared.log(f"{new} begins with None")


@pytest.mark.parametrize(
    ("give", "outcome", "why"),
    [
        ("def give(): pass", "nothing", ""),
        ("def give(): raise OSError('no bus')", "raised", "OSError: no bus"),
        ("def give(): sys.exit(3)", "raised", "SystemExit: 3"),
        ("def give(): threading.Event().wait()", "timed-out", "not done within 0.2 s"),
        ("async def give(): await asyncio.Event().wait()", "timed-out", "not done within 0.2 s"),
        ("def give(): os._exit(0)", "died", "exited with status 0"),
        ("def give(): os.kill(os.getpid(), 9)", "died", "killed by SIGKILL"),
        ("give = 3", "missing", "'give' of app can't be called"),
        ("", "missing", "app has no 'give'"),
        ("def give(): return {'a': [pathlib.Path('x')]}", "unfit",
         "the state['a'][0] is of pathlib.PosixPath, which is no plain data"),
        ("def give(): return [{7: 1}]", "unfit", "a key of the state[0] is 7: keys have to be texts"),
        ("def give(): global state; state = [state]; state[0] = state; return state", "unfit",
         "the state is nested too deeply, or holds itself"),
        (f"def give(): return 'x' * {STATE_BYTES}", "unfit",
         f"the state is {STATE_BYTES + 2} bytes of JSON, at most {STATE_BYTES} are handed over"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)  # fmt: skip
def test_what_can_not_be_given_is_told_and_the_next_starts_without(
    shared: Target, give: str, outcome: str, why: str
) -> None:
    old, _ = well(shared, give, handover_s=0.2, grace_s=5.0)
    _, new = well(shared)
    told = step(shared, "give", old)
    assert (told["outcome"], told["why"], told["size_bytes"]) == (outcome, why, 0)
    shared.log(f"{new} begins with None")


@pytest.mark.parametrize(
    ("take", "outcome", "why"),
    [
        ("def take(given, version): raise KeyError('x')", "raised", "KeyError: 'x'"),
        ("def take(given): pass", "raised", "TypeError: take() takes 1 positional argument but 2 were given"),
        ("def take(given, version): sys.exit(0)", "raised", "SystemExit: 0"),
        ("def take(given, version): threading.Event().wait()", "timed-out", "not done within 0.2 s"),
        ("def take(given, version): os._exit(0)", "died", "exited with status 0"),
        ("def take(given, version): os.abort()", "died", "killed by SIGABRT"),
        ("def take(given, version): signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM}); signal.pause()",
         "timed-out", "it did not come to its end, and was killed"),
        ("", "missing", "app has no 'take'"),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else None,
)  # fmt: skip
def test_one_that_can_not_take_its_state_starts_again_without(
    shared: Target, take: str, outcome: str, why: str
) -> None:
    well(shared, GIVES)
    new, name = well(shared, take=take, handover_s=0.2)
    told = step(shared, "take", new)
    assert (told["outcome"], told["why"]) == (outcome, why)
    assert shared.log(f"{name} begins with None")["n"] > told["n"]
    assert new.healthy()
    told_of_it = [event for event in shared.events if event.get("generation") == new.generation]
    assert {event["state"] for event in told_of_it if event["event"] == "state"} <= {"starting", "running", "healthy"}


def test_an_exception_of_either_comes_with_its_place(shared: Target) -> None:
    old, _ = well(shared, "def give():\n    raise OSError('no bus')")
    well(shared)
    problem = shared.problem(old)
    assert problem["code"] == "call-raised"
    assert problem["what"] == "app:give: OSError: no bus"
    assert problem["frames"][-1]["function"] == "give"


def test_a_crash_gives_nothing(shared: Target) -> None:
    old, _ = well(shared, GIVES)
    os.kill(shared.status()["pid"], signal.SIGKILL)
    old.state("failed")
    _, new = well(shared)
    shared.log(f"{new} begins with None")
    assert steps(shared, old) == []


def test_it_is_over_within_the_grace_time(shared: Target) -> None:
    old, _ = well(shared, "def give(): threading.Event().wait()", grace_s=1.0)
    well(shared)
    assert step(shared, "give", old)["outcome"] == "timed-out"
    assert [event for event in shared.events if event.get("code") == "killed"] == []
