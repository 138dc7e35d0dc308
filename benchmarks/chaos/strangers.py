"""Damage that root does not feel: something of a target's state belongs to another user, who lets nobody in.

So the target is one of an ordinary user here, and all is tried in a process of that user. Only root can make it so.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bootloader.state import volatile_places

from . import folders
from .boots import Broken
from .damage import PART, TOLD, codes
from .generations import Promise
from .quick import quick
from .recording import Recording
from .tally import OTHER, Tally

_USER = 12345


def attack(recording: Recording, tally: Tally, until_s: float) -> None:
    """Give away each file and each folder of the whole state, and boot it as far as the disk goes, as a user."""
    if os.geteuid() != 0:
        tally.counts["damages by strangers skipped, as only root can give things away"] += 1
        return
    newest = Promise(recording.newest.may_run, frozenset())
    _let_in(recording.state)
    for path, thing in recording.whole.items():
        if time.monotonic() > until_s:
            return
        if thing.kind == "link" or path.startswith(("data/", "aside")):
            continue
        folders.lay(recording.whole, recording.state)
        for place in (recording.state, *recording.state.rglob("*")):
            os.chown(place, _USER, _USER, follow_symlinks=False)
        os.chown(recording.state / path, 0, 0)
        (recording.state / path).chmod(0o700 if thing.kind == "folder" else 0o600)
        tells = codes(recording.whole, path) if not path.startswith("trust") else frozenset()
        tally.counts["damages"] += 1
        tally.counts[TOLD] += bool(tells)
        check = partial(quick, recording.state, newest, recording.known, tells=tells)
        for kind, what in _as_user(recording.state, check):
            tally.found(kind, PART, f"{path} another user's", what)


def _let_in(state: Path) -> None:
    """The user may pass the folders above that are ours."""
    for folder in state.parents:
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)


def _as_user(state: Path, act: Callable[[], list[Broken]]) -> list[Broken]:
    """What ``act`` finds in a process of an ordinary user, who leaves nothing that stood in for ``state``."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        found = [(OTHER, "the check itself broke")]
        try:
            os.setgroups([])
            os.setresgid(_USER, _USER, _USER)
            os.setresuid(_USER, _USER, _USER)
            found = act()
            for place in volatile_places(state):
                shutil.rmtree(place, ignore_errors=True)
        finally:
            with open(writer, "w") as pipe:
                json.dump(found, pipe)
                pipe.flush()
                os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        told = json.load(pipe)
    os.waitpid(child, 0)
    return [(str(kind), str(what)) for kind, what in told]
