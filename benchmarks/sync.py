"""A whole tree: the first sync to where there is nothing, and the next one that finds nothing changed.

For reactor this is the command as a user waits for it, from its start to its ``ready``: Python, the embedded target's
start and the application's included. For rsync it is the copy alone, over an ssh connection of its own. The project
of 10 files shows what of either is not the tree's size.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from .contestants.reactor import Dev
from .measure import OURS, Sync
from .processes import finish
from .projects import LARGE_FILES, SMALL_FILES, make
from .sshd import Sshd

TIMES = 3
RSYNC_S = 120.0


def measure(scratch: Path, port: int, names: list[str]) -> Iterator[Sync]:
    """The medians of a few times, for each contestant of ``names`` that knows a sync, in an empty ``scratch``."""
    for files in (SMALL_FILES, LARGE_FILES):
        project = make(scratch / f"project-{files}", "sync", port=port, heavy=False, files=files).folder
        if OURS in names:
            yield _median(OURS, files, [_reactor(project, scratch / "reactor") for _ in range(TIMES)])
        if "rsync-naive" in names:
            server = Sshd(scratch / f"sshd-{files}")
            try:
                yield _median("rsync -a", files, [_rsync(project, scratch / "rsync", server) for _ in range(TIMES)])
            finally:
                server.end()


def _median(name: str, files: int, times_s: list[tuple[float, float]]) -> Sync:
    return Sync(name, files, median(first for first, _ in times_s), median(again for _, again in times_s))


def _reactor(project: Path, folder: Path) -> tuple[float, float]:
    folder.mkdir()
    times_s = []
    for _ in range(2):
        began_s = time.monotonic()
        dev = Dev(project, folder / "state", folder / "log")
        try:
            dev.ready()
            times_s.append(time.monotonic() - began_s)
        finally:
            dev.end()
    shutil.rmtree(folder)
    return times_s[0], times_s[1]


def _rsync(project: Path, there: Path, server: Sshd) -> tuple[float, float]:
    command = ["rsync", "-a", "-e", server.shell, f"{project}/", f"board:{there}/"]
    first_s, again_s = (finish(command, what="rsync -a", timeout_s=RSYNC_S) for _ in range(2))
    shutil.rmtree(there)
    return first_s, again_s
