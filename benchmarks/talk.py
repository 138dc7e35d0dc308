"""What a line at the REPL's prompt takes: over the link and back, and from a key to the menu of completions.

Beside each stands what a plain call over the same link takes in the same run (``hello``, which asks nothing of the
application), as that is the least that anything could take.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bootloader.wire.errors import Fault
from reactor.repl.remote import Remote
from reactor.targets.embedded import Embedded

ROUNDS = 200
_SIZE = struct.pack("HHHH", 40, 120, 0, 0)
_LONGEST_S = 20.0
_PROGRAM = """
import threading

class Lamp:
    def __init__(self):
        self.brightness = {f"channel_{n}": n for n in range(100)}

lamp = Lamp()

def main():
    threading.Event().wait()
"""
_SETTINGS = '[project]\nname = "talk"\n[tool.reactor]\nentry = "main:main"\nsettle_s = 0.1\n'

Row = tuple[str, list[float]]


@contextmanager
def _application(scratch: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A project that runs under ``reactor dev``, and the environment that finds it."""
    project = scratch / "app"
    project.mkdir(parents=True)
    (project / "main.py").write_text(_PROGRAM)
    (project / "pyproject.toml").write_text(_SETTINGS)
    env = {**os.environ, "REACTOR_HOME": str(scratch / "home"), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "reactor", "dev", str(project), "--json"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, start_new_session=True) as dev:
        assert dev.stdout is not None
        try:
            for line in dev.stdout:
                if json.loads(line)["event"] == "result":
                    break
            yield project, env
        finally:
            os.killpg(dev.pid, signal.SIGINT)


def rows(scratch: Path, rounds: int) -> list[Row]:
    """The name of each thing, and how long it took, in ms, each time."""
    with _application(scratch) as (project, env):
        before = os.environ.get("REACTOR_HOME")
        os.environ["REACTOR_HOME"] = env["REACTOR_HOME"]
        try:
            return [
                *_calls(project, rounds),
                ("key to menu, on a terminal", _menus(project, env, max(5, rounds // 10))),
            ]
        finally:
            if before is None:
                del os.environ["REACTOR_HOME"]
            else:
                os.environ["REACTOR_HOME"] = before


def _calls(project: Path, rounds: int) -> list[Row]:
    target = Embedded(project, attach=True, start=False)
    remote = Remote(target, "", None, lambda _: None)
    with closing(remote), target.connect("echo") as link:
        remote.start()
        things: dict[str, Callable[[], object]] = {
            "plain call": lambda: link.call("hello", {}),
            "a statement": lambda: remote.run("lamp"),
            "a line that prints": lambda: remote.run("print('on')"),
            "completion": lambda: remote.complete("lamp.", 5, _LONGEST_S),
            "completion of 100 keys": lambda: remote.complete("lamp.brightness['", 17, _LONGEST_S),
        }
        took: dict[str, list[float]] = {name: [] for name in things}
        for _ in range(rounds):  # in turns, so that what else the machine does meets all of them
            for name, thing in things.items():
                began = time.perf_counter()
                thing()
                took[name].append((time.perf_counter() - began) * 1000)
        return list(took.items())


def _menus(project: Path, env: dict[str, str], rounds: int) -> list[float]:
    """From the dot that is typed to the menu that is drawn, by ``reactor repl`` on a pseudo-terminal."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, _SIZE)
    command = [sys.executable, "-m", "reactor", "repl", "--path", str(project)]
    process = subprocess.Popen(
        command,
        env=env,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # what is typed there is for it
    )
    os.close(slave)
    took = []
    try:
        _until(master, rb"F1 help")
        for _ in range(rounds):
            os.write(master, b"lamp")
            _quiet(master)
            began = time.perf_counter()
            os.write(master, b".")
            _until(master, rb"brightness")
            took.append((time.perf_counter() - began) * 1000)
            _quiet(master)
            os.write(master, b"\x15")  # the line is dropped
            _quiet(master)
        return took
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(master)


def _until(master: int, pattern: bytes) -> None:
    seen, until_s = b"", time.monotonic() + _LONGEST_S
    while not re.search(pattern, seen):
        ready, _, _ = select.select([master], [], [], max(0.0, until_s - time.monotonic()))
        if not ready:
            raise Fault("contestant-failed", f"the terminal does not show {pattern!r}", to="reactor repl")
        seen += os.read(master, 65536)


def _quiet(master: int) -> None:
    """Until nothing more is drawn."""
    while select.select([master], [], [], 0.15)[0]:
        os.read(master, 65536)


def figures(found: list[Row]) -> Iterator[dict[str, object]]:
    """Rows for a table: medians, and how many plain calls that is."""
    plain = statistics.median(found[0][1])
    for name, took in found:
        ordered = sorted(took)
        median = statistics.median(ordered)
        yield {
            "what": name,
            "median_ms": round(median, 2),
            "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 2),
            "of_plain_call": round(median / plain, 1),
            "rounds": len(took),
        }
