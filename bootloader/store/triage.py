"""What to boot, from what the disk says. Pure.

The ladder is: the live generation; the healthy ones, the last first; the base; nothing but the bootloader itself. A
generation that failed gives way to any that was healthy. One that was cut off soon after each of many starts at boot is
*worn*, and is tried no more, healthy or not: most likely it takes the bootloader, or the whole device, down with it.
What was found out about roots counts, not about numbers: going back to a root makes it a new generation, and no better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .ledger import Generation

BOOTLOADER = "bootloader"
"""Who made a generation that no host asked for."""

MOST_BOOTS = 3
"""So often in a row a generation that never was healthy is started at boot and cut off soon, and not once more."""

MOST_HEALTHY_BOOTS = 8
"""So often one that was healthy is: a power supply that comes and goes is no fault of the code's."""

STEADY_S = 30.0
"""What was up for so long, from its start at boot, was not cut off soon."""


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
    tired = worn(newest_first)
    wanted = live_root or next(iter(newest), base_root)
    live = newest.get(wanted)
    failed = live is not None and live.fate == "failed" and wanted not in healthy

    order = [wanted] * (not failed)
    if len(healthy & tired & _since_a_host(newest_first)) < 2:  # what breaks a second one is not in the code
        order += [one.root for one in newest_first if one.was_healthy]
    order += [base_root, wanted]
    why = "what was live is lost"
    if live is not None and wanted in tired:
        most = MOST_HEALTHY_BOOTS if wanted in healthy else MOST_BOOTS
        why = f"generation {live.number} was started {most} times in a row and cut off soon each time"
    elif live is not None and failed:
        why = f"generation {live.number} failed: {live.fate_why}"
    elif not live_root:
        why = "it was not known what is live"
    rungs = []
    for root in dict.fromkeys(order):
        if root and root not in tired:
            number = newest[root].number if root in newest else 0
            rungs.append(Rung(root, number, "it is live" if root == live_root and not failed else why))
    return rungs


def worn(newest_first: Sequence[Generation]) -> set[str]:
    """The roots that are not to be started once more."""
    healthy = {one.root for one in newest_first if one.was_healthy}
    most = {one.root: MOST_HEALTHY_BOOTS if one.root in healthy else MOST_BOOTS for one in newest_first}
    return {root for root, boots in most.items() if _boots(root, newest_first) >= boots}


def _since_a_host(newest_first: Sequence[Generation]) -> set[str]:
    """The root that a host last asked for, and those that came after it."""
    roots = set()
    for one in newest_first:
        roots.add(one.root)
        if one.who != BOOTLOADER:
            break
    return roots


def _boots(root: str, newest_first: Sequence[Generation]) -> int:
    """How often ``root`` was started at boot, and cut off, since a host last sent it."""
    boots = 0
    for one in newest_first:
        if one.root == root:
            boots += one.boots
            if one.who != BOOTLOADER:
                break
    return boots
