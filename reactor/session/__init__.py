"""One target, from this host: its link, the saves that it is owed, and the events that it tells.

One thread ships (control link), one follows (events link). The newest tree is what counts: it is kept until the target
has it, whatever happens to the link, and a save that comes while another ships waits for it. Faults of the link are
told, waited out with growing pauses, and healed; faults of trust end the session, because waiting mends nothing there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from bootloader.wire.errors import CallTimeout, Fault, LinkClosed, LinkDown, Refused
from bootloader.wire.messages import Fields

from ..follow import Follower, Paths, translate
from ..link import Link
from ..outcomes import Fate
from ..report import clean, problem
from ..scan import Scanner
from ..targets import Target
from .delivery import Delivery, Save, Tell, merged
from .greeting import Greeting
from .outage import PAUSES_S, Outage
from .probe import Probe
from .tenure import Tenure

__all__ = ["CLOSE_S", "PAUSES_S", "Save", "Session", "Tell", "TellMany"]

PATIENCE_S = 15.0
"""How long a link that fails again and again is tried by a session that does not watch."""

EVENTS_WAIT_S = 2.0
SILENCE_S = 4.0
"""How late the target's word may be that there is nothing new, before it is told to be silent: frozen, or cut off."""

LATENCY_S = 5.0
"""How often a session that watches measures how far away the target is."""

IDLE_S = 0.5
"""How long not to ask again when the target tells of no events and does not wait for them either."""

CLOSE_S = 0.5
"""How long the end of a session waits for what is under way, such as a connection that is being made."""

TellMany = Callable[[Sequence[dict[str, Any]]], object]

_CONTROL, _EVENTS = "control", "events"
_JOIN_S = 1.0


class Session:
    """One target of a ``dev`` or ``push``.

    ``tell`` gets its events, and ``look_again`` is called when a file is not what was hashed, to submit what it is now;
    both from the session's threads. They raise nothing. ``tell_many`` gets, instead, what a target said at once.
    """

    def __init__(
        self,
        target: Target,
        source: Scanner,
        tell: Tell,
        look_again: Callable[[], None],
        *,
        watching: bool,
        take: bool = False,
        tell_many: TellMany | None = None,
        fresh: bool = False,
    ) -> None:
        """``take``: the lease, from whoever has it."""
        self.target = target
        self.fatal: Fault | None = None
        """Why the session ended, if it did by itself."""
        self.latency_ms: float | None = None
        """How long the last small call took there and back; None while nobody answers."""
        self._source = source
        self._tell_any = tell
        self._tell_many = tell_many or (lambda events: list(map(tell, events)))
        self._said: list[dict[str, Any]] = []
        self._look_again = look_again
        self._watching = watching
        self._delivery = Delivery(target.name, source, self._tell, self._is_superseded, fresh=fresh)
        self._tenure = Tenure(target.name, self._tell, watching=watching, take=take)
        self._outage = Outage(None if watching else PATIENCE_S)
        self._newest: Save | None = None
        self._follower = Follower(self._heard, self._notice, rest=self._tell_said, attached=self._tenure.mends)
        self._live, self._paths, self._paths_of = "", Paths("", source.project), source.project
        self._python = self._boot = ""
        self._is_ready = False
        self._dialing = threading.Lock()
        self._probe = Probe(target.name, lambda: self._link("probe"), self._break)
        self._runner = threading.Thread(target=self._run, name=f"{target.name} ship", daemon=True)
        self._following: threading.Thread | None = None
        # What follows is for several threads, under this.
        self._changed = threading.Condition()
        self._wanted: Save | None = None
        self._restart_asked, self._lease_asked, self._lease_moved = False, "", False
        self._hinted = False
        self._broken: Fault | None = None
        self._closing = False
        self._links: dict[str, Link] = {}

    def start(self) -> None:
        """Begin: connect, and ship the newest save."""
        self._runner.start()

    def submit(self, save: Save) -> None:
        """Ship this tree, in place of any that has not been shipped yet."""
        with self._changed:
            self._wanted = merged(self._wanted, save)
            self._changed.notify_all()

    def restart(self) -> None:
        """Have the target stop what runs, and start it again."""
        with self._changed:
            self._restart_asked = True
            self._changed.notify_all()

    def lease(self, do: str) -> None:
        """``take`` it, whoever has it, and ship the newest tree; or ``give`` it to who saves next, and look on."""
        with self._changed:
            self._lease_asked = do
            self._changed.notify_all()

    def suspect(self) -> None:
        """Something has happened to the network: see whether the link has survived that, or try at once to have one."""
        with self._changed:
            self._hinted = True
            self._changed.notify_all()
        self._probe.look(self._links.get(_EVENTS))

    def stop(self) -> None:
        """Ship no more; events are told until :meth:`close`. Waits for no more than a word to the target."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            control = self._links.pop(_CONTROL, None)
        if control is not None:
            self._tenure.give(control)
            control.close()

    def close(self, within_s: float = CLOSE_S, *, ended: bool = False) -> None:
        """End the session; the target goes on, unless it has ``ended``: then its last events are told first.

        A thread that is still connecting ends by itself when it is through.
        """
        deadline = time.monotonic() + within_s
        self.stop()
        if ended and self._following is not None:
            self._following.join(within_s)
        self._hang_up()
        if self._runner.is_alive() and self._runner is not threading.current_thread():
            self._runner.join(max(0.0, deadline - time.monotonic()))

    def _tell(self, event: dict[str, Any]) -> None:
        self._tell_any({"event": event["event"], "target": self.target.name, **event})

    def _notice(self, code: str, text: str) -> None:
        self._tell({"event": "notice", "code": code, "text": text})

    def _is_superseded(self) -> bool:
        self._look_again()
        with self._changed:
            return self._wanted is not None

    # the thread that ships

    def _run(self) -> None:
        try:
            while not self._closing:
                try:
                    self._ship_for_ever(self._connect())
                except (LinkDown, LinkClosed, CallTimeout) as fault:
                    self._disconnect()
                    if not self._closing:
                        self._wait_out(self._cause(fault))
                finally:
                    self._disconnect()
        except Fault as fault:
            self._end(fault)
        except Exception as error:
            self._end(_internal(error))
            raise

    def _end(self, fault: Fault) -> None:
        self.fatal = fault
        self._delivery.give_up(fault.what)
        self._tell(problem(fault))

    def _cause(self, fault: Fault) -> Fault:
        """Why the links ended, if ``fault`` is only that they did; raised where that is no fault of a link."""
        broken = self._broken
        if not isinstance(fault, LinkClosed) or broken is None:
            return fault
        if not isinstance(broken, (LinkDown, LinkClosed, CallTimeout)):
            raise broken
        return broken

    def _wait_out(self, fault: Fault) -> None:
        """Tell of a fault of the link, and wait; raise it where that has been done for long enough."""
        pause_s = self._outage.failed(fault, time.monotonic())
        if pause_s is None:
            raise fault
        self._tell_down(fault)
        self._pause(pause_s)

    def _tell_down(self, fault: Fault) -> None:
        state = self._outage.news(fault)
        if state:
            self._tell({"event": "link", "state": state, "why": clean(str(fault))})

    def _pause(self, pause_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._hinted, pause_s)
            self._hinted = False

    def _connect(self) -> Link:
        """The control link. Events are followed from here on, and what is owed waits to be shipped."""
        control = self._link(_CONTROL)
        told = Greeting.read(control.call("hello", {})[0], self.target.name)
        boot, self._python, self._delivery.python = told.boot, told.python, told.compiles
        self._delivery.layers.greet(told.platform)
        self._live, self._paths = told.live, Paths(told.live, self._paths_of)
        self._tenure.join(control)
        events = self._link(_EVENTS)
        if self._follower.take_up(events, boot):
            self._delivery.give_up("the target started again before it was healthy")
        self._broken = None
        name = f"{self.target.name} follow"
        self._following = threading.Thread(target=self._follow, args=(events,), name=name, daemon=True)
        self._following.start()
        if self._outage.up(time.monotonic()):
            self._tell({"event": "link", "state": "up", "why": ""})
        self._tenure.tell()
        owed = self._delivery.resume(control, restarted=self._boot not in ("", boot))
        self._boot = boot
        with self._changed:
            self._wanted = self._wanted or owed
        return control

    def _link(self, purpose: str) -> Link:
        with self._dialing:
            link = self.target.connect(purpose)
        with self._changed:
            if not self._closing:
                self._links[purpose] = link
                return link
        link.close()
        raise LinkClosed(to=self.target.name)

    def _hang_up(self) -> None:
        with self._changed:
            links, self._links = self._links, {}
        for link in links.values():
            link.close()

    def _disconnect(self) -> None:
        """End the links, and the thread that follows: the next one must not begin before it has told what it has."""
        if self._closing:
            return  # what is left to be heard, is
        self._hang_up()
        while self._following is not None and self._following.is_alive() and not self._closing:
            self._following.join(_JOIN_S)

    def _ship_for_ever(self, control: Link) -> None:
        delivery = self._delivery
        while True:
            with self._changed:
                # Without a bound, as there is nothing to do before. A broken link and the session's end wake it.
                self._changed.wait_for(self._is_woken)
                if self._closing:
                    raise LinkClosed(to=self.target.name)
                if self._broken is not None:
                    raise self._broken
                moved, self._lease_moved = self._lease_moved, False
                do, self._lease_asked = self._lease_asked, ""
            if moved or do:
                self._see_to_lease(control, do)
            if delivery.is_overtaken:
                delivery.look(control)
            with self._changed:
                save, self._wanted = self._wanted, None
                restart, self._restart_asked = self._restart_asked, False
            if save is not None:
                self._newest = save
                self._ship(control, save)
            if restart:
                delivery.restart(control)

    def _is_woken(self) -> object:
        asked = self._wanted or self._restart_asked or self._lease_asked
        return self._closing or self._broken or asked or self._lease_moved or self._delivery.is_overtaken

    def _see_to_lease(self, control: Link, do: str) -> None:
        """Something has happened to it, or somebody says what to ``do``: once it is taken, the newest tree is owed."""
        held = self._tenure.held
        self._tenure.see(control, do or "look")
        self._tenure.tell()
        if do and self._tenure.held and not held:
            with self._changed:
                self._wanted = self._wanted or self._newest

    def _ship(self, control: Link, save: Save) -> None:
        """Where the lease is had, or free; else the save stays here, and the next one brings what is in it."""
        try:
            if self._tenure.claim(control):
                self._tenure.tell()
                if self._delivery.deliver(control, save) and not self._is_ready:
                    self._is_ready = True
                    self._ready()
                return
        except Refused:  # it was taken a moment ago
            self._tenure.see(control, "look")
        self._tenure.tell()
        self._delivery.withhold(save, self._tenure.why_not)

    def _ready(self) -> None:
        has = self._delivery.has
        self._tell(
            {
                "event": "ready",
                "project": self._source.project.settings.main.name,
                "root": has.root if has is not None else "",
                "generation": self._delivery.generation or 0,
                "files_count": len(has) if has is not None else 0,
                "python": self._python,
                "watching": self._watching,
            }
        )

    # the thread that follows

    def _follow(self, link: Link) -> None:
        """Pull events until the link ends, and hand over what they say."""
        try:
            measured = 0.0
            while True:
                began = time.monotonic()
                if self._watching and began - measured > LATENCY_S:  # here, where nobody waits for an answer
                    link.call("hello", {}, timeout_s=SILENCE_S)
                    measured = time.monotonic()
                    self.latency_ms = (measured - began) * 1000
                    continue
                if not self._follower.pull(link, EVENTS_WAIT_S, SILENCE_S) and time.monotonic() - began < IDLE_S:
                    self._pause(IDLE_S)
        except CallTimeout as silent:
            self._tell_down(silent)  # here, as a call under way may last
            self._break(silent)
            self._probe.outdo(self._links.get(_CONTROL))
        except Fault as fault:
            self._break(fault)
        except Exception as error:
            self._break(_internal(error))
            raise
        finally:
            self.latency_ms = None
            self._follower.close()

    def _break(self, fault: Fault) -> None:
        """The events end; and a call under way, too, unless the target may only be slow to answer."""
        with self._changed:
            if self._broken is None or not isinstance(fault, LinkClosed):  # which is what came of it, and no cause
                self._broken = fault
            self._changed.notify_all()
        if not isinstance(fault, CallTimeout):
            self._hang_up()

    def _heard(self, event: Fields, at: float) -> None:
        if event.text("event", "") == "generation":
            self._tell_said()  # it came before
            self._delivery.heard(Fate.read(event, at))
            with self._changed:
                self._changed.notify_all()
            return
        if event.text("event", "") == "lease":
            with self._changed:
                self._lease_moved = True
                self._changed.notify_all()
            return
        if self._paths_of is not self._source.project:  # its settings changed, and so may where siblings lie
            self._paths_of = self._source.project
            self._paths = Paths(self._live, self._paths_of)
        told = translate(event, self._paths)
        if told is not None:
            self._said.append(
                {"event": told["event"], "target": self.target.name, **told, **self._follower.stamp(event)}
            )

    def _tell_said(self) -> None:
        """What came together is told together."""
        if self._said:
            said, self._said = self._said, []
            self._tell_many(said)


def _internal(error: Exception) -> Fault:
    return Fault("internal-error", f"{type(error).__name__}: {error}", do="please report this")
