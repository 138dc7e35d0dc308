"""The corpus of edits: what a row says. Nothing but the standard library: every interpreter that is had reads it.

A row is one file, ``edits/<topic>/<name>.edit``: a sentence that it claims, ``key: value`` lines, and sections::

    A name that was imported with `from m import f` runs the new body.
    rung: patch

    === before motor.py     what the process runs; "both" where the edit leaves a file alone
    === after motor.py      what was saved; without it, the file is deleted
    === hold                runs in the live process before the edit: what it holds on to
    === probe               runs after it; has to fail before it, and to pass in a freshly started process
    === kept                runs after it too: what a restart would have lost

``rung`` is *patch* or *restart*. ``because`` are words of the reason for a restart, ``old`` functions of which the
report says that they still run their old body, ``notes`` words of its notes, ``patched`` names that it says were
patched, all separated by `` | ``. ``python`` is the first version that reads the row. A
*restart* before which the edit was tried, and undone, says ``undone: yes``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

EDITS = Path(__file__).parent / "edits"
_MARK = "=== "
_KEYS = ("rung", "because", "old", "notes", "patched", "python", "undone")


@dataclass
class Row:
    """One edit, and what has to come of it."""

    name: str
    claim: str
    told: dict[str, str]
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    hold: str = ""
    probe: str = ""
    kept: str = ""

    @property
    def patched(self) -> bool:
        """Whether the running process takes the edit."""
        return self.told["rung"] == "patch"

    @property
    def paths(self) -> list[str]:
        """What the edit changes."""
        return sorted(path for path in {*self.before, *self.after} if self.before.get(path) != self.after.get(path))

    def words(self, key: str) -> list[str]:
        """What the row says under ``key``."""
        return [word.strip() for word in self.told.get(key, "").split(" | ") if word.strip()]

    def is_for(self, version: tuple[int, int] = sys.version_info[:2]) -> bool:
        """Whether an interpreter of ``version`` can read it."""
        return version >= tuple(map(int, self.told.get("python", "3.11").split(".")))


def read(name: str, text: str) -> Row:
    """The row that ``text`` is; a ValueError says what is wrong with it."""
    head, *sections = ("\n" + text).split("\n" + _MARK)
    claim, *lines = head.strip().splitlines()
    told = dict(line.split(": ", 1) for line in lines if line)
    row = Row(name, claim, told)
    for section in sections:
        title, _, body = section.partition("\n")
        kind, _, path = title.partition(" ")
        body = body.strip("\n") + "\n"
        if kind in ("before", "both"):
            row.before[path] = body
        if kind in ("after", "both"):
            row.after[path] = body
        if kind in ("hold", "probe", "kept"):
            setattr(row, kind, body)
        elif kind not in ("before", "after", "both"):
            raise ValueError(f"{name}: there is no section {kind!r}")
    wrong = [
        *(f"there is no key {key!r}" for key in told if key not in _KEYS),
        *(["it has to say its rung: patch or restart"] if told.get("rung") not in ("patch", "restart") else []),
        *(["a restart says because of what"] if told.get("rung") == "restart" and not row.words("because") else []),
        *(["it changes nothing"] if not row.paths else []),
        *(["it probes nothing"] if row.patched and not row.probe + row.kept else []),
    ]
    if wrong:
        raise ValueError(f"{name}: {'; '.join(wrong)}")
    return row


def rows() -> list[Row]:
    """Every row, by topic and name."""
    return [
        read(path.relative_to(EDITS).with_suffix("").as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(EDITS.rglob("*.edit"))
    ]
