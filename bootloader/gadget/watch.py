"""What to do about a host at the other end of the cable that hears nothing. Pure.

A gadget can't see whether the host has a carrier: with NCM, some hosts have none, although both ends are set up. What
it sees is whether anything comes. A host that has a link says something within seconds (IPv6 asks for routers, and
whether an address is free), so silence means that it has none, or leaves the interface alone. First the link is told of
anew, and then it is made of the older kind. A host that was heard once keeps what it has, also while it sleeps and
when it is back. To some controllers a cable that is pulled is a host that sleeps, and the next one that comes may be
another one: that sets the link up anew, as one that wakes up does not.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from .design import ECM

SILENT_S = 5.0
"""How long a host may say nothing, each time, before the next is tried."""


class Act(Enum):
    """What is to be done."""

    NOTHING = "nothing"
    AGAIN = "again"
    OTHER = "other"


class Look(NamedTuple):
    """What is seen: whether a host has set the gadget up, how many packets came so far, which kind of network it is;
    whether the host is silent altogether, as one that sleeps, and how often the link came and went.
    """

    now_s: float
    is_configured: bool
    packets: int
    network: str
    is_asleep: bool = False
    links: int = 0


class Watched(NamedTuple):
    """What is known of the host of now; ``since_s`` is when it came, or when something was last tried."""

    is_there: bool = False
    is_heard: bool = False
    since_s: float = 0.0
    packets: int = 0
    tried: int = 0
    is_asleep: bool = False
    links: int = 0


def after(before: Watched, look: Look) -> tuple[Watched, Act]:
    """What is known with one more look, and what is to be done."""
    if look.is_asleep:
        return before._replace(is_asleep=True, since_s=look.now_s), Act.NOTHING
    if not look.is_configured:
        return Watched(), Act.NOTHING
    if not before.is_there or (before.is_asleep and look.links != before.links):
        return Watched(True, since_s=look.now_s, packets=look.packets, links=look.links), Act.NOTHING
    before = before._replace(is_asleep=False, links=look.links)
    if before.is_heard or look.packets > before.packets:
        return before._replace(is_heard=True), Act.NOTHING
    acts = (Act.AGAIN,) if look.network == ECM else (Act.AGAIN, Act.OTHER)
    if before.tried >= len(acts) or look.now_s < before.since_s + SILENT_S:
        return before, Act.NOTHING
    return before._replace(since_s=look.now_s, tried=before.tried + 1), acts[before.tried]
