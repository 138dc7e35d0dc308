"""What follows a death where nobody sits before it: the next start, the last healthy generation, or staying down."""

from __future__ import annotations

import itertools
import queue
import shutil
from contextlib import closing
from pathlib import Path

from bootloader.store.loans import Loan
from bootloader.supervisor.aftermath import Aftermath
from bootloader.supervisor.application import Application, End
from bootloader.supervisor.breaker import Next
from bootloader.supervisor.child import Child
from bootloader.supervisor.handover import Handover
from bootloader.supervisor.lifecycle import State
from bootloader.supervisor.recovery import LEFT_S, Recovery
from bootloader.wire.launch import Launch
from tests.bootloader.caller import Caller
from tests.bootloader.target import SOON_S, Change, Event, Target, alive, app

STEADY = app(settle_s=0.0)
WAIT = "import threading\ndef main():\n    print('up')\n    threading.Event().wait()\n"
DIES = "def main(): raise ValueError\n"
LATER = "import time\ndef main():\n    time.sleep(0.2)\n    1 / 0\n"
LOOP = {"deaths": 3, "window_s": 600.0}

FLAKY = """
import pathlib, threading
def main():
    here = pathlib.Path("tried")
    if not here.exists():
        here.touch()
        raise OSError("not yet")
    print("up")
    threading.Event().wait()
"""
"""Dies at its first start, and is well at the next."""

SPOILT = """
import pathlib, sys, threading
number = {number}
def main():
    if pathlib.Path("spoilt").exists(): sys.exit(number)
    threading.Event().wait()
"""
"""Is well until something spoils its data, and dies at each start from then on."""

SPOILS = "import pathlib, sys\ndef main():\n    pathlib.Path('spoilt').touch()\n    sys.exit(9)\n"


def death(target: Target, change: Change, count: int) -> Event:
    return target.event("death", generation=change.generation, deaths=count)


def since(target: Target, event: Event, kind: str) -> list[Event]:
    return [each for each in target.events if each["event"] == kind and each["n"] > event["n"]]


def test_one_that_dies_is_started_again_after_longer_and_longer_pauses_until_it_stays_down(alone: Target) -> None:
    broken = alone.ship(DIES, deaths=4)
    assert broken.fate()["state"] == "failed"
    assert death(alone, broken, 1)["n"] < broken.fate()["n"] < death(alone, broken, 2)["n"], "it was not told at once"
    last = death(alone, broken, 4)
    assert (last["next"], last["by"]) == ("rollback", "breaker")
    deaths = [each for each in alone.events if each["event"] == "death"]
    assert [each["pause_s"] for each in deaths] == [0.1, 0.2, 0.4, 0.0]
    assert {(each["next"], each["by"]) for each in deaths[:-1]} == {("restart", "breaker")}
    starts = itertools.pairwise(each["at"] for each in alone.events if each.get("state") == "starting")
    for (one, later), each in zip(starts, deaths[:-1], strict=True):
        assert later - one >= each["pause_s"]
    assert "app died 4 times within 60 s" in alone.notice("stays-down")["text"]
    told = alone.status()
    assert (told["state"], told["deaths"], told["restart_in_s"]) == ("failed", 4, None)


def test_a_start_in_the_pause_after_a_death_comes_at_once_and_only_once(alone: Target) -> None:
    broken = alone.ship(DIES, deaths=50)
    pause = alone.event("death", generation=broken.generation, pause_s=3.2)
    assert alone.status()["restart_in_s"] > 0
    started = alone.start_live()
    assert started.answer.texts("started") == ["app"]
    first = alone.event("death", after=pause)
    assert (first["deaths"], first["pause_s"]) == (1, 0.1), "a start did not begin a new count"
    second = alone.event("death", after=first)
    starts = [
        event for event in since(alone, pause, "state") if event["state"] == "starting" and event["n"] < second["n"]
    ]
    assert len(starts) == 2


def test_what_stays_down_is_reachable_and_a_push_begins_a_new_count(alone: Target) -> None:
    alone.ship(DIES, **LOOP)
    down = alone.notice("stays-down")
    again = alone.ship(DIES + "# again\n", **LOOP)
    assert death(alone, again, 1)["next"] == "restart"
    death(alone, again, 3)
    started = alone.start_live()
    assert started.answer.texts("started") == ["app"]
    assert started.fate()["state"] == "failed"
    deaths = [each["deaths"] for each in since(alone, down, "death")]
    assert deaths[:4] == [1, 2, 3, 1], "a start did not begin a new count"
    assert alone.ship(WAIT, STEADY).healthy()
    assert alone.status()["deaths"] == 0


def test_a_generation_that_crashes_in_a_loop_gives_way_to_the_last_healthy_one(alone: Target) -> None:
    alone.ship(WAIT, STEADY).healthy()
    good = alone.ship(WAIT + "# good\n", STEADY).healthy()
    bad = alone.ship(LATER, STEADY, **LOOP).healthy()
    back = alone.event("generation", generation=bad.generation + 1, state="healthy")
    assert back["n"] > death(alone, bad, 3)["n"]
    newest, failed, _, _ = alone.history()
    assert (newest["rung"], newest["who"], newest["root"]) == ("rollback", "bootloader", good.answer.text("root"))
    why = f"to generation {good.generation}: generation {bad.generation} failed: app died 3 times within 600 s"
    assert newest["why"].startswith(why)
    assert (failed["fate"], failed["was_healthy"]) == ("failed", True)


def test_one_that_crashes_there_too_falls_no_further_without_a_base(alone: Target) -> None:
    healthy = [alone.ship(SPOILT.format(number=number), STEADY, **LOOP).healthy() for number in (1, 2)]
    bad = alone.ship(SPOILS, **LOOP)
    assert "exited with status 2" in alone.notice("stays-down")["text"]
    newest = alone.history()[0]
    assert newest["generation"] == bad.generation + 1
    assert newest["root"] == healthy[-1].answer.text("root")
    assert alone.status()["state"] == "failed"
    assert alone.call("hello").text("root") == newest["root"]


def test_one_that_crashes_there_too_falls_to_the_base(alone: Target, tmp_path: Path) -> None:
    alone.ship("print('the base')\n" + WAIT, STEADY).healthy()
    alone.end()
    base = tmp_path / "base"
    alone.state.rename(base)
    shutil.copytree(base / "trust", alone.state / "trust")
    alone.start("--base", str(base))
    alone.log("the base")
    alone.event("state", state="healthy")
    good = alone.ship(SPOILT.format(number=2), STEADY, **LOOP).healthy()
    bad = alone.ship(SPOILS, **LOOP)
    alone.event("generation", generation=bad.generation + 2, state="healthy")
    on_base, back, *_, first = alone.history()
    assert (on_base["root"], back["root"]) == (first["root"], good.answer.text("root"))
    assert on_base["why"].startswith(
        f"to generation {first['generation']}: generation {back['generation']} failed: app"
    )
    assert len([each for each in alone.events if each.get("text") == "the base"]) == 2


def test_after_a_push_it_may_fall_again(alone: Target) -> None:
    good = alone.ship(WAIT, STEADY).healthy()
    tree = alone.tree
    for number in (2, 4):
        assert alone.ship(DIES + f"# {number}\n", **LOOP).generation == number
        alone.event("generation", generation=number + 1, state="healthy")
        assert alone.history()[0]["root"] == good.answer.text("root")
        alone.tree = tree


def test_one_that_is_well_after_its_second_start_makes_its_generation_healthy(alone: Target) -> None:
    change = alone.ship(FLAKY, app(settle_s=0.2))
    assert change.fate()["state"] == "failed"
    alone.event("generation", change=change.number, state="healthy")
    (told,) = alone.history()
    assert (told["fate"], told["was_healthy"]) == ("healthy", True)


def test_the_others_go_on_while_one_crashes_in_a_loop(alone: Target) -> None:
    files = {"one.py": WAIT, "two.py": DIES}
    alone.ship(files, app("one", "one:main", settle_s=0.0), app("two", "two:main"), **LOOP)
    steady = alone.event("state", application="one", state="healthy")
    pid = alone.status("one")["pid"]
    alone.notice("stays-down")
    assert alone.status("one")["pid"] == pid
    assert alive(pid)
    assert not [each for each in since(alone, steady, "state") if each["application"] == "one"]


def test_one_that_starts_again_takes_nothing_from_the_save_that_is_to_mend_it(alone: Target) -> None:
    broken = alone.ship(DIES, deaths=1000)
    death(alone, broken, 1)
    slow = "".join(f"x = {number}\n" for number in range(100_000))  # to compile
    mended = alone.ship({"slow.py": slow, "app.py": WAIT}, STEADY).healthy()
    started = [each["n"] for each in alone.events if each.get("state") == "starting"]
    assert len([number for number in started if number < mended.state("starting")["n"]]) > 1, "it did not start again"


# what the handler says

TWO = (app("one", "one:main", settle_s=0.0), app("two", "two:main"))


def handled(answer: str) -> dict[str, str]:
    """Two applications, of which the second dies, and a handler that has one answer."""
    return {"one.py": WAIT, "two.py": DIES, "asked.py": f"def died(told): return {answer!r}\n"}


def test_the_handler_may_say_that_it_starts_again_however_often_it_died(alone: Target) -> None:
    change = alone.ship(handled("restart"), *TWO, handler="asked:died", deaths=2)
    tripped = death(alone, change, 2)
    assert (tripped["next"], tripped["by"]) == ("restart", "handler")


def test_the_handler_may_say_that_it_stays_down_and_the_others_go_on(alone: Target) -> None:
    change = alone.ship(handled("continue"), *TWO, handler="asked:died")
    assert death(alone, change, 1)["next"] == "hold"
    assert alone.status("two")["state"] == "failed"
    assert alone.status("one")["state"] in ("running", "healthy")


def test_the_handler_may_say_that_everything_stops(alone: Target) -> None:
    change = alone.ship(handled("stop"), *TWO, handler="asked:died")
    assert death(alone, change, 1)["next"] == "stop"
    change.state("stopped", application="one")
    assert [one.plain().get("pid") for one in alone.call("status").objects("applications")] == [None, None]
    assert alone.start_live().answer.texts("started") == ["one", "two"]


# while somebody sits before it


def test_while_somebody_sits_before_it_what_died_is_held(target: Target) -> None:
    assert target.call("status").flag("attached")
    held = target.ship(DIES, deaths=1)
    told = death(target, held, 1)
    assert (told["next"], told["by"]) == ("hold", "policy")
    ended = held.state("failed")
    mended = target.ship(WAIT, STEADY).healthy()
    mended.state("starting")
    starts = [each["generation"] for each in since(target, ended, "state") if each["state"] == "starting"]
    assert starts == [mended.generation]
    assert len(target.history()) == 2


def test_with_that_policy_a_new_generation_gives_way_at_its_first_death_and_a_proven_one_is_held(
    target: Target,
) -> None:
    proven = target.ship(LATER, STEADY, on_failure="rollback").healthy()
    assert death(target, proven, 1)["next"] == "hold"
    new = target.ship(DIES, on_failure="rollback")
    told = death(target, new, 1)
    assert (told["next"], told["by"]) == ("rollback", "policy")
    assert target.event("generation", generation=new.generation + 1, state="running")


def test_it_counts_until_the_link_that_said_so_ends(alone: Target) -> None:
    with closing(alone.link("dev")) as dev:
        dev.call("events", {"attached": True})
        held = death(alone, alone.ship(DIES), 1)
        assert held["next"] == "hold"
    released = alone.event("death", pause_s=LEFT_S)
    assert (released["n"] > held["n"], released["next"], released["deaths"]) == (True, "restart", 1)
    assert 0 < alone.status()["restart_in_s"] <= LEFT_S
    assert death(alone, alone.ship(DIES + "# alone\n"), 1)["next"] == "restart"


# where a step of it fails


def test_where_safe_state_meets_a_fault_the_verdict_falls_all_the_same(tmp_path: Path) -> None:
    def lend() -> Loan | None:
        raise RuntimeError("a mistake of ours")

    caller, told = Caller(tmp_path), queue.Queue[tuple[Next, str]]()
    aftermath = Aftermath(tmp_path, caller.journal, caller.warmth, lend)

    def follow(_app: Application, what: Next, _pause_s: float, why: str) -> None:
        told.put((what, why))

    recovery = Recovery(caller.journal, aftermath, lambda: False, lambda: None, follow)
    spec = app(safe="app:off")
    handover = Handover(caller.journal, caller.turns, lambda _generation: "")

    def go(_app: Application) -> Child:
        raise AssertionError("it is not started here")

    died = Application(spec, 1, caller.turns, caller.journal, go, lambda: None, handover)
    died.state, died.end = State.FAILED, End("exited with status 1", code=1)
    caller.turns.call(lambda: recovery.see_to(died, Launch((spec,)), proven=True), SOON_S)
    assert told.get(timeout=SOON_S) == (Next.RESTART, "app exited with status 1")
    assert recovery.rests(died)
    caller.close()


LINGERS = """
import signal, threading
def main():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up")
    threading.Event().wait()
"""


def test_a_push_that_comes_while_a_stack_is_being_stopped_starts_all_of_it(alone: Target) -> None:
    first = app("first", "first:main", init=True, settle_s=0.0, grace_s=1.0)
    dies = "import sys\ndef ask(told): return 'stop'\ndef main(): sys.exit(3)\n"
    alone.ship({"first.py": LINGERS, "app.py": dies}, first, app(), handler="app:ask")
    stopping = alone.event("state", application="first", state="stopping")
    alone.ship({"first.py": LINGERS, "app.py": LINGERS}, first, app(settle_s=0.0), handler="app:ask").healthy()
    assert alone.event("state", stopping, application="first", state="healthy")["generation"] == 2
    assert {alone.status(name)["state"] for name in ("first", "app")} == {"healthy"}
