"""Power cuts: after every single operation that a bootloader did to its disk, the power is cut.

Each cut leaves one of several disks (:mod:`.disk`). All of them are booted in this process as far as the disk goes; a
share, drawn by lot, is booted for real.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from . import folders
from .boots import real
from .device import Device
from .disk import Disk, Image, digest
from .generations import Promise
from .quick import quick
from .recording import Recording, boot
from .tally import Tally

PART = "power cuts"

SAMPLED = "recordings of whose cuts only a sample was tried"


@dataclass(frozen=True, slots=True)
class Cut:
    """One disk after a power cut. ``where`` names it: the same recording has the same cuts."""

    where: str
    image: Image
    promise: Promise


def cuts(recording: Recording, share: int = 1, most: int = sys.maxsize) -> Iterator[Cut]:
    """Every disk after every operation, each once a promise.

    Of the outcomes in which a single thing is lost, only each ``share``-th: they are nearly all there are. Of a window,
    some ``most`` operations.
    """
    single = 0
    disk = Disk(recording.start, recording.inodes)
    for number, (promise, steps) in enumerate(recording.windows, 1):
        seen: set[str] = set()
        disk.settle()
        for at, step in enumerate([None, *steps]):
            if step is not None:
                disk.do(step)
            if at % (len(steps) // most + 1):
                continue
            for name, make in disk.outcomes():
                single += name.startswith(("content ", "lost "))
                if name.startswith(("content ", "lost ")) and single % share:
                    continue
                if (key := digest(image := make())) not in seen:
                    seen.add(key)
                    what = f"{step['op']} {step.get('path', step.get('ino'))}" if step is not None else "begin"
                    yield Cut(f"change {number}, operation {at} ({what}), {name}", image, promise)


class Lot:
    """Draws so many cuts that each one offered has the same chance."""

    def __init__(self, most: int, chance: random.Random) -> None:
        self.drawn: list[Cut] = []
        self._most = most
        self._chance = chance
        self._offered = 0

    def offer(self, cut: Cut) -> None:
        """One more, of which it is not known how many there will be."""
        self._offered += 1
        if len(self.drawn) < self._most:
            self.drawn.append(cut)
        elif (place := self._chance.randrange(self._offered)) < self._most:
            self.drawn[place] = cut


def attack(
    recording: Recording,
    tally: Tally,
    chance: random.Random,
    *,
    booted: int,
    again: int,
    until_s: float,
    share: int = 1,
    most: int = sys.maxsize,
) -> None:
    """Boot all cuts, until the clock says ``until_s``; ``share`` and ``most`` as for :func:`cuts`.

    Some ``booted`` of them are booted for real. In ``again`` boots that have something to mend, the power is cut again
    after each operation. Where time is short, each of the three has a part of it.
    """
    tally.counts[SAMPLED] += share > 1 or most < sys.maxsize
    for_real, to_mend = Lot(booted, chance), Lot(again, chance)
    now_s = time.monotonic()
    cuts_until_s, again_until_s = (now_s + part * (until_s - now_s) for part in (0.6, 0.8))
    for cut in _all_booted(cuts(recording, share, most), recording, tally, cuts_until_s):
        for_real.offer(cut)
        if "all contents" in cut.where:
            to_mend.offer(cut)
    for number, cut in enumerate(to_mend.drawn):
        if time.monotonic() < again_until_s:
            scratch = recording.state.parent / f"again-{number}"
            scratch.mkdir()
            mending = boot(recording, cut.image, cut.promise, scratch)
            where = f"{cut.where}; in the boot after it, "
            for _ in _all_booted(cuts(mending, share, most), mending, tally, again_until_s, where):
                pass
    device = Device(recording.state, recording.home, recording.state.parent / "log")
    for cut in for_real.drawn:
        if time.monotonic() > until_s:
            break
        tally.counts["boots"] += 1
        folders.lay(cut.image, recording.state)
        try:
            for kind, what in real(device, cut.promise, recording.known):
                tally.found(kind, PART, cut.where, what)
        finally:
            device.cut()


def _all_booted(
    made: Iterator[Cut], recording: Recording, tally: Tally, until_s: float, where: str = ""
) -> Iterator[Cut]:
    """The cuts that are ``made`` of a recording, each booted as far as the disk goes."""
    for cut in made:
        if time.monotonic() > until_s:
            tally.counts["recordings not cut to their end, for want of time"] += 1
            return
        tally.counts["power cuts"] += 1
        folders.lay(cut.image, recording.state)
        for kind, what in quick(recording.state, cut.promise, recording.known):
            tally.found(kind, PART, where + cut.where, what)
        yield cut
