"""The lower end of a terminal while a command runs: a prompt, and below it a status line. What is told scrolls above.

Owns the terminal's mode and its last lines, on a thread of its own. It keeps the terminal's own scrollback: there is no
other screen. Whoever tells faster than the terminal takes waits for it. Knows nothing of events, and of what is typed
only that a line was entered.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TextIO

from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.data_structures import Size
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyBindingsBase, KeyPressEvent, merge_key_bindings
from prompt_toolkit.layout import AnyContainer, HSplit, Layout, VerticalAlign, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import BaseStyle, Style, merge_styles

from ..report import Line

_PENDING_CHARS = 1024 * 1024
"""What may wait to be shown before those who tell wait, too."""

_BATCH_CHARS = 32 * 1024
"""Most that is written between two looks at the keyboard."""

_FRAME_S = 0.02
"""The prompt is drawn anew at most so often because of what scrolls above it."""

_FRAME, _END_OF_FRAME = "\x1b[?2026h", "\x1b[?2026l"
"""What is between these is shown at once, by the terminals that know them."""

_REFRESH_S = 2.0
_END_S = 1.0
_STOPS_S = 0.2
"""How long the system may take to stop all threads of a process that is told to."""

_STYLE = Style.from_dict(
    {
        "status": "reverse",
        "status good": "fg:ansigreen",
        "status bad": "fg:ansired",
        "status warn": "fg:ansiyellow",
        "status strong": "bold",
        "status dim": "",
    }
)


class Prompt(Protocol):
    """What is typed into: how it is shown, its keys, and how its parts look."""

    @property
    def container(self) -> AnyContainer:
        """What is shown of it."""

    @property
    def keys(self) -> KeyBindingsBase:
        """What each key does."""

    @property
    def style(self) -> BaseStyle:
        """How the parts look that it names."""

    @property
    def editing_mode(self) -> EditingMode:
        """Whose keys edit."""


class _Output(Vt100_Output):
    """Writes at once what belongs together, so that nothing flickers."""

    def __init__(self, file: TextIO) -> None:
        # The terminal is not asked where its cursor is: an answer would be typed into whatever comes next.
        super().__init__(file, lambda: _size(file), os.environ.get("TERM"), ColorDepth.from_env(), enable_cpr=False)
        self.is_held = False

    def flush(self) -> None:
        if not self.is_held:
            super().flush()

    def erase_down(self) -> None:
        # Not from the first column on: tmux keeps what is erased from the upper left corner as if it had scrolled off.
        self.write_raw("\x1b7\x1b[K\x1b[C\x1b[J\x1b8")


def _size(file: TextIO) -> Size:
    """The terminal's, or that of a usual one where it does not say."""
    try:
        columns, rows = os.get_terminal_size(file.fileno())
    except (OSError, ValueError):  # it is gone
        columns = rows = 0
    return Size(rows or 24, columns or 80)


class Screen:
    """Use :meth:`shown`. ``status`` makes the line for so many columns; ``gone`` is called where the terminal is."""

    def __init__(
        self,
        prompt: Prompt,
        status: Callable[[int], Line],
        gone: Callable[[], None],
        keyboard: TextIO = sys.stdin,
        output: TextIO = sys.stdout,
    ) -> None:
        self._status = status
        self._gone = gone
        self._keyboard = keyboard
        self._output = _Output(output)
        self._style = merge_styles([_STYLE, prompt.style])
        below = Window(FormattedTextControl(self._below), height=1, dont_extend_height=True, style="class:status")
        self._app: Application[None] = Application(
            Layout(HSplit([prompt.container, below], align=VerticalAlign.TOP)),
            style=self._style,
            editing_mode=prompt.editing_mode,
            include_default_pygments_style=False,
            key_bindings=merge_key_bindings([_keys(), prompt.keys]),
            refresh_interval=_REFRESH_S,
            erase_when_done=True,
            input=create_input(keyboard),
            output=self._output,
        )
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
        self._failed: Exception | None = None
        self._flushed_at = 0.0
        # What follows is for several threads, under this.
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_over = False
        self._pending: deque[str] = deque()
        self._pending_chars = 0
        self._is_due = False

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Until this is left. The terminal's mode ends as it began, whatever happens."""
        before = termios.tcgetattr(self._keyboard)
        self._thread.start()
        try:
            yield
        finally:
            self._close()
            with suppress(termios.error):  # it is gone
                termios.tcsetattr(self._keyboard, termios.TCSANOW, before)
        if self._failed is not None:
            raise self._failed

    def write(self, text: str) -> None:
        """Show ``text``, whole lines, above the prompt. Not from the screen's own thread, as it may wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._loop is None or self._pending_chars < _PENDING_CHARS)
            if self._loop is None:
                self._write_out(text)
            else:
                self._append(self._loop, text)

    def refresh(self) -> None:
        """The status may be another one."""
        self._app.invalidate()

    def echo(self, fragments: StyleAndTextTuples) -> None:
        """Show what was typed above the prompt, in its colours. From the screen's own thread."""
        self._flush(all_of_it=True)
        self._above(lambda: print_formatted_text(self._output, [*fragments, ("", "\n")], self._style))

    @property
    def width(self) -> int:
        """How many columns there are."""
        return self._output.get_size().columns

    def _below(self) -> StyleAndTextTuples:
        return [(f"class:{style}" if style else "", text) for text, style in self._status(self.width)]

    def _append(self, loop: asyncio.AbstractEventLoop, text: str) -> None:
        self._pending.append(text)
        self._pending_chars += len(text)
        if not self._is_due:
            self._is_due = True
            loop.call_soon_threadsafe(self._due)

    def _write_out(self, text: str) -> None:
        self._output.write_raw(text)
        self._output.flush()

    def _close(self) -> None:
        with self._changed:
            self._is_over = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._exit)
        self._thread.join(_END_S)
        with self._changed:
            self._loop = None
            self._changed.notify_all()

    # the screen's thread

    def _run(self) -> None:
        try:
            self._app.run(pre_run=self._begin, set_exception_handler=False, handle_sigint=False)
        except EOFError:
            pass  # the terminal is gone, as is said below
        except Exception as error:  # noqa: BLE001 - raised by `shown`; here, it would end a thread alone
            self._failed = error
        with self._changed:
            self._loop = None
            rest, self._pending_chars = "".join(self._pending), 0
            self._pending.clear()
            is_over = self._is_over
            self._changed.notify_all()
            if rest and self._failed is None:
                try:
                    self._write_out(rest)
                except OSError as error:
                    self._failed = error
        if not is_over:
            self._gone()

    def _begin(self) -> None:
        with self._changed:
            self._loop = asyncio.get_running_loop()
            if self._is_over:
                self._loop.call_soon(self._exit)

    def _exit(self) -> None:
        if self._app.is_running and not self._app.is_done:
            self._app.exit()

    def _due(self) -> None:
        """Something waits to be shown: now, or, where something was shown right before, in a moment."""
        wait_s = self._flushed_at + _FRAME_S - time.monotonic()
        if wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self._flush)
        else:
            self._flush()

    def _flush(self, *, all_of_it: bool = False) -> None:
        if self._app.is_done:
            return
        with self._changed:
            batch: list[str] = []
            room = _BATCH_CHARS
            while self._pending and (room > 0 or all_of_it):
                batch.append(self._pending.popleft())
                room -= len(batch[-1])
            self._pending_chars -= sum(map(len, batch))
            self._is_due = bool(self._pending)
            self._changed.notify_all()
        if batch:
            text = "".join(batch)
            try:
                self._above(lambda: self._output.write_raw(text))
            except OSError as error:  # asyncio would tell somebody else
                self._failed = error
                self._exit()
        self._flushed_at = time.monotonic()
        if self._is_due:
            asyncio.get_running_loop().call_later(0 if room <= 0 else _FRAME_S, self._flush)

    def _above(self, show: Callable[[], None]) -> None:
        """Have ``show`` write where the prompt is, and the prompt below that."""
        self._output.is_held = True
        try:
            self._output.write_raw(_FRAME)
            self._app.renderer.erase()
            show()
            self._app._redraw()  # what is drawn later would flicker
            self._output.write_raw(_END_OF_FRAME)
        finally:
            self._output.is_held = False
            self._output.flush()


def _stop() -> None:
    """Stop, with whatever else is in this process group, until somebody says to go on."""
    os.kill(0, signal.SIGTSTP)
    time.sleep(_STOPS_S)  # the main thread takes it, and this one goes on until it has: it would have the terminal raw


def _keys() -> KeyBindings:
    """What concerns the terminal alone."""
    keys = KeyBindings()

    @keys.add("c-z", filter=Condition(lambda: sys.platform != "win32"))
    def _suspend(_event: KeyPressEvent) -> None:
        run_in_terminal(_stop)

    @keys.add("c-l")
    def _clear(event: KeyPressEvent) -> None:
        event.app.renderer.clear()

    return keys
