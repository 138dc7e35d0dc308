"""Who has a serial port open besides this program, where the system tells.

That is Linux; a user is told of their own processes only, root of all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..report import clean

_PROCESSES = Path("/proc")
_NAMED_MOST = 3


def holders(path: str) -> str:
    """The names and process ids of those that have ``path`` open; empty where there are none, or nothing tells."""
    found = list(_holders(os.path.realpath(path))) if _PROCESSES.is_dir() else []
    more = f" and {len(found) - _NAMED_MOST} more" if len(found) > _NAMED_MOST else ""
    return ", ".join(found[:_NAMED_MOST]) + more


def _holders(path: str) -> Iterator[str]:
    for process in _PROCESSES.iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        with suppress(OSError):  # it is another user's, or has ended
            if any(_leads_to(link, path) for link in (process / "fd").iterdir()):
                yield f"{clean((process / 'comm').read_text('utf-8', 'replace').strip())} (process {process.name})"


def _leads_to(link: Path, path: str) -> bool:
    try:
        return str(link.readlink()) == path
    except OSError:  # closed meanwhile
        return False
