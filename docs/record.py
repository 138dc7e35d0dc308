"""Makes docs/loop.svg: a real `reactor dev` in a real pseudo-terminal, real edits, and the screen as it stood.

Run by hand: ``./bootstrap python docs/record.py``.
"""

from __future__ import annotations

import io
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
COLUMNS = 104
WAIT_S = 20.0

EDITS = (
    ("BLINK_S = 0.5", "BLINK_S = 0.2", b"healthy"),
    ('print("LED on" if', 'print("LED is on" if', b"healthy"),
    ("def change(led: LED) -> None:", "def change(led: LED -> None:", b"hold"),
    ("def change(led: LED -> None:", "def change(led: LED) -> None:", b"healthy"),
    ("    led.toggle()", "    led.tog()", b"not healthy"),
    ("    led.tog()", "    led.toggle()", b"healthy"),
)


def main() -> None:
    """Record, and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "blinky"
        shutil.copytree(HERE.parent / "examples" / "blinky", project)
        screen = record(project, Path(folder) / "home")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in screen.decode(errors="replace").replace("\r", "").splitlines():
        console.print(Text.from_ansi(line.replace(f"{folder}/", "")), soft_wrap=True)
    console.save_svg(str(HERE / "loop.svg"), title="reactor dev examples/blinky")


def record(project: Path, home: Path) -> bytes:
    """What the terminal got while the project was edited."""
    source = project / "src" / "blinky" / "main.py"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "reactor", "dev", str(project)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "REACTOR_HOME": str(home), "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"},
    )
    os.close(theirs)
    screen = read_until(ours, b"", b"healthy")
    for _ in range(4):
        screen = read_until(ours, screen, b"LED o", more=True)
    for old, new, word in EDITS:
        if b"Traceback" not in screen[-2000:]:
            screen = read_until(ours, screen, b"LED o", more=True)
        aside = source.with_suffix(".new")
        aside.write_text(source.read_text().replace(old, new))
        aside.replace(source)
        screen = read_until(ours, screen, word, more=True)
    screen = read_until(ours, screen, b"LED o", more=True)
    process.terminate()
    process.wait(WAIT_S)
    os.close(ours)
    return screen


def read_until(terminal: int, screen: bytes, word: bytes, *, more: bool = False) -> bytes:
    """Read on until ``word`` and the end of its line have come, after what is there already where ``more``."""
    start = len(screen) if more else 0
    deadline = time.monotonic() + WAIT_S
    while word not in screen[start:] or not screen.endswith(b"\n"):
        if time.monotonic() > deadline:
            raise SystemExit(f"{word!r} did not come:\n{screen.decode(errors='replace')}")
        if select.select([terminal], [], [], 0.1)[0]:
            screen += os.read(terminal, 65536)
    return screen


if __name__ == "__main__":
    main()
