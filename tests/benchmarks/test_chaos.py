"""A slice of the chaos benchmark, bounded by counts: docs/chaos.md says what is tried.

How long the link was silent is not asserted here, where the machine may be anybody's; the benchmark's own exit code
depends on it.
"""

from __future__ import annotations

import math
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.chaos import damage, folders, hostile, power, recording, walk
from benchmarks.chaos.disk import Disk, Image
from benchmarks.chaos.quick import quick
from benchmarks.chaos.tally import LOST, UNREACHABLE, Tally

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

MEMORY = Path("/dev/shm")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory, where there is some: targets fsync a lot."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        yield Path(folder)


def memory() -> Path | None:
    return MEMORY if os.access(MEMORY, os.W_OK) else None


def broken(tally: Tally) -> list[str]:
    """The promises that were broken, those about time left out."""
    return [f"{each.kind}: {each.where}: {each.what}" for each in tally.findings if each.kind != UNREACHABLE]


def test_a_random_walk_with_kills_runs_what_it_should_after_each_step(scratch: Path) -> None:
    tally = Tally()
    walk.walk(scratch, tally, "ci", 20, math.inf)
    assert broken(tally) == []
    assert tally.counts["steps of random walks"] == 20


@pytest.mark.parametrize(
    "name",
    [
        "floods stdout",
        "closes every descriptor",
        "daemon that outlives it",
        "daemon that double-forks away",
        "kills the warm parent",
    ],
)  # "fills the disk" is not among them: one that writes without pause may take the reserve before a fix does
def test_a_hostile_application_is_borne_and_leaves_nothing_behind(name: str, scratch: Path) -> None:
    tally = Tally()
    hostile.attack(scratch, tally, random.Random(name), [name], math.inf, hold_s=1.0)
    assert broken(tally) == []
    assert tally.counts["answers"] > 1


@pytest.fixture(scope="module")
def recorded() -> Iterator[recording.Recording]:
    """What a bootloader did to its disk in two changes, a rollback and its end."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        yield recording.record(Path(folder), "ci", 2, crash_loop=False)


@pytest.mark.timeout(300)
def test_after_a_power_cut_the_old_or_the_new_generation_is_there_whole(recorded: recording.Recording) -> None:
    tally = Tally()
    chance = random.Random("ci")
    power.attack(recorded, tally, chance, booted=3, again=1, until_s=math.inf, share=100)
    assert broken(tally) == []
    assert tally.counts["power cuts"] > 1000


@pytest.mark.timeout(300)
def test_after_a_power_cut_in_an_upgrade_the_old_or_the_new_bootloader_is_there_whole(scratch: Path) -> None:
    recorded = recording.record_upgrades(scratch, "ci", 1)
    tally = Tally()
    chance = random.Random("ci")
    power.attack(recorded, tally, chance, booted=2, again=0, until_s=math.inf, share=500, most=40)
    assert broken(tally) == []
    assert tally.counts["power cuts"] > 200


def test_a_target_that_does_not_fsync_is_found_out(recorded: recording.Recording) -> None:
    certain = ("fsync", "sync")
    windows = [(promise, [step for step in steps if step["op"] not in certain]) for promise, steps in recorded.windows]
    every = power.cuts(replace(recorded, windows=windows))
    cut = next(cut for cut in every if "change 2" in cut.where and "nothing but what is certain" in cut.where)
    folders.lay(cut.image, recorded.state)
    found = quick(recorded.state, cut.promise, recorded.known)
    assert [kind for kind, _ in found][:1] == [LOST]


@pytest.mark.timeout(300)
def test_a_damaged_state_runs_the_newest_generation_all_the_same(recorded: recording.Recording) -> None:
    tally = Tally()
    image = _end_of(recorded)
    damage.attack(recorded, image, tally, random.Random("ci"), booted=5, until_s=math.inf)
    assert broken(tally) == []
    assert tally.counts["damages"] > 300


@pytest.mark.parametrize("hardship", damage.HARDSHIPS, ids=lambda hardship: hardship.name)
def test_a_target_boots_under_hardship(hardship: damage.Hardship, recorded: recording.Recording) -> None:
    tally = Tally()
    damage.endure(recorded, _end_of(recorded), tally, [hardship])
    if not tally.counts["hardships"]:
        pytest.skip("it can't be had here")
    assert broken(tally) == []


def _end_of(recorded: recording.Recording) -> Image:
    disk = Disk(recorded.start, recorded.inodes)
    for _, steps in recorded.windows:
        for step in steps:
            disk.do(step)
    return disk.image()
