"""What the device and its applications use: processor, memory, heat; and how long the last start's imports took.

Looks twice, a moment apart, from the thread that asks, and asks the supervisor's only who there is. What the system
does not tell is left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any

from . import figures
from .family import read
from .lifecycle import ALIVE
from .stack import Stack
from .turns import Turns

_TURN_S = 10.0
_IMPORTS_S = 1.0
_MOST = 512
_SENSORS = 32
_PROC = ("meminfo", "uptime", "loadavg")
_TICKS_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Told = dict[str, Any]


class Usage:
    """``stack``: the applications."""

    def __init__(self, turns: Turns, stack: Stack) -> None:
        self._turns = turns
        self._stack = stack

    def over(self, window_s: float) -> tuple[Told, dict[str, Told]]:
        """The device's figures and each running application's, the processor's being those of the next ``window_s``."""
        imports = self._turns.call(self._ask_imports, _TURN_S)
        began, busy, before = time.monotonic(), figures.processor(read("/proc/stat")), self._look()
        time.sleep(window_s)
        after, busy_after, took_s = self._look(), figures.processor(read("/proc/stat")), time.monotonic() - began
        device = figures.device({name: read(f"/proc/{name}") for name in _PROC}, _temperatures())
        device["cpus"] = os.cpu_count() or 1
        if (percent := figures.percent(busy, busy_after)) is not None:
            device["cpu_percent"] = percent
        told: dict[str, Told] = {}
        for name, found in after.items():
            told[name] = {"imports": self._imports(imports.get(name))}
            if found:
                spent_s = figures.spent(before.get(name, found), found)
                told[name] |= {
                    "cpu_percent": round(100 * spent_s / took_s, 1),
                    "rss_bytes": sum(one.rss_bytes for one in found.values()),
                    "threads": sum(one.threads for one in found.values()),
                    "processes": len(found),
                }
        return device, told

    def _look(self) -> dict[str, dict[int, figures.Process]]:
        """The processes of each application that runs."""
        return {name: _processes(pids) for name, pids in self._turns.call(self._pids, _TURN_S).items()}

    def _pids(self) -> dict[str, list[int]]:
        return {app.spec.name: list(islice(app.pids(), _MOST)) for app in self._stack if app.state in ALIVE}

    def _ask_imports(self) -> dict[str, Future[Mapping[str, Any]]]:
        asked: dict[str, Future[Mapping[str, Any]]] = {}
        for app in self._stack:
            if app.state in ALIVE:
                asked[app.spec.name] = Future()
                app.ask("imports", _IMPORTS_S, asked[app.spec.name].set_result)
        return asked

    def _imports(self, asked: Future[Mapping[str, Any]] | None) -> list[Any]:
        """What it told; nothing where its interpreter does not answer."""
        try:
            rows = self._turns.result(asked, 2 * _IMPORTS_S).get("imports") if asked is not None else None
        except TimeoutError:
            rows = None
        return rows[:_MOST] if isinstance(rows, list) else []


def _processes(pids: Iterable[int]) -> dict[int, figures.Process]:
    found = {pid: figures.process(read(f"/proc/{pid}/stat"), _TICKS_S, _PAGE_BYTES) for pid in pids}
    return {pid: one for pid, one in found.items() if one is not None}


def _temperatures() -> list[str]:
    zones = islice(Path("/sys/class/thermal").glob("thermal_zone*/temp"), _SENSORS)
    return [read(zone) for zone in zones]
