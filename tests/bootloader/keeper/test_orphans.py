"""Whatever was sent away comes to the keeper once everything above it is gone, and ends there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bootloader.target import SOON_S

MARK = "MARK=1"

SENDING = "setsid sh -c 'sleep 1000 >/dev/null & echo $!; exec sleep 1000 >/dev/null' & echo $!"
"""Two processes of another session, the second a child of the first; it says their ids."""

KEEPING = f"""
import os, subprocess, sys
from bootloader.keeper.orphans import Orphans
before = [subprocess.Popen(["sh"], stdin=-1, stdout=-1, text=True) for _ in range(int(sys.argv[1]))]
orphans = Orphans({MARK!r})
after = subprocess.Popen(["sleep", "1000"])
sent = []
for mark in sys.argv[2:]:
    ours = subprocess.run(["env", mark, "sh", "-c", {SENDING!r}], stdout=subprocess.PIPE, text=True)
    sent += ours.stdout.split()
daemon = before[0].communicate("setsid sleep 1000 >/dev/null & echo $!")[0].strip() if before else 0
while orphans.kill(but=after.pid):
    for pid in sent:
        try:
            os.waitpid(int(pid), os.WNOHANG)
        except ChildProcessError:
            pass
alive = [pid for pid in sent if os.path.exists("/proc/" + pid)]
print(len(sent), len(alive), os.path.exists("/proc/" + daemon) if before else "", after.poll())
for pid in (daemon, after.pid, *alive):
    if pid:
        os.kill(int(pid), 9)
"""


def keeping(*arguments: str) -> list[str]:
    """How many were sent away and how many of them are left; whether a script's own is; the end of a child."""
    command = [sys.executable, "-c", KEEPING, *arguments]
    told = subprocess.run(command, capture_output=True, text=True, timeout=SOON_S, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to whoever asks for them")
def test_what_a_dead_process_left_behind_is_killed_whatever_it_was_started_with() -> None:
    assert keeping("0", "OTHER=1", MARK) == ["4", "0", "None"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to whoever asks for them")
def test_what_a_script_that_became_the_keeper_sends_away_later_is_left_alone() -> None:
    assert keeping("1", MARK) == ["2", "0", "True", "None"]
