"""What to boot, from what the disk says. Pure.

The ladder is: the live generation; the healthy ones, the last first; the base; nothing but the bootloader itself. A
generation that failed, or that took the device down with it each time that it was started at boot, gives way to any
that was healthy. What was found out about roots counts, not about numbers: going back to a root makes it a new
generation, and no better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .ledger import Generation

BOOTLOADER = "bootloader"
"""Who made a generation that no host asked for."""

MOST_BOOTS = 3
"""So often a generation that never was healthy is started at boot, and not once more."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A root to start. ``generation``: the newest of that root, 0 where there is none. ``why``: for people."""

    root: str
    generation: int
    why: str


def ladder(live_root: str, newest_first: Sequence[Generation], base_root: str = "") -> list[Rung]:
    """What to try at boot, the best first. ``live_root``: what the live tree should be; empty where nobody knows.

    What comes first may turn out to be damaged beyond repair: then the next one is tried.
    """
    newest: dict[str, Generation] = {}
    for one in newest_first:
        newest.setdefault(one.root, one)
    healthy = {one.root for one in newest_first if one.was_healthy}
    worn = {root for root in newest if root not in healthy and _boots(root, newest_first) >= MOST_BOOTS}
    wanted = live_root or next(iter(newest), base_root)
    live = newest.get(wanted)
    failed = live is not None and live.fate == "failed" and wanted not in healthy

    order = [wanted] * (not failed)
    order += [one.root for one in newest_first if one.was_healthy]
    order += [base_root, wanted]
    why = "what was live is lost"
    if live is not None and wanted in worn:
        why = f"generation {live.number} was started {MOST_BOOTS} times and never was healthy"
    elif live is not None and failed:
        why = f"generation {live.number} failed: {live.fate_why}"
    elif not live_root:
        why = "it was not known what is live"
    rungs = []
    for root in dict.fromkeys(order):
        if root and root not in worn:
            number = newest[root].number if root in newest else 0
            rungs.append(Rung(root, number, "it is live" if root == live_root and not failed else why))
    return rungs


def _boots(root: str, newest_first: Sequence[Generation]) -> int:
    """How often ``root`` was started at boot since a host last sent it."""
    boots = 0
    for one in newest_first:
        if one.root == root:
            boots += one.boots
            if one.who != BOOTLOADER:
                break
    return boots
