"""Hostile applications: code that does to its device what it can, while somebody asks the device over its link.

Each runs after a healthy generation. Throughout, the link has to answer within a second; then a healthy generation is
sent, as a developer would, has to run, and no process of the hostile one may be left. What one does is bounded here
too, so that a target that is not bounded spoils a figure and not the machine.
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bootloader.wire.errors import Fault, LinkDown, Refused
from bootloader.wire.launch import PATH, Application, Launch

from .device import SOON_S, Device
from .generations import Generation, make
from .probe import Probe
from .tally import LOST, OTHER, Tally

PART = "hostile applications"

_HOLD_S = 3.0
_GONE_S = 15.0
_MARK = "CHAOS_MARK"
_DISK = "64m"

_READY = "print('now', flush=True)\n"

ATTACKS: Mapping[str, str] = {
    "fork bomb": """
import mmap, os, time
count = mmap.mmap(-1, 4096)
while True:
    if int.from_bytes(count[:4], "little") > 600:
        time.sleep(0.01)
        continue
    try:
        if os.fork() == 0:
            count[:4] = (int.from_bytes(count[:4], "little") + 1).to_bytes(4, "little")
    except OSError:
        time.sleep(0.001)
""",
    "memory hog": """
hog = []
while len(hog) < 150:
    hog.append(b"x" * (10 << 20))
time.sleep(600)
""",
    "busy in every thread": """
import threading
def spin():
    while True:
        pass
for _ in range(16):
    threading.Thread(target=spin).start()
spin()
""",
    "busy processes": """
for _ in range(16):
    if os.fork() == 0:
        while True:
            pass
time.sleep(600)
""",
    "daemon that double-forks away": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.closerange(0, 4096)
        while True:
            time.sleep(1)
    os._exit(0)
time.sleep(600)
""",
    "daemon that outlives it": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"])
    os._exit(0)
os.wait()
""",
    "closes every descriptor": "os.closerange(0, 65536)\ntime.sleep(600)\n",
    "floods stdout": """
while True:
    os.write(1, b"x" * 65536)
""",
    "floods stdout in lines": """
while True:
    print("a line of a flood " * 3)
""",
    "fills the disk": """
with open("filler", "wb", buffering=0) as file:
    try:
        for _ in range(200):
            file.write(bytes(1 << 20))
    except OSError:
        pass
    while True:
        try:
            file.write(b"x" * 512)
        except OSError:
            time.sleep(0.01)
""",
    "kills the warm parent": "os.kill(os.getppid(), 9)\ntime.sleep(600)\n",
    "kills the bootloader": """
status = open(f"/proc/{os.getppid()}/stat").read()
os.kill(int(status.rpartition(")")[2].split()[1]), 9)
time.sleep(600)
""",
    "ignores SIGTERM": """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
while True:
    time.sleep(1)
""",
    "ends at once, badly": "os._exit(3)\n",
    "crashes": "import ctypes\nctypes.string_at(0)\n",
}
"""What an application does after it has said ``now``, by a name."""


def attack(
    scratch: Path, tally: Tally, chance: random.Random, names: list[str], until_s: float, hold_s: float = _HOLD_S
) -> None:
    """Have one device bear the attacks ``names``, one after the other, each for ``hold_s``."""
    with _disk(scratch / "disk") as (disk, is_small):
        device = Device(disk / "state", scratch / "home", scratch / "log")
        device.meet()
        device.start()
        try:
            good = make(1, None, chance)
            device.ship(good)
            device.says(good.says)
            for number, name in enumerate(names):
                if time.monotonic() > until_s:
                    break
                if name == "fills the disk" and not is_small:
                    tally.counts["attacks skipped, as no small disk can be mounted"] += 1
                    continue
                good = make(3 * number + 3, good, chance)
                try:
                    _one(device, tally, name, _evil(3 * number + 2, ATTACKS[name]), good, hold_s)
                except Fault as fault:
                    tally.found(OTHER, PART, name, str(fault))
                    device.cut()
                    device.start()
        finally:
            device.cut()


def _one(
    device: Device, tally: Tally, name: str, evil: tuple[Generation, str], good: Generation, hold_s: float
) -> None:
    tally.counts["attacks"] += 1
    generation, mark = evil
    with Probe(device, tally, PART, name):
        with suppress(LinkDown):  # it was quick to kill the bootloader
            device.ship(generation)
            device.event(lambda event: event["event"] == "log" and event["text"] == "now", "its first word")
        time.sleep(hold_s)
        _replace(device, good)
    if device.root() != good.manifest.root:
        tally.found(LOST, PART, name, f"the generation that was sent after it is not live: {device.root()[:12]} is")
    left = _left(mark)
    if left:
        tally.found(OTHER, PART, name, f"processes {left} are left of it")
        for pid in left:
            os.kill(pid, 9)


def _replace(device: Device, good: Generation) -> None:
    """Send what is to run in its place, as often as the bootloader is killed meanwhile, and see it run."""
    deadline = time.monotonic() + SOON_S
    while True:
        try:
            device.reach()
            device.ship(good)
            return device.says(good.says)
        except LinkDown:
            if time.monotonic() > deadline:
                raise
        except Refused as refused:
            if refused.code not in ("disk-full", "stale-root") or time.monotonic() > deadline:
                raise
            for filler in (device.state / "data").glob("*/filler"):  # as its message says: free space
                os.truncate(filler, 0)


def _evil(number: int, does: str) -> tuple[Generation, str]:
    """An application that says ``now`` and then does as told, and the mark of its processes."""
    mark = secrets.token_hex(8)
    code = f"import os, signal, sys, time\n\ndef main():\n    {_READY}"
    code += "".join(f"    {line}\n" for line in does.strip().splitlines())
    app = Application("app", "app:main", env={_MARK: mark}, grace_s=1.0, memory_mb=512, processes=200)
    return Generation(
        number, {"app.py": code.encode(), PATH: Launch((app,), reload="restart").encode()}, {}, False
    ), mark


def _left(mark: str) -> list[int]:
    """The processes that carry a mark, once they had time to be gone."""
    deadline = time.monotonic() + _GONE_S
    wanted = f"{_MARK}={mark}".encode()
    while left := [pid for pid in _processes() if wanted in _environment(pid).split(b"\0")]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.05)
    return []


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


@contextmanager
def _disk(place: Path) -> Iterator[tuple[Path, bool]]:
    """A small disk of its own, where one can be had."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(["mount", *options], capture_output=True).returncode == 0
    try:
        yield place, mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
