"""What takes its bootloader down again and again is started no more, however well it was in between."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from bootloader.store.triage import MOST_HEALTHY_BOOTS
from bootloader.wire.errors import Fault, Refused
from tests.bootloader.target import SOON_S, Target, app, gone

STEADY = app(settle_s=0.0)
WAIT = "import threading\ndef main():\n    threading.Event().wait()\n"

KILLER = """
import os, time
def parent(pid): return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
def main():
    with open("starts", "a") as file: file.write(".")
    mine = '"generation":' + os.environ["REACTOR_GENERATION"] + ',"fate":"healthy"'
    while mine not in open("../../ledger.jsonl").read(): time.sleep(0.001)
    os.kill(parent(os.getppid()), 9)
    while True: time.sleep(1)
"""
"""Is healthy, and as soon as that is known, kills the bootloader."""

SPOILT = """
import pathlib, threading
def main():
    assert not pathlib.Path("spoilt").exists()
    threading.Event().wait()
"""
"""Is well until something spoils its data."""


def root(target: Target) -> str:
    """What is live, as soon as that is told."""
    deadline = monotonic() + SOON_S
    while monotonic() < deadline:
        with suppress(Fault), target.link("probe") as link:
            return link.call("hello", {}, timeout_s=SOON_S)[0].text("root")
    raise AssertionError("it can't be reached")


def boots(target: Target) -> int:
    """How often the last generation was started at boot and cut off soon."""
    count = target.history()[0]["boots"]
    assert isinstance(count, int)
    return count


def refused(ask: Callable[[], object]) -> str:
    with pytest.raises(Refused) as refusal:
        ask()
    return refusal.value.code


def cut(target: Target, times: int) -> None:
    for _ in range(times):
        target.end(signal.SIGKILL)
        target.start()


def test_one_that_is_healthy_and_then_kills_the_bootloader_gives_way_and_is_not_gone_back_to(alone: Target) -> None:
    good = alone.ship(SPOILT, STEADY, deaths=2, window_s=600.0).healthy()
    with suppress(Fault):  # it may be quicker than the answer
        alone.ship(KILLER, STEADY)
    deadline = monotonic() + 3 * SOON_S
    starts = alone.state / "data" / "app" / "starts"
    while not starts.exists() or root(alone) != good.answer.text("root"):
        assert monotonic() < deadline
    assert len(starts.read_text()) == MOST_HEALTHY_BOOTS + 1
    alone.again()
    back, bad, *_ = alone.history()
    assert (back["rung"], back["who"], bad["was_healthy"]) == ("rollback", "bootloader", True)
    times = f"{MOST_HEALTHY_BOOTS} times in a row and cut off soon each time"
    assert back["why"] == f"to generation {good.generation}: generation {bad['generation']} was started {times}"
    assert {"code": "went-back", "text": f"at boot, {back['why']}"} in [
        one.plain() for one in alone.call("status").objects("lost")
    ]
    starts.with_name("spoilt").touch()
    alone.end()
    alone.start()
    assert "exited with status 1" in alone.notice("stays-down")["text"], "it fell to what kills"
    assert refused(alone.roll_back) == "no-generation"
    assert alone.history()[0]["generation"] == back["generation"]


def test_an_orderly_end_and_whoever_asks_for_it_begin_a_new_count(alone: Target) -> None:
    alone.ship(WAIT, STEADY).healthy()
    assert boots(alone) == 0
    cut(alone, 2)
    assert boots(alone) == 2
    alone.end()
    alone.start()
    assert boots(alone) == 1
    pid = alone.pid
    os.kill(pid, signal.SIGTERM)  # it ends in order, but nobody asked its keeper
    gone({pid})
    alone.again()
    assert boots(alone) == 2
    alone.start_live()
    assert boots(alone) == 0
    cut(alone, 1)
    assert alone.roll_back(1).generation == 2
    assert boots(alone) == 0


def test_what_was_up_for_long_was_not_cut_off_soon(alone: Target, tmp_path: Path) -> None:
    alone.ship(WAIT, STEADY).healthy()
    cut(alone, 1)
    assert boots(alone) == 1
    alone.end(signal.SIGKILL)
    (tmp_path / "sitecustomize.py").write_text("from bootloader.store import triage\ntriage.STEADY_S = 0.1\n")
    alone.environment["PYTHONPATH"] = str(tmp_path)
    alone.start()
    deadline = monotonic() + SOON_S
    while boots(alone):
        assert monotonic() < deadline
    alone.end(signal.SIGKILL)
    del alone.environment["PYTHONPATH"]
    alone.start()
    assert boots(alone) == 1
