"""The status line: each target's generation, health and link, the last save, what is filtered, in as much room as there
is. Pure: events in, a line out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from ..report import Event, Line, duration, progress

_WELL = frozenset(("healthy", "finished"))
_BAR = 12
_MOST_APPLICATIONS = 64
_ALWAYS = 0

Piece = tuple[int, Line]
"""What may be left out where there is no room: the higher its number, the sooner."""


@dataclass
class _Target:
    name: str
    link: str = "connecting"
    generation: int = 0
    states: dict[str, str] = field(default_factory=dict)
    saved: tuple[str, str] = ("", "")
    under_way: str = ""
    leased: str = ""

    def heard(self, event: Event) -> None:
        match event["event"]:
            case "ready":
                self.link = "up"
                self.generation = event["generation"]
            case "link":
                self.link = event["state"]
            case "state" if event["application"] in self.states or len(self.states) < _MOST_APPLICATIONS:
                self.states[event["application"]] = event["state"]
            case "lease":
                self.leased = f"leased to {event['holder']}" if event["state"] == "other" else ""
            case "result":
                self._result(event)
            case "progress":
                self._progress(event)
        if event["event"] in ("result", "problem", "link"):
            self.under_way = ""

    def _result(self, event: Event) -> None:
        self.generation = event.get("generation") or self.generation
        if event["healthy"] and not self.states:
            self.states[""] = "healthy"
        ms = event.get("save_to_running_ms")
        took = f" {duration(ms)}" if ms is not None else ""
        if event.get("replaced"):
            return
        if event["rung"] == "hold":
            self.saved = "last save held", "bad"
        elif event["rung"] != "none":
            self.saved = f"{event['rung']}{took}", "" if event["healthy"] else "bad"
        elif event["healthy"]:
            self.saved = "", ""  # the save that was held is taken back: what is here is what runs there

    def _progress(self, event: Event) -> None:
        done, total, text = progress(event)
        full = _BAR * done // total if total else 0
        self.under_way = "" if done == total else f"{text} {'━' * full}{'─' * (_BAR - full)}"

    def health(self) -> tuple[str, str, str]:
        """A mark, a word, and their style."""
        if self.link != "up":
            words = self.link if self.link == "connecting" else f"link {self.link}"
            return "●", words, "bad" if self.link == "down" else "warn"
        states = self.states.values()
        if failed := [name for name, state in self.states.items() if state == "failed"]:
            return "✗", f"{', '.join(failed[:2])} failed", "bad"
        if not states or set(states) <= _WELL:
            return ("✓", "healthy", "good") if states else ("●", "up", "")
        if set(states) <= {"stopped"}:
            return "●", "stopped", "warn"
        return "…", "starting" if "stopping" not in states else "stopping", "warn"

    def pieces(self, latency_ms: float | None, *, alone: bool) -> list[Piece]:
        """What is told of it. ``alone``: there is no other."""
        mark, word, style = self.health()
        made: list[Piece] = [(_ALWAYS, [(self.name, "strong")])]
        if self.under_way:
            return [*made, (_ALWAYS, [(self.under_way, "warn")])]
        made.append((_ALWAYS, [(mark, style)]) if not alone else (_ALWAYS, [(f"{mark} {word}", style)]))
        if not alone and style not in ("good", ""):
            made.append((2, [(word, style)]))
        if self.generation:
            made.append(
                (4 if alone else 5, [(f"generation {self.generation}" if alone else f"g{self.generation}", "")])
            )
        if self.leased:
            made.append((1, [(self.leased, "warn")]))
        if self.saved[0] and (alone or self.saved[1]):
            made.append((2, [self.saved]))
        if latency_ms is not None and self.link == "up":
            made.append((5 if alone else 6, [(f"link {duration(latency_ms)}" if alone else duration(latency_ms), "")]))
        return made


class Status:
    """What is known of the targets, from the events that were told. One thread at a time hears, any may ask."""

    def __init__(self, targets: Iterable[str]) -> None:
        self._targets = {name: _Target(name) for name in targets}
        self._looking = ""

    def heard(self, event: Event) -> bool:
        """Take note of ``event``; whether the line may be another one now."""
        if event["event"] in ("log", "console"):
            return False
        target = self._targets.get(event.get("target", ""))
        if target is not None:
            target.heard(event)
        elif event["event"] == "progress":  # of this host: it looks at the project
            done, total, text = progress(event)
            self._looking = "" if done == total else text
        return True

    def line(self, width: int, latencies_ms: Mapping[str, float | None], notes: Sequence[str], hint: str) -> Line:
        """The line, in ``width`` columns. ``notes`` stay as long as they can; ``hint`` is there where there is room."""
        alone = len(self._targets) == 1
        groups = [one.pieces(latencies_ms.get(one.name), alone=alone) for one in tuple(self._targets.values())]
        groups += [[(1, [(note, "warn")])] for note in (*notes, self._looking) if note]
        for most in count(6, -1):
            kept = [line for pieces in groups if (line := _joined(pieces, most, " · " if alone else " "))]
            shown = _between(kept, " │ ")
            room = width - _width(shown) - 2
            if room >= 0 or most <= _ALWAYS:
                break
        gap = room - len(hint) if room > len(hint) + 2 else 0
        return [(" ", ""), *shown, *([(" " * gap, ""), (hint, "dim")] if gap else [])]


def _joined(pieces: Iterable[Piece], most: int, separator: str) -> Line:
    return _between([line for priority, line in pieces if priority <= most], separator)


def _between(lines: Iterable[Line], separator: str) -> Line:
    made: Line = []
    for line in lines:
        made += [(separator, "dim"), *line] if made else line
    return made


def _width(line: Line) -> int:
    return sum(len(text) for text, _ in line)
