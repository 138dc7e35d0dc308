"""A slice of the chaos benchmark, bounded by counts: docs/chaos.md says what is tried. What is done to processes."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import pytest

from benchmarks.chaos import hostile, probe, stacks, walk
from benchmarks.chaos.attacks import ATTACKS
from benchmarks.chaos.device import kinds
from benchmarks.chaos.tally import Tally

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's"),
    pytest.mark.timeout(300),
    pytest.mark.hostile,
]

STEPS = 20
BUSY = "this machine is too busy to tell"


def test_hostile_applications_are_borne_one_after_the_other_and_leave_nothing_behind(
    scratch: Path, tally: Tally
) -> None:
    hostile.attack(scratch, tally, random.Random("ci"), sorted(ATTACKS), math.inf, hold_s=0.5)
    assert tally.findings == []
    assert tally.counts["attacks"] == len(ATTACKS) - tally.counts[hostile.NO_DISK]
    assert tally.counts["answers"] > 10 * len(ATTACKS)
    assert tally.counts[probe.EXCUSED] <= len(ATTACKS) // 3, BUSY
    assert tally.counts[hostile.SLOW] == 0, "what is dropped of a flood was not put to the test"


def test_hostile_applications_are_borne_where_there_are_no_cgroups_too(scratch: Path, tally: Tally) -> None:
    bare = kinds(tally).get("without cgroups")
    if bare is None:
        pytest.skip("cgroups can't be hidden here")
    names = ["fork bomb", "daemon that double-forks away", "daemon that outlives it", "fills the disk"]
    hostile.attack(scratch, tally, random.Random("ci"), names, math.inf, hold_s=0.5, command=bare)
    assert tally.findings == []
    assert tally.counts["attacks"] == len(names) - tally.counts[hostile.NO_DISK]
    assert tally.counts["answers"] > 10 * len(names)
    assert tally.counts[probe.EXCUSED] <= len(names) // 3, BUSY


def test_a_stack_in_trouble_is_made_safe_by_the_last_healthy_one_which_takes_its_place(
    scratch: Path, tally: Tally
) -> None:
    stacks.attack(scratch, tally, math.inf)
    assert tally.findings == []
    assert tally.counts["troubles of stacks"] == len(kinds(Tally())) * (len(stacks.TROUBLES) + 2)


def test_a_random_walk_with_kills_runs_what_it_should_after_each_step(scratch: Path, tally: Tally) -> None:
    walk.walk(scratch, tally, "ci", STEPS, math.inf)
    assert tally.findings == []
    assert tally.counts["steps of random walks"] == STEPS
    assert tally.counts[probe.EXCUSED] <= STEPS // 3, BUSY
