"""What happens at a console, as events for people and programs (``docs/json.md``): its bytes as lines.

A line that does not end, a prompt mostly, is told as far as it goes once nothing has followed for ``QUIET_S``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..report import clean
from . import END, Change, Console, Heard, Remark
from .lines import Line, Lines
from .stamp import Clock

QUIET_S = 0.5


def told(console: Console, clock: Clock, target: str = "") -> Iterator[dict[str, Any]]:
    """The events of ``console``, in their order, until its end is put in. ``target``: whose it is, if that is known."""
    lines = Lines()

    def of(event: str) -> dict[str, Any]:
        return {"event": event, "target": target, "port": clean(console.name)}

    def events(made: Iterator[Line]) -> Iterator[dict[str, Any]]:
        for line in made:
            text = clean(line.text)
            if text or not line.text:  # what a shell sends to set its terminal is no line
                at = clock.moment(line.at).isoformat(timespec="milliseconds")
                yield {**of("console"), "at": at, "text": text, "ended": line.ended}

    while True:
        item = console.get(QUIET_S if lines.is_under_way else None)
        if isinstance(item, Heard):
            yield from events(lines.feed(item.data, item.at))
            continue
        yield from events(lines.rest())
        if item == END:
            return
        if isinstance(item, Change):
            yield {**of("port"), "state": item.state, "why": clean(item.why)}
        elif isinstance(item, Remark):
            yield {"event": "notice", "target": target, "code": item.code, "text": clean(item.text)}
