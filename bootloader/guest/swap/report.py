"""What a patch did, and what still runs old code, within bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .frames import Outdated

_NAMES = 50
_OLD = 20
_NOTES = 10
_NAME_CHARS = 80
_NOTE_CHARS = 200


@dataclass(slots=True)
class Report:
    """Names are qualified, with the module's before them."""

    modules: list[str] = field(default_factory=list)
    patched: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    old: list[Outdated] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_fields(self) -> dict[str, Any]:
        """Plain values, for a message; ``more``: how many names were left out."""
        names = {key: getattr(self, key) for key in ("modules", "patched", "added", "removed")}
        return {
            **{key: [name[:_NAME_CHARS] for name in found[:_NAMES]] for key, found in names.items()},
            "more": sum(max(0, len(found) - _NAMES) for found in names.values()),
            "old": [
                {"name": each.name[:_NAME_CHARS], "where": each.where[:_NAME_CHARS], "line": each.line}
                for each in self.old[:_OLD]
            ],
            "notes": [note[:_NOTE_CHARS] for note in self.notes[:_NOTES]],
        }
