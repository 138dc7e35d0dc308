"""Bad places on a disk: of each file of a target's state, one at a time, the content can't be read any more.

Unlike what :mod:`.damage` does, the file looks as it always did, until somebody reads it, and an EIO is all they get.
"""

from __future__ import annotations

import random
import time

from bootloader.wire.errors import Fault

from . import folders
from .boots import real, told
from .damage import PART, TOLD, codes
from .device import Device
from .generations import Promise
from .inside.sector import unreadable
from .quick import quick
from .recording import Recording, inside
from .tally import OTHER, Tally


def attack(recording: Recording, tally: Tally, chance: random.Random, *, booted: int, until_s: float) -> None:
    """Boot the whole state with each file unreadable as far as the disk goes, and ``booted`` of them for real."""
    image, state, newest = recording.whole, recording.state, Promise(recording.newest.may_run, frozenset())
    paths = [path for path, thing in image.items() if thing.kind == "file" and not path.startswith(("data/", "aside"))]
    for path in paths:
        if time.monotonic() > until_s:
            return
        folders.lay(image, state)
        tells = codes(image, path) if not path.startswith("trust") else frozenset()
        tally.counts["damages"] += 1
        tally.counts[TOLD] += bool(tells)
        with unreadable(state / path):
            found = quick(state, newest, recording.known, tells=tells)
        for kind, what in found:
            tally.found(kind, PART, f"{path} unreadable", what)
    # What the store does not look at has been booted by nothing yet: those first.
    chance.shuffle(paths)
    paths.sort(key=lambda path: not path.startswith(("trust", "warm", image["live"].content.decode())))
    for path in paths[:booted]:
        if time.monotonic() > until_s:
            return
        folders.lay(image, state)
        with unreadable(state / path) as bad:
            device = Device(state, recording.home, state.parent / "log", inside(state, {"CHAOS_BAD": bad}))
            tally.counts["boots"] += 1
            try:
                found = real(device, newest, recording.known)
                if tells := codes(image, path):
                    found += told(device, tells)
            except Fault as fault:
                found = [(OTHER, str(fault))]
            finally:
                device.cut()
        for kind, what in found:
            tally.found(kind, PART, f"{path} unreadable", what)
