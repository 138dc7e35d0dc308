"""Opens what is a regular file. A pipe in the place of one would be waited for, for ever, and any application can
put one there; a device may give no end.
"""

from __future__ import annotations

import errno
import os
import stat


def regular(path: str, flags: int) -> int:
    """For ``open``'s ``opener``: an ``OSError`` where ``path`` is something else than a file."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(number, "is no plain file", path)
