"""Who may change this device now: one session of one host.

A session is a host's, under a token of its own. The first that changes something has the lease until it gives it up,
another one takes it, or the last of its links has been gone for a while. Owns whose it is, the links that keep it, and
that it changes hands only between two changes. Knows nothing of what a change is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .wire.errors import Refused
from .wire.messages import Body

GRACE_S = 10.0
"""How long a lease whose last link has ended waits for its session to come back."""

BUSY_S = 10.0
"""How long who wants the lease waits for a change that is under way."""


Check = Callable[[], None]
"""Raises where its session is to have nothing more, asked once it has waited."""


def _no_check() -> None:
    """Whoever asks may have it."""


@dataclass(frozen=True, slots=True)
class Session:
    """``token``: empty for all sessions of the host, as what is typed in a REPL ships no tree. ``doing``: for people.

    ``lasts``: it may come back over another link; one that does not ends with its link.
    """

    host: str
    token: str
    doing: str = ""
    lasts: bool = True

    def covers(self, other: Session) -> bool:
        """Whether ``other`` may do what it wants while this one has the lease."""
        return self.host == other.host and other.token in ("", self.token)

    def yields(self, other: Session) -> bool:
        """Whether ``other`` may have the lease in its place without taking it."""
        return self.host == other.host and not self.token


class Lease:
    """Called from the links' threads. ``tell`` gets what happens to it, and must neither raise nor wait.

    ``alone`` is called with the host that has it now, where another one had it, or nobody: what else goes on is to end.
    """

    def __init__(self, tell: Callable[[Body], object], alone: Callable[[str], object]) -> None:
        self._tell = tell
        self._alone = alone
        self._changed = threading.Condition()
        self._holder: Session | None = None
        self._since = 0.0
        self._links: set[Hashable] = set()
        self._at_work = 0
        self._takers = 0
        """Who waits to take it: no change begins before them, else one after the other could keep them out."""
        self._timer: threading.Timer | None = None

    def told(self, asking: Session) -> Body:
        """Whose it is: an empty object where it is nobody's."""
        with self._changed:
            if self._holder is None:
                return {}
            held_s = round(time.monotonic() - self._since, 1)
            yours = self._holder.covers(asking)
            about = {"holder": self._holder.host, "doing": self._holder.doing}
            return {**about, "held_s": held_s, "linked": bool(self._links), "yours": yours}

    @contextmanager
    def during(self, link: Hashable, session: Session, check: Check = _no_check) -> Iterator[None]:
        """A change of ``session``, which gets the lease where nobody has it: nobody else gets it meanwhile."""
        holder = self._enter(link, session, check, at_work=1)
        if holder is not None:
            raise self._refusal(holder)
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def get(self, link: Hashable, session: Session, check: Check = _no_check, *, take: bool = False) -> None:
        """Have it from here on, unless another session has it, and it is not to ``take`` it.

        :class:`Refused` where it would have to be taken in the middle of a change that lasts.
        """
        try:
            self._enter(link, session, check, take=take)
        except Refused:
            if take:
                raise

    def give(self, session: Session) -> None:
        """``session`` needs it no more."""
        with self._changed:
            if self._holder is not None and self._holder.covers(session) and self._holder.token == session.token:
                self._free("given up")

    def left(self, link: Hashable) -> None:
        """The link has ended."""
        with self._changed:
            if link not in self._links or self._holder is None:
                return
            self._links.discard(link)
            if self._links:
                return
            if not self._holder.lasts:
                self._free("its link has ended")
                return
            self._timer = threading.Timer(GRACE_S, self._expire, (self._holder,))
            self._timer.name, self._timer.daemon = "lease grace", True
            self._timer.start()

    def forget(self, host: str) -> None:
        """A host is obeyed no more."""
        with self._changed:
            if self._holder is not None and self._holder.host == host:
                self._free("that host is obeyed no more")

    def close(self) -> None:
        """End the time of grace, if there is one."""
        with self._changed:
            self._keep()

    def _enter(
        self, link: Hashable, session: Session, check: Check, *, at_work: int = 0, take: bool = False
    ) -> Session | None:
        """Whose it is instead, where it can't be had."""
        before = None
        with self._changed:
            deadline = time.monotonic() + BUSY_S
            while True:
                holder = self._holder
                has_it = holder is not None and holder.covers(session)
                if has_it and not (at_work and self._takers):
                    break
                if holder is not None and not (has_it or take or holder.yields(session)):
                    return holder
                if not (has_it or self._at_work):
                    check()
                    before = self._begin(session)
                    break
                self._wait(deadline, takes=take and not has_it)
            assert self._holder is not None
            if self._holder.token == session.token:
                self._links.add(link)
                self._keep()
            self._at_work += at_work
        if before is not None and before != session.host:
            self._alone(session.host)
        return None

    def _wait(self, deadline: float, *, takes: bool) -> None:
        """For the end of a change, or of who ``takes`` it."""
        self._takers += takes
        has_come = self._changed.wait(deadline - time.monotonic())
        self._takers -= takes
        if not has_come:
            self._changed.notify_all()
            raise Refused("busy", "another change is under way", do="try again")

    def _begin(self, session: Session) -> str:
        """It is of ``session`` now; whose it was."""
        before = self._holder.host if self._holder is not None else ""
        self._keep()
        self._links.clear()
        self._holder, self._since = session, time.monotonic()
        self._changed.notify_all()
        self._tell({"state": "held", "holder": session.host, "doing": session.doing, "before": before})
        return before

    def _free(self, why: str) -> None:
        assert self._holder is not None
        holder, self._holder = self._holder, None
        self._keep()
        self._links.clear()
        self._tell({"state": "free", "holder": holder.host, "doing": holder.doing, "why": why})

    def _keep(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, holder: Session) -> None:
        with self._changed:
            if self._holder is holder and not self._links:
                self._free("its link is gone")

    def _refusal(self, holder: Session) -> Refused:
        doing = f" ({holder.doing})" if holder.doing else ""
        return Refused("leased", f"it is leased to {holder.host}{doing}", do="`--take` takes it")
