"""The screen on a pseudo-terminal: whoever tells waits for one that takes nothing, and nothing waits for ever."""

from __future__ import annotations

import os
import pty
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import DummyCompleter
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.lexers import SimpleLexer
from prompt_toolkit.styles import Style

from reactor import screen as module
from reactor.screen import Screen
from reactor.screen.prompt import Hands, Language, Prompt
from tests.reactor.board import until

LINE = "x" * 1000 + "\n"


class Pty:
    """A terminal that shows what it gets only as far as it is read."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        self.keyboard = open(theirs, closefd=False)  # noqa: SIM115
        self.output = open(theirs, "w", encoding="utf-8")  # noqa: SIM115
        self.shown = b""
        self._more = threading.Event()
        self._reader: threading.Thread | None = None

    def read(self) -> None:
        """Take from now on what there is."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):
            while piece := os.read(self._ours, 65536):
                self.shown += piece

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def mode(self) -> list[object]:
        return list(termios.tcgetattr(self.keyboard))

    def close(self) -> None:
        if self._reader is None:
            self.read()
        self.keyboard.close()
        self.output.close()
        assert self._reader is not None
        self._reader.join(20)
        os.close(self._ours)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pty]:
    monkeypatch.setenv("TERM", "xterm-256color")
    made = Pty()
    yield made
    made.close()


def a_prompt(enter: Callable[[str], bool], leave: Callable[[], None]) -> Prompt:
    """One whose lines end with Enter; F5 stands for an order."""

    def keys(accept: Callable[[Buffer], None]) -> KeyBindings:
        bound = KeyBindings()
        bound.add("enter")(lambda event: accept(event.current_buffer))
        return bound

    language = Language(SimpleLexer(), DummyCompleter(), InMemoryHistory(), keys, Style([]), EditingMode.EMACS)
    hands = Hands(enter, lambda: False, leave, lambda: None, lambda: False)
    return Prompt(language, hands, lambda: "> ", {"f5": "%restart"})


class Desk:
    """Who sits at it."""

    def __init__(self, terminal: Pty) -> None:
        self.entered: list[str] = []
        self.refused: list[str] = []
        self.is_full = False
        self.left = threading.Event()
        prompt = a_prompt(self.enter, self.left.set)
        self.screen = Screen(prompt, lambda _width: [("status", "")], self.left.set, terminal.keyboard, terminal.output)
        prompt.echo = self.screen.echo

    def enter(self, text: str) -> bool:
        (self.refused if self.is_full else self.entered).append(text)
        return not self.is_full


def test_what_is_told_before_during_and_after_is_shown_in_order(terminal: Pty) -> None:
    terminal.read()
    desk = Desk(terminal)
    desk.screen.write("before\n")
    with desk.screen.shown():
        until(lambda: b"status" in terminal.shown)
        desk.screen.write("during\n")
        until(lambda: b"during" in terminal.shown)
    desk.screen.write("after\n")
    until(lambda: b"after" in terminal.shown)
    assert terminal.shown.index(b"before") < terminal.shown.index(b"during") < terminal.shown.index(b"after")


def test_whoever_tells_more_than_the_terminal_takes_waits_and_nothing_is_lost(terminal: Pty) -> None:
    desk = Desk(terminal)
    told = 4 * module._PENDING_CHARS // len(LINE)
    written = []

    def tell() -> None:
        for number in range(told):
            desk.screen.write(f"{number} {LINE}")
            written.append(number)

    teller = threading.Thread(target=tell)
    with desk.screen.shown():
        until(lambda: desk.screen._loop is not None)
        teller.start()
        until(lambda: desk.screen._pending_chars >= module._PENDING_CHARS)
        assert teller.is_alive()
        assert desk.screen._pending_chars < module._PENDING_CHARS + 2 * len(LINE)
        terminal.read()
        teller.join(60)
        assert len(written) == told
    until(lambda: f"{told - 1} x".encode() in terminal.shown)
    rows = [row for row in terminal.shown.decode().split("\n") if "xxx" in row]
    assert len(rows) == told


def test_the_end_does_not_wait_for_a_terminal_that_takes_nothing(
    terminal: Pty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_END_S", 0.1)
    before = terminal.mode()
    desk = Desk(terminal)
    tellers = [threading.Thread(target=lambda: desk.screen.write(LINE * 1000), daemon=True) for _ in range(3)]
    with desk.screen.shown():
        until(lambda: desk.screen._loop is not None)
        for teller in tellers:
            teller.start()
        until(lambda: desk.screen._pending_chars >= module._PENDING_CHARS)
    assert terminal.mode() == before
    terminal.read()
    for teller in tellers:
        teller.join(20)
        assert not teller.is_alive()
    desk.screen._thread.join(20)


def test_keys_and_lines_are_entered_and_what_there_is_no_room_for_stays(terminal: Pty) -> None:
    terminal.read()
    desk = Desk(terminal)
    with desk.screen.shown():
        until(lambda: b"status" in terminal.shown)
        terminal.type("\x1b[15~")
        until(lambda: desk.entered == ["%restart"])
        desk.is_full = True
        terminal.type("one\r")
        until(lambda: desk.refused == ["one"])
        desk.is_full = False
        terminal.type("\r")
        until(lambda: desk.entered == ["%restart", "one"])
        terminal.type("\x04")
        assert desk.left.wait(20)


def test_a_fault_of_the_screen_ends_it_and_is_raised(terminal: Pty) -> None:
    terminal.read()

    def broken(_width: int) -> list[tuple[str, str]]:
        raise ZeroDivisionError

    gone = threading.Event()
    prompt = a_prompt(lambda _text: True, gone.set)
    screen = Screen(prompt, broken, gone.set, terminal.keyboard, terminal.output)

    def show() -> None:
        with screen.shown():
            assert gone.wait(20)
            screen.write("still told\n")

    with pytest.raises(ZeroDivisionError):
        show()
    until(lambda: b"still told" in terminal.shown)
