"""The figures of chaos, as a run of tests tells them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TRIES = """
def test_one(tally):
    tally.counts["power cuts"] += 3
def test_another(tally):
    tally.counts["power cuts"] += 4
    tally.found("mixture", "power", "cut 7", "half of each")
    tally.longest_s = 0.5
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_tests_tried_of_chaos_is_told_all_together_at_the_end(tmp_path: Path, workers: str) -> None:
    file = tmp_path / "test_tries.py"
    file.write_text(TRIES)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-n", workers]
    run = subprocess.run([*command, file], cwd=ROOT, capture_output=True, text=True, timeout=60)
    for line in (
        "power cuts 7",
        "mixtures seen (must be 0) 1",
        "generations lost (must be 0) 0",
        "longest time without an answer 0.50s",
        "- mixture, power cut 7: half of each",
    ):
        assert line.split() in [told.split() for told in run.stdout.splitlines()]
