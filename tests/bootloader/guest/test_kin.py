"""Which other processes run an application's code, as one of its processes sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

ROOT = Path(__file__).parents[3]

TRACKERS = """
import os
from multiprocessing.resource_tracker import ResourceTracker
from bootloader.guest import kin
for _ in range(40):
    tracker = ResourceTracker()
    tracker.ensure_running()
    assert kin.found() == 0, "taken for one that runs the application's code"
    os.close(tracker._fd)
    os.waitpid(tracker._pid, 0)
"""


def test_pythons_own_tracker_is_none_even_while_it_is_being_started() -> None:
    subprocess.run([sys.executable, "-c", TRACKERS], cwd=ROOT, check=True, timeout=60)
