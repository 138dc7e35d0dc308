"""When a save is over, and when a burst of saves is.

Pure: the watch tells what happened and when, and asks what is due. Times are seconds of one monotonic clock.

A write that is closed and a rename are the end of a save, due at once. What may be half of a save waits for the other
half, a moment:

- a file that is gone: editors move the old one away just before they write the new one;
- a file that was made just now: editors write a temporary one and rename it over the old one;
- a file that is written to and not closed.

A second file within ``BURST_S`` of the last one begins a burst (a checkout, a formatter), which is over when it has
been quiet for a few times its usual gap, and for longer the larger it has grown. It goes out whole, when the last of
its paths is due, but for those that are still written to: half a checkout is a program that nobody wrote. While git
holds its index lock, everything waits; when git is done, what is gone is gone. All of it is bounded: a path waits for
at most ``MOST_S``, or ``GIT_MOST_S`` under git's lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

Kind = Literal["created", "modified", "closed", "arrived", "gone", "touched"]
"""A file was made; written to; closed after writing; a file or folder is there, whole, by a rename, say; gone; has
other attributes."""

BURST_S = 0.05
QUIET_LEAST_S, QUIET_MOST_S, QUIET_GAPS = 0.005, 0.2, 4
MOST_S = 2.0
GIT_MOST_S = 10.0

WRITING_S = 0.3
"""A file that is written to is due after this much quiet, closed or not."""

GONE_S = 0.05
MADE_S = 0.01
"""How long the other half of a save is waited for."""

MOST_PATHS = 4096
"""More paths than this are not told apart: everything is looked at again."""


@dataclass(frozen=True, slots=True)
class Due:
    """What is due. ``at`` is when the first of it happened; ``everything``: there were too many paths to name."""

    paths: frozenset[str]
    at: float
    everything: bool = False


@dataclass(slots=True)
class _Waiting:
    """A path that something happened to: since when, and when it is due by itself."""

    since: float
    due: float
    made: bool
    gone: bool
    open: bool = True


class Gather:
    """Changed paths on their way to a batch. Nothing that is added is lost; see the module for when it is due."""

    def __init__(self, writing_s: float = WRITING_S) -> None:
        """``writing_s``: shorter where the system does not tell of closed files."""
        self._writing_s = writing_s
        self._waiting: dict[str, _Waiting] = {}  # in the order of `since`
        self._soonest = inf  # no path is due before this
        self._everything = False
        self._last: tuple[str, float] | None = None
        self._gaps = 0
        self._gaps_s = 0.0
        self._locked: float | None = None
        self._whole = 0.0  # a burst that was quiet is not due before this, when its last path is

    def add(self, path: str, kind: Kind, now: float) -> None:
        """``kind`` happened to ``path``."""
        self._whole = 0.0
        if kind in ("closed", "arrived", "gone"):
            self._pace(path, now)
        this = self._waiting.get(path)
        if this is None:
            if len(self._waiting) >= MOST_PATHS:
                self._everything = True
                return
            this = self._waiting[path] = _Waiting(now, now + MADE_S, made=kind == "created", gone=False)
        elif kind == "touched":
            return  # it says nothing on whether a write is over
        elif kind == "created" and not this.gone:
            this.made = True
        match kind:
            case "created" | "modified":
                this.due = now + self._writing_s
            case "closed":
                this.due = now + (MADE_S if this.made else 0)
            case "arrived":
                this.due = now
            case "gone":
                this.due = now + GONE_S
        this.gone, this.open = kind == "gone", kind in ("created", "modified")
        self._soonest = min(self._soonest, self._ready(this))

    def move(self, source: str, path: str, now: float) -> None:
        """``source`` became ``path``: one change, not the beginning of a burst of two."""
        self.add(source, "gone", now)
        self._last = (path, now)
        self.add(path, "arrived", now)

    def lock(self, now: float) -> None:
        """Git began to work on its index."""
        self._locked = now

    def unlock(self, now: float) -> None:
        """Git is done: it does not move a file away to write it anew."""
        self._locked, self._whole = None, 0.0
        for this in self._waiting.values():
            if this.gone:
                this.due = now
                self._soonest = min(self._soonest, now)

    def next_deadline(self) -> float | None:
        """When to ask :meth:`due` again if nothing is added: nothing is due earlier. None where nothing waits."""
        if not self._waiting:
            return None
        gate, most_s = max(self._quiet_at(), self._whole), MOST_S
        if self._locked is not None:
            gate, most_s = max(gate, self._locked + GIT_MOST_S), GIT_MOST_S
        since = next(iter(self._waiting.values())).since
        return max(self._soonest, min(gate, since + most_s))

    def due(self, now: float) -> Due | None:
        """What is due at ``now``, and is forgotten here with that; or None."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return None
        burst, everything = self._gaps > 0, self._everything
        if burst:
            self._whole = max((self._ready(this) for this in self._waiting.values() if not this.open), default=now)
            if now < (self.next_deadline() or now):
                return None
        paths = [
            path
            for path, this in self._waiting.items()
            if everything or (burst and not this.open) or self._ready(this) <= now
        ]
        at = self._waiting[paths[0]].since if paths else 0.0
        for path in paths:
            del self._waiting[path]
        self._everything = False
        self._soonest = min((self._ready(this) for this in self._waiting.values()), default=inf)
        return Due(frozenset(paths), at, everything) if paths else None

    def _ready(self, this: _Waiting) -> float:
        return min(this.due, this.since + MOST_S)

    def _pace(self, path: str, now: float) -> None:
        """Learn the pace of a burst: how long the gaps are between one path and another."""
        if self._last is not None:
            last, at = self._last
            if now - at > BURST_S:
                self._gaps, self._gaps_s = 0, 0.0
            elif last != path:
                self._gaps, self._gaps_s = self._gaps + 1, self._gaps_s + (now - at)
        self._last = (path, now)

    def _quiet_at(self) -> float:
        """When the burst, if this is one, has been quiet for long enough."""
        if not self._gaps or self._last is None:
            return 0.0
        quiet_s = max(QUIET_GAPS * self._gaps_s / self._gaps, QUIET_LEAST_S * max(1, self._gaps / 2))
        return self._last[1] + min(quiet_s, QUIET_MOST_S)
