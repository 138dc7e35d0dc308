"""Makes docs/loop.svg: a real `reactor dev` in a real pseudo-terminal, real edits and keys, and the screen as it stood.

Run by hand: ``./bootstrap python docs/record.py``.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

HERE = Path(__file__).parent
COLUMNS, LINES = 104, 60
WAIT_S = 20.0

EDITS = (
    ("BLINK_S = 0.5", "BLINK_S = 0.2", b"healthy"),
    ('print("LED on" if', 'print("LED is on" if', b"healthy"),
    ("def change(led: LED) -> None:", "def change(led: LED -> None:", b"hold"),
    ("def change(led: LED -> None:", "def change(led: LED) -> None:", b"healthy"),
    ("    led.toggle()", "    led.tog()", b"not healthy"),
    ("    led.tog()", "    led.toggle()", b"healthy"),
)


TYPED = "[BLINK_S * times for times in range(4)]"


def main() -> None:
    """Record, and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "blinky"
        shutil.copytree(HERE.parent / "examples" / "blinky", project)
        recorder = Recorder(project, Path(folder) / "home")
        recorder.play(project / "src" / "blinky" / "main.py")
        screen = recorder.end()
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for row in range(screen.cursor.y + 2):  # the status line is below the prompt
        console.print(line_of(screen, row, f"{folder}/"), soft_wrap=True)
    console.save_svg(str(HERE / "loop.svg"), title="reactor dev examples/blinky")


class Recorder:
    """A `reactor dev` in a terminal that remembers what it shows."""

    def __init__(self, project: Path, home: Path) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reactor", "dev", str(project)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # keys are for whom the terminal is
            env={**os.environ, "REACTOR_HOME": str(home), "TERM": "xterm-256color", "REACTOR_LINKS": "off"},
        )
        os.close(theirs)
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._seen = b""

    def play(self, source: Path) -> None:
        """Edit, and type, waiting each time for what comes of it."""
        self._wait(b"watching")
        for _ in range(3):
            self._wait(b"LED o")
        for old, new, word in EDITS:
            aside = source.with_suffix(".new")
            aside.write_text(source.read_text().replace(old, new))
            aside.replace(source)
            self._wait(word)
            if word == b"healthy":
                self._wait(b"LED o")
        os.write(self._ours, f"{TYPED}\r".encode())
        self._wait(b"0.0, ")
        self._wait(b"LED o")

    def end(self) -> pyte.Screen:
        """The screen as it stood."""
        self._process.terminate()
        self._process.wait(WAIT_S)
        os.close(self._ours)
        return self._screen

    def _wait(self, word: bytes) -> None:
        """Go on until ``word`` is shown anew, above a prompt and its status line that are whole."""
        deadline = time.monotonic() + WAIT_S
        while word not in self._seen or select.select([self._ours], [], [], 0.05)[0]:
            if time.monotonic() > deadline:
                raise SystemExit(f"{word!r} did not come:\n" + "\n".join(self._screen.display))
            if select.select([self._ours], [], [], 0.1)[0]:
                piece = os.read(self._ours, 65536)
                self._seen += piece
                self._stream.feed(piece)
        self._seen = b""


def line_of(screen: pyte.Screen, row: int, folder: str) -> Text:
    """A line of the screen in its colours."""
    text = Text()
    for column in range(COLUMNS):
        cell = screen.buffer[row][column]
        colours = [None if colour == "default" else colour.replace("brown", "yellow") for colour in (cell.fg, cell.bg)]
        text.append(cell.data, Style(color=colours[0], bgcolor=colours[1], bold=cell.bold, reverse=cell.reverse))
    while folder in text.plain:
        start = text.plain.index(folder)
        text = Text.assemble(text[:start], text[start + len(folder) :])
    text.rstrip()
    return text


if __name__ == "__main__":
    main()
