"""What a person at ``reactor dev`` has before them: which of the events are shown, and the orders that they may give.

Owns the last error and the orders that concern the loop; what else is typed is the REPL's. Where there is no terminal
for a prompt, what is told is shown all the same, and single keys are heard where there is a keyboard.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .filters import Filter
from .keys import are_ours, pressed
from .loop import Loop
from .project import Project
from .repl import Order, Repl
from .report import Line
from .screen.status import Status
from .terminal import Terminal

_ERRORS = 20
_FILTERS = ("", "level:warning", "level:error")


Tell = Callable[[dict[str, Any]], None]


class Desk:
    """One ``reactor dev``: :meth:`tell` it everything. ``leave`` is called to end it."""

    def __init__(self, terminal: Terminal, targets: list[str], leave: Callable[[], None]) -> None:
        self._terminal = terminal
        self._status = Status(targets)
        self._leave = leave
        self._noting = threading.Lock()
        self._errors: list[dict[str, Any]] = []
        self._is_new_save = True
        self._loop: Loop | None = None
        self._refresh: Callable[[], None] = lambda: None
        fit = "show the lines of output that fit: level:warning, app:NAME, TEXT…"
        self._orders = {
            "filter": Order("[WORDS]", fit, self._filter, "f4"),
            "restart": Order("", "stop what runs, and start it again", self._restart, "f5"),
            "error": Order("", "show the last error again", self._repeat, "f8"),
            "take": Order(
                "", "take the lease from the session that has it, and ship what stayed here", self._take, "f7"
            ),
            "give": Order("", "let who saves next have the lease, and look on until %take", self._give),
            "quit": Order("", "end; so does Ctrl-D", lambda _: self._leave()),
        }

    def offer(self, name: str, order: Order) -> None:
        """One more order that may be given; what it raises as a Fault is shown. Before :meth:`manned`."""
        self._orders[name] = order

    def tell(self, event: dict[str, Any]) -> None:
        """Show ``event``, and remember what may be asked for later. From any thread."""
        self.tell_all([event])

    def tell_all(self, events: Sequence[dict[str, Any]]) -> None:
        """As :meth:`tell`, for events that came together."""
        with self._noting:
            news = [event for event in events if self._status.heard(event)]
            for event in news:
                self._remember(event)
        if news:
            self._refresh()
        self._terminal.tell_all(events)

    def _remember(self, event: dict[str, Any]) -> None:
        if event["event"] == "save":
            self._is_new_save = True
        elif event["event"] == "problem":
            self._errors = [event] if self._is_new_save else [*self._errors, event][-_ERRORS:]
            self._is_new_save = False

    @contextmanager
    def manned(self, loop: Loop, repl: Callable[[Tell], Repl], project: Project) -> Iterator[None]:
        """Until this is left, somebody may type, where there is a terminal for it; then ``repl`` is made."""
        self._loop = loop
        if self._terminal.is_interactive and are_ours():
            with self._prompted(repl, project):
                yield
        else:
            keys = {"r": self._restart, "t": self._take, "g": self._give}
            with pressed(lambda key: keys.get(key, lambda _: None)("")):
                yield

    @contextmanager
    def _prompted(self, repl: Callable[[Tell], Repl], project: Project) -> Iterator[None]:
        from .repl.talk import Talk, history_of  # here, as it takes a while, which a pipe need not wait for

        talk = Talk(
            repl(self._tell_of_repl), self._terminal, history_of(project), self._leave, self._orders, self._line
        )
        self._refresh = talk.refresh
        try:
            with talk.shown():
                yield
        finally:
            self._refresh = lambda: None

    def _tell_of_repl(self, event: dict[str, Any]) -> None:
        """That it has reached what was asked for is no news, unless something else was there before."""
        if event["event"] != "session" or event["state"] != "up":
            self.tell(event)

    def _line(self, width: int, notes: Sequence[str], hint: str) -> Line:
        sessions = self._loop.sessions if self._loop is not None else ()
        latencies = {session.target.name: session.latency_ms for session in sessions}
        only = self._terminal.filter
        return self._status.line(width, latencies, [*notes, *([f"only {only}"] if only else [])], hint)

    # orders

    def _filter(self, words: str) -> None:
        """Without words, as the key has none: the next of those that are used most, the last of which is none."""
        if not words:
            now = str(self._terminal.filter)
            words = _FILTERS[(_FILTERS.index(now) + 1) % len(_FILTERS)] if now in _FILTERS else ""
        self._terminal.filter = Filter(words)
        self._refresh()

    def _restart(self, _argument: str) -> None:
        if self._loop is not None:
            self._loop.restart()

    def _take(self, _argument: str) -> None:
        if self._loop is not None:
            self._loop.lease("take")

    def _give(self, _argument: str) -> None:
        if self._loop is not None:
            self._loop.lease("give")

    def _repeat(self, _argument: str) -> None:
        for error in self._errors:
            self._terminal.tell(error)
        if not self._errors:
            self._terminal.line("no error so far")
