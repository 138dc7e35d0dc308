"""Nothing of a benchmark outlives it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.guard import descendants

# The work leaves a detached process behind, tells its number and the scratch folder, and ends in the given way.
_WORK = """
import os, subprocess, sys
from benchmarks.guard import guarded

def work(scratch):
    (scratch / "left").write_text("x")
    detached = f"{sys.executable} -c 'import time; time.sleep(600)' >/dev/null 2>&1 & echo $!"
    number = subprocess.run(["sh", "-c", detached], capture_output=True, start_new_session=True).stdout
    print(int(number), scratch, flush=True)
    ENDING

sys.exit(guarded(work))
"""


def test_the_descendants_are_all_below_and_nobody_else() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 13: 10, 20: 1, 21: 20}
    assert sorted(descendants(10, parents)) == [11, 12, 13]
    assert descendants(12, parents) == []


@pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are Linux's")
@pytest.mark.parametrize(
    ("ending", "code"),
    [("return 3", 3), ("raise KeyboardInterrupt", 130), ("os.kill(os.getpid(), 9)", 137), ("raise OSError('x')", 1)],
)
def test_what_the_work_left_is_gone_however_the_work_ended(ending: str, code: int) -> None:
    command = [sys.executable, "-c", _WORK.replace("ENDING", ending)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    number, scratch = done.stdout.split()
    assert done.returncode == code
    assert not Path(scratch).exists()
    assert not Path("/proc", number).exists()
