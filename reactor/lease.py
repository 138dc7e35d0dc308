"""The lease of a target, from this host: who may change it now, asked of the target and read with distrust.

Knows nothing of when a session wants it: that is the session's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from bootloader.wire.errors import Fault, Refused
from bootloader.wire.messages import Fields

from .link import Link
from .report import clean

CALL_S = 20.0
"""Longer than a target has who wants the lease wait for a change that is under way."""

_LONGEST_S = 1e9


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose it is, and ``since`` when, on this host's clock. ``yours``: it is of the session that asks."""

    host: str
    doing: str
    since: float
    yours: bool

    def __str__(self) -> str:
        then, now = datetime.fromtimestamp(self.since), datetime.now()
        since = f"{then:%H:%M}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M}"
        return f"{self.host}{f' ({self.doing})' if self.doing else ''} since {since}"


def ask(link: Link, do: str, session: str = "", doing: str = "", timeout_s: float = CALL_S) -> Holder | None:
    """``look`` whose it is, ``get`` it where it is free, ``take`` it, ``give`` it up; whose it is then, or nobody's.

    ``session``: the token of one that may come back over another link; without, the link is the session.
    """
    try:
        answer, _ = link.call("lease", {"do": do, "session": session, "doing": doing}, timeout_s=timeout_s)
    except Refused as refused:
        if refused.code != "unknown-method":
            raise
        return Holder("", doing, time.time(), yours=True)  # an older target, which lets everybody
    return read(answer.child("lease"))


def read(told: Fields) -> Holder | None:
    """What a target tells of it."""
    if "holder" not in told:
        return None
    since = time.time() - min(max(0.0, told.number("held_s")), _LONGEST_S)
    return Holder(clean(told.text("holder")), clean(told.text("doing", "")), since, told.flag("yours", False))


def have(link: Link, doing: str, *, take: bool) -> None:
    """Have it for as long as ``link`` lasts; a :class:`Fault` where another session has it, and is not to lose it."""
    holder = ask(link, "take" if take else "get", doing=doing)
    if holder is None or not holder.yours:
        raise leased(holder)


def leased(holder: Holder | None, to: str = "") -> Fault:
    """The fault of who wants what another session has."""
    if holder is None:
        return Fault("busy", "another change is under way", to=to, do="try again")
    return Fault("leased", f"leased to {holder}", to=to, do="`--take` takes it")
