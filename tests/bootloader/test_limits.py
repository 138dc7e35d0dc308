"""Bounds that a process sets for itself, where no cgroup does it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.tracing import untraced

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems bound other things")

MB = 1024 * 1024


def told(source: str, env: dict[str, str] | None = None) -> str:
    """What Python prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", source], env=env, capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr.splitlines()[-1] if done.stderr else done.stdout).strip()


def test_memory_counts_from_when_it_is_bounded() -> None:
    before = f"from bootloader.guest import limits\nheld = bytearray({256 * MB})\nlimits.restrict({64 * MB}, 0, 1)\n"
    assert told(before + f"more = bytearray({32 * MB})\nprint('had it')") == "had it"
    assert told(before + f"more = bytearray({128 * MB})") == "MemoryError"


def test_no_bound_is_no_bound() -> None:
    look = "import resource as r\nbefore = [r.getrlimit(n) for n in (r.RLIMIT_DATA, r.RLIMIT_NPROC)]\n"
    bound = "from bootloader.guest import limits\nlimits.restrict(0, 0, 1)\n"
    assert told(look + bound + look.replace("before", "after") + "print(before == after)") == "True"


def test_a_bound_is_not_higher_than_the_one_that_is_there() -> None:
    bound = "from bootloader.guest import limits\n"
    bound += "".join(f"limits.restrict({most * MB}, 0, 1)\n" for most in (64, 512))
    assert told(bound + f"more = bytearray({256 * MB})") == "MemoryError"


def test_what_is_to_be_ended_first_is_never_made_dearer() -> None:
    score = "/proc/self/oom_score_adj"
    source = f"""
from bootloader.guest import limits
from pathlib import Path
score = Path({score!r})
score.write_text("300")
limits.expend("warm")
first = score.read_text().strip()
limits.expend("application")
print(first, score.read_text().strip())
"""
    assert told(source) == "300 500"


ORDINARY = """
import os
from bootloader.guest import limits  # before: another user may not read where it lies
if os.geteuid() == 0:  # whose processes the system does not count
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""


def test_processes_are_bounded_by_what_there_is_and_so_many_more() -> None:
    source = """
import resource
tasks = lambda: int(open("/proc/loadavg").read().split()[3].partition("/")[2])
before = tasks()
limits.restrict(0, 1000, 1)
most, hard = resource.getrlimit(resource.RLIMIT_NPROC)
print(most == hard, before // 2 < most - 1000 < 2 * tasks())
"""
    assert told(ORDINARY + source, untraced()) == "True True"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is not counted")
def test_roots_processes_have_no_bound_that_nobody_would_keep() -> None:
    source = """
import resource
from bootloader.guest import limits
before = resource.getrlimit(resource.RLIMIT_NPROC)
limits.restrict(0, 1000, 1)
print(before == resource.getrlimit(resource.RLIMIT_NPROC))
"""
    assert told(source) == "True"
