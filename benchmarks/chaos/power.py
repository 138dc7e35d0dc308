"""Power cuts: what a real bootloader does to its disk is recorded, and the power is cut after every single operation.

Each cut leaves one of several disks (:mod:`.disk`). All of them are booted in this process as far as the disk goes; a
share, drawn by the seed, is booted for real.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from bootloader.wire.errors import Fault

from . import folders
from .boots import NOTHING, Promise, quick, real
from .device import Device
from .disk import Disk, Image, digest
from .generations import Generation, make
from .tally import OTHER, Tally

INSIDE = Path(__file__).parent / "inside"
"""What is put before all else on the Python path of every process that is recorded."""

_QUIET_S = 1.0
_STEP_S = 60.0
PART = "power cuts"


@dataclass(frozen=True, slots=True)
class Recording:
    """What a bootloader did to its state folder, which was ``start`` before. A window ends where a promise changes."""

    start: Image
    inodes: Mapping[str, int]
    windows: list[tuple[Promise, list[dict[str, Any]]]]
    known: dict[str, Generation]
    state: Path
    home: Path


@dataclass(frozen=True, slots=True)
class Cut:
    """One disk after a power cut. ``where`` names it: the same recording has the same cuts."""

    where: str
    image: Image
    promise: Promise


@dataclass
class _Recorder:
    """Drives one recorded bootloader, step by step."""

    device: Device
    record: Path
    known: dict[str, Generation] = field(default_factory=dict)
    windows: list[tuple[Promise, int]] = field(default_factory=list)
    kept: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset({NOTHING})

    def step(self, act: Callable[[], None], generation: Generation, *, well: bool = True) -> None:
        """``act`` has ``generation`` run; then all is on the disk, and nothing but its end state may boot."""
        root = generation.manifest.root
        self.known[root] = generation
        began = self.size()
        act()
        self.device.event(
            lambda event: event["event"] == "generation" and event["state"] == ("healthy" if well else "failed"),
            "its fate",
        )
        self.quiet()
        self.device.reach()  # its events so far are not the next step's
        self.windows.append((Promise(self.before | {root}, self.kept), began))
        if well:
            self.kept |= {root}
        self.before = frozenset({root}) if well else self.before | {root}

    def size(self) -> int:
        return self.record.stat().st_size if self.record.exists() else 0

    def quiet(self) -> None:
        """Wait until nothing is done to the folder any more."""
        deadline, since, size = time.monotonic() + _STEP_S, time.monotonic(), self.size()
        while time.monotonic() - since < _QUIET_S:
            if time.monotonic() > deadline:
                raise Fault("chaos-restless", f"something is written without end after {_STEP_S:g} s")
            time.sleep(0.05)
            if self.size() != size:
                since, size = time.monotonic(), self.size()


def record(scratch: Path, seed: int, changes: int) -> Recording:
    """Drive a bootloader through ``changes`` changes of generation and an orderly end, and record it.

    Raises a :class:`Fault` where the record does not lead from the folder as it was to the folder as it is.
    """
    chance = random.Random(f"{seed} power")
    state, home = scratch / "state", scratch / "home"
    told = scratch / "record"
    env = {"PYTHONPATH": f"{INSIDE}:{Path(__file__).parents[2]}", "CHAOS_FOLDER": str(state), "CHAOS_RECORD": str(told)}
    device = Device(state, home, scratch / "log", env)
    device.meet()
    start, inodes = folders.read(state)
    recorder = _Recorder(device, told)
    try:
        device.start()
        recorder.quiet()
        last: Generation | None = None
        for number in range(1, changes + 1):
            last = make(number, last, chance)
            recorder.step(lambda new=last: device.ship(new), last)  # type: ignore[misc]
        if last is not None and changes > 1:
            first = next(iter(recorder.known.values()))
            recorder.step(lambda: device.call("rollback", generation=1) and None, first)
        end = recorder.size()
        device.end()
    finally:
        device.cut()
    recorder.windows.append((Promise(recorder.before, recorder.kept), end))
    made = Recording(start, inodes, _split(told, recorder.windows), recorder.known, state, home)
    _check(made)
    return made


def _split(told: Path, begins: list[tuple[Promise, int]]) -> list[tuple[Promise, list[dict[str, Any]]]]:
    text = told.read_bytes()
    edges = [0, *(begin for _, begin in begins[1:]), len(text)]
    parts = [map(json.loads, text[begin:end].splitlines()) for begin, end in pairwise(edges)]
    return [(promise, list(part)) for (promise, _), part in zip(begins, parts, strict=True)]


def _check(recording: Recording) -> None:
    """The record, done again, has to lead to what there is: else something was not seen, and no cut is of worth."""
    disk = Disk(recording.start, recording.inodes)
    for _, steps in recording.windows:
        for step in steps:
            disk.do(step)
    wrong = folders.unlike(folders.read(recording.state)[0], disk.image())
    if wrong:
        raise Fault("chaos-unseen", "the record does not lead to the folder as it is", to=", ".join(wrong[:10]))


def cuts(recording: Recording) -> Iterator[Cut]:
    """Every disk after every operation, each once a promise."""
    disk = Disk(recording.start, recording.inodes)
    for number, (promise, steps) in enumerate(recording.windows, 1):
        seen: set[str] = set()
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


def unrecorded(fault: Fault, tally: Tally) -> None:
    """A recording that can't be trusted is a finding: nothing was proved."""
    tally.found(OTHER, PART, "recording", str(fault))
