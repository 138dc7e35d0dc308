"""The facts that a figure means nothing without: the machine, its system, and the versions that were measured."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .processes import REPOSITORY

PACKAGES = ("rpyc", "watchdog", "numpy", "hupper", "watchfiles")
COMMIT = ("git", "-C", str(REPOSITORY), "describe", "--always", "--dirty")
PROGRAMS = {"rsync": ("rsync", "--version"), "ssh": ("ssh", "-V")}


def facts() -> dict[str, str]:
    """What it runs on, one short text a name."""
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f} before the start",
        "commit": _program(COMMIT),
        **{name: _package(name) for name in PACKAGES},
        **{name: _program(command) for name, command in PROGRAMS.items()},
    }


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
