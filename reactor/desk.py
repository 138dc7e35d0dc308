"""What a person at ``reactor dev`` has before them: which of the events are shown, and the orders that they may give.

Owns the last error, and the table of orders, each a word after ``%`` and, for some, a key. Where there is no terminal
for a prompt, what is told is shown all the same, and single keys are heard where there is a keyboard.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bootloader.wire.errors import Fault

from .filters import Filter
from .keys import are_ours, pressed
from .loop import Loop
from .report import Line
from .screen.status import Status
from .terminal import Terminal

PREFIX = "%"
_ERRORS = 20
_WAITING = 64
_END_S = 1.0
_HINT = "F1 help"
_FILTERS = ("", "level:warning", "level:error")


@dataclass(frozen=True, slots=True)
class Order:
    """Something that can be ordered: ``key`` is a key's name as terminals have it, or empty."""

    key: str
    what: str
    carry_out: Callable[[str], None]


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
        self._typed: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._orders = {
            "help": Order("f1", "what can be ordered", self._help),
            "filter": Order("f4", "show only lines that fit: level:warning, app:NAME, on:TARGET, TEXT…", self._filter),
            "restart": Order("f5", "stop what runs, and start it again", self._restart),
            "error": Order("f8", "show the last error again", self._repeat),
            "quit": Order("", "end; so does Ctrl-D, and Ctrl-C where nothing is typed", lambda _: self._leave()),
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
    def manned(self, loop: Loop) -> Iterator[None]:
        """Until this is left, somebody may type."""
        self._loop = loop
        if self._terminal.is_interactive and are_ours():
            with self._prompted():
                yield
        else:
            with pressed(lambda key: loop.restart() if key == "r" else None):
                yield

    @contextmanager
    def _prompted(self) -> Iterator[None]:
        from .screen import Screen  # here, as it takes a while, which a pipe need not wait for
        from .screen.prompt import Prompt

        keys = {order.key: f"{PREFIX}{name}" for name, order in self._orders.items() if order.key}
        prompt = Prompt(self._enter, self._leave, keys, [f"{PREFIX}{name}" for name in self._orders])
        screen = Screen(prompt, self._line, self._leave)
        prompt.echo = screen.echo
        worker = threading.Thread(target=self._work, name="desk", daemon=True)
        worker.start()
        self._refresh = screen.refresh
        try:
            with self._terminal.through(screen.write), screen.shown():
                yield
        finally:
            self._refresh = lambda: None
            self._typed.put(None)
            worker.join(_END_S)

    def _line(self, width: int) -> Line:
        sessions = self._loop.sessions if self._loop is not None else ()
        latencies = {session.target.name: session.latency_ms for session in sessions}
        only = self._terminal.filter
        return self._status.line(width, latencies, (f"only {only}",) if only else (), _HINT)

    def _enter(self, text: str) -> bool:
        """A line was typed, or a key pressed that stands for it: whether there was room for it. Waits for nothing."""
        try:
            self._typed.put_nowait(text)
        except queue.Full:
            return False
        return True

    # the desk's thread: what it shows may have to wait

    def _work(self) -> None:
        while (text := self._typed.get()) is not None:
            word, _, argument = text.strip().removeprefix(PREFIX).partition(" ")
            order = self._orders.get(word) if text.startswith(PREFIX) else None
            if order is not None:
                self._carry_out(order, argument.strip())
            elif text.strip():
                self._terminal.notice("unknown-order", f"'{text.strip()}' is no order; {PREFIX}help lists them")

    def _carry_out(self, order: Order, argument: str) -> None:
        try:
            order.carry_out(argument)
        except Fault as fault:
            self._terminal.fault(fault)

    def _help(self, _argument: str) -> None:
        rows = [(f"{PREFIX}{name}", order.key.upper(), order.what) for name, order in sorted(self._orders.items())]
        self._terminal.table(("order", "key", "does"), rows)

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

    def _repeat(self, _argument: str) -> None:
        for error in self._errors:
            self._terminal.tell(error)
        if not self._errors:
            self._terminal.line("no error so far")
