"""``python -m benchmarks.chaos``: attacks real bootloaders, and counts what they lost.

Rounds, each with a seed of its own, until the time is over: every power cut of a recorded run, every damage to a state,
every hostile application, a random walk with kills. What breaks a promise is told with what it takes to have it again;
the exit code is 1 then. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bootloader.wire.errors import Fault

from .. import machine
from ..guard import guarded
from . import damage, folders, hostile, power, recording, walk
from .tally import KINDS, Tally

PARTS = ("power", "damage", "hostile", "walk")
_MEMORY = Path("/dev/shm")
_BOOTED = 40
_AGAIN = 3
_CHANGES = 4
_STEPS = 60


def run(options: argparse.Namespace, scratch: Path) -> int:
    """Rounds until the time is over; 0 where no promise was broken."""
    tally = Tally()
    until_s = time.monotonic() + options.minutes * 60
    facts = {**machine.facts(), "seed": str(options.seed), "minutes": f"{options.minutes:g}"}
    _tell(options.json, "\n".join(f"- {name}: {value}" for name, value in facts.items()), event="machine", **facts)
    number = 0
    while number == 0 or time.monotonic() < until_s:
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
    chance = random.Random(seed)
    tasks: dict[str, Callable[[], None]] = {}
    if {"power", "damage"} & set(options.only):
        tasks["power"] = lambda: _recorded(options, seed, scratch, tally, chance, until_s)
    if "hostile" in options.only:
        names = sorted(hostile.ATTACKS)
        chance.shuffle(names)
        tasks["hostile"] = lambda: hostile.attack(_made(scratch / "hostile"), tally, chance, names, until_s)
    if "walk" in options.only:
        tasks["walk"] = lambda: walk.walk(_made(scratch / "walk"), tally, seed, _STEPS, until_s)
    for name, task in tasks.items():
        began = time.monotonic()
        try:
            task()
        except Fault as fault:
            tally.found("other", name, f"seed {seed}", str(fault))
        print(f"{name}, seed {seed}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _recorded(
    options: argparse.Namespace, seed: str, scratch: Path, tally: Tally, chance: random.Random, until_s: float
) -> None:
    made = recording.record(_made(scratch / "power"), seed, _CHANGES)
    image = folders.read(made.state)[0]
    if "power" in options.only:
        power.attack(made, tally, chance, booted=_BOOTED, again=_AGAIN, until_s=until_s)
    if "damage" in options.only:
        damage.attack(made, image, tally, chance, booted=_BOOTED, until_s=until_s)
        damage.endure(made, image, tally, damage.HARDSHIPS)


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
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="how long (%(default)g)")
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
