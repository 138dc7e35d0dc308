"""The processes that come of others, as ``/proc`` tells: who they are, how many, whose, and that they stand still.

For where no cgroup knows. Races with whatever they do: what is told was so a moment ago. Where the system does not
tell, there are none.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

_STILL_S = 0.5
_MOST_PIDS = 100_000
_LIMIT = "Max file locks"
_MOST_MARKS = 2**31 - 1


def new_mark() -> int:
    """The limit of file locks by which a process, and all that comes of it, is known among all of the system: see
    ``guest.limits``.
    """
    return 1 + secrets.randbelow(_MOST_MARKS)


def marked(pid: int) -> int | None:
    """The mark that a process has, if it has one."""
    line = next((line for line in read(f"/proc/{pid}/limits").splitlines() if line.startswith(_LIMIT)), "")
    soft = line.removeprefix(_LIMIT).split()[:1]
    return int(soft[0]) if soft and soft[0].isdecimal() else None


def variable(pid: int, name: str) -> str | None:
    """What an environment variable was when the process's program was started, if it was there."""
    start = f"{name}="
    entries = read(f"/proc/{pid}/environ").split("\0")
    return next((entry.removeprefix(start) for entry in entries if entry.startswith(start)), None)


def tasks() -> int:
    """All processes and threads of the system."""
    told = read("/proc/loadavg").split()
    return int(told[3].partition("/")[2]) if len(told) > 3 else 0


def family(pids: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Those processes and all below them, each with how many threads it has."""
    found = list(pids)
    for pid in islice(found, _MOST_PIDS):  # which grows meanwhile
        threads = _threads(pid)
        if threads:
            yield pid, len(threads)
        found += children(pid, threads)


def children(pid: int, threads: Iterable[str] | None = None) -> list[int]:
    """Those right below a process: each of its threads has its own."""
    told = (read(f"/proc/{pid}/task/{thread}/children") for thread in threads or _threads(pid))
    return [int(child) for line in told for child in line.split()]


def _threads(pid: int) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(f"/proc/{pid}/task")]
    except OSError:
        return []


def outgrows(pids: Iterable[int], most: int) -> bool:
    """Whether they have more threads than that, with all below them. Looks at no more than that."""
    count = 0
    return any((count := count + threads) > most for _, threads in family(pids))


def still(found: Callable[[], Iterable[int]], stopped: list[int]) -> bool:
    """SIGSTOP to those that are ``found``, again and again until there are no others and all stand; whether they do.

    They are added to ``stopped``. Waits for a moment, and no longer.
    """
    deadline = time.monotonic() + _STILL_S
    while time.monotonic() < deadline:
        new = [pid for pid in set(found()) - set(stopped) if not _stands(pid)]
        for pid in new:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
        if not new and all(map(_stands, stopped)):
            return True
    return False


def newcomers(mark: int) -> Callable[[], list[int]]:
    """What tells, at each call, who else has this mark: in time that grows with who is new, as one has to be faster
    than they fork.
    """
    seen: set[int] = set()

    def look() -> list[int]:
        new = {int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()} - seen
        seen.update(new)
        return [pid for pid in new if marked(pid) == mark]

    return look


def _stands(pid: int) -> bool:
    """Whether a process is stopped, or has ended."""
    return read(f"/proc/{pid}/stat").rpartition(")")[2][1:2] in ("T", "t", "Z", "X", "")


def read(file: str | Path) -> str:
    """What the system says there; nothing where it does not."""
    try:
        return Path(file).read_text(errors="replace")
    except OSError:
        return ""
