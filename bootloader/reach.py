"""Makes this device reachable, and tries again for as long as it can't be: applications run meanwhile.

Owns the listener, the pulse, the trust and its changes, and the file that tells commands on this machine where to call.
Without a key, or with its port taken, a device is of use all the same; killing it would bring back neither, so the
keeper hears that it is alive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from socket import socket

from .announce import Announcement
from .journal import Journal
from .listener import Letting, Listener
from .pairing import Pairing
from .pulse import Pulse
from .tether import Tether
from .trust import SELF, Trust, begin, mark
from .wire.errors import Fault
from .wire.messages import answer, pack

_AGAIN_S = 0.25
_LONGEST_S = 4.0
_LOOK_S = 0.25
"""How often the trust folder is looked at."""

Told = Callable[[tuple[str, int]], None]


class Reach:
    """``address``: where it listens, or None as long as it does not; ``fault``: why."""

    def __init__(
        self,
        address: tuple[str, int],
        trust: Path,
        link: Letting,
        forget: Callable[[str], None],
        pairing: Pairing,
        journal: Journal,
        tether: Tether,
        place: Path,
        announcement: Announcement | None,
    ) -> None:
        """Tries once. ``forget`` is told of hosts that are obeyed no more; ``place`` is the file for commands on this
        machine; the ``announcement`` is for all others.
        """
        self.address: tuple[str, int] | None = None
        self.fault: Fault | None = None
        self._wanted = address
        self._trust = trust
        self._link = link
        self._forget = forget
        self._pairing = pairing
        pairing.renew = self.renew
        self._journal = journal
        self._tether = tether
        self._place = place
        self._announcement = announcement
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._parts: list[Pulse | Listener] = []
        self._listener: Listener | None = None
        self._spare: Listener | None = None
        self._mark: tuple[object, ...] = ()
        self._looking = threading.Lock()
        self._told: Told = lambda _: None
        self._thread = threading.Thread(target=self._run, name="reach", daemon=True)
        self._try()
        self._thread.start()

    def tell(self, told: Told) -> Fault | None:
        """``told`` is called with the address, now or once there is one; why there is none yet."""
        with self._lock:
            if self.address is not None:
                told(self.address)
                return None
            self._told = told
            return self.fault

    def admit(self, service: str, sock: socket, path: str) -> str:
        """Take a connection to a service that came over the serial port at ``path``; why not, if not."""
        from .wire.line import LINK, PAIRING  # it is there by now, and elsewhere nobody needs it

        where = f"serial {path}"
        if service == PAIRING:
            return "" if self._pairing.admit(sock, where) else "no window to pair in is open"
        door = self._door() if service == LINK else None
        if door is None:
            return str(self.fault or "this device has no such service")
        door.admit(sock, where)
        return ""

    def _door(self) -> Listener | None:
        """The listener; or, as long as its port can't be had, another one at a port of loopback that nobody is told.

        Where there is one, without the lock: a look at whom this device obeys may last, and a line does not wait.
        """
        if door := self._listener or self._spare:
            return door
        with self._looking:
            if self._listener is None and self._spare is None and not self._ending.is_set():
                try:
                    trust, nowhere = Trust.load(self._trust, self._journal.lose), ("127.0.0.1", 0)
                    self._spare = Listener(nowhere, trust, self._link, self._link_event, self._faulty)
                except (Fault, OSError, ValueError):
                    return None  # why that is, is the fault of the first one, too
                self._spare.start()
            return self._listener or self._spare

    def close(self) -> None:
        """Be reachable no more."""
        self._ending.set()
        self._thread.join()
        if self._announcement is not None:
            self._announcement.close()
        for part in (*self._parts, *([self._spare] if self._spare is not None else [])):
            part.close()

    def _run(self) -> None:
        wait_s = _AGAIN_S
        while self._listener is None and not self._ending.wait(wait_s):
            if self._answers():
                self._tether.tell({"beat": True})
            wait_s = min(2 * wait_s, _LONGEST_S)
            self.renew()
            self._try()
        while not self._ending.wait(_LOOK_S):
            self.renew()

    def renew(self) -> None:
        """See whether somebody has changed whom this device obeys. What can't be loaded leaves that as it was."""
        with self._looking:
            door = self._listener or self._spare
            if door is not None:
                self._look(door)

    def _look(self, listener: Listener) -> None:
        now = mark(self._trust)
        if now == self._mark:
            return
        self._mark = now
        try:
            before, trust = listener.trust, Trust.load(self._trust, self._journal.lose)
        except (Fault, OSError, ValueError) as error:
            self._journal.lose("trust-not-renewed", f"whom this device obeys is as it was: {error}")
            return
        for door in filter(None, (self._listener, self._spare)):
            door.obey(trust)
        known = {str(problem) for problem in before.problems}
        for problem in trust.problems:
            if str(problem) not in known:
                self._journal.lose(problem.code, str(problem))
        old, new = set(before.rows()), set(trust.rows())
        for name, _, kind in sorted(old - new):
            self._forget(name)
            self._notice("host-removed", f"{name} is of the {kind} of this device no more")
        for name, _, kind in sorted(new - old):
            self._notice("host-added", f"{name} is of the {kind} of this device now")

    def _answers(self) -> bool:
        """Whether the service does: asked without a link, as there can be none."""
        try:
            with self._link(SELF, False, lambda: False) as methods:
                answer(methods["hello"](pack({})))
        except Fault as fault:
            self._notice("unwell", f"this device does not answer: {fault}")
            return False
        return True

    def _try(self) -> None:
        try:
            if begin(self._trust):
                self._notice("identity-made", "this device has made its own key, and obeys nobody yet")
            self._mark = mark(self._trust)
            trust = Trust.load(self._trust, self._journal.lose)
            if self._spare is not None:
                self._spare.obey(trust)
            listener = Listener(self._wanted, trust, self._link, self._link_event, self._faulty, self._tether.listening)
        except (Fault, OSError, ValueError) as error:
            do = "look at it; it is tried again"
            fault = error if isinstance(error, Fault) else Fault("unreachable", str(error), to=str(self._trust), do=do)
            if self.fault is None or str(self.fault) != str(fault):
                self._journal.lose(fault.code, str(fault))
            self.fault = fault
            return
        for problem in trust.problems:
            self._journal.lose(problem.code, str(problem))
        listener.start()
        self._tether.tell({"listening": True}, listener.fileno())
        pulse = Pulse(listener, lambda: self._tether.tell({"beat": True}), self._notice)
        pulse.start()
        self._parts, self._listener = [pulse, listener], listener
        self._publish(listener.address)
        with self._lock:
            self.fault, self.address = None, listener.address
            self._told(listener.address)
        self._pairing.listens(listener.address)
        if not trust.rows() and not trust.problems:
            self._invite()
        if self._announcement is not None:
            self._announcement.start(listener.address, trust.fingerprint)

    def _invite(self) -> None:
        """A device that obeys nobody opens a window; later ones are opened at a host's word, or at its own console."""
        try:
            self._pairing.open()
        except (Fault, OSError) as fault:
            self._notice("no-pairing", f"this device obeys nobody, and nobody can pair with it by a code: {fault}")

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
