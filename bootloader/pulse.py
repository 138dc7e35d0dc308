"""The bootloader's heart: it beats while it has really seen that the service answers.

Owns the thread that looks. It makes a link to this device's own listener, over TLS, with the device's own key, and
calls `hello`: what that takes is what it takes to be reached by a host. Knows nothing of who listens to the beats.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from .listener import Listener
from .trust import SELF
from .wire.errors import Fault
from .wire.messages import answer, pack
from .wire.stream import TlsStream, shown
from .wire.strict import Caller

BEAT_S = 3.0
_LOOK_S = 5.0
_AGAIN_S = 0.5
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


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
        host, port = self._listener.address
        where = (_ANYWHERE.get(host, host), port)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            sock.settimeout(_LOOK_S)
            sock.bind((where[0], 0))
            self._listener.expect(shown(sock.getsockname()))
            sock.connect(where)
            stream = TlsStream(sock.dup(), self._listener.trust.own, server_side=False)
        try:
            stream.handshake(_LOOK_S)
            if self._listener.trust.host_of(stream.peer_fingerprint) != SELF:
                raise stream.distrust()
            caller = Caller(stream, "pulse")
            answer(caller.call("hello", pack({}), _LOOK_S))
        finally:
            stream.close()
