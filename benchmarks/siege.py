"""``python -m benchmarks.siege``: how soon a device answers the host that it obeys while a neighbour does its worst.

Two real bootloaders run on this machine, and the host asks one of them for its status, again and again, on one link:
while nobody else does anything; while a neighbour attacks the *other* one, which costs this machine the same and the
asked one nothing; and while he attacks the asked one. In turns, so that the machine's noise hits all alike. What the
second has over the first is the price of a busy machine; what the third has over the second is what an attack does.

The neighbour is a process of its own with no key that is obeyed, going as fast as he is let. Linux only: /proc.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .chaos.device import Device
from .figures import Figures, show
from .guard import guarded
from .measure import percentile
from .neighbour import ATTACKS

ROUNDS, QUICK_ROUNDS = 8, 2
TURN_S = 2.0
PAUSE_S = 0.002
"""Between two questions: a host asks, and waits."""

SOON_S, _POLL_S = 20.0, 0.02

ALONE, BESIDE, AT = "nobody", "another device", "this device"


@contextmanager
def devices(scratch: Path) -> Iterator[tuple[Device, Device]]:
    """The one that is asked, and the other; both obey this host."""
    both = _started(scratch / "asked"), _started(scratch / "other")
    try:
        yield both
    finally:
        for device in both:
            device.cut()


def rows(asked: Device, other: Device, attack: str, rounds: int, turn_s: float = TURN_S) -> Iterator[Figures]:
    """A row each: nobody does it, it is done to the other device, and to the one that is asked. Times in ms."""
    took: dict[str, list[float]] = {ALONE: [], BESIDE: [], AT: []}
    done = dict.fromkeys(took, 0)
    for _ in range(rounds):
        for whom, victim in ((ALONE, None), (BESIDE, other), (AT, asked)):
            with _attacked(attack, victim) as done_by_now:
                took[whom] += _asked(asked, turn_s)
                done[whom] += done_by_now()
    for whom, times in took.items():
        yield {
            "attack on": whom,
            "a_second": round(done[whom] / (rounds * turn_s)),
            "answers": len(times),
            "median_ms": round(statistics.median(times), 2),
            "p95_ms": round(percentile(times, 95), 2),
            "most_ms": round(max(times), 1),
            "times_nobody": _ratio(times, took[ALONE]),
            "times_another": _ratio(times, took[BESIDE]),
        }


def _started(folder: Path) -> Device:
    device = Device(folder / "state", folder / "home", folder / "log")
    device.home.mkdir(parents=True)
    device.meet()
    device.start()
    return device


def _asked(device: Device, turn_s: float) -> list[float]:
    """The times of the answers of one turn, in ms, on a link that was there before."""
    took = []
    until = time.monotonic() + turn_s
    while (began := time.monotonic()) < until:
        device.call("status")
        took.append((time.monotonic() - began) * 1000)
        time.sleep(PAUSE_S)
    return took


def _ratio(times: Sequence[float], base: Sequence[float]) -> float:
    return round(statistics.median(times) / statistics.median(base), 2)


@contextmanager
def _attacked(name: str, victim: Device | None) -> Iterator[Callable[[], int]]:
    """While a neighbour is at it, if at any: gives how often he has done something. It begins once he has."""
    if victim is None:
        yield lambda: 0
        return
    folder = victim.state.parent / "neighbour"
    folder.mkdir(exist_ok=True)
    deeds, errors = folder / "deeds", folder / "errors"
    deeds.write_bytes(b"")
    command = [sys.executable, "-m", "benchmarks.neighbour", name, str(victim.port), str(folder / "home")]
    with deeds.open("ab") as out, errors.open("wb") as err:
        neighbour = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
    try:
        until = time.monotonic() + SOON_S
        while not deeds.stat().st_size:
            assert neighbour.poll() is None, errors.read_text()
            assert time.monotonic() < until, f"{name}: nothing is done"
            time.sleep(_POLL_S)
        yield lambda: deeds.stat().st_size
        assert neighbour.poll() is None, errors.read_text()
    finally:
        os.killpg(neighbour.pid, signal.SIGKILL)
        neighbour.wait()


def main(arguments: list[str] | None = None) -> int:
    """The front door; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.siege")
    parser.add_argument("--json", action="store_true", help="one JSON object a line in place of tables")
    parser.add_argument(
        "--only", nargs="+", choices=ATTACKS, default=ATTACKS, metavar="ATTACK", help=", ".join(ATTACKS)
    )
    parser.add_argument("--quick", action="store_true", help="a look")
    options = parser.parse_args(arguments)
    if not sys.platform.startswith("linux"):
        print("the benchmark needs Linux: /proc", file=sys.stderr)
        return 2
    return guarded(lambda scratch: _run(options, scratch), "siege")


def _run(options: argparse.Namespace, scratch: Path) -> int:
    with devices(scratch) as (asked, other):
        parts = ((name, rows(asked, other, name, QUICK_ROUNDS if options.quick else ROUNDS)) for name in options.only)
        show("Benchmark of a siege", parts, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
