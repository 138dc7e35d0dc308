"""Whether a link is dead that nothing says so of: the other end has moved, or this host has, and no packet tells.

A link that is silent may be slow, or its target busy. It is dead where what was sent over it has not come there, while
a new link to the same target comes up. Owns the thread that finds out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from bootloader.wire.errors import CallTimeout, Fault, LinkDown

from ..link import Link

PROBE_S = 0.3
_AGAIN_S = 0.5
_ANSWER_S = 5.0
_CHANCE_S = 2.0
"""How long a link has to be answered over once another one is."""


class Probe:
    """``connect`` makes another link to the target, and ``on_dead`` gets the fault of one that is dead."""

    def __init__(self, name: str, connect: Callable[[], Link], on_dead: Callable[[Fault], None]) -> None:
        self._name = name
        self._connect = connect
        self._on_dead = on_dead
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._runs = False

    def look(self, link: Link | None) -> None:
        """See to it, on a thread of its own; once more, where that is being done. Waits for nothing."""
        with self._lock:
            self._link = link
            if self._runs or link is None:
                return
            self._runs = True
        threading.Thread(target=self._run, name=f"{self._name} probe", daemon=True).start()

    def outdo(self, link: Link | None) -> None:
        """The target is silent: ``link``, over which a call may last, is dead where another one is answered, and it is
        not. Waits for nothing.
        """
        if link is not None:
            threading.Thread(target=self._outdo, args=(link,), name=f"{self._name} probe", daemon=True).start()

    def _outdo(self, link: Link) -> None:
        pause = threading.Event()
        while not link.closed:
            try:
                with self._connect() as other:
                    other.call("hello", {}, timeout_s=_ANSWER_S)
            except Fault:
                pause.wait(_AGAIN_S)
                continue
            with suppress(Fault):  # it may have been frozen with the call: then both are answered now
                link.call("hello", {}, timeout_s=_CHANCE_S)
                return
            if not link.closed:
                self._on_dead(LinkDown("it was silent, and answers over another link", to=self._name))
            return

    def _run(self) -> None:
        while True:
            with self._lock:
                link, self._link = self._link, None
                if link is None:
                    self._runs = False
                    return
            if is_dead(link, self._connect):
                self._on_dead(LinkDown("the network has changed, and the link has not survived it", to=self._name))


def is_dead(link: Link, connect: Callable[[], Link]) -> bool:
    """``connect`` takes several times as long as a word over ``link`` and its receipt would."""
    try:
        link.call("hello", {}, timeout_s=PROBE_S)
        return False
    except CallTimeout:
        pass  # other calls may be answered first, but what was sent has come there
    except Fault:
        return False  # it has ended, and whoever uses it knows
    if not link.unacknowledged_bytes:
        return False
    try:
        connect().close()
    except Fault:
        return False  # there is no better one
    return link.unacknowledged_bytes > 0 and not link.closed
