"""The generations of this target: what was applied, how it fared, who sent it, when, and why. One JSON line an event.

Owns ``ledger.jsonl``. Reading forgives: a line that is cut or odd is counted, not fatal, because the ledger tells
about the device and must never stop it. Thread-safe.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .wire.errors import Malformed
from .wire.manifest import check_hash
from .wire.messages import Fields

KEPT = 256
"""Generations kept in memory and told by ``history``."""

FATES = ("applied", "healthy", "failed", "replaced")


@dataclass(frozen=True, slots=True)
class Generation:
    """One root that this target has run: ``at`` is the target's wall clock; ``fate`` is the last thing known."""

    number: int
    root: str
    at: float
    who: str
    rung: str
    why: str
    files: int
    fate: str = "applied"
    was_healthy: bool = False
    fate_why: str = ""

    def as_fields(self) -> dict[str, str | int | float | bool]:
        """The generation as plain values."""
        return {
            "generation": self.number,
            "root": self.root,
            "at": self.at,
            "who": self.who,
            "rung": self.rung,
            "why": self.why,
            "files": self.files,
            "fate": self.fate,
            "was_healthy": self.was_healthy,
            "fate_why": self.fate_why,
        }


class Ledger:
    """The generations, oldest first. ``damaged`` counts the lines that could not be read.

    ``on_failure`` is told why a line could not be written: a full disk costs the line, and stops nothing.
    """

    def __init__(self, path: Path, on_failure: Callable[[str], None]) -> None:
        self._path = path
        self._on_failure = on_failure
        self._lock = threading.RLock()
        self._by_number: dict[int, Generation] = {}
        self._healthy = 0
        self._cut = False
        self.damaged = 0
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            on_failure(f"the ledger can't be read: {error}")
            return
        self._cut = not text.endswith(b"\n") and text != b""
        for line in text.splitlines():
            try:
                self._take(Fields(json.loads(line)))
            except (ValueError, AttributeError, RecursionError, Malformed):
                self.damaged += 1

    def _take(self, line: Fields) -> None:
        number = line.integer("generation")
        if "root" in line:
            self._keep(
                Generation(
                    number,
                    check_hash(line.text("root")),
                    line.number("at"),
                    line.text("who", ""),
                    line.text("rung", ""),
                    line.text("why", ""),
                    line.integer("files", 0),
                )
            )
        elif number in self._by_number:
            self._fate(number, line.text("fate"), line.text("why", ""))

    def _keep(self, generation: Generation) -> None:
        """The oldest is forgotten for it, but not the last healthy one, which a rollback may want."""
        self._by_number[generation.number] = generation
        if len(self._by_number) > KEPT:
            del self._by_number[next(number for number in self._by_number if number != self._healthy)]

    def _fate(self, number: int, fate: str, why: str) -> None:
        if fate not in FATES:
            raise Malformed("not a fate", to=fate[:40])
        old = self._by_number[number]
        self._by_number[number] = replace(
            old, fate=fate, fate_why=why, was_healthy=old.was_healthy or fate == "healthy"
        )
        if fate == "healthy":
            self._healthy = max(number, self._healthy)

    def add(self, root: str, who: str, rung: str, why: str, files: int) -> Generation:
        """A new generation, numbered one past the last."""
        with self._lock:
            number = max(self._by_number, default=0) + 1
            generation = Generation(number, root, time.time(), who, rung, why, files)
            self._keep(generation)
            fields = generation.as_fields()
            self._append({key: fields[key] for key in ("generation", "root", "at", "who", "rung", "why", "files")})
            return generation

    def mark(self, number: int, fate: str, why: str = "") -> None:
        """How a generation fared."""
        with self._lock:
            if number in self._by_number:
                self._fate(number, fate, why)
                self._append({"generation": number, "fate": fate, "at": time.time(), "why": why})

    def _append(self, line: dict[str, object]) -> None:
        text = b"\n" * self._cut + json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            with open(self._path, "ab", buffering=0) as file:
                self._cut = file.write(text) < len(text)
        except OSError as error:
            self._on_failure(f"a line of the ledger can't be written: {error}")
        else:
            if self._cut:
                self._on_failure("a line of the ledger is cut: the disk is full")

    def last(self) -> Generation | None:
        """The newest generation."""
        with self._lock:
            return self._by_number[max(self._by_number)] if self._by_number else None

    def get(self, number: int) -> Generation | None:
        """A generation by its number."""
        return self._by_number.get(number)

    def newest_first(self) -> list[Generation]:
        """All generations that are kept."""
        with self._lock:
            return sorted(self._by_number.values(), key=lambda one: -one.number)

    def last_healthy(self, before: int | None = None) -> Generation | None:
        """The newest generation that was healthy, older than ``before`` where given."""
        for one in self.newest_first():
            if one.was_healthy and (before is None or one.number < before):
                return one
        return None
