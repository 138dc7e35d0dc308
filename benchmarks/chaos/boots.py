"""Whether a state folder boots as it must: something whole, out of what may run.

Two ways. :func:`quick` opens the folder with the target's own ``State`` and has it find and mend what to run, without a
process: hundreds of times a second. :func:`real` starts the bootloader and believes only what the application says.
"""

from __future__ import annotations

import importlib.util
import marshal
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from bootloader.state import State
from bootloader.store import Store
from bootloader.wire.errors import Fault
from bootloader.wire.manifest import EMPTY, PLAIN

from .device import SOON_S, Device
from .generations import NOTHING, SAYS, Generation, Promise
from .tally import LOST, MIXTURE, OTHER

Broken = tuple[str, str]
"""What was broken: the finding's kind, and what happened."""


def quick(state: Path, promise: Promise, known: Mapping[str, Generation]) -> list[Broken]:
    """Boot the folder ``state`` as far as its disk goes, then go back to each generation that must be kept."""
    notices: list[str] = []
    opened: State | None = None
    try:
        opened = State(state, state / "base", lambda code, text: notices.append(f"{code}: {text}"))
        store = opened.store
        with store.lock:
            store.recover()
            root = store.manifest.root if store.live is not None else NOTHING
            broken = _wrong_root(root, promise.may_run, known)
            if store.live is not None and root in known:
                broken += _wrong_tree(state / "live", known[root])
                broken += _wrong_bytecode(state, known[root])
            for other in sorted(promise.kept - {root}):
                broken += _back(store, known[other])
    except (Fault, OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        broken = [(OTHER, f"the boot itself broke: {type(error).__name__}: {error}")]
    finally:
        if opened is not None:
            opened.close()
    return [(kind, f"{what}; notices: {notices}") for kind, what in broken]


def _wrong_root(root: str, may_run: Collection[str], known: Mapping[str, Generation]) -> list[Broken]:
    if root in may_run:
        return []
    return [(LOST, f"{named(root, known)} would run, not {' or '.join(sorted(named(one, known) for one in may_run))}")]


def named(root: str, known: Mapping[str, Generation]) -> str:
    """A root as a reader knows it."""
    if root == NOTHING:
        return "nothing"
    return f"generation {known[root].number}" if root in known else f"unknown root {root[:12]}"


def _wrong_tree(folder: Path, wanted: Generation) -> list[Broken]:
    """Every file that is not as it should be, one that should not be there included."""
    top = folder.resolve()
    found = {
        path.relative_to(top).as_posix(): path for path in top.rglob("*") if path.is_symlink() or not path.is_dir()
    }
    wrong = sorted(found.keys() ^ wanted.files.keys())
    for path in found.keys() & wanted.files.keys():
        runnable = bool(found[path].stat().st_mode & 0o100)
        if found[path].read_bytes() != wanted.files[path] or runnable != (wanted.modes.get(path, PLAIN) != PLAIN):
            wrong.append(path)
    return [(MIXTURE, f"generation {wanted.number} with {', '.join(wrong)} not its own")] if wrong else []


def _wrong_bytecode(state: Path, wanted: Generation) -> list[Broken]:
    """Bytecode that Python would take for a file's and that is not."""
    wrong = []
    for path in wanted.files:
        source = state / "live" / path
        cache = Path(f"{state}/pycache{source.parent}", f"{source.stem}.{sys.implementation.cache_tag}.pyc")
        if source.suffix == ".py" and cache.is_file() and _believed(cache, source) and not _is_of(cache, source):
            wrong.append(path)
    return [(MIXTURE, f"generation {wanted.number} with damaged bytecode of {', '.join(wrong)}")] if wrong else []


def _believed(cache: Path, source: Path) -> bool:
    """Whether Python takes it: by its magic number, the source's time and size."""
    head, status = cache.read_bytes()[:16], source.stat()
    wanted = (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    told = (int.from_bytes(head[8:12], "little"), int.from_bytes(head[12:16], "little"))
    return head[:4] == importlib.util.MAGIC_NUMBER and told == wanted


def _is_of(cache: Path, source: Path) -> bool:
    made = compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
    try:
        return bool(marshal.loads(cache.read_bytes()[16:]) == made)
    except (ValueError, EOFError, TypeError):
        return False


def _back(store: Store, wanted: Generation) -> list[Broken]:
    """Whether the target can still go back to ``wanted``."""
    try:
        staged = store.stage_root(wanted.manifest.root)
    except Fault as fault:
        return [(LOST, f"there is no way back to generation {wanted.number}: {fault}")]
    return [(kind, f"on the way back: {what}") for kind, what in _wrong_tree(staged.tree.folder, wanted)]


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
    broken = _wrong_root(root, promise.may_run, known)
    if root in known:
        if known[root].well and anew:
            said = device.event(lambda event: event["event"] == "log" and event["text"].startswith(SAYS), "its word")
            if said["text"] != known[root].says:
                broken.append((MIXTURE, f"generation {known[root].number} says {said['text']}"))
        elif known[root].well:
            device.well()
        broken += _wrong_tree(device.state / "live", known[root])
    return broken


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
