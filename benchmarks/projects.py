"""The projects that the contestants run: the same small application, alone or among 10,000 files.

Owns what the application looks like and how an editor saves it. The application says that it runs, and which
version of it, with one datagram: from the first statement of ``main``, or, where it is there to be patched, from the
loop that calls what is edited. The address stands in the file, so that no contestant has to carry an environment
variable. Knows nothing of contestants.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

WAYS = ("replace", "write")
"""How editors save: a new file renamed over the old one (vim, PyCharm), or the old one written (VS Code, nano)."""

SMALL_FILES, LARGE_FILES = 10, 10_000

LIGHT, HEAVY, PATCHED = "light", "heavy", "patched"
"""The applications: one of the standard library alone, one that imports numpy, and one that goes on running."""

OUTSIDE = ("collections", "dataclasses", "json", "logging", "math", "pathlib", "signal", "socket", "sys", "time")
"""What the light application imports from outside of its own tree; the heavy one imports numpy too."""

_SETTINGS = """\
[project]
name = "station"
version = "0.1.0"

[tool.reactor]
entry = "station.main:main"
reload = "{reload}"
"""

_MAIN = '''\
"""A weather station: reads, smooths, shows."""

import signal
import socket
import sys
import time

from station import display, pressure, rain, sensor, smoothing, wind

VERSION = {version}


def stop(signum, frame):
    sys.exit(0)


def main():
    said = b"%s %d %d" % ({name!r}, VERSION, time.monotonic_ns())
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(said, ("127.0.0.1", {port}))
    signal.signal(signal.SIGTERM, stop)
    parts = [module.Part(module.__name__) for module in (sensor, smoothing, display, wind, rain, pressure)]
    try:
        while True:
            for part in parts:
                part.step(time.monotonic())
            time.sleep(0.5)
    except KeyboardInterrupt:
        pass
    finally:
        for part in parts:
            part.off()


if __name__ == "__main__":
    main()
'''

_LOOP = '''\
"""A weather station that is never stopped: its loop calls what is edited."""

import socket
import time

from station import display, pressure, rain, sensor, smoothing, wind

channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
last = None


def turn():
    global last
    version = rain.version()
    if version != last:
        said = b"%s %d %d" % ({name!r}, version, time.monotonic_ns())
        channel.sendto(said, ("127.0.0.1", {port}))
        last = version


def main():
    while True:
        turn()
        time.sleep(0.001)


if __name__ == "__main__":
    main()
'''

_VERSION = """

def version():
    return {version}
"""

_PART = '''\
"""One part of the station."""

import json
import logging
import math
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
{more}
log = logging.getLogger(__name__)
CALIBRATION = json.loads((Path(__file__).parent / "calibration.json").read_text())


@dataclass
class Reading:
    at_s: float
    value: float
    unit: str = "K"
    tags: list = field(default_factory=list)

    def scaled(self):
        return self.value * CALIBRATION["gain"] + CALIBRATION["offset"]


class Part:
    """Keeps the last readings, and their mean."""

    def __init__(self, name, most=64):
        self.name = name
        self.readings = deque(maxlen=most)
        self.on = True

    def read(self, now_s):
        return Reading(now_s, 293.0 + math.sin(now_s / 60.0))

    def mean(self):
        if not self.readings:
            return math.nan
        return sum(reading.scaled() for reading in self.readings) / len(self.readings)

    def step(self, now_s):
        if not self.on:
            raise RuntimeError(f"{{self.name}} is off")
        self.readings.append(self.read(now_s))
        log.debug("%s: %.2f", self.name, self.mean())

    def off(self):
        self.on = False
'''

_NUMPY = """\
import numpy as np

WINDOW = np.hanning(16)
"""


@dataclass(frozen=True, slots=True)
class Project:
    """One contestant's own copy. ``name`` is what its application calls itself to the ``port`` of the answers."""

    folder: Path
    name: str
    port: int
    application: str

    @property
    def outside(self) -> tuple[str, ...]:
        """What the application imports from outside of its own tree."""
        return (*OUTSIDE, "numpy") if self.application == HEAVY else OUTSIDE

    @property
    def edited(self) -> Path:
        """The file that is saved."""
        return self.folder / "station" / ("rain.py" if self.application == PATCHED else "main.py")

    def save(self, version: int, way: str) -> int:
        """Saves the edited file as an editor does; the CLOCK_MONOTONIC of its start, in ns.

        The clock is read before the first system call of the save, so that nothing a contestant does can come
        before it.
        """
        path, content = self.edited, self._content(version)
        if way == "write":
            began_ns = time.monotonic_ns()
            path.write_bytes(content)
        else:
            aside = path.with_name(f"{path.name}.tmp")
            began_ns = time.monotonic_ns()
            aside.write_bytes(content)
            aside.rename(path)
        return began_ns

    def _content(self, version: int) -> bytes:
        if self.application == PATCHED:
            return (_PART.format(more="") + _VERSION.format(version=version)).encode()
        return _MAIN.format(version=version, name=self.name.encode(), port=self.port).encode()


def make(folder: Path, name: str, *, port: int, application: str, files: int) -> Project:
    """Writes a project of exactly ``files`` files into ``folder``, its application at version 0."""
    project = Project(folder, name, port, application)
    package = folder / "station"
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(_SETTINGS.format(reload="auto" if application == PATCHED else "restart"))
    (package / "__init__.py").write_text("")
    (package / "calibration.json").write_text('{"gain": 1.02, "offset": -0.4}\n')
    for part in ("sensor", "display", "wind", "rain", "pressure"):
        (package / f"{part}.py").write_text(_PART.format(more=""))
    (package / "smoothing.py").write_text(_PART.format(more=_NUMPY if application == HEAVY else ""))
    if application == PATCHED:
        (package / "main.py").write_text(_LOOP.format(name=name.encode(), port=port))
    project.save(0, "write")
    for number in range(files - SMALL_FILES):
        _filler(folder / "parts", number)
    return project


def _filler(parts: Path, number: int) -> None:
    """One of the files that are there and that the application does not import: ten a folder, two of them data."""
    folder = parts / f"p{number // 10:04}"
    if number % 10 == 0:
        folder.mkdir(parents=True)
    if number % 10 < 8:
        (folder / f"part_{number % 10}.py").write_text(f"NUMBER = {number}\n\n\n" + _PART.format(more=""))
    else:
        (folder / f"data_{number % 10}.json").write_text(f'{{"number": {number}, "values": {list(range(100))}}}\n')
