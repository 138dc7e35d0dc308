"""A slice of the chaos benchmark, bounded by counts: docs/chaos.md says what is tried. What is done to the disk."""

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

from benchmarks.chaos import damage, folders, power, recording, rot, strangers
from benchmarks.chaos.quick import quick
from benchmarks.chaos.tally import LOST, Tally
from tests.benchmarks.conftest import memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@pytest.fixture(scope="module")
def recorded() -> Iterator[recording.Recording]:
    """What a bootloader did to its disk in two changes, a rollback, a crash loop, ill changes and its end."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        yield recording.record(Path(folder), "ci", 2, crash_loop=True)


@pytest.mark.timeout(300)
def test_after_a_power_cut_the_old_or_the_new_generation_is_there_whole(
    recorded: recording.Recording, tally: Tally
) -> None:
    chance = random.Random("ci")
    power.attack(recorded, tally, chance, booted=3, again=1, until_s=math.inf, share=1000, most=25)
    assert tally.findings == []
    assert tally.counts["power cuts"] > 300
    assert tally.counts[power.SAMPLED] == 1


@pytest.mark.timeout(300)
def test_after_a_power_cut_in_an_upgrade_the_old_or_the_new_bootloader_is_there_whole(
    scratch: Path, tally: Tally
) -> None:
    recorded = recording.record_upgrades(scratch, "ci", 1)
    chance = random.Random("ci")
    power.attack(recorded, tally, chance, booted=2, again=0, until_s=math.inf, share=500, most=40)
    assert tally.findings == []
    assert tally.counts["power cuts"] > 200
    assert tally.counts[power.SAMPLED] == 1


def test_a_target_that_does_not_fsync_is_found_out(recorded: recording.Recording) -> None:
    certain = ("fsync", "sync")
    windows = [(promise, [step for step in steps if step["op"] not in certain]) for promise, steps in recorded.windows]
    every = power.cuts(replace(recorded, windows=windows))
    cut = next(cut for cut in every if "change 2" in cut.where and "nothing but what is certain" in cut.where)
    folders.lay(cut.image, recorded.state)
    found = quick(recorded.state, cut.promise, recorded.known)
    assert [kind for kind, _ in found][:1] == [LOST]


@pytest.mark.timeout(300)
def test_a_damaged_state_runs_the_newest_generation_all_the_same(recorded: recording.Recording, tally: Tally) -> None:
    damage.attack(recorded, tally, random.Random("ci"), booted=5, until_s=math.inf)
    assert tally.findings == []
    assert tally.counts["damages"] > 300
    assert tally.counts[damage.TOLD] > 50


def test_a_state_of_which_one_file_can_not_be_read_runs_the_newest_generation(
    recorded: recording.Recording, tally: Tally
) -> None:
    rot.attack(recorded, tally, random.Random("ci"), booted=6, until_s=math.inf)
    assert tally.findings == []
    assert tally.counts["damages"] > 30
    assert tally.counts[damage.TOLD] > 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_state_of_which_a_part_is_another_users_runs_the_newest_generation(
    recorded: recording.Recording, tally: Tally
) -> None:
    strangers.attack(recorded, tally, math.inf)
    assert tally.findings == []
    assert tally.counts["damages"] > 50
    assert tally.counts[damage.TOLD] > 5


@pytest.mark.parametrize("hardship", damage.HARDSHIPS, ids=lambda hardship: hardship.name)
def test_a_target_boots_under_hardship(hardship: damage.Hardship, recorded: recording.Recording, tally: Tally) -> None:
    damage.endure(recorded, tally, [hardship])
    if not tally.counts["hardships"]:
        pytest.skip("it can't be had here")
    assert tally.findings == []
