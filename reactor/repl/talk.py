"""A prompt for a REPL: what is typed is carried out, and what is told meanwhile scrolls above.

Owns the screen, a thread on which statements run, and one for the orders of whoever has it: these are carried out also
while a statement runs. Ctrl-C interrupts what runs; where nothing does, it drops what is typed. Ctrl-D ends, and so
does Ctrl-C at an empty prompt that is beside something else.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from blake3 import blake3

from bootloader.wire.errors import Fault

from .. import trust
from ..project import Project
from ..report import Line
from ..screen import Screen
from ..screen.prompt import Hands, Language, Prompt
from ..terminal import Terminal
from . import Order, Repl, prompt
from .menu import PREFIX, Completion

_ENDS = ("exit", "quit", "exit()", "quit()")
_RUNNING = "running: Ctrl-C interrupts"
_HINT = "F1 help"
_WAITING = 256
_END_S = 1.0
_MOMENT_S = 0.5

NO_ORDERS: Mapping[str, Order] = MappingProxyType({})

Status = Callable[[int, Sequence[str], str], Line]
"""The line below, for so many columns, with notes, and with a hint where there is room."""


def history_of(project: Project | None) -> Path:
    """Where what was entered for a project is kept."""
    folder = trust.default_home() / "history"
    if project is None:
        return folder / "no-project"
    name = re.sub(r"[^A-Za-z0-9._-]", "-", project.folder.name)[:40]
    return folder / f"{name}-{blake3(bytes(project.folder)).hexdigest()[:10]}"


def talk(repl: Repl, terminal: Terminal, history: Path) -> int:
    """Until the user leaves: 0."""
    left = threading.Event()
    with Talk(repl, terminal, history, left.set).shown():
        left.wait()
    return 0


class Talk:
    """One prompt. ``leave`` is called to end it; ``orders`` are known beside those of ``repl``."""

    def __init__(
        self,
        repl: Repl,
        terminal: Terminal,
        history: Path,
        leave: Callable[[], None],
        orders: Mapping[str, Order] = NO_ORDERS,
        status: Status | None = None,
    ) -> None:
        self._repl = repl
        self._terminal = terminal
        self._leave = leave
        self._orders = {"help": Order("", "list the orders", self._help, "f1"), **orders}
        self._is_alone = status is None
        self._status = status or _below
        self._asking, completer = prompt.completer(self._complete)
        language = Language(
            prompt.Colours(), completer, prompt.History(history), prompt.keys, prompt.STYLE, prompt.editing_mode()
        )
        hands = Hands(self._enter, self._interrupt, leave, self._begun, self._lasts)
        keys = {order.key: f"{PREFIX}{name}" for name, order in self._orders.items() if order.key}
        self._prompt = Prompt(language, hands, lambda: f"{repl.where}> ", keys)
        self._screen = Screen(self._prompt, self._line, leave)
        self._prompt.echo = self._screen.echo
        self._is_begun = False
        self._is_running = False
        self._ran_at = float("-inf")
        self._statements = _Errands("repl", self._failed)
        self._others = _Errands("orders", self._failed)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Until this is left, somebody may type. Ends the REPL."""
        with (
            closing(self._statements),
            closing(self._others),
            closing(self._repl),  # so that what runs ends
            self._terminal.through(self._screen.write),
            self._screen.shown(),
        ):
            yield

    def refresh(self) -> None:
        """The status may be another one."""
        self._screen.refresh()

    def _line(self, width: int) -> Line:
        signature = self._asking.signature if self._prompt.is_typed else ""
        if signature:
            return [(f" {signature}"[:width], "")]
        return self._status(width, (_RUNNING,) if self._is_running else (), _HINT)

    def _complete(self, text: str, at: int) -> Completion:
        found = self._repl.complete(text, at)
        if not text.startswith(PREFIX) or " " in text[:at]:
            return found
        own = ((f"{PREFIX}{name}", "order") for name in self._orders if f"{PREFIX}{name}".startswith(text[:at]))
        return replace(found, items=tuple(sorted({*found.items, *own})), start=0)

    # on the screen's thread, which must not wait

    def _enter(self, text: str) -> bool:
        """Whether there was room for it."""
        word, _, argument = text.strip().removeprefix(PREFIX).partition(" ")
        if text.strip() in _ENDS:
            self._leave()
            return True
        if text.startswith(PREFIX) and word in self._orders:
            return self._others.add(partial(self._orders[word].carry_out, argument.strip()))
        if text.startswith(PREFIX) and word not in self._repl.orders:
            return self._others.add(partial(self._unknown, word))
        return self._statements.add(partial(self._run, text))

    def _begun(self) -> None:
        """Somebody types: what they ask of live objects is answered sooner if these are reached by then."""
        if not self._is_begun:
            self._is_begun = self._statements.add(self._reach)

    def _interrupt(self) -> bool:
        """Whether something ran. What waits behind it is not run."""
        if not self._is_running:
            return False
        self._statements.drop()
        threading.Thread(target=self._repl.interrupt, name="interrupt", daemon=True).start()
        return True

    def _lasts(self) -> bool:
        """Whether Ctrl-C is no end: it never is one, or was meant for what ran a moment ago."""
        return self._is_alone or time.monotonic() - self._ran_at < _MOMENT_S

    # on their own threads

    def _reach(self) -> None:
        with suppress(Fault):  # what is entered then says so
            self._repl.start()

    def _run(self, text: str) -> None:
        self._is_running = True
        self._screen.refresh()
        try:
            self._repl.enter(text)
        finally:
            self._is_running, self._ran_at = False, time.monotonic()
            self._screen.refresh()

    def _unknown(self, word: str) -> None:
        known = ", ".join(f"{PREFIX}{name}" for name in sorted({*self._repl.orders, *self._orders}))
        self._terminal.fault(Fault("unknown-order", f"'{PREFIX}{word}' is none", do=f"there are: {known}"))

    def _help(self, _argument: str) -> None:
        both = sorted({**self._repl.orders, **self._orders}.items())
        rows = [(f"{PREFIX}{name} {order.form}".rstrip(), order.key.upper(), order.what) for name, order in both]
        rows.append(("anything else", "", "is run as Python, on the device"))
        rows.append(("", "CTRL-C", "interrupt what runs, and again: leave it behind; else drop what is typed"))
        self._terminal.table(("order", "key", "does"), rows)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, Fault):
            self._terminal.fault(error)
        elif isinstance(error, OSError):  # the terminal is gone, and nobody can be told
            self._leave()
        else:
            what = f"{type(error).__name__}: {error}"
            self._terminal.fault(Fault("internal-error", what, do="please report this"))


def _below(width: int, notes: Sequence[str], hint: str) -> Line:
    shown = " │ ".join(notes)
    gap = width - len(shown) - len(hint) - 2
    return [(" ", ""), (shown, "warn"), (" " * gap, ""), (hint, "dim")] if gap > 0 else [(f" {shown}", "warn")]


class _Errands:
    """Carries out one thing after the other, on a thread of its own; ``failed`` gets what should not have happened."""

    def __init__(self, name: str, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._waiting: queue.Queue[Callable[[], object] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def add(self, errand: Callable[[], object]) -> bool:
        """Whether there was room for it."""
        with suppress(queue.Full):
            self._waiting.put_nowait(errand)
            return True
        return False

    def drop(self) -> None:
        """What waits is not carried out."""
        with suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()

    def close(self) -> None:
        """End, once what is under way has."""
        self.drop()
        self._waiting.put(None)
        self._thread.join(_END_S)

    def _work(self) -> None:
        while (errand := self._waiting.get()) is not None:
            try:
                errand()
            except Exception as error:  # noqa: BLE001 - told; here, it would end a thread that others wait for
                self._failed(error)
