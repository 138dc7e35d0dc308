"""Under ``sudo``, with the home of who called it: what this host keeps stays that user's.

A file of root's in somebody's home is one that they can't read any more, and their keys are such files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

_NAMES = ("LOGNAME", "USER")


@contextmanager
def as_owner(home: Path) -> Iterator[None]:
    """As the user in whose folder ``home`` is, or will be, where that is another one than root, who this is."""
    place = next(path for path in chain([home], home.parents) if path.exists())
    told = place.stat()
    if os.geteuid() != 0 or told.st_uid == 0:
        yield
        return
    before = {name: os.environ.get(name) for name in _NAMES}
    os.setegid(told.st_gid)
    os.seteuid(told.st_uid)
    try:
        os.environ.update(dict.fromkeys(_NAMES, _name(told.st_uid)))
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # no such user in the system's list, as in some containers
        return str(uid)
