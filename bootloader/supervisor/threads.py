"""A process's threads as the system sees them: what each is called, whether it runs, and where in the system it waits.

Each thing is told where the system tells it; a thread that ends meanwhile is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .family import read

_MOST = 256
_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "in the system, and not to be interrupted",
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "ended",
    "X": "ended",
    "I": "idle",
}


@dataclass(frozen=True, slots=True)
class Thread:
    """``blocked`` and ``caught`` are signals, a bit each; None where the system does not tell."""

    id: int
    name: str
    state: str
    waits_in: str
    blocked: int | None
    caught: int | None

    def told(self) -> dict[str, Any]:
        """Itself, for an answer."""
        return {"id": self.id, "name": self.name, "state": _STATES.get(self.state, ""), "waits_in": self.waits_in}


def seen(pid: int) -> list[Thread]:
    """Those of a process, the main one first."""
    try:
        ids = sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())[:_MOST]
    except OSError:
        return []
    found = []
    for one in sorted(ids, key=lambda one: one != pid):
        folder = f"/proc/{pid}/task/{one}"
        if status := read(f"{folder}/status"):
            found.append(thread(one, status, read(f"{folder}/wchan")))
    return found


def thread(number: int, status: str, wchan: str) -> Thread:
    """A thread from what the system tells of it. Pure."""
    fields = dict(line.partition(":")[::2] for line in status.splitlines())
    told = {name: value.strip() for name, value in fields.items()}
    waits_in = wchan.strip()
    return Thread(
        number,
        told.get("Name", ""),
        told.get("State", "")[:1],
        "" if waits_in in ("0", "") else waits_in,
        _signals(told, "SigBlk"),
        _signals(told, "SigCgt"),
    )


def taker(threads: Sequence[Thread], number: int) -> tuple[int, str]:
    """The thread to send a signal to, whose calls it does not cut short if there is one such; or why there is none.

    A process that does not catch it would be ended by it.
    """
    if not number:
        return 0, "this system has no signal for that"
    open_to = [one for one in threads if one.blocked is not None and not one.blocked >> (number - 1) & 1]
    if not threads:
        return 0, "it has ended, or the system does not tell of it"
    if not all(one.caught is not None and one.caught >> (number - 1) & 1 for one in threads):
        return 0, "it does not take that signal any more, or runs another program"
    if not open_to:
        return 0, "all of its threads block that signal"
    if all(one.state in "Tt" for one in threads):
        return 0, "it is stopped"
    own = max(open_to, key=lambda one: one.blocked or 0)  # the one that takes orders blocks nearly all others
    return own.id, ""


def _signals(told: Mapping[str, str], key: str) -> int | None:
    try:
        return int(told[key], 16)
    except (KeyError, ValueError):
        return None
