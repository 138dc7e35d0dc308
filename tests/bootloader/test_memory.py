"""The system's memory is gone for real: its killer comes, inside of a small group that the whole target is in."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from tests.bootloader.target import SOON_S, Event, Target, app

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the memory groups are of Linux")

MB = 1024 * 1024
MOST_BYTES = 256 * MB
HOG_BYTES = 2 * MOST_BYTES
"""Where the hog stops by itself, if nobody stops it."""


def memory_group() -> Path:
    """Where this process's group of the ``memory`` controller (cgroup v1) lies."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = next((path for _, controllers, path in lines if controllers == "memory"), None)
    if own is None:
        pytest.skip("this system has no memory controller of cgroup v1")
    return Path("/sys/fs/cgroup/memory") / own.lstrip("/")


class Group:
    """Whatever is in it shares a little memory, and none that is swapped."""

    def __init__(self) -> None:
        self.path = memory_group() / f"reactor-test-{os.getpid()}"
        try:
            self.path.mkdir()
        except OSError as error:
            pytest.skip(f"no group can be made here: {error}")
        try:
            (self.path / "memory.limit_in_bytes").write_text(str(MOST_BYTES))
            (self.path / "memory.swappiness").write_text("0")
            assert int((self.path / "memory.limit_in_bytes").read_text()) == MOST_BYTES
        except BaseException:
            self.path.rmdir()
            raise

    @property
    def killed(self) -> int:
        """How often the system has killed in there, as there was no more."""
        lines = (self.path / "memory.oom_control").read_text().splitlines()
        return int(dict(line.split() for line in lines)["oom_kill"])

    def remove(self) -> None:
        """End what is in there, as a test that failed may have left something; and the group."""
        deadline = monotonic() + SOON_S
        while self.path.exists():
            for pid in map(int, (self.path / "cgroup.procs").read_text().split()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(OSError):  # those that were killed are not gone yet
                self.path.rmdir()
            assert monotonic() < deadline, f"{self.path} is still there"


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group()
    yield made
    made.remove()


@pytest.fixture
def small(tmp_path: Path, group: Group) -> Iterator[Target]:
    """A target that has little memory in all, beside which nobody sits."""

    class Small(Target):
        enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        program = ("sh", "-c", enter, str(group.path), *Target.program)

    made = Small(tmp_path, attached=False)
    yield made
    made.close()


HOG = f"""
import pathlib, threading
output = pathlib.Path("output")  # as it were, a pin: it stays as it is when the program dies

def main():
    found = output.read_text() if output.exists() else "nothing"
    output.write_text("on")
    print("found", found, flush=True)
    if found == "nothing":
        held = [b"x" * {MB} for _ in range({HOG_BYTES // MB})]
        print("had it all", len(held))
    threading.Event().wait()

def off():
    output.write_text("safe")
"""


def test_when_the_memory_of_the_system_is_gone_the_application_is_killed_and_made_safe_and_the_bootloader_lives(
    small: Target, group: Group
) -> None:
    keeper, bootloader = small.process.pid, small.pid
    inside = set(map(int, (group.path / "cgroup.procs").read_text().split()))
    assert {keeper, bootloader} <= inside
    change = small.ship(HOG, app(safe="app:off"))
    end = change.state("failed")
    assert end["why"].startswith("killed by SIGKILL")
    told = small.event("safe")
    assert (told["entry"], told["outcome"]) == ("app:off", "done")
    assert small.log("found safe")["n"] > told["n"] > end["n"]
    assert group.killed == 1
    assert (small.process.pid, small.pid, small.process.poll()) == (keeper, bootloader, None)
    assert small.status()["state"] == "running"
    assert not [event for event in small.events if event.get("text", "").startswith("had it all")]


CROWD = """
import os, signal, threading
def hold():
    held = b"x" * 2**23
    os.write(there, b"1")
    signal.pause()
def main():
    global there
    for _ in range(64):  # 512 MB together, each less than the bootloader has
        here, there = os.pipe()
        if os.fork() == 0: hold()
        os.close(there)
        os.read(here, 1)  # it holds what it wants, or is gone
        os.close(here)
    print("up", flush=True)
    threading.Event().wait()
"""


def test_many_small_ones_go_before_the_bootloader_that_is_larger_than_each(small: Target, group: Group) -> None:
    keeper, bootloader = small.process.pid, small.pid
    change = small.ship(CROWD)
    began = change.state("starting")["n"]

    def crowded(event: Event) -> bool:
        if event["event"] == "link-ended":
            return True
        return event["n"] > began and (event.get("text") == "up" or event.get("state") == "failed")

    small.wait(lambda: next(filter(crowded, small._events), None), "the end of the crowd")
    assert group.killed
    assert (small.process.pid, small.pid, small.process.poll()) == (keeper, bootloader, None)
    small.ship("def main():\n    print('the next one')\n", app(settle_s=0.0)).healthy()
    small.log("the next one")
    assert (small.process.pid, small.pid) == (keeper, bootloader)
