"""Whatever was sent away comes to the keeper once everything above it is gone, and ends there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bootloader.target import SOON_S, alive

SENDING = "setsid sh -c 'sleep 1000 >/dev/null & echo $!; exec sleep 1000 >/dev/null' & echo $!"
"""Two processes of another session, the second a child of the first; it says their ids."""

KEEPING = f"""
import os, subprocess
from bootloader.keeper.orphans import Orphans
before = subprocess.Popen(["sleep", "1000"])
orphans = Orphans()
after = subprocess.Popen(["sleep", "1000"])
sent = subprocess.run(["sh", "-c", {SENDING!r}], stdout=subprocess.PIPE, text=True).stdout.split()
while orphans.kill(but=after.pid):
    for pid in sent:
        try:
            os.waitpid(int(pid), os.WNOHANG)
        except ChildProcessError:
            pass
print(*sent, before.poll(), after.poll())
for one in (before, after):
    one.kill()
    one.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to whoever asks for them")
def test_what_a_dead_process_left_behind_is_killed_and_nothing_else() -> None:
    told = subprocess.run([sys.executable, "-c", KEEPING], capture_output=True, text=True, timeout=SOON_S, check=False)
    assert told.returncode == 0, told.stderr
    *sent, before, after = told.stdout.split()
    assert len(sent) == 2
    assert not any(alive(int(pid)) for pid in sent)
    assert (before, after) == ("None", "None")
