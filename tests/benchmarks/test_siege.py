"""A siege is real: the neighbour does what he is said to do, to whom it is said, and the host is answered meanwhile."""

from __future__ import annotations

from pathlib import Path

from benchmarks import neighbour, siege


def test_the_host_is_answered_whoever_is_attacked(scratch: Path) -> None:
    with siege.devices(scratch) as (asked, other):
        for attack in neighbour.ATTACKS:
            alone, beside, at = siege.rows(asked, other, attack, 1, 0.2)
            assert [row["attack on"] for row in (alone, beside, at)] == [siege.ALONE, siege.BESIDE, siege.AT]
            assert all(row["answers"] for row in (alone, beside, at))
            assert alone["a_second"] == 0 < min(beside["a_second"], at["a_second"])
            assert alone["times_nobody"] == beside["times_another"] == 1.0
