"""Makes this device reachable, and tries again for as long as it can't be: applications run meanwhile.

Owns the listener, the pulse, and the file that tells commands on this machine where to call. Without a key, or with its
port taken, a device is of use all the same; killing it would bring back neither, so the keeper hears that it is alive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from .announce import Announcement
from .journal import Journal
from .listener import Listener
from .pulse import Pulse
from .tether import Tether
from .trust import SELF, Trust
from .wire.errors import Fault
from .wire.messages import answer, pack
from .wire.strict import Method

_AGAIN_S = 0.25
_LONGEST_S = 4.0

Told = Callable[[tuple[str, int]], None]


class Reach:
    """``address``: where it listens, or None as long as it does not; ``fault``: why."""

    def __init__(
        self,
        address: tuple[str, int],
        trust: Path,
        link: Callable[[str], AbstractContextManager[Mapping[str, Method]]],
        journal: Journal,
        tether: Tether,
        place: Path,
        announcement: Announcement | None,
    ) -> None:
        """Tries once. ``place`` is the file for commands on this machine; the ``announcement`` is for all others."""
        self.address: tuple[str, int] | None = None
        self.fault: Fault | None = None
        self._wanted = address
        self._trust = trust
        self._link = link
        self._journal = journal
        self._tether = tether
        self._place = place
        self._announcement = announcement
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._parts: list[Pulse | Listener] = []
        self._told: Told = lambda _: None
        self._thread = threading.Thread(target=self._keep_trying, name="reach", daemon=True)
        if not self._try():
            self._thread.start()

    def tell(self, told: Told) -> Fault | None:
        """``told`` is called with the address, now or once there is one; why there is none yet."""
        with self._lock:
            if self.address is not None:
                told(self.address)
                return None
            self._told = told
            return self.fault

    def close(self) -> None:
        """Be reachable no more."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._announcement is not None:
            self._announcement.close()
        for part in self._parts:
            part.close()

    def _keep_trying(self) -> None:
        wait_s, reached = _AGAIN_S, False
        while not reached and not self._ending.wait(wait_s):
            if self._answers():
                self._tether.tell({"beat": True})
            wait_s = min(2 * wait_s, _LONGEST_S)
            reached = self._try()

    def _answers(self) -> bool:
        """Whether the service does: asked without a link, as there can be none."""
        try:
            with self._link(SELF) as methods:
                answer(methods["hello"](pack({})))
        except Fault as fault:
            self._notice("unwell", f"this device does not answer: {fault}")
            return False
        return True

    def _try(self) -> bool:
        try:
            trust = Trust.load(self._trust, self._journal.lose)
            listener = Listener(self._wanted, trust, self._link, self._link_event, self._faulty, self._tether.listening)
        except (Fault, OSError, ValueError) as error:
            do = "look at it; it is tried again"
            fault = error if isinstance(error, Fault) else Fault("unreachable", str(error), to=str(self._trust), do=do)
            if self.fault is None or str(self.fault) != str(fault):
                self._journal.lose(fault.code, str(fault))
            self.fault = fault
            return False
        for problem in trust.problems:
            self._journal.lose(problem.code, str(problem))
        listener.start()
        self._tether.tell({"listening": True}, listener.fileno())
        pulse = Pulse(listener, trust, lambda: self._tether.tell({"beat": True}), self._notice)
        pulse.start()
        self._parts = [pulse, listener]
        self._publish(listener.address)
        if self._announcement is not None:
            self._announcement.start(listener.address, trust.fingerprint)
        with self._lock:
            self.fault, self.address = None, listener.address
            self._told(listener.address)
        return True

    def _publish(self, address: tuple[str, int]) -> None:
        """Tell commands on this machine where we listen."""
        aside = self._place.with_suffix(".new")
        try:
            aside.write_text(f"{address[0]} {address[1]}\n")
            aside.replace(self._place)
        except OSError as error:
            self._notice("address-not-told", f"commands on this machine will not find us by themselves: {error}")

    def _notice(self, code: str, text: str) -> None:
        self._journal.add("notice", {"code": code, "text": text})

    def _link_event(self, kind: str, fields: Mapping[str, str | int]) -> None:
        self._journal.add("link", {"kind": kind, **fields})

    def _faulty(self, error: Exception) -> None:
        self._notice("internal-error", f"a request met a fault: {type(error).__name__}: {error}")
