"""The REPL's figures come of a real session: each thing was done, and stands beside a plain call of the same run."""

from __future__ import annotations

from pathlib import Path

from benchmarks import talk


def test_each_thing_is_measured_beside_a_plain_call(scratch: Path) -> None:
    found = list(talk.figures(talk.rows(scratch / "talk", 3)))
    assert [row["what"] for row in found] == [
        "plain call",
        "a statement",
        "a line that prints",
        "completion",
        "completion of 100 keys",
        "key to menu, on a terminal",
    ]
    assert found[0]["of_plain_call"] == 1.0
    assert all(row["median_ms"] for row in found)
