"""A REPL at a prompt of its own: what is typed is carried out, and what is told meanwhile scrolls above.

Owns the terminal while it is typed in. Ctrl-C interrupts what runs; where nothing does, it drops what is typed. Ctrl-D
ends.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

from blake3 import blake3
from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.formatted_text import StyleAndTextTuples

from .. import trust
from ..project import Project
from ..terminal import Terminal
from . import Repl, prompt

_ENDS = ("exit", "quit", "exit()", "quit()")
_HELP = "%help"
_HINT = "%help · Ctrl-C interrupts · Ctrl-D ends"


def history_of(project: Project | None) -> Path:
    """Where what was entered for a project is kept."""
    folder = trust.default_home() / "history"
    if project is None:
        return folder / "no-project"
    name = re.sub(r"[^A-Za-z0-9._-]", "-", project.folder.name)[:40]
    return folder / f"{name}-{blake3(bytes(project.folder)).hexdigest()[:10]}"


def talk(repl: Repl, terminal: Terminal, history: Path) -> int:
    """Until the user leaves: 0."""
    return _Talk(repl, terminal, history).run()


class _Talk:
    def __init__(self, repl: Repl, terminal: Terminal, history: Path) -> None:
        self._repl = repl
        self._terminal = terminal
        self._asking, completer = prompt.completer(repl.complete)
        self._session: PromptSession[str] = PromptSession(
            self._message,
            lexer=prompt.Colours(),
            completer=completer,
            complete_while_typing=True,
            auto_suggest=AutoSuggestFromHistory(),
            history=prompt.History(history),
            key_bindings=prompt.keys(lambda buffer: buffer.validate_and_handle()),
            editing_mode=prompt.editing_mode(),
            style=prompt.STYLE,
            multiline=True,
            prompt_continuation=self._continuation,
            bottom_toolbar=self._below,
            include_default_pygments_style=False,
            reserve_space_for_menu=6,
        )

    def run(self) -> int:
        with self._terminal.through(self._write):
            while True:
                try:
                    text = self._session.prompt()
                except KeyboardInterrupt:
                    continue
                except EOFError:
                    return 0
                if text.strip() in _ENDS:
                    return 0
                if text.strip() == _HELP:
                    self._help()
                else:
                    self._carry_out(text)

    def _carry_out(self, text: str) -> None:
        is_over = threading.Event()  # a thread whose `join` was interrupted passes for one that has ended, in 3.11

        def carry_out() -> None:
            try:
                self._repl.enter(text)
            finally:
                is_over.set()

        threading.Thread(target=carry_out, name="repl", daemon=True).start()
        while not is_over.is_set():
            try:
                is_over.wait()
            except KeyboardInterrupt:
                self._terminal.interrupted()
                self._repl.interrupt()

    def _help(self) -> None:
        rows = [(f"%{name} {order.form}", order.what) for name, order in self._repl.orders.items()]
        self._terminal.table(("order", "does"), [*rows, ("Ctrl-C", "interrupt what runs; again: leave it behind")])

    def _message(self) -> StyleAndTextTuples:
        return [("class:where", self._repl.where), ("", "> ")]

    def _continuation(self, width: int, _line: int, _wraps: int) -> StyleAndTextTuples:
        return [("", "." * max(1, width - 1) + " ")]

    def _below(self) -> StyleAndTextTuples:
        return [("", self._asking.signature or _HINT)]

    def _write(self, text: str) -> None:
        """Show it above what is typed, if anything is."""
        app = self._session.app
        loop = app.loop
        if app.is_running and loop is not None:
            loop.call_soon_threadsafe(lambda: run_in_terminal(lambda: self._show(text)))
        else:
            self._show(text)

    def _show(self, text: str) -> None:
        self._session.app.output.write_raw(text)
        self._session.app.output.flush()
