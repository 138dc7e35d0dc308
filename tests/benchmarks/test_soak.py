"""A slice of the soak: patches leave nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_a_hundred_and_fifty_patches_on_one_process_leave_nothing_behind() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--patches", "150"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["patches"] == 150
