"""The generations of this target: what was applied, how it fared, who sent it, when, and why. One JSON line an event.

Owns ``ledger.jsonl`` and ``ledger.copy``, which get the same lines, numbered and each with its own checksum: together
they tell what one of them lost. Reading forgives: a line that is cut or odd is counted, not fatal, because the ledger
tells about the device and must never stop it. Thread-safe.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from blake3 import blake3

from ..wire.errors import Malformed
from ..wire.manifest import check_hash
from ..wire.messages import Fields

KEPT = 256
"""Generations kept in memory and told by ``history``."""

MOST_LINES = 8 * KEPT
"""A longer file is written anew, a line a generation."""

_TOLD_CHARS = 500
"""So much of a reason is kept, so that a line is short and the file bounded."""

_SUM = b',"sum":'

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
    boots: int = 0
    """How often in a row it was started at boot and then cut off soon, the last start included until it is known."""

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
            "boots": self.boots,
        }


class Ledger:
    """The generations, oldest first. ``damaged`` counts the lines that could not be read; ``mended`` tells that one of
    the two files made up for what the other lost.

    ``on_failure`` is told why a line could not be written: a full disk costs the line, and stops nothing.
    """

    def __init__(self, path: Path, on_failure: Callable[[str], None]) -> None:
        self._files = (_File(path), _File(path.with_suffix(".copy")))
        self._on_failure = on_failure
        self._lock = threading.RLock()
        self._is_behind = False
        """Whether a line is missing in a file, as it could not be written."""
        self._by_number: dict[int, Generation] = {}
        self._healthy = 0
        self.damaged = 0
        lines: dict[int, Fields] = {}
        for file in self._files:
            try:
                file.read()
            except OSError as error:
                on_failure(f"the ledger can't be read: {error}")
            lines |= file.found
            self.damaged = max(file.damaged, self.damaged)
        for number in sorted(lines):
            try:
                self._take(lines[number])
            except Malformed:
                self.damaged += 1
        self._next = max(lines, default=0) + 1
        self._lines = len(lines)
        self.mended = self.damaged > 0 or any(file.found.keys() != lines.keys() for file in self._files)
        for file in self._files:
            file.found = {}
        if self.mended or self._lines > MOST_LINES:
            self._write_anew()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, to be made durable."""
        return tuple(file.path for file in self._files)

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
                    line.text("fate", "applied"),
                    line.flag("was_healthy", False),
                    line.text("fate_why", ""),
                    line.integer("boots", 0),
                )
            )
        elif number in self._by_number:
            if "boot" in line:
                self._boot(number)
            elif "well" in line:
                self._well(number)
            else:
                self._fate(number, line.text("fate"), line.text("why", ""))
            if "rung" in line:
                self._explain(number, line.text("rung"), line.text("reason", ""))

    def _keep(self, generation: Generation) -> None:
        """The oldest is forgotten for it, but not the last healthy one, which a rollback may want."""
        self._by_number[generation.number] = generation
        if generation.was_healthy:
            self._healthy = max(generation.number, self._healthy)
        if len(self._by_number) > KEPT:
            del self._by_number[next(number for number in self._by_number if number != self._healthy)]

    def _fate(self, number: int, fate: str, why: str) -> None:
        if fate not in FATES:
            raise Malformed("not a fate", to=fate[:40])
        old = self._by_number[number]
        was_healthy = old.was_healthy or fate == "healthy"
        self._by_number[number] = replace(old, fate=fate, fate_why=why, was_healthy=was_healthy)
        if fate == "healthy":
            self._healthy = max(number, self._healthy)

    def _explain(self, number: int, rung: str, why: str) -> None:
        self._by_number[number] = replace(self._by_number[number], rung=rung, why=why)

    def _boot(self, number: int) -> None:
        old = self._by_number[number]
        self._by_number[number] = replace(old, boots=old.boots + 1)

    def _well(self, number: int) -> None:
        root = self._by_number[number].root
        for one in list(self._by_number.values()):
            if one.root == root and one.boots:
                self._by_number[one.number] = replace(one, boots=0)

    def add(self, root: str, who: str, rung: str, why: str, files: int) -> Generation:
        """A new generation, numbered one past the last."""
        with self._lock:
            number = max(self._by_number, default=0) + 1
            generation = Generation(number, root, time.time(), who, rung, why[:_TOLD_CHARS], files)
            self._keep(generation)
            fields = generation.as_fields()
            self._append({key: fields[key] for key in ("generation", "root", "at", "who", "rung", "why", "files")})
            return generation

    def mark(self, number: int, fate: str, why: str = "") -> None:
        """How a generation fared."""
        with self._lock:
            if number in self._by_number:
                self._fate(number, fate, why[:_TOLD_CHARS])
                self._append({"generation": number, "fate": fate, "at": time.time(), "why": why[:_TOLD_CHARS]})

    def explain(self, number: int, rung: str, why: str) -> None:
        """Which rung a generation took in the end, and why."""
        with self._lock:
            if (old := self._by_number.get(number)) is not None:
                self._explain(number, rung, why[:_TOLD_CHARS])
                told = {"rung": rung, "reason": why[:_TOLD_CHARS], "at": time.time()}
                self._append({"generation": number, "fate": old.fate, "why": old.fate_why, **told})

    def count_boot(self, number: int) -> None:
        """A generation is about to be started at boot. On the disk for certain: it may take the device down."""
        with self._lock:
            if number in self._by_number:
                self._boot(number)
                self._append({"generation": number, "boot": True, "at": time.time()}, durable=True)

    def forgive(self, number: int) -> None:
        """What was counted against the root of a generation counts no more: its last start was none that ended badly,
        or somebody wants it to run whatever it did.
        """
        with self._lock:
            root = one.root if (one := self._by_number.get(number)) is not None else ""
            if any(one.boots for one in self._by_number.values() if one.root == root):
                self._well(number)
                self._append({"generation": number, "well": True, "at": time.time()}, durable=True)

    def _append(self, fields: dict[str, Any], *, durable: bool = False) -> None:
        line = _line(self._next, fields)
        self._next += 1
        self._lines += 1
        failures = []
        for file in self._files:
            try:
                file.append(line, durable=durable)
            except OSError as error:
                failures.append(f"a line of the ledger can't be written: {error}")
        for failure in failures[:1]:
            self._is_behind = True
            self._on_failure(failure)

    def compact(self) -> None:
        """Where the files have become long, or lack a line: a line a generation. One is whole at any moment."""
        with self._lock:
            if self._lines > MOST_LINES or self._is_behind:
                self._write_anew()

    def _write_anew(self) -> None:
        numbers = count(self._next)
        lines = [_line(next(numbers), one.as_fields()) for one in self._by_number.values()]
        self._next, self._lines, self._is_behind = next(numbers), len(lines), False
        for file in self._files:
            try:
                file.write_anew(lines)
            except OSError as error:
                self._is_behind = True
                self._on_failure(f"the ledger can't be written: {error}")

    def last(self) -> Generation | None:
        """The newest generation."""
        with self._lock:
            return self._by_number[max(self._by_number)] if self._by_number else None

    def get(self, number: int) -> Generation | None:
        """A generation by its number."""
        return self._by_number.get(number)

    def root_of(self, number: int) -> str:
        """A generation's root; empty where it is not kept any more."""
        one = self.get(number)
        return one.root if one is not None else ""

    def newest_first(self) -> list[Generation]:
        """All generations that are kept."""
        with self._lock:
            return sorted(self._by_number.values(), key=lambda one: -one.number)

    def has_been_healthy(self, root: str) -> bool:
        """Whether a generation of that root was."""
        with self._lock:
            return any(one.root == root and one.was_healthy for one in self._by_number.values())

    def last_healthy(self) -> Generation | None:
        """The newest generation that was healthy."""
        return self._by_number.get(self._healthy)


class _File:
    """Lines with numbers and checksums. ``found``: those that a start could read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[int, Fields] = {}
        self.damaged = 0
        self._cut = False

    def read(self) -> None:
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return
        self._cut = not text.endswith(b"\n") and text != b""
        for line in text.splitlines():
            try:
                body, _, rest = line.rpartition(_SUM)
                if rest != b'"%s"}' % _checksum(body):
                    raise ValueError("not the line that was written")
                fields = Fields(json.loads(body + b"}"))
                self.found[fields.integer("n")] = fields
            except (ValueError, RecursionError, Malformed):
                self.damaged += 1

    def append(self, line: bytes, *, durable: bool) -> None:
        text = b"\n" * self._cut + line
        with open(self.path, "ab", buffering=0) as file:
            self._cut = file.write(text) < len(text)
            if self._cut:
                raise OSError(f"it is cut, '{self.path.name}' has no room")
            if durable:
                os.fsync(file.fileno())

    def write_anew(self, lines: list[bytes]) -> None:
        new = self.path.with_suffix(".new")
        try:
            with open(new, "wb") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError:
            with suppress(OSError):  # what a full disk cuts short does not fill it further
                new.unlink()
            raise
        self._cut = False


def _line(number: int, fields: dict[str, Any]) -> bytes:
    body = json.dumps({"n": number, **fields}, separators=(",", ":")).encode()[:-1]
    return body + _SUM + b'"%s"}\n' % _checksum(body)


def _checksum(body: bytes) -> bytes:
    return blake3(body).hexdigest(4).encode()
