"""What may stand at a place in a line, as a device says it: read with distrust. Pure.

A device may go on with the word that is typed, and do nothing else: what is taken from its menu might be entered in
haste, and a line that begins with ``%`` may run on this host.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootloader.wire.messages import Fields

from ..report import clean, whole

PREFIX = "%"
"""What a line begins with that is an order, and no Python."""

_ITEMS = 300
_WORD_CHARS = 200
_KIND_CHARS = 40


@dataclass(frozen=True, slots=True)
class Completion:
    """``items``: (text, kind), each to stand from ``start`` on; ``signature``: of the call that the place is in."""

    items: tuple[tuple[str, str], ...] = ()
    start: int = 0
    signature: str = ""


def read(told: Fields, before: str) -> Completion:
    """What a device says may stand after ``before``."""
    start = min(whole(told.integer("start", 0)), len(before))
    word = before[start:].lower()
    items = []
    for row in told.rows("items")[:_ITEMS]:
        match row:
            case [str(text), str(kind)] if text.isprintable() and text.lower().startswith(word):
                if start or not text.startswith(PREFIX):
                    items.append((text[:_WORD_CHARS], clean(kind)[:_KIND_CHARS]))
    return Completion(tuple(items), start, clean(told.text("signature", ""))[:_WORD_CHARS])
