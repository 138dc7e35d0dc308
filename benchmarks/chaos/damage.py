"""Damage: each file and folder of a target's state, one at a time, in every way a disk or a person damages one.

The state is a whole one, with several generations; after each damage the newest one has to run all the same, and to be
reached. There is one exception: a host whose file was removed is not obeyed again, and that is meant.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bootloader.state import volatile_places
from bootloader.wire.errors import Fault
from bootloader.wire.launch import PATH as LAUNCH_PATH
from bootloader.wire.launch import Launch
from bootloader.wire.layer import layer_name

from . import folders
from .boots import Broken, bare, real, told, unlinked
from .device import Device
from .disk import Image
from .generations import Generation, Promise
from .quick import quick
from .recording import Recording, inside
from .tally import OTHER, Tally

PART = "damage"
TOLD = "damages that have to be told"

_OTHER_USER = 12345


def _cut(path: Path, _chance: random.Random) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _zero(path: Path, _chance: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _remove(path: Path, _chance: random.Random) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _folder(path: Path, chance: random.Random) -> None:
    _remove(path, chance)
    (path / "not" / "empty").mkdir(parents=True)


def _file(path: Path, chance: random.Random) -> None:
    _remove(path, chance)
    path.write_bytes(b"something else\n")


def _dangle(path: Path, chance: random.Random) -> None:
    _remove(path, chance)
    path.symlink_to("nowhere/at/all")


def _deny(path: Path, _chance: random.Random) -> None:
    path.chmod(0)
    os.chown(path, _OTHER_USER, _OTHER_USER, follow_symlinks=False)


Damage = Callable[[Path, random.Random], None]

DAMAGES: Mapping[str, Mapping[str, Damage]] = {
    "file": {
        "emptied": lambda path, _chance: os.truncate(path, 0),
        "cut in half": _cut,
        "zeroed": _zero,
        "one bit flipped": _flip,
        "removed": _remove,
        "a folder in its place": _folder,
        "a dangling link in its place": _dangle,
        "another user's": _deny,
    },
    "folder": {
        "removed": _remove,
        "a file in its place": _file,
        "a dangling link in its place": _dangle,
        "another user's": _deny,
    },
    "link": {"removed": _remove, "dangling": _dangle, "a file in its place": _file, "a folder in its place": _folder},
}
"""What is done to a thing of each kind, by a name."""

_FILLED = ("data", "objects", "manifests", "trees")
_SILENCING = ("trust", "trust/hosts")
"""What nobody is obeyed without: the application runs, and whoever has the console is told."""


@dataclass(frozen=True, slots=True)
class Case:
    """One damage to one path."""

    path: str
    name: str
    damage: Damage

    @property
    def where(self) -> str:
        """As a finding tells it."""
        return f"{self.path} {self.name}"


def cases(image: Image) -> Iterator[Case]:
    """All damages to all paths but the application's own data and what is only read by people."""
    for path, thing in image.items():
        if not path.startswith(("data/", "aside")):
            for name, damage in DAMAGES[thing.kind].items():
                if damage is not _deny or os.geteuid() == 0:  # nobody else can give a file away
                    yield Case(path, name, damage)


def attack(recording: Recording, tally: Tally, chance: random.Random, *, booted: int, until_s: float) -> None:
    """Boot the whole state of a recording with every damage as far as the disk goes, ``booted`` of them for real."""
    image, newest = recording.whole, Promise(recording.newest.may_run, frozenset())
    every = list(cases(image))
    for case in every:
        if time.monotonic() > until_s:
            break
        is_damaged = _damaged(image, case, recording.state, chance)
        is_seen = is_damaged and not case.path.startswith("trust")  # which only a bootloader looks at
        tells = codes(image, case.path) if is_seen else frozenset()
        tally.counts["damages"] += 1
        tally.counts[TOLD] += bool(tells)
        _tell(tally, case, quick(recording.state, newest, recording.known, tells=tells))
    # What the store does not look at has been booted by nothing yet: those first.
    chance.shuffle(every)
    every.sort(key=lambda case: not case.path.startswith(("trust", "run", "live", "ledger")))
    device = Device(recording.state, recording.home, recording.state.parent / "log")
    for case in every[:booted]:
        if time.monotonic() > until_s:
            break
        tells = codes(image, case.path) if _damaged(image, case, recording.state, chance) else frozenset()
        tally.counts["boots"] += 1
        try:
            boot = unlinked if case.path in _SILENCING or _is_unhosted(case) else real
            _tell(tally, case, boot(device, newest, recording.known))
            if tells:
                _tell(tally, case, told(device, tells))
        except Fault as fault:
            _tell(tally, case, [(OTHER, str(fault))])
        finally:
            device.cut()


# where the disk is as it was, and all the rest is not


@dataclass(frozen=True, slots=True)
class Hardship:
    """Circumstances of a boot: ``env`` and ``command`` make them. ``boot`` says what has to come of it, and one of
    ``tells`` what is said of it, if anything has to be.
    """

    name: str
    boot: Callable[[Device, Promise, Mapping[str, Generation]], list[Broken]]
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    tells: frozenset[str] = frozenset()


_VOLATILE = frozenset({"state-volatile"})

HARDSHIPS = (
    Hardship("read-only", real, {"CHAOS_REFUSES": "EROFS"}, tells=_VOLATILE),
    Hardship("full", real, {"CHAOS_REFUSES": "ENOSPC"}, tells=_VOLATILE),
    Hardship("a file system that fails", real, {"CHAOS_REFUSES": "EIO"}, tells=_VOLATILE),
    Hardship("a file system that fails to read, too", bare, {"CHAOS_REFUSES": "EIO", "CHAOS_UNREADABLE": "1"}),
    Hardship("one operation in ten that fails", real, {"CHAOS_REFUSES": "EIO", "CHAOS_SHARE": "0.1"}),
    Hardship("one operation in two that fails", real, {"CHAOS_REFUSES": "EIO", "CHAOS_SHARE": "0.5"}),
    Hardship("a clock at 1970", real, {"CHAOS_CLOCK": "1970"}),
    Hardship("no network", unlinked, command=("unshare", "-n")),
    Hardship("state missing", bare),
    Hardship("state empty", bare),
)


def endure(recording: Recording, tally: Tally, hardships: Sequence[Hardship]) -> None:
    """Boot the whole state of a recording under each of the circumstances."""
    image, newest = recording.whole, recording.newest
    for one in hardships:
        if one.command and (
            os.geteuid() != 0 or subprocess.run([*one.command, "true"], capture_output=True).returncode
        ):
            tally.counts["hardships skipped, as they can't be had here"] += 1
            continue
        folders.lay({} if one.name == "state empty" else image, recording.state)
        if one.name == "state missing":
            shutil.rmtree(recording.state)
        device = Device(
            recording.state, recording.home, recording.state.parent / "log", inside(recording.state, one.env)
        )
        device.command = one.command
        tally.counts["hardships"] += 1
        try:
            broken = one.boot(device, newest, recording.known)
            for kind, what in broken + (told(device, one.tells) if one.tells else []):
                tally.found(kind, PART, one.name, what)
        except Fault as fault:
            tally.found(OTHER, PART, one.name, str(fault))
        finally:
            device.cut()
            for place in volatile_places(recording.state):
                shutil.rmtree(place, ignore_errors=True)


def _is_unhosted(case: Case) -> bool:
    """Whether the file of the host that asks is gone; one that is damaged is mended."""
    return case.path.startswith("trust/hosts/") and case.name.startswith(("removed", "a "))


def _damaged(image: Image, case: Case, state: Path, chance: random.Random) -> bool:
    """Whether that is any damage: half of nothing is nothing, and to root a file of another user is as good as any."""
    folders.lay(image, state)
    case.damage(state / case.path, chance)
    return case.damage is not _deny and bool(folders.unlike(folders.read(state)[0], image))


def codes(image: Image, path: str) -> frozenset[str]:
    """What its loss is told as, one of these, where a boot looks at it; of the rest, some can be done without."""
    if path in _FILLED:
        return frozenset({"state-lost"})
    live = image["live"].content.decode()
    layer = layer_name(Launch.decode(image[f"{live}/{LAUNCH_PATH}"].content).wheels)
    if path == "layers" or (layer and path.startswith(f"layers/{layer}")):
        return frozenset({"layer-mended"})
    known = {"live": "live-lost", f"{live}/": "live-lost", "ledger.": "ledger-damaged", "trust/device.": "trust-mended"}
    code = next((code for begins, code in known.items() if path.startswith(begins)), "")
    return frozenset({code, "state-lost"}) if code else frozenset()


def _tell(tally: Tally, case: Case, broken: list[Broken]) -> None:
    for kind, what in broken:
        tally.found(kind, PART, case.where, what)
