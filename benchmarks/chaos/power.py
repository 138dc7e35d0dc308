"""Power cuts: after every single operation that a bootloader did to its disk, the power is cut.

Each cut leaves one of several disks (:mod:`.disk`). All of them are booted in this process as far as the disk goes; a
share, drawn by lot, is booted for real.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from . import folders
from .boots import quick, real
from .device import Device
from .disk import Disk, Image, digest
from .generations import Promise
from .recording import Recording
from .tally import Tally

PART = "power cuts"


@dataclass(frozen=True, slots=True)
class Cut:
    """One disk after a power cut. ``where`` names it: the same recording has the same cuts."""

    where: str
    image: Image
    promise: Promise


def cuts(recording: Recording) -> Iterator[Cut]:
    """Every disk after every operation, each once a promise."""
    disk = Disk(recording.start, recording.inodes)
    for number, (promise, steps) in enumerate(recording.windows, 1):
        seen: set[str] = set()
        disk.settle()
        for at, step in enumerate([None, *steps]):
            if step is not None:
                disk.do(step)
            for name, image in disk.outcomes():
                if (key := digest(image)) not in seen:
                    seen.add(key)
                    what = f"{step['op']} {step.get('path', step.get('ino'))}" if step is not None else "begin"
                    yield Cut(f"change {number}, operation {at} ({what}), {name}", image, promise)


def attack(recording: Recording, tally: Tally, chance: random.Random, *, booted: int, until_s: float) -> None:
    """Boot all cuts, and for real ``booted`` of them, until the clock says ``until_s``."""
    for_real: list[Cut] = []
    for number, cut in enumerate(cuts(recording), 1):
        if time.monotonic() > until_s:
            break
        tally.counts["power cuts"] += 1
        folders.lay(cut.image, recording.state)
        for kind, what in quick(recording.state, cut.promise, recording.known):
            tally.found(kind, PART, cut.where, what)
        if len(for_real) < booted:
            for_real.append(cut)
        elif (place := chance.randrange(number)) < booted:
            for_real[place] = cut
    device = Device(recording.state, recording.home, recording.state.parent / "log")
    for cut in for_real:
        if time.monotonic() > until_s:
            break
        tally.counts["boots"] += 1
        folders.lay(cut.image, recording.state)
        try:
            for kind, what in real(device, cut.promise, recording.known):
                tally.found(kind, PART, cut.where, what)
        finally:
            device.cut()
