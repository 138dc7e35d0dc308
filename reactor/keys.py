"""Keys that are pressed while a command runs in a terminal: each counts at once, without the return key.

Owns the terminal's mode meanwhile, which ends as it began. Where the command has no terminal, or is in its background,
no key is heard.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_END_S = 1.0


def are_ours() -> bool:
    """Whether what is typed is for this program: it has a terminal, and is not in its background."""
    return sys.stdin is not None and sys.stdin.isatty() and _is_ours(sys.stdin.fileno())


@contextmanager
def pressed(on_key: Callable[[str], None]) -> Iterator[None]:
    """Until this is left, ``on_key`` gets each key, on a thread of its own."""
    try:
        import termios
        import tty
    except ImportError:  # a system without such terminals
        yield
        return
    if not are_ours():
        yield
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    bell, ring = os.pipe()
    listener = threading.Thread(target=_listen, args=(keyboard, bell, on_key), name="keys", daemon=True)
    try:
        tty.setcbreak(keyboard, termios.TCSANOW)
        listener.start()
        yield
    finally:
        os.close(ring)
        with suppress(termios.error):  # the terminal is gone
            if _is_ours(keyboard):
                termios.tcsetattr(keyboard, termios.TCSANOW, before)
        if listener.ident is not None:
            listener.join(_END_S)
        os.close(bell)


def _listen(keyboard: int, bell: int, on_key: Callable[[str], None]) -> None:
    while bell not in (ready := select.select([keyboard, bell], [], [])[0]):
        if not ready or not _is_ours(keyboard):
            return  # what is typed is for somebody else now, and reading it would stop this program
        with suppress(OSError):
            keys = os.read(keyboard, 64)
            if not keys:
                return
            for key in keys.decode("ascii", "ignore"):
                on_key(key)


def _is_ours(keyboard: int) -> bool:
    """Whether this program is what the terminal's user has before them."""
    try:
        return os.tcgetpgrp(keyboard) == os.getpgrp()
    except (OSError, AttributeError):  # a system without such terminals
        return False
