"""A slice of the fuzzer, of which the long run is by hand; and what it has found once, for ever."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from benchmarks.fuzz.__main__ import fuzz, parts_of
from benchmarks.fuzz.live import living
from benchmarks.fuzz.mutate import MOST_BYTES, Mutator
from benchmarks.fuzz.pure import Part

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

INPUTS = 3000


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Part]]:
    scratch = tmp_path_factory.mktemp("fuzz")
    with living(scratch, random.Random("ci")) as live:
        yield parts_of(live, scratch)


def test_a_slice_of_odd_inputs_breaks_no_promise(parts: Mapping[str, Part], tmp_path: Path) -> None:
    tallies = fuzz(parts, INPUTS, "ci", tmp_path / "found")
    assert {name: tally.findings for name, tally in tallies.items() if tally.findings} == {}
    assert sum(tally.inputs for tally in tallies.values()) >= INPUTS * 0.9
    assert [name for name, tally in tallies.items() if not tally.used] == [], "each has inputs that get past its door"


def test_inputs_are_of_their_seed_alone_and_bounded() -> None:
    def some(seed: str) -> list[bytes]:
        mutator = Mutator(random.Random(seed))
        return [mutator.next([b"RL\x01\x00\x00\x00\x0c" + b'{"blobs":[]}', b"x" * 100]) for _ in range(500)]

    assert some("a") == some("a") != some("b")
    assert max(map(len, some("a"))) <= MOST_BYTES
