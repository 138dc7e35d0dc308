"""What an application says, from its ``print`` to the screen: how fast, how much of it, how soon, in how much memory.

The program prints a burst as fast as it can, and then a line now and then that tells its own time. It runs under
``reactor dev`` on the embedded target, which is read as JSON lines and on a pseudo-terminal; and by itself, into a pipe
that ``cat`` empties, which is as fast as it gets.
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
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootloader.wire.errors import Fault

LINES = 200_000
BEATS, PAUSE_S = 100, 0.05
_LONGEST_S = 120.0
_SIZE = struct.pack("HHHH", 40, 120, 0, 0)

PROGRAM = """
import sys, time
from pathlib import Path

PLACE = Path({place!r})

def main():
    while not (PLACE / "go").exists():
        time.sleep(0.01)
    began = time.perf_counter()
    for number in range({lines}):
        print("line", number, "of a sensor: 21.5 degrees, 40 % humidity")
    sys.stdout.flush()
    (PLACE / "took").write_text(str(time.perf_counter() - began))
    while not (PLACE / "told").exists():
        time.sleep(0.01)
    for number in range({beats}):
        time.sleep({pause_s})
        print("beat", number, time.time(), flush=True)
    while not (PLACE / "end").exists():
        time.sleep(0.05)

if __name__ == "__main__":
    main()
"""
SETTINGS = """[project]
name = "flood"
version = "0"
[tool.reactor]
entry = "main:main"
settle_s = 0.1
"""


@dataclass(frozen=True, slots=True)
class Flood:
    """One run. ``told`` and ``dropped`` are lines of the burst; memory is the most that each process has had."""

    where: str
    lines_s: float
    told: int = 0
    dropped: int = 0
    latencies_ms: tuple[float, ...] = ()
    host_kb: int = 0
    bootloader_kb: int = 0

    def summary(self) -> dict[str, Any]:
        """Its figures."""
        found: dict[str, Any] = {"where": self.where, "lines_s": round(self.lines_s)}
        if self.latencies_ms:
            ordered = sorted(self.latencies_ms)
            found |= {"median_ms": round(statistics.median(ordered), 2)}
            found |= {"p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 2)}
            found |= {"told": self.told, "dropped": self.dropped}
            found |= {"host_kb": self.host_kb, "bootloader_kb": self.bootloader_kb}
        return found


class Project:
    """A folder with the program, which begins when it is told to."""

    def __init__(self, folder: Path, lines: int, beats: int) -> None:
        self.folder = folder
        self.lines, self.beats = lines, beats
        folder.mkdir(parents=True)
        source = PROGRAM.format(place=str(folder.parent), lines=lines, beats=beats, pause_s=PAUSE_S)
        (folder / "main.py").write_text(source)
        (folder / "pyproject.toml").write_text(SETTINGS)

    def go(self) -> None:
        """Have it begin."""
        (self.folder.parent / "go").touch()

    def told(self, count: int) -> None:
        """So many lines of the burst were told or counted. After the last one it goes on, a line now and then."""
        if count >= self.lines:
            (self.folder.parent / "told").touch()

    def lines_s(self) -> float:
        """How fast it has printed."""
        return self.lines / float((self.folder.parent / "took").read_text())


def alone(scratch: Path, lines: int, *, buffered: bool) -> Flood:
    """The program by itself, with Python's buffer or a line at a time, into a pipe that is read by ``cat``."""
    project = Project(scratch / "app", lines, 0)
    project.go()
    for name in ("told", "end"):
        (scratch / name).touch()
    options = [] if buffered else ["-u"]
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as cat:
        subprocess.run([sys.executable, *options, "main.py"], cwd=project.folder, stdout=cat.stdin, check=True)
        assert cat.stdin is not None
        cat.stdin.close()
    return Flood("cat, in blocks" if buffered else "cat, a line at a time", project.lines_s())


def as_json(scratch: Path, lines: int, beats: int) -> Flood:
    """Under ``reactor dev --json``: each line that is told is counted."""
    project = Project(scratch / "app", lines, beats)
    counts = {"told": 0, "dropped": 0, "beats": 0}
    latencies_ms: list[float] = []

    def hear(data: bytes) -> bool:
        now = time.time()
        for line in data.splitlines():
            event = json.loads(line)
            if event["event"] == "result":
                project.go()
            elif event["event"] == "notice" and event["code"] == "events-lost":
                counts["dropped"] += int(event["text"].split()[0])
            elif event["event"] == "log" and event["text"].startswith("line"):
                counts["told"] += 1
            elif event["event"] == "log" and event["text"].startswith("beat"):
                latencies_ms.append((now - float(event["text"].split()[2])) * 1000)
        project.told(counts["told"] + counts["dropped"])
        return len(latencies_ms) >= beats

    reading, writing = os.pipe()
    memory = _run(project, ["--json"], reading, writing, hear, split=True)
    return Flood(
        "reactor dev --json", project.lines_s(), counts["told"], counts["dropped"], tuple(latencies_ms), *memory
    )


def on_screen(scratch: Path, lines: int, beats: int) -> Flood:
    """Under ``reactor dev`` on a terminal, which shows as many lines as can be looked at, and says so."""
    project = Project(scratch / "app", lines, beats)
    seen: dict[bytes, float] = {}
    shown: set[bytes] = set()
    left = 0
    screen = bytearray()

    def hear(data: bytes) -> bool:
        nonlocal left
        now = time.time()
        screen.extend(data)
        if b"healthy" in screen:
            project.go()
        shown.update(re.findall(rb"line (\d+) of", screen))
        for number, at in re.findall(rb"beat (\d+) ([\d.]{15,})", screen):
            seen.setdefault(number, (now - float(at)) * 1000)
        whole = screen[: screen.rfind(b"\n") + 1]  # what has no end yet is looked at again
        left += sum(map(int, re.findall(rb"(\d+) (?:lines came at once|events were dropped)", whole)))
        del screen[: len(whole)]
        project.told(len(shown) + left)
        return len(seen) >= beats

    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, _SIZE)
    memory = _run(project, [], master, slave, hear, split=False)
    return Flood("reactor dev, on a terminal", project.lines_s(), len(shown), left, tuple(seen.values()), *memory)


def _run(
    project: Project, options: list[str], reading: int, writing: int, hear: Callable[[bytes], bool], *, split: bool
) -> tuple[int, int]:
    """Run ``reactor dev`` until ``hear`` has heard enough; the most memory of the host and of the bootloader, in KB.

    ``hear`` gets whole lines where they are ``split``, else what there is.
    """
    place = project.folder.parent
    env = {**os.environ, "REACTOR_HOME": str(place / "home"), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "reactor", "dev", str(project.folder), *options]
    with (place / "errors").open("wb") as errors:
        stdin = subprocess.DEVNULL if split else writing
        stderr = errors if split else writing
        process = subprocess.Popen(command, env=env, stdin=stdin, stdout=writing, stderr=stderr, start_new_session=True)
    os.close(writing)
    until_s = time.monotonic() + _LONGEST_S
    rest = b""
    try:
        while True:
            ready, _, _ = select.select([reading], [], [], max(0.0, until_s - time.monotonic()))
            data = os.read(reading, 1024 * 1024) if ready else b""
            if not data:
                raise Fault("contestant-failed", "reactor dev did not tell all in time", to=str(project.folder))
            if split:
                rest += data
                data, rest = rest[: rest.rfind(b"\n") + 1], rest[rest.rfind(b"\n") + 1 :]
            if hear(data):
                break
        return _most_kb(process.pid), max(map(_most_kb, _bootloaders(process.pid)), default=0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        os.set_blocking(reading, False)
        while process.poll() is None and time.monotonic() < until_s + 10:
            with suppress(OSError):
                os.read(reading, 1024 * 1024)
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(reading)


def _most_kb(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


def _bootloaders(pid: int) -> list[int]:
    """The processes below ``pid`` that are a bootloader, its keeper included."""
    parents: Mapping[int, int] = {}
    words: dict[int, bytes] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                parents = {
                    **parents,
                    int(folder.name): int((folder / "stat").read_text().rpartition(")")[2].split()[1]),
                }
                words[int(folder.name)] = (folder / "cmdline").read_bytes()

    def is_below(child: int) -> bool:
        while child > 1 and child != pid:
            child = parents.get(child, 0)
        return child == pid

    return [one for one, line in words.items() if b"bootloader\0run" in line and one != pid and is_below(one)]
