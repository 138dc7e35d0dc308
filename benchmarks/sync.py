"""A whole tree: the first sync to where there is nothing, and the next one that finds nothing changed.

For reactor this is the command as a user waits for it, from its start to its ``ready``: Python, the embedded target's
start and the application's included; and from Ctrl-C to its end, with the application and the target gone. For rsync
it is the copy alone, over an ssh connection of its own. The project of 10 files shows what of either is not the tree's
size.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from .contestants.reactor import Dev
from .measure import Sync
from .processes import finish
from .sshd import Sshd

TIMES = 3
RSYNC_S = 120.0


def measure(name: str, project: Path, files: int, scratch: Path) -> Sync:
    """The medians of a few times of ``name``, one of :data:`KINDS`, each in a folder below ``scratch``."""
    what, once = KINDS[name]
    times_s = []
    for number in range(TIMES):
        folder = scratch / f"{name}-{files}-{number}"
        folder.mkdir(parents=True)
        times_s.append(once(project, folder))
        shutil.rmtree(folder)
    first_s, again_s, *end_s = (median(own) for own in zip(*times_s, strict=True))
    return Sync(what, files, first_s, again_s, *end_s)


def _reactor(project: Path, folder: Path) -> tuple[float, ...]:
    def once() -> tuple[float, float]:
        began_s = time.monotonic()
        dev = Dev(project, folder / "state", folder / "log")
        try:
            dev.ready()
            took_s = time.monotonic() - began_s
            dev.result(1)  # so that there is a program to stop
        finally:
            ending_s = time.monotonic()
            dev.end()
        return took_s, time.monotonic() - ending_s

    first_s, _ = once()
    again_s, end_s = zip(*(once() for _ in range(TIMES)), strict=True)
    return first_s, median(again_s), median(end_s)


def _rsync(project: Path, folder: Path) -> tuple[float, ...]:
    server = Sshd(folder / "sshd")
    try:
        command = ["rsync", "-a", "-e", server.shell, f"{project}/", f"board:{folder}/tree/"]
        first_s, *again_s = (finish(command, what="rsync", timeout_s=RSYNC_S) for _ in range(1 + TIMES))
        return first_s, median(again_s)
    finally:
        server.end()


KINDS: Mapping[str, tuple[str, Callable[[Path, Path], tuple[float, ...]]]] = {
    "reactor": ("reactor dev", _reactor),
    "rsync-naive": ("rsync -a", _rsync),
}
"""Of those that know a sync: what is run, and how, from a project to an empty folder; s, first, again, and the end."""
