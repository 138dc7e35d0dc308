"""Which lines of output are shown: a few words that a person types, and whether an event is let through. Pure.

The words of a filter, all of which have to hold:

    level:warning     a log record of that level or worse; stdout counts as info, stderr as warning
    app:net,main      of one of these applications
    on:porch          of one of these targets
    anything          its text holds that, in capitals or not; quotes for what has spaces
    /tick \\d+/        its text matches that regular expression; /…/i in capitals or not
    !word             that word does not hold

Lines of output are what all words are about. Other events of an application are let through by application and target,
and what belongs to none, always.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bootloader.wire.errors import Fault

LEVELS = ("debug", "info", "warning", "error", "critical")

Event = Mapping[str, Any]
Holds = Callable[[Event], bool]

_LINES = frozenset({"log", "console"})
_OF_STREAM = {"stdout": 1, "stderr": 2}
_WORD = re.compile(r"""\s*(!?)((?:[a-z]+:)?)(/(?:[^/\\]|\\.)*/i?(?=\s|$)|"[^"]*"|'[^']*'|\S+)""")


class Filter:
    """What ``text`` says; an empty one lets everything through. Equal words are equal filters."""

    def __init__(self, text: str = "") -> None:
        """A :class:`Fault` where a word makes no sense."""
        self.text = text.strip()
        words = [_word(match) for match in _WORD.finditer(text)]
        self._lines = [holds for _, holds in words]
        self._others = [holds for about_text, holds in words if not about_text]

    @classmethod
    def of(cls, level: str = "", applications: Iterable[str] = (), texts: Iterable[str] = ()) -> Filter:
        """The filter of a command's options: each of ``texts`` is a word on its own, whatever is in it."""
        names = ",".join(applications)
        words = [f"level:{level}"] if level else []
        words += [f"app:{names}"] if names else []
        return cls(" ".join([*words, *map(_quoted, texts)]))

    def __and__(self, other: Filter) -> Filter:
        """Both."""
        return Filter(f"{self.text} {other.text}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __str__(self) -> str:
        return self.text

    def lets(self, event: Event) -> bool:
        """Whether ``event`` is let through."""
        if event["event"] in _LINES:
            return all(holds(event) for holds in self._lines)
        return not event.get("application") or all(holds(event) for holds in self._others)

    def through(self, events: Sequence[Event]) -> Sequence[Event]:
        """Those that are let through."""
        return [event for event in events if self.lets(event)] if self._lines else events


def severity(event: Event) -> int:
    """How bad a line is, as a place in :data:`LEVELS`."""
    level = event.get("level")
    return LEVELS.index(level) if level in LEVELS else _OF_STREAM.get(str(event.get("stream")), 1)


def _quoted(text: str) -> str:
    if re.fullmatch(r"/.*/i?", text) or not re.search(r"""[\s"'!:/]""", text):
        return text
    mark = next((mark for mark in "'\"" if mark not in text), "")
    return f"{mark}{text}{mark}" if mark else f"/{re.escape(text).replace('/', chr(92) + '/')}/i"


def _word(match: re.Match[str]) -> tuple[bool, Holds]:
    """Whether it is about a line's text or level, and whether it holds."""
    inverted, key, value = match.groups()
    about_text, holds = _plain(key[:-1], value)
    return about_text, (lambda event: not holds(event)) if inverted else holds


def _plain(key: str, value: str) -> tuple[bool, Holds]:
    if key == "level":
        if value not in LEVELS:
            raise _bad(value, "is no level", f"one of {', '.join(LEVELS)}")
        least = LEVELS.index(value)
        return True, lambda event: severity(event) >= least
    if key in ("app", "on"):
        names = frozenset(value.strip("\"'").split(","))
        field = "application" if key == "app" else "target"
        return False, lambda event: event.get(field) in names
    if not key and value.startswith("/") and value.rstrip("i").endswith("/") and len(value) > 1:
        flags = re.IGNORECASE if value.endswith("i") else 0
        try:
            found = re.compile(value.rstrip("i")[1:-1], flags).search
        except re.error as error:
            raise _bad(value, f"is no regular expression: {error}", "mend it, or put it in quotes") from None
        return True, lambda event: found(str(event.get("text", ""))) is not None
    is_quoted = not key and value[0] in "\"'" and value[-1] == value[0] and len(value) > 1
    part = (value[1:-1] if is_quoted else f"{key}:{value}" if key else value).casefold()
    return True, lambda event: part in str(event.get("text", "")).casefold()


def _bad(word: str, what: str, do: str) -> Fault:
    return Fault("bad-filter", what, to=word, do=do)
