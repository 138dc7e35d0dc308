"""``python -m benchmarks.chaos``: attacks real bootloaders, and counts what they lost.

Rounds, each with a seed of its own, until the time is over, or so many in full: every power cut of a recorded run,
every damage to a state, every trouble of a stack, every hostile application, a random walk with kills. What breaks a
promise is told with what it takes to have it again; the exit code is 1 then. Linux only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from bootloader.wire.errors import Fault

from .. import machine
from ..guard import guarded
from . import attacks, damage, hostile, power, recording, rot, stacks, strangers, walk
from .device import kinds
from .tally import KINDS, OTHER, Tally

_WEIGHTS = {"power": 2, "damage": 1, "stacks": 1, "hostile": 2, "walk": 1}
PARTS = tuple(_WEIGHTS)
_MEMORY = Path("/dev/shm")
_BOOTED = 40
_AGAIN = 3
_CHANGES = 4
_UPGRADES = 3
"""The third has the first one's files go."""

_UPGRADES_SHARE = 100
"""Each has a hundred files that are alike."""


def run(options: argparse.Namespace, scratch: Path) -> int:
    """Rounds until the time is over; 0 where no promise was broken."""
    tally = Tally()
    until_s = time.monotonic() + options.minutes * 60 if options.rounds is None else math.inf
    bound = {"minutes": f"{options.minutes:g}"} if options.rounds is None else {"rounds": str(options.rounds)}
    facts = {**machine.facts(), "seed": str(options.seed), **bound}
    _tell(options.json, "\n".join(f"- {name}: {value}" for name, value in facts.items()), event="machine", **facts)
    number = 0
    while number == 0 or (time.monotonic() < until_s and number != options.rounds):
        folder = scratch / str(number)
        folder.mkdir()
        _round(options, f"{options.seed}.{number}", folder, tally, until_s)
        number += 1
    tally.counts["rounds"] = number
    for finding in tally.findings if options.json else ():
        _tell(True, "", event="finding", **asdict(finding))
    _tell(options.json, tally.text(), event="result", **tally.summary())
    return 1 if any(map(tally.of, KINDS)) else 0


def _round(options: argparse.Namespace, seed: str, scratch: Path, tally: Tally, until_s: float) -> None:
    """Every part once. Each has its share of the time that is left, by its weight."""
    attack = _Round(seed, scratch, tally, options.steps)
    weights = {name: _WEIGHTS[name] for name in PARTS if name in options.only}
    while weights and time.monotonic() < until_s:
        began_s = time.monotonic()
        name = next(iter(weights))
        share = weights[name] / sum(weights.values())
        del weights[name]
        end_s = began_s + (until_s - began_s) * share
        try:
            getattr(attack, name)(end_s)
        except Fault as fault:
            tally.found(OTHER, name, f"seed {seed}", str(fault))
        took_s = time.monotonic() - began_s
        short = time.monotonic() > end_s
        if short:
            tally.counts[f"{name}: rounds that were cut short"] += 1
        print(f"{name}, seed {seed}: {took_s:.0f} s{', cut short' * short}", file=sys.stderr, flush=True)
    for name in weights:
        tally.counts[f"{name}: rounds that had no time"] += 1


class _Round:
    """The parts by their names; each begins in a folder of its own and ends at a time."""

    def __init__(self, seed: str, scratch: Path, tally: Tally, steps: int) -> None:
        self._seed = seed
        self._scratch = scratch
        self._tally = tally
        self._steps = steps
        self._chance = random.Random(seed)

    @cached_property
    def _recorded(self) -> recording.Recording:
        return recording.record(_made(self._scratch / "recording"), self._seed, _CHANGES, crash_loop=True)

    def power(self, until_s: float) -> None:
        half_s = (time.monotonic() + until_s) / 2
        power.attack(self._recorded, self._tally, self._chance, booted=_BOOTED, again=_AGAIN, until_s=half_s)
        upgraded = recording.record_upgrades(_made(self._scratch / "upgrades"), self._seed, _UPGRADES)
        power.attack(
            upgraded, self._tally, self._chance, booted=_BOOTED, again=1, until_s=until_s, share=_UPGRADES_SHARE
        )

    def damage(self, until_s: float) -> None:
        damage.endure(self._recorded, self._tally, damage.HARDSHIPS)
        strangers.attack(self._recorded, self._tally, until_s)
        rot.attack(self._recorded, self._tally, self._chance, booted=_BOOTED, until_s=until_s)
        damage.attack(self._recorded, self._tally, self._chance, booted=_BOOTED, until_s=until_s)

    def stacks(self, until_s: float) -> None:
        stacks.attack(_made(self._scratch / "stacks"), self._tally, until_s)

    def hostile(self, until_s: float) -> None:
        folder, left = _made(self._scratch / "hostile"), kinds(self._tally)
        while left:
            name, command = left.popitem()
            end_s = time.monotonic() + (until_s - time.monotonic()) / (len(left) + 1)
            names = sorted(attacks.ATTACKS)
            self._chance.shuffle(names)
            hostile.attack(_made(folder / name), self._tally, self._chance, names, end_s, command=command)

    def walk(self, until_s: float) -> None:
        walk.walk(_made(self._scratch / "walk"), self._tally, self._seed, self._steps, until_s)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _tell(as_json: bool, text: str, **fields: object) -> None:
    print(json.dumps(fields) if as_json else f"{text}\n", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The front door; the exit code."""
    if not sys.platform.startswith("linux"):
        print("this needs Linux: /proc, prctl", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=(__doc__ or "").partition(": ")[2])
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument("--minutes", type=float, default=10.0, metavar="N", help="how long (%(default)g)")
    bound.add_argument("--rounds", type=int, metavar="N", help="so many, each in full, however long that takes")
    parser.add_argument("--steps", type=int, default=60, metavar="N", help="of a random walk, a round (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="what is drawn by lot follows it (%(default)s)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None  # the target fsyncs, thousands of times
    return guarded(lambda scratch: run(options, scratch), "chaos", memory)


if __name__ == "__main__":
    sys.exit(main())
