"""Whether a state folder boots as it must, as far as the disk goes: hundreds of times a second, without a process.

The folder is opened with the target's own ``State``, which finds and mends what to run. :mod:`.boots` does the same
with real bootloaders.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from types import CodeType

from bootloader.keeper.release import Unusable, kept
from bootloader.state import State
from bootloader.store.store import Store
from bootloader.wire.errors import Fault

from .boots import Broken, wrong_layer, wrong_release, wrong_root, wrong_tree
from .generations import INSTALLED, NOTHING, Generation, Promise
from .tally import LOST, MIXTURE, OTHER


def quick(
    state: Path, promise: Promise, known: Mapping[str, Generation], *, tells: Collection[str] = ()
) -> list[Broken]:
    """Boot the folder ``state`` as far as its disk goes, then go back to each generation that must be kept.

    ``tells``: something was lost, and that has to be told as one of these.
    """
    notices: list[str] = []
    opened: State | None = None
    try:
        opened = State(state, state / "base", lambda code, text: notices.append(f"{code}: {text}"))
        store = opened.store
        with store.lock:
            store.recover()
            root = store.manifest.root if store.live is not None else NOTHING
            broken = wrong_root(root, promise.may_run, known)
            if tells and not {notice.partition(":")[0] for notice in notices} & {*tells}:
                broken.append((OTHER, "what was lost is not told"))
            if store.live is not None and root in known:
                wrong = wrong_tree(state / "live", known[root]) + wrong_layer(state / "layers", known[root])
                broken += wrong or _wrong_bytecode(state, known[root])
            for other in sorted(promise.kept - {root}):
                broken += _back(store, state, known[other])
        broken += _wrong_kept(state, promise)
    except (Fault, OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        broken = [(OTHER, f"the boot itself broke: {type(error).__name__}: {error}")]
    finally:
        if opened is not None:
            opened.close()
    return [(kind, f"{what}; notices: {notices}") for kind, what in broken]


def _wrong_kept(state: Path, promise: Promise) -> list[Broken]:
    """The keeper would start a bootloader that it should not, or can't start the one that it should."""
    try:
        release = kept(state)
    except Unusable as why:
        return [(LOST, f"the bootloader that was kept does not run: {why}")]
    return wrong_release(release.root if release is not None else INSTALLED, promise)


def _wrong_bytecode(state: Path, wanted: Generation) -> list[Broken]:
    """Bytecode that Python would take for a file's and that is not."""
    wrong = []
    layer = state / "layers" / wanted.layer
    for source in (*(state / "live" / path for path in wanted.files), *(layer / path for path in wanted.packages)):
        cache = Path(f"{state}/pycache{source.parent}", f"{source.stem}.{sys.implementation.cache_tag}.pyc")
        is_there = os.access(cache, os.R_OK) and cache.is_file()
        if source.suffix == ".py" and is_there and _believed(cache, source) and not _is_of(cache, source):
            wrong.append(str(source.relative_to(state)))
    return [(MIXTURE, f"generation {wanted.number} with damaged bytecode of {', '.join(wrong)}")] if wrong else []


def _believed(cache: Path, source: Path) -> bool:
    """Whether Python takes it: by its magic number, the source's time and size."""
    head, status = cache.read_bytes()[:16], source.stat()
    wanted = (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    told = (int.from_bytes(head[8:12], "little"), int.from_bytes(head[12:16], "little"))
    return head[:4] == importlib.util.MAGIC_NUMBER and told == wanted


def _is_of(cache: Path, source: Path) -> bool:
    try:
        return bool(marshal.loads(cache.read_bytes()[16:]) == _made(source.read_bytes(), str(source)))
    except (ValueError, EOFError, TypeError):
        return False


@lru_cache(maxsize=256)
def _made(source: bytes, place: str) -> CodeType:
    return compile(source, place, "exec", dont_inherit=True)


def _back(store: Store, state: Path, wanted: Generation) -> list[Broken]:
    """Whether the target can still go back to ``wanted``, and could make its layer anew."""
    wheels = [made.wheel for made in wanted.wheels]
    if lost := [wheel.file for wheel in wheels if not store.objects.make_sure(wheel.blake3)]:
        return [(LOST, f"generation {wanted.number} is without {', '.join(lost)}")]
    try:
        folder = store.build(store.stage_root(wanted.manifest.root))
    except Fault as fault:
        return [(LOST, f"there is no way back to generation {wanted.number}: {fault}")]
    broken = wrong_tree(folder, wanted) + wrong_layer(state / "layers", wanted)
    return [(kind, f"on the way back: {what}") for kind, what in broken]
