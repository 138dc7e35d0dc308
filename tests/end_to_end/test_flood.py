"""100,000 lines at once: nothing hangs, each line is told or counted, and memory stays within bounds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import figures, flood

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

LINES, BEATS = 100_000, 5
MOST_KB = 160 * 1024


@pytest.mark.parametrize("run", [flood.as_json, flood.on_screen], ids=["in a pipe", "on a screen"])
def test_a_burst_is_told_or_counted_to_the_last_line_and_what_follows_is_shown(
    run: Callable[[Path, int, int], flood.Flood], tmp_path: Path
) -> None:
    found = run(tmp_path, LINES, BEATS)
    assert found.told + found.dropped == LINES
    assert len(found.latencies_ms) == BEATS
    assert 0 < found.host_kb < MOST_KB
    assert 0 < found.bootloader_kb < MOST_KB


def test_the_benchmark_of_the_terminal_has_a_row_for_each_way_that_lines_take(tmp_path: Path) -> None:
    rows = [
        flood.alone(tmp_path / "blocks", 1000, buffered=True).summary(),
        flood.as_json(tmp_path / "json", 1000, 2).summary(),
    ]
    assert rows[0].keys() < rows[1].keys()
    shown = figures.table(rows).splitlines()
    assert len(shown) == 4
    assert {line.count("|") for line in shown} == {len(rows[1]) + 1}
