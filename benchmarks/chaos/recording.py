"""What a real bootloader does to its disk: it is driven over its link, and every operation is recorded.

A recording is cut into windows: in each it is known which generations may run after a power cut, and which healthy ones
are to be kept.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from bootloader.wire.errors import Fault
from bootloader.wire.overlay import Overlay
from reactor.cli.upgrade import package, release

from ..processes import REPOSITORY
from . import folders
from .device import Device
from .disk import Disk, Image
from .generations import INSTALLED, NOTHING, Generation, Promise, make

INSIDE = Path(__file__).parent / "inside"
"""What is put before all else on the Python path of every process that is recorded."""

_QUIET_S = 1.0
_STEP_S = 60.0


@dataclass(frozen=True, slots=True)
class Recording:
    """What a bootloader did to its state folder, which was ``start`` before. A window ends where a promise changes.

    ``whole`` is the folder as it was while nothing ill had been sent yet; ``newest`` ran then.
    """

    start: Image
    inodes: Mapping[str, int]
    windows: list[tuple[Promise, list[dict[str, Any]]]]
    known: dict[str, Generation]
    state: Path
    home: Path
    whole: Image
    newest: Promise


def inside(state: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a bootloader whose operations on ``state`` are seen, for what ``more`` says."""
    return {"PYTHONPATH": f"{INSIDE}:{REPOSITORY}", "CHAOS_FOLDER": str(state), **more}


@dataclass
class Recorder:
    """Drives one recorded bootloader, step by step."""

    device: Device
    record: Path
    known: dict[str, Generation] = field(default_factory=dict)
    windows: list[tuple[Promise, int]] = field(default_factory=list)
    kept: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset({NOTHING})
    releases: frozenset[str] = frozenset({INSTALLED})
    whole: Image = field(default_factory=dict)
    newest: Promise = field(default_factory=lambda: Promise(frozenset({NOTHING}), frozenset()))

    def step(self, act: Callable[[], None], generation: Generation, *, well: bool = True, held: bool = False) -> None:
        """``act`` has ``generation`` run; then all is on the disk, and it, or what ran before an ill one, boots.

        One that is ``held`` stays live, although it is ill; what a boot makes of that is left to it.
        """
        root = generation.manifest.root
        self.known[root] = generation
        began, fate = self.size(), "healthy" if well else "failed"
        self.device.mark()
        act()
        self.device.event(lambda event: event["event"] == "generation" and event["state"] == fate, f"that it {fate}")
        self.windows.append((Promise(self.before | {root}, self.kept, self.releases), began))
        if well:
            self.kept |= {root}
            self.before = frozenset({root})
        elif held:
            self.before |= {root}
        self.fallen()
        self.quiet()
        if well:
            self.whole, self.newest = folders.read(self.device.state)[0], Promise(self.before, self.kept)

    def upgrade(self, release: Overlay) -> None:
        """Have another bootloader tried and kept; until that is confirmed, the one of before boots."""
        began = self.size()
        self.device.upgrade(release)
        self.windows.append((Promise(self.before, self.kept, self.releases), began))
        self.quiet()
        began = self.size()
        self.device.call("confirm", release=release.root)
        self.windows.append((Promise(self.before, self.kept, self.releases | {release.root}), began))
        self.releases = frozenset({release.root})
        self.windows.append((Promise(self.before, self.kept, self.releases), self.size()))
        self.quiet()

    def fallen(self) -> None:
        """Wait until what may run does: a crash loop takes a while to end there."""
        deadline = time.monotonic() + _STEP_S
        while self.device.root() not in self.before:
            if time.monotonic() > deadline:
                raise Fault("chaos-crash-loop", f"the last healthy generation is not live after {_STEP_S:g} s")
            time.sleep(0.05)

    def size(self) -> int:
        """How long the record is now."""
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


def record(scratch: Path, seed: str, changes: int, *, crash_loop: bool) -> Recording:
    """Drive a bootloader through ``changes`` changes of generation, a rollback and its end, and record it.

    At will it has a crash loop and two ill generations that a developer holds, too.

    Raises a :class:`Fault` where the record does not lead from the folder as it was to the folder as it is.
    """
    chance = random.Random(f"{seed} power")

    def drive(recorder: Recorder) -> None:
        device = recorder.device
        last: Generation | None = None
        for number in range(1, changes + 1):
            last = make(number, last, chance)
            recorder.step(lambda new=last: device.ship(new), last)  # type: ignore[misc]
        if last is not None and changes > 1:
            first = next(iter(recorder.known.values()))
            recorder.step(lambda: device.roll_back(1), first)
        if crash_loop:
            ill = make(changes + 1, last, chance, well=False)
            recorder.step(lambda: device.ship(ill), ill, well=False)
            device.attach()
            for number in range(changes + 2, changes + 4):
                ill = make(number, ill, chance, well=False)
                recorder.step(lambda new=ill: device.ship(new), ill, well=False, held=True)  # type: ignore[misc]

    return driven(scratch, drive)


def record_upgrades(scratch: Path, seed: str, upgrades: int) -> Recording:
    """Record a bootloader that runs one generation and is replaced by so many others, each a comment longer."""

    def drive(recorder: Recorder) -> None:
        only = make(4, None, random.Random(f"{seed} upgrade"))  # it has no layer: those are tried without this
        recorder.step(lambda: recorder.device.ship(only), only)
        contents = package()
        for number in range(1, upgrades + 1):
            contents["bootloader/boot.py"] += f"# {number}\n".encode()
            recorder.upgrade(release(contents))

    return driven(scratch, drive)


def driven(scratch: Path, drive: Callable[[Recorder], None]) -> Recording:
    """Start a bootloader on a new folder, have ``drive`` do something with it, and end it; all of it is recorded."""
    state, home = scratch / "state", scratch / "home"
    told = scratch / "record"
    device = Device(state, home, scratch / "log", inside(state, {"CHAOS_RECORD": str(told)}))
    device.meet()
    start, inodes = folders.read(state)
    recorder = Recorder(device, told)
    try:
        device.start()
        recorder.quiet()
        drive(recorder)
        end = recorder.size()
        device.end()
    finally:
        device.cut()
    recorder.windows.append((Promise(recorder.before, recorder.kept, recorder.releases), end))
    made = Recording(
        start, inodes, _split(told, recorder.windows), recorder.known, state, home, recorder.whole, recorder.newest
    )
    _check(made)
    return made


def boot(recording: Recording, image: Image, promise: Promise, scratch: Path) -> Recording:
    """Boot a bootloader on ``image`` in place of the recording's end, and record what it does, mending included."""
    told = scratch / "record"
    folders.lay(image, recording.state)
    start, inodes = folders.read(recording.state)
    seen = inside(recording.state, {"CHAOS_RECORD": str(told)})
    device = Device(recording.state, recording.home, scratch / "log", seen)
    recorder = Recorder(device, told)
    try:
        device.start()
        recorder.quiet()
    finally:
        device.cut()
    made = replace(recording, start=start, inodes=inodes, windows=_split(told, [(promise, 0)]))
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
    wrong = [path for path in wrong if not path.startswith("logs/")]  # what is kept of the past is no part of a promise
    if wrong:
        raise Fault("chaos-unseen", "the record does not lead to the folder as it is", to=", ".join(wrong[:10]))
