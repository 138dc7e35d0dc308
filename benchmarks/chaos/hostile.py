"""Hostile applications: code that does to its device what it can, while somebody asks the device over its link.

Each runs after a healthy generation. Throughout, the link has to answer within a second; then a healthy generation is
sent, as a developer would, has to run, and no process of the hostile one may be left.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bootloader.wire.errors import Fault, LinkDown, Refused
from bootloader.wire.launch import PATH, Application, Launch

from .attacks import ATTACKS, FILLER, FILLS, FLOODS
from .boots import left
from .device import SOON_S, Device
from .generations import Generation, make
from .probe import Probe
from .tally import LOST, OTHER, Tally

PART = "hostile applications"

NO_DISK = "attacks skipped, as no small disk can be mounted"
SLOW = "floods that were too slow to overflow"

_HOLD_S = 3.0
_OVERFLOWS_S = 30.0
_DISK = "64m"

_TRIED_AGAIN = ("stale-root", "missing-blob", "missing-layer", "leased")
"""As a host does: what the target had when it was asked may have gone to make room, and a link that has ended may have
the lease for a moment more.
"""

_READY = "print('now', flush=True)\n"


def attack(
    scratch: Path,
    tally: Tally,
    chance: random.Random,
    names: list[str],
    until_s: float,
    hold_s: float = _HOLD_S,
    command: tuple[str, ...] = (),
) -> None:
    """Have one device, started through ``command``, bear the attacks ``names``, one after the other, for ``hold_s``."""
    with _disk(scratch / "disk") as (disk, is_small):
        device = Device(disk / "state", scratch / "home", scratch / "log")
        device.command = command
        device.meet()
        device.start()
        try:
            good = make(1, None, chance)
            device.ship(good)
            device.says(good.says)
            if FILLS in names and is_small:
                _reserved(device)
            for number, name in enumerate(names):
                if time.monotonic() > until_s:
                    break
                if name == FILLS and not is_small:
                    tally.counts[NO_DISK] += 1
                    continue
                good = make(3 * number + 3, good, chance)
                try:
                    _one(device, tally, name, _evil(3 * number + 2, ATTACKS[name]), good, hold_s)
                except Fault as fault:
                    tally.found(OTHER, PART, name, str(fault))
                    device.cut()
                    _freed(device)
                    device.start()
        finally:
            device.cut()


def _one(device: Device, tally: Tally, name: str, evil: Generation, good: Generation, hold_s: float) -> None:
    tally.counts["attacks"] += 1
    with Probe(device, tally, PART, name):
        with suppress(LinkDown):  # it was quick to kill the bootloader
            device.ship(evil)
            device.event(lambda event: event["event"] == "log" and event["text"] == "now", "its first word")
        time.sleep(hold_s)
        if name in FLOODS:
            _counted(device, tally, name)
        _replace(device, good)
    _freed(device)
    if device.root() != good.manifest.root:
        tally.found(LOST, PART, name, f"the generation that was sent after it is not live: {device.root()[:12]} is")
    if others := left(device):
        tally.found(OTHER, PART, name, f"processes {sorted(others)} are left of it")
        for pid in others:
            os.kill(pid, 9)


def _freed(device: Device) -> None:
    """What filled the disk goes."""
    for filler in (device.state / "data").glob(f"*/{FILLER}"):
        filler.unlink()


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
            if refused.code not in _TRIED_AGAIN or time.monotonic() > deadline:
                raise


def _reserved(device: Device) -> None:
    """Wait until the device has put something by for a disk that is full: that may take until it has settled."""
    deadline = time.monotonic() + SOON_S
    while not (device.state / "reserve").exists():
        if time.monotonic() > deadline:
            raise Fault("chaos-no-reserve", f"nothing is held back after {SOON_S:g} s", to=str(device.state))
        time.sleep(0.02)


def _counted(device: Device, tally: Tally, name: str) -> None:
    """Logs are bounded, and of what was dropped the count is told: each event was there, or is in that count."""
    deadline = time.monotonic() + _OVERFLOWS_S
    while not device.overflowed():
        if time.monotonic() > deadline:  # a flood has but a part of a busy bootloader's time
            tally.counts[SLOW] += 1
            break
        time.sleep(0.1)
    events, told, lost = device.pulled()
    tally.counts["events of floods that were dropped, as was said"] += lost
    if told + lost != events:
        tally.found(OTHER, PART, name, f"of {events} events {told} were told, and {lost} said to be lost")


def _evil(number: int, does: str) -> Generation:
    """An application that says ``now`` and then does as told."""
    code = f"import os, signal, sys, time\n\ndef main():\n    {_READY}"
    code += "".join(f"    {line}\n" for line in does.strip().splitlines())
    app = Application("app", "app:main", grace_s=1.0, memory_mb=512, processes=200)
    return Generation(number, {"app.py": code.encode(), PATH: Launch((app,), reload="restart").encode()}, {}, False)


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
