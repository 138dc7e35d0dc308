"""The user's terminal while it is that of the device: each key counts at once and as it is, Ctrl-C included.

Owns the terminal's mode meanwhile, which ends as it began, and a thread that hears the keys.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_END_S = 1.0
_KEYS_BYTES = 4096


@contextmanager
def raw(keyboard: int, on_keys: Callable[[bytes], None]) -> Iterator[None]:
    """Until this is left, ``on_keys`` gets what is typed, on a thread of its own; empty once nothing more can be."""
    import termios
    import tty

    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard, termios.TCSANOW)
        with heard(keyboard, on_keys):
            yield
    finally:
        with suppress(termios.error):  # the terminal is gone
            # What was not read is flushed: a terminal's answers to the device are not for the user's shell.
            termios.tcsetattr(keyboard, termios.TCSAFLUSH, before)


@contextmanager
def heard(source: int, on_data: Callable[[bytes], None]) -> Iterator[None]:
    """Until this is left, ``on_data`` gets what comes from ``source``; empty at its end, after which nothing comes."""
    bell, ring = os.pipe()
    listener = threading.Thread(target=_listen, args=(source, bell, on_data), name="keys", daemon=True)
    try:
        listener.start()
        yield
    finally:
        os.close(ring)
        listener.join(_END_S)
        if not listener.is_alive():
            os.close(bell)


def _listen(source: int, bell: int, on_data: Callable[[bytes], None]) -> None:
    while bell not in select.select([source, bell], [], [])[0]:
        try:
            data = os.read(source, _KEYS_BYTES)
        except OSError:
            data = b""
        on_data(data)
        if not data:
            return
