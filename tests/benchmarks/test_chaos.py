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
from pathlib import Path

import pytest

from benchmarks.chaos import hostile, walk
from benchmarks.chaos.tally import UNREACHABLE, Tally

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

MEMORY = Path("/dev/shm")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory, where there is some: targets fsync a lot."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


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
        "fills the disk",
    ],
)
def test_a_hostile_application_is_borne_and_leaves_nothing_behind(name: str, scratch: Path) -> None:
    tally = Tally()
    hostile.attack(scratch, tally, random.Random(name), [name], math.inf)
    assert broken(tally) == []
    assert tally.counts["answers"] > 1
