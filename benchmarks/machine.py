"""The facts that a figure means nothing without: the machine, its system, and the versions that were measured."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .processes import REPOSITORY

PACKAGES = ("rpyc", "watchdog", "numpy", "hupper", "watchfiles")
COMMIT = ("git", "-C", str(REPOSITORY), "describe", "--always", "--dirty")
_COLD_BYTES = 8 * 2**20
_COLD_S = 1.0
_PAGE_BYTES = 4096
PROGRAMS = {"rsync": ("rsync", "--version"), "ssh": ("ssh", "-V")}


def facts() -> dict[str, str]:
    """What it runs on, one short text a name."""
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f} before the start",
        "cold": _cold(),
        "commit": _program(COMMIT),
        **{name: _package(name) for name in PACKAGES},
        **{name: _program(command) for name, command in PROGRAMS.items()},
    }


def _cold() -> str:
    """What it takes to touch memory again that nobody touched for a second. Some virtual machines take it away by then,
    and whatever runs only now and then, as all does that waits for a save, is slow there for that alone.
    """
    memory = bytearray(os.urandom(1)) * _COLD_BYTES

    def touched_ms() -> float:
        began = time.perf_counter()
        sum(memory[::_PAGE_BYTES])
        return (time.perf_counter() - began) * 1000

    touched_ms()
    at_once = touched_ms()
    time.sleep(_COLD_S)
    return f"{_COLD_BYTES // 2**20} MiB are touched in {at_once:.2f} ms, {_COLD_S:g} s later in {touched_ms():.2f} ms"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _program(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except FileNotFoundError:
        return "not installed"
    return (done.stdout or done.stderr).partition("\n")[0].strip()
