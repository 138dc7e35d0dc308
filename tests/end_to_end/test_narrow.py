"""Links that stall, or carry little: the real ``reactor dev``, a real bootloader, and a proxy between them.

With ``REACTOR_LONG=1`` a link stalls for a minute, either way and both; without, one way, until that was told. One of
50 kbit/s is for the long run alone.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reactor.proxy import Proxy, Shape, Way

from .conftest import WAIT_S, Bench, Running, save, until
from .test_linked import Board

SETTINGS = 'entry = "main:main"\nsettle_s = 0.1\ngrace_s = 0.5'
COUNTS = """\
import itertools, time

def main():
    for number in itertools.count():
        print("version 1", number, flush=True)
        time.sleep(0.05)
"""
FLOOD = """\
import time

def main():
    for number in range(LINES):
        print("line", number, "of a sensor: 21.5 degrees, 40 % humidity")
    open(PLACE, "w").close()
    print("version 1")
    while True:
        time.sleep(0.05)
"""
LINES = 30_000
STALL_S = 60.0 if "REACTOR_LONG" in os.environ else 0.0
ALL_WAYS: list[tuple[Way, ...]] = [("back",), ("there",), ("there", "back")]
WAYS = ALL_WAYS if STALL_S else ALL_WAYS[:1]
SOON_S = 3 * WAIT_S


class Narrow:
    """A device that is reached through ``proxy`` alone."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.proxy = Proxy()
        self.board = Board(bench, "porch")
        self.proxy.upstream = int(self.board.address.rpartition(":")[2])
        address = f"127.0.0.1:{self.proxy.port}"
        assert bench.run("trust", "make", str(self.board.state), "--name", "porch", "--address", address)[0] == 0
        self.board.on()

    def dev(self, source: str) -> tuple[Path, Running]:
        """A project with that program, and a session of it whose program runs."""
        project = self.bench.project({"main.py": source}, SETTINGS)
        dev = self.bench.start("dev", str(project), "-t", "porch")
        dev.wait("result", wait_s=SOON_S, healthy=True)
        return project, dev

    def generations(self) -> list[int]:
        return [one["generation"] for one in self.bench.run("history", "-t", "porch", wait_s=SOON_S)[1]]

    def close(self) -> None:
        self.board.off(signal.SIGTERM)
        self.proxy.close()


@pytest.fixture
def narrow(bench: Bench) -> Iterator[Narrow]:
    made = Narrow(bench)
    yield made
    made.close()


@pytest.mark.parametrize("ways", WAYS, ids="-".join)
def test_a_save_on_a_link_that_stalls_happens_once_and_the_session_says_so_and_goes_on(
    narrow: Narrow, ways: tuple[Way, ...]
) -> None:
    project, dev = narrow.dev(COUNTS)
    mark = dev.mark()
    narrow.proxy.hold(*ways)
    save(project / "main.py", COUNTS.replace("version 1", "version 2"))
    told = dev.wait("link", since=mark, wait_s=SOON_S)
    assert told["state"] in ("retrying", "down")
    assert "no answer in" in told["why"]
    threading.Event().wait(STALL_S)
    assert not [one for one in dev.events[mark:] if one["event"] == "result"], "nobody can know"
    narrow.proxy.release()
    assert dev.wait("result", since=mark, wait_s=SOON_S)["healthy"]
    dev.wait("link", since=mark, wait_s=SOON_S, state="up")
    first = dev.wait("log", since=mark, wait_s=SOON_S, text="version 2 0")
    dev.wait("log", since=dev.events.index(first) + 1)
    assert dev.end() == 0
    assert len([one for one in dev.events[mark:] if one["event"] == "result"]) == 1
    assert narrow.generations() == [2, 1]
    for version in (1, 2):
        numbers = [int(text.split()[2]) for text in dev.texts() if text.startswith(f"version {version}")]
        assert numbers == list(range(len(numbers))), "events without a gap"


@pytest.mark.skipif(not STALL_S, reason="half a minute; REACTOR_LONG=1 runs it")
def test_a_save_over_50_kbit_s_is_sent_once_and_how_far_it_is_is_told_all_the_way(narrow: Narrow) -> None:
    project, dev = narrow.dev(COUNTS)
    narrow.proxy.slow(Shape(6_250, delay_s=0.15))
    mark, before, size = dev.mark(), narrow.proxy.passed("there", ""), 200_000
    save(project / "noise.bin", random.Random(1).randbytes(size))
    assert dev.wait("result", since=mark, wait_s=2 * SOON_S)["healthy"]
    assert size < narrow.proxy.passed("there", "") - before < size * 1.2
    told = [one["done_bytes"] for one in dev.events[mark:] if one.get("what") == "ship"]
    assert told == sorted(told)
    assert len(told) > 2
    assert told[-1] == size
    assert not [one for one in dev.events[mark:] if one["event"] == "link"], "slow is not silent"
    assert dev.end(wait_s=SOON_S) == 0
    assert narrow.generations() == [2, 1]


def test_what_became_of_a_save_does_not_wait_behind_a_flood_and_each_line_of_that_is_told_or_counted(
    narrow: Narrow,
) -> None:
    """Of 400 kbit/s, with two minutes' worth of lines before it."""
    narrow.proxy.slow(Shape(50_000, delay_s=0.01))
    printed = narrow.bench.folder / "printed"
    source = FLOOD.replace("PLACE", repr(str(printed)))
    project, dev = narrow.dev(source.replace("LINES", str(LINES)))
    until(printed.exists, SOON_S)
    save(project / "main.py", source.replace("LINES", "0").replace("version 1", "version 2"))
    dev.wait("log", wait_s=SOON_S, text="version 2")
    dev.wait("result", wait_s=SOON_S, generation=2, healthy=True)
    assert dev.end(wait_s=SOON_S) == 0
    dropped = [int(one["text"].split()[0]) for one in dev.events if one.get("code") == "events-lost"]
    assert len(dev.texts()) + sum(dropped) == LINES + 2
    assert len(dev.texts()) < LINES // 3, "no more than is carried in some seconds"
