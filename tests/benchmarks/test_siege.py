"""A siege is real: the neighbour does what he is said to do, to whom it is said, and the host is answered meanwhile."""

from __future__ import annotations

from pathlib import Path

from benchmarks import neighbour, siege


def test_the_host_is_answered_whoever_is_attacked(scratch: Path) -> None:
    rows = list(siege.rows(scratch, list(neighbour.ATTACKS), 1, 0.2))
    for name, of_it in zip(neighbour.ATTACKS, zip(*[iter(rows)] * 3, strict=True), strict=True):
        alone, beside, at = of_it
        assert [(row["attack"], row["at"]) for row in of_it] == [(name, whom) for whom in siege.WHOM]
        assert all(row["answers"] for row in of_it)
        assert alone["a_second"] == 0 < min(beside["a_second"], at["a_second"])
        assert alone["times_nobody"] == beside["times_another"] == 1.0
