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


def test_hostile_applications_are_borne_one_after_the_other_and_leave_nothing_behind(scratch: Path) -> None:
    tally = Tally()
    hostile.attack(scratch, tally, random.Random("ci"), sorted(ATTACKS), math.inf, hold_s=0.5)
    assert tally.findings == []
    skipped = tally.counts["attacks skipped, as no small disk can be mounted"]
    assert tally.counts["attacks"] == len(ATTACKS) - skipped
    assert tally.counts["answers"] > 10 * len(ATTACKS)
    assert tally.counts[probe.EXCUSED] <= len(ATTACKS) // 3, "this machine is too busy to tell"
    assert tally.counts[hostile.SLOW] == 0, "what is dropped of a flood was not put to the test"


def test_hostile_applications_are_borne_where_there_are_no_cgroups_too(scratch: Path) -> None:
    tally = Tally()
    bare = kinds(tally).get("without cgroups")
    if bare is None:
        pytest.skip("cgroups can't be hidden here")
    names = ["fork bomb", "daemon that double-forks away", "daemon that outlives it", "fills the disk"]
    hostile.attack(scratch, tally, random.Random("ci"), names, math.inf, hold_s=0.5, command=bare)
    assert tally.findings == []
    assert tally.counts["attacks"] == len(names)


def test_a_stack_in_trouble_is_made_safe_by_the_last_healthy_one_which_takes_its_place(scratch: Path) -> None:
    tally = Tally()
    stacks.attack(scratch, tally, math.inf)
    assert tally.findings == []
    assert tally.counts["troubles of stacks"] == len(kinds(tally)) * (len(stacks.TROUBLES) + 1)


def test_a_random_walk_with_kills_runs_what_it_should_after_each_step(scratch: Path) -> None:
    tally = Tally()
    walk.walk(scratch, tally, "ci", 20, math.inf)
    assert tally.findings == []
    assert tally.counts["steps of random walks"] == 20
