"""A slice of the chaos benchmark, bounded by counts: docs/chaos.md says what is tried. What is done to processes."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import pytest

from benchmarks.chaos import hostile, probe, walk
from benchmarks.chaos.attacks import ATTACKS
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


def test_a_random_walk_with_kills_runs_what_it_should_after_each_step(scratch: Path) -> None:
    tally = Tally()
    walk.walk(scratch, tally, "ci", 20, math.inf)
    assert tally.findings == []
    assert tally.counts["steps of random walks"] == 20
