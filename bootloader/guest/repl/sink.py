"""Where output goes: what a statement prints goes to its session, whatever else is printed goes where it always does.

What belongs to a statement is told by a context variable, so it is also what the statement awaits on the application's
own event loop. Owns the change of ``sys.stdout`` and ``sys.stderr`` while somebody is attached: the objects stay, which
handlers of logging hold, and become instances of a class that looks at that variable.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar

from ..output import Text

Sink = Callable[[str, str], bool]
"""Gets the stream's name and the text; False where the session has ended, and it is to go where it always does."""

SINK: ContextVar[Sink | None] = ContextVar("reactor_repl_sink", default=None)


class _Routed(Text):
    """Whatever is not of a statement takes the way of before."""

    def write(self, text: str, /) -> int:
        sink = SINK.get()
        if sink is None or not sink("stderr" if self.fileno() == 2 else "stdout", text):
            return super().write(text)
        return len(text)


_routed: list[Text] = []
_users = 0


def route() -> None:
    """Look from now on whether what is printed is of a statement."""
    global _users
    _users += 1
    for stream in (sys.stdout, sys.stderr):
        if type(stream) is Text:
            stream.__class__ = _Routed
            _routed.append(stream)


def unroute() -> None:
    """One session less needs that."""
    global _users
    _users -= 1
    while not _users and _routed:
        _routed.pop().__class__ = Text
