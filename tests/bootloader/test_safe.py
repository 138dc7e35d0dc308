"""Outputs are in their safe state before anything starts again, whatever became of the application that drove them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.bootloader.target import SOON_S, Change, Event, Target, app, gone, let_go

BLINKY = """
import pathlib, signal, threading
VERSION, DEAF = {version}, {deaf}
output = pathlib.Path("output")  # as it were, a pin: it stays as it is when the program dies

def main():
    if DEAF:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("found", output.read_text() if output.exists() else "nothing")
    output.write_text("on by {{}}".format(VERSION))
    try:
        print("up", VERSION)
        threading.Event().wait()
    finally:
        output.write_text("off")

def off():
    output.write_text("made safe by {{}}".format(VERSION))
"""


def blinky(alone: Target, version: int, *, healthy: bool = True, deaf: bool = False, **launch: Any) -> Change:
    """A generation that has switched its output on; one that is not healthy yet, or one that is."""
    lamp = app(safe="app:off", settle_s=0.0 if healthy else 600.0, grace_s=0.2)
    change = alone.ship(BLINKY.format(version=version, deaf=deaf), lamp, **launch)
    alone.log(f"up {version}")
    if healthy:
        change.healthy()
    return change


def kill(alone: Target, number: int = signal.SIGKILL) -> None:
    os.kill(alone.status()["pid"], number)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def safe(alone: Target, **fields: Any) -> Event:
    return alone.event("safe", **fields)


def test_after_a_kill_the_last_healthy_generation_makes_safe_before_the_next_start(alone: Target) -> None:
    blinky(alone, 1)
    second = blinky(alone, 2, healthy=False)
    kill(alone)
    told = safe(alone)
    assert (told["application"], told["generation"], told["entry"], told["outcome"]) == ("app", 1, "app:off", "done")
    assert alone.log("found made safe by 1")["n"] > told["n"] > second.state("failed")["n"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_any_signal_that_kills_is_followed_by_the_safe_state(alone: Target, number: int) -> None:
    blinky(alone, 1)
    kill(alone, number)
    assert safe(alone)["outcome"] == "done"
    alone.log("found made safe by 1")


LEAVES = BLINKY.replace("threading.Event().wait()", "os._exit({status})").replace(
    "import pathlib", "import os, pathlib"
)


def test_an_end_that_skips_its_own_cleanup_is_none_whatever_its_status(alone: Target) -> None:
    change = alone.ship(LEAVES.format(version=1, deaf=False, status=0), app(safe="app:off"))
    told = safe(alone)
    assert told["outcome"] == "done"
    assert change.state("finished")["why"] == "exited with status 0, and without cleanup"
    assert (alone.state / "data" / "app" / "output").read_text() == "made safe by 1"


def test_one_that_is_asked_to_stop_and_skips_its_cleanup_is_made_safe(alone: Target) -> None:
    source = BLINKY.replace("signal.SIG_IGN", "lambda *_: os._exit(0)").replace("import pathlib", "import os, pathlib")
    alone.ship(source.format(version=1, deaf=True), app(safe="app:off", settle_s=0.0)).healthy()
    alone.log("up 1")
    blinky(alone, 2)
    assert safe(alone)["n"] < alone.log("found made safe by 1")["n"]


def test_what_a_fork_of_the_application_says_at_its_end_is_not_taken_for_the_applications_own(alone: Target) -> None:
    source = LEAVES.replace(
        "    finally:", "        if os.fork() == 0: return\n        os.wait()\n        os._exit(0)\n    finally:"
    )
    source = source.replace("        os._exit({status})\n", "")
    alone.ship(source.format(version=1, deaf=False), app(safe="app:off"))
    assert safe(alone)["outcome"] == "done"


HOG = BLINKY.replace("threading.Event().wait()", "held = [b'x' * 2**22 for _ in range(200)]")


def test_one_that_takes_more_memory_than_it_may_is_made_safe(alone: Target) -> None:
    change = alone.ship(HOG.format(version=1, deaf=False), app(safe="app:off", memory_mb=128))
    assert safe(alone)["outcome"] == "done"
    if "memory" in alone.call("status").child("confined").texts("limits"):
        assert change.state("failed")["why"] == "killed by SIGKILL: out of memory"
    else:
        assert alone.problem(change)["what"] == "MemoryError"
    alone.log("found made safe by 1")


CRASHES = BLINKY.replace("threading.Event().wait()", "os._exit(1)").replace("import pathlib", "import os, pathlib")


def test_each_death_in_a_loop_is_made_safe_and_the_last_one_before_the_generation_gives_way(alone: Target) -> None:
    blinky(alone, 1)
    bad = alone.ship(CRASHES.format(version=2, deaf=False), app(safe="app:off"), deaths=3, window_s=600.0)
    last = alone.event("death", generation=bad.generation, deaths=3)
    assert last["next"] == "rollback"
    assert alone.event("generation", generation=bad.generation + 1, state="healthy")
    began = bad.state("starting")["n"]
    told = [each for each in alone.events if began < each["n"] <= last["n"]]
    came = [each.get("text") or each["event"] for each in told]
    assert [each for each in came if each in ("up 2", "safe", "death")] == ["up 2", "safe", "death"] * 3
    safes = [each for each in alone.events if each["event"] == "safe"]
    assert {(each["generation"], each["outcome"]) for each in safes} == {(1, "done")}
    assert len(safes) == 3
    assert alone.event("log", after=last, text="found made safe by 1")["n"] > last["n"] > safes[-1]["n"]


def test_one_that_takes_the_warm_parent_down_is_made_safe_all_the_same(alone: Target) -> None:
    blinky(alone, 1)
    os.kill(parent_of(alone.status()["pid"]), signal.SIGKILL)
    assert safe(alone)["outcome"] == "done"
    alone.log("found made safe by 1")


def test_one_that_freezes_the_warm_parent_is_made_safe_all_the_same(alone: Target) -> None:
    blinky(alone, 1)
    pid = alone.status()["pid"]
    os.kill(parent_of(pid), signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    assert safe(alone)["outcome"] == "done"
    alone.log("found made safe by 1")


def test_one_that_is_killed_for_not_stopping_is_made_safe_before_the_switch(alone: Target) -> None:
    blinky(alone, 1, deaf=True)
    blinky(alone, 2)
    assert alone.notice("killed")["n"] < safe(alone, generation=1)["n"] < alone.log("found made safe by 1")["n"]


def test_one_that_stops_when_asked_has_cleaned_up_itself(alone: Target) -> None:
    blinky(alone, 1)
    blinky(alone, 2)
    alone.log("found off")
    assert [event for event in alone.events if event["event"] == "safe"] == []


def test_after_the_bootloader_was_killed_it_is_made_safe_before_the_first_start(alone: Target) -> None:
    blinky(alone, 1)
    alone.end(signal.SIGKILL)
    alone.start()
    assert safe(alone)["outcome"] == "done"
    alone.log("found made safe by 1")


def test_after_an_orderly_end_nothing_is_made_safe(alone: Target) -> None:
    blinky(alone, 1)
    alone.end()
    alone.start()
    alone.log("found off")
    assert [event for event in alone.events if event["event"] == "safe"] == []


def test_a_deaf_one_is_made_safe_at_the_end_of_the_bootloader(alone: Target) -> None:
    blinky(alone, 1, deaf=True)
    alone.end()
    assert (alone.state / "data" / "app" / "output").read_text() == "made safe by 1"


def test_the_end_of_the_bootloader_waits_until_a_slow_motor_stands(alone: Target) -> None:
    source = BLINKY.format(version=1, deaf=True).replace("def off():", "def off():\n    threading.Event().wait(6)")
    alone.ship(source, app(safe="app:off", safe_s=20.0, settle_s=0.0, grace_s=0.2)).healthy()
    alone.log("up 1")
    assert alone.end() == 0
    assert (alone.state / "data" / "app" / "output").read_text() == "made safe by 1"


def test_a_bootloader_whose_keeper_is_gone_waits_for_the_slow_motor_too(alone: Target, tmp_path: Path) -> None:
    alone.end()
    impatient = "import signal\nalarm = signal.alarm\nsignal.alarm = lambda seconds: alarm(max(0, seconds - 10))\n"
    (tmp_path / "sitecustomize.py").write_text(impatient)  # a test that waits for 10 seconds more is a slow one
    alone.environment["PYTHONPATH"] = str(tmp_path)
    alone.start()
    source = BLINKY.format(version=1, deaf=True).replace("def off():", "def off():\n    threading.Event().wait(3)")
    alone.ship(source, app(safe="app:off", safe_s=20.0, settle_s=0.0, grace_s=0.2)).healthy()
    alone.log("up 1")
    started = {alone.pid} | alone.processes()
    alone.process.kill()
    gone(started)
    assert (alone.state / "data" / "app" / "output").read_text() == "made safe by 1"
    alone.process.wait(SOON_S)
    alone.control.close()
    let_go(alone.process)


def test_the_last_healthy_one_makes_safe_however_many_broken_ones_came_after(target: Target) -> None:
    blinky(target, 1)
    for version in (2, 3, 4):
        broken = target.ship(f"raise SystemExit('broken {version}')\n", app(safe="app:off"))
        assert broken.fate()["state"] == "failed"
        told = target.event("safe", after=broken.state("failed"))
        assert (told["generation"], told["outcome"]) == (1, "done")


# The handler

HANDLER = """
def ask(told):
    print("asked", told["application"], told["why"], told["deaths"])
    return {answer!r}
"""


def test_the_handler_decides_that_it_stays_down(alone: Target) -> None:
    source = "raise SystemExit(3)\n"
    files = {"app.py": source, "fails.py": HANDLER.format(answer="continue")}
    alone.ship(files, handler="fails:ask", deaths=1000)
    told = alone.event("handler")
    assert (told["outcome"], told["answer"]) == ("answered", "continue")
    alone.log("asked app exited with status 3 1")
    assert alone.status()["state"] == "failed"


def test_the_handler_rolls_back(alone: Target) -> None:
    blinky(alone, 1)
    files = {"app.py": "raise SystemExit(3)\n", "fails.py": HANDLER.format(answer="rollback")}
    alone.ship(files, handler="fails:ask")
    alone.log("found made safe by 1")
    assert alone.history()[0]["rung"] == "rollback"


def test_a_handler_that_hangs_is_no_answer_and_the_default_holds(alone: Target) -> None:
    files = {"app.py": "raise SystemExit(3)\n", "fails.py": "def ask(told):\n    while True: pass\n"}
    alone.ship(files, handler="fails:ask", handler_s=0.2)
    assert alone.event("handler")["outcome"] == "timed-out"
    alone.event("death", deaths=2)


def test_where_somebody_sits_before_it_and_holds_what_failed_the_handler_is_not_asked(target: Target) -> None:
    files = {"app.py": "raise SystemExit(3)\n", "fails.py": HANDLER.format(answer="restart")}
    target.ship(files, handler="fails:ask")
    assert target.event("death")["next"] == "hold"
    assert [event for event in target.events if event["event"] == "handler"] == []
