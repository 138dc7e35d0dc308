"""Whether a target boots as it must: something whole, out of what may run.

:func:`real` starts the bootloader and believes only what the application says; the others are for where a target can't
be reached, and that is right.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path

from bootloader.wire.errors import Fault
from bootloader.wire.manifest import EMPTY, PLAIN

from .device import SOON_S, Device, first_line
from .generations import NOTHING, SAYS, Generation, Promise
from .tally import LOST, MIXTURE, OTHER

_GONE_S = 15.0

Broken = tuple[str, str]
"""What was broken: the finding's kind, and what happened."""


def wrong_root(root: str, may_run: Collection[str], known: Mapping[str, Generation]) -> list[Broken]:
    """What runs has to be something that may."""
    if root in may_run:
        return []
    return [(LOST, f"{named(root, known)} would run, not {' or '.join(sorted(named(one, known) for one in may_run))}")]


def named(root: str, known: Mapping[str, Generation]) -> str:
    """A root as a reader knows it."""
    if root == NOTHING:
        return "nothing"
    return f"generation {known[root].number}" if root in known else f"unknown root {root[:12]}"


def wrong_release(root: str, promise: Promise) -> list[Broken]:
    """The bootloader that runs has to be one that may."""
    if root in promise.releases:
        return []
    wanted = " or ".join(sorted(one[:12] or "the installed one" for one in promise.releases))
    return [(LOST, f"the bootloader is {root[:12] or 'the installed one'}, not {wanted}")]


def wrong_tree(folder: Path, wanted: Generation) -> list[Broken]:
    """Every file that is not as it should be, one that should not be there included."""
    return _wrong(folder, wanted.number, wanted.files, wanted.modes)


def wrong_layer(layers: Path, wanted: Generation) -> list[Broken]:
    """As :func:`wrong_tree`, of its layer, which lies in ``layers``."""
    return _wrong(layers / wanted.layer, wanted.number, wanted.packages, {}) if wanted.layer else []


def _wrong(folder: Path, number: int, files: Mapping[str, bytes], modes: Mapping[str, int]) -> list[Broken]:
    top = folder.resolve()
    found = {
        path.relative_to(top).as_posix(): path for path in top.rglob("*") if path.is_symlink() or not path.is_dir()
    }
    wrong = sorted(found.keys() ^ files.keys())
    for path in found.keys() & files.keys():
        runnable = bool(found[path].stat().st_mode & 0o100)
        if found[path].read_bytes() != files[path] or runnable != (modes.get(path, PLAIN) != PLAIN):
            wrong.append(path)
    return [(MIXTURE, f"generation {number} with {', '.join(wrong)} not its own")] if wrong else []


def real(device: Device, promise: Promise, known: Mapping[str, Generation]) -> list[Broken]:
    """Start the bootloader on the folder as it is, and see what runs. It is left running."""
    try:
        device.start()
        return running(device, promise, known)
    except Fault as fault:
        return [(OTHER, str(fault))]


def running(device: Device, promise: Promise, known: Mapping[str, Generation], *, anew: bool = True) -> list[Broken]:
    """What runs on a target, by what its application says, and where that comes from.

    Its word counts from when the target was reached or marked; where it did not begin ``anew``, being up is enough.
    """
    root = NOTHING if device.root() == EMPTY.root else device.root()
    broken = wrong_root(root, promise.may_run, known) + wrong_release(device.release(), promise)
    if root in known:
        if known[root].well and anew:
            try:
                device.says(known[root].says)
            except Fault as fault:
                said = device.said_last(SAYS)
                what = f"generation {known[root].number} is live, and its application says {said}; {fault}"
                broken.append((MIXTURE if said.startswith(SAYS) else OTHER, what))
        elif known[root].well:
            device.well()
        live = Path(device.call("hello").text("live"))
        broken += wrong_tree(live, known[root]) + wrong_layer(live.with_name("layers"), known[root])
    return broken


def left(device: Device) -> set[int]:
    """What is in the application's folder, where all of them begin, and is not the one that runs; in its own time."""
    deadline = time.monotonic() + _GONE_S
    place = str(device.state / "data" / "app")
    while True:
        runs = {one.plain()["pid"] for one in device.call("status").objects("applications")}  # None where it is down
        others = {int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _cwd(folder) == place} - runs
        if not others or time.monotonic() > deadline:
            return others
        time.sleep(0.05)


def _cwd(folder: Path) -> str:
    try:
        return str((folder / "cwd").readlink())
    except OSError:
        return ""


def told(device: Device, codes: Collection[str]) -> list[Broken]:
    """What was lost is in the status of a target that runs, as one of ``codes``, and each of it came as an event."""
    lost = {one.text("code") for one in device.call("status").objects("lost")}
    for code in lost:
        device.event(lambda event, code=code: event["event"] == "notice" and event["code"] == code, f"notice '{code}'")  # type: ignore[misc]
    return [] if lost & {*codes} else [(OTHER, f"its status tells {sorted(lost)}, and none of {sorted(codes)}")]


def unlinked(device: Device, promise: Promise, known: Mapping[str, Generation]) -> list[Broken]:
    """As :func:`real`, where the link is rightly silent: what the application has left in its own folder counts."""
    said = device.state / "data" / "app" / "said"
    said.unlink(missing_ok=True)
    device.spawn()
    deadline = time.monotonic() + SOON_S
    while not said.exists():
        if time.monotonic() > deadline:
            return [(OTHER, f"no application ran; {device.said()}")]
        time.sleep(0.02)
    if said.read_text() not in {known[root].says for root in promise.may_run}:
        return [(MIXTURE, f"an application said {said.read_text()}")]
    return []


def bare(device: Device, _promise: Promise, _known: Mapping[str, Generation]) -> list[Broken]:
    """A target without anything makes its own key, if it can; it says how it is, and stays up for whoever comes."""
    process = device.spawn()
    assert process.stdout is not None
    told = first_line(process.stdout, SOON_S)
    if process.poll() is not None or not told:
        return [(OTHER, f"it is not up, and says {told}; {device.said()}")]
    return []
