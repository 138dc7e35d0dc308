"""The bootloader's heart: it beats while it has really seen that the service answers.

Owns the thread that looks. It makes a link to this device's own listener, over TLS, with the device's own key, and
calls `hello`: what that takes is what it takes to be reached by a host. Knows nothing of who listens to the beats.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .itself import ask
from .listener import Listener
from .wire.errors import Fault

BEAT_S = 3.0
_LOOK_S = 5.0
_AGAIN_S = 0.5


class Pulse:
    """``beat`` is called after every look that went well; ``notice`` is told of the first that did not, in a row."""

    def __init__(self, listener: Listener, beat: Callable[[], None], notice: Callable[[str, str], None]) -> None:
        self._listener = listener
        self._beat = beat
        self._notice = notice
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin to look, at once."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._ending.set()
        self._thread.join(2 * _LOOK_S)

    def _run(self) -> None:
        was_well = True
        while not self._ending.is_set():
            try:
                self._look()
            except (Fault, OSError) as error:
                if was_well and not self._ending.is_set():
                    self._notice("unwell", f"this device could not reach itself: {error}")
                was_well = False
            else:
                was_well = True
                self._beat()
            self._ending.wait(BEAT_S if was_well else _AGAIN_S)

    def _look(self) -> None:
        ask(self._listener.address, self._listener.trust, "hello", _LOOK_S, self._listener.expect)
