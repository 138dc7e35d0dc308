"""What to boot, from what the disk says. Pure.

The order is: the live generation; where that one failed and never was healthy, the last healthy one; nothing but the
bootloader itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .ledger import Generation


@dataclass(frozen=True, slots=True)
class Choice:
    """``back_to``: the generation to roll back to before starting, or None to start what is live."""

    start: bool
    back_to: Generation | None
    why: str


def choose(live_root: str | None, newest_first: Sequence[Generation]) -> Choice:
    """What to start at boot, where ``live_root`` is the root of the live tree or None where that is not whole."""
    healthy = next((one for one in newest_first if one.was_healthy), None)
    if live_root is None:
        if healthy is None:
            return Choice(False, None, "nothing is live, and no generation was healthy")
        return Choice(True, healthy, "the live tree is not whole")
    live = next((one for one in newest_first if one.root == live_root), None)
    if live is not None and live.fate == "failed" and not live.was_healthy and healthy is not None:
        return Choice(True, healthy, f"generation {live.number} failed: {live.fate_why}")
    return Choice(True, None, "the live generation")
