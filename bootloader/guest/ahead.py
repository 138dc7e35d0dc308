"""Imports modules ahead of the applications that want them, finds out which can't be, and drops those in the way.

A process that is forked has what was imported, less what a fork does not bring along, or shares: threads are gone, a
device, a file or a socket is the same one in all of them, a child has another parent. A module that leaves any of these
behind has to be imported by each application itself.
"""

from __future__ import annotations

import importlib
import os
import signal
import stat
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from .descriptors import opened

_IMPORT_S = 60.0
_HARMLESS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
"""Devices that are the same to all who have them."""

_SHORT = 200


def by_first_name() -> dict[str, list[str]]:
    """What has been imported, less Python's innermost modules, which are imported before any program's.

    For a process that stands by: to look at each module copies memory that it shares, which takes its time.
    """
    found: dict[str, list[str]] = {}
    for name, module in list(sys.modules.items()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        if isinstance(origin, str) and origin not in ("built-in", "frozen") and name != "__main__":
            found.setdefault(name.partition(".")[0], []).append(name)
    return found


def make_way(imported: Mapping[str, Sequence[str]], folders: Sequence[str]) -> None:
    """An application's own modules, in ``folders``, come first, as they do for Python: one of their names goes."""
    own = {file.partition(".")[0] for folder in folders if os.path.isdir(folder) for file in os.listdir(folder)}
    for first in own.intersection(imported):
        for name in imported[first]:
            sys.modules.pop(name, None)


def import_all(names: Sequence[str]) -> tuple[dict[str, str], tuple[str, str] | None]:
    """Import ``names``: those that could not be, and why; and the first that has to be left, and what it does.

    After the latter this process is good for nothing, and the rest of ``names`` is not imported.
    """
    failed: dict[str, str] = {}
    before = opened()
    signal.signal(signal.SIGALRM, _too_long)
    for name in names:
        if name in sys.modules:
            continue
        signal.setitimer(signal.ITIMER_REAL, _IMPORT_S)
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - a foreign module's import may raise anything, SystemExit too
            failed[name] = f"{type(error).__name__}: {error}"[:_SHORT]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if what := _left_behind(before):
            return failed, (name, what)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return failed, None


def children() -> list[int]:
    """This process's direct children, those that were adopted too; none where the system does not tell."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _left_behind(before: dict[int, os.stat_result]) -> str:
    """What an import did that a fork would spoil; empty for nothing."""
    if threading.active_count() > 1:
        return "starts a thread"
    if children():
        return "starts a process"
    harmless = set()
    for path in _HARMLESS:
        with suppress(OSError):
            harmless.add(os.stat(path).st_rdev)
    for descriptor, status in opened().items():
        was = before.get(descriptor)
        is_new = was is None or not os.path.samestat(was, status)
        if is_new and not (stat.S_ISCHR(status.st_mode) and status.st_rdev in harmless):
            return f"opens {_name(descriptor, status)}"
    return ""


def _name(descriptor: int, status: os.stat_result) -> str:
    if stat.S_ISSOCK(status.st_mode):
        return "a socket"
    if stat.S_ISFIFO(status.st_mode):
        return "a pipe"
    try:
        return os.readlink(f"/dev/fd/{descriptor}")[:_SHORT]
    except OSError:
        return "a file"


def _too_long(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError(f"its import took longer than {_IMPORT_S:g} s")
