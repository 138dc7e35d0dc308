"""Ten thousand patches on one process: what they cost, and what is left of them.

``python -m benchmarks.soak [--patches 10000]``. The process has an application of a few modules, a thread that runs
it all the while, closures, instances and callbacks. Versions of it follow one another round and round: bodies,
defaults, constants, imports, what is new and what is gone. After the first tenth, what the process holds is counted;
at the end it has to hold no more: no object, no block of memory, no reference to what lives through it all.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bootloader.guest.swap import Swap, Tree

_MOTOR = '''\
"""Version {n}."""
import functools
{imported}
STEPS = {n}
TABLE = {{"n": [{n}]}}


def counted(function):
    calls = 0

    @functools.wraps(function)
    def wrapper(*args):
        nonlocal calls
        calls += 1
        return calls, function(*args)

    return wrapper


@counted
def ratio():
    return {n}


def step(count={n}, *, speed=STEPS):
    return count + speed + ratio()[1]


class Motor:
    """A motor, {n}."""

    ratio = {n}

    def __init__(self):
        self.position = 0

    @property
    def where(self):
        return self.position * {n}

    def turn(self):
        self.position += {n}
        return lambda: self.position + {n}
{more}'''
_MORE = [
    "",
    "\n    def back(self):\n        return -1\n\n\ndef fresh():\n    return Motor().back()\n",
    "\n\nclass Late:\n    pass\n",
]
_IMPORTED = ["", "import json\n", "import json as j\nfrom math import floor\n"]
_APP = """\
from motor import STEPS, Motor, step

made = Motor()


def tick():
    return step() + made.where + STEPS + {n}
"""
VERSIONS = [
    {"motor.py": _MOTOR.format(n=n, more=_MORE[n], imported=_IMPORTED[n]), "app.py": _APP.format(n=n)} for n in range(3)
]
MOST_BLOCKS = 1_500
"""Of memory, which caches of the interpreter come and go by; 10,000 patches that leave one behind each are far more."""
MOST_OBJECTS = 50


def soak(folder: Path, patches: int) -> dict[str, Any]:
    """Patch a process, which is this one, so many times; what that cost, and by what the process has grown."""
    trees = []
    for number, files in enumerate(VERSIONS):
        trees.append(folder / f"tree{number}")
        trees[-1].mkdir()
        for path, text in files.items():
            (trees[-1] / path).write_text(text, encoding="utf-8")
    live = folder / "live"
    live.symlink_to(trees[0])
    sys.path.insert(0, str(live))
    sys.dont_write_bytecode = True
    app: Any = __import__("app")
    motor: Any = sys.modules["motor"]
    held = [app.tick, motor.step, motor.Motor, app.made, app.made.turn(), [app.made.turn]]
    ended = threading.Event()
    worker = threading.Thread(target=_work, args=(app, ended), name="work")
    worker.start()
    try:
        return _patched(Swap(str(live)), live, trees, patches, held)
    finally:
        ended.set()
        worker.join()
        sys.path.remove(str(live))


def _work(app: Any, ended: threading.Event) -> None:
    while not ended.wait(0.001):
        app.tick()


def _patched(swap: Swap, live: Path, trees: Sequence[Path], patches: int, held: list[Any]) -> dict[str, Any]:
    aside = live.with_name("aside")
    times_ms = array("d", bytes(8 * patches))  # one block, from the beginning
    first = _holds(held)
    for number in range(patches):
        old, new = trees[number % len(trees)], trees[(number + 1) % len(trees)]
        begin_s = time.perf_counter()
        prepared = swap.prepare(Tree(str(old)), Tree(str(new)), ["app.py", "motor.py"])
        aside.symlink_to(new)
        aside.rename(live)
        prepared.commit()
        times_ms[number] = (time.perf_counter() - begin_s) * 1000
        if number + 1 == max(patches // 10 // len(trees), 3) * len(trees):
            first = _holds(held)
    # The versions go round: only after whole rounds the process is where it was.
    last = _holds(held)
    ordered = sorted(times_ms)
    return {
        "patches": patches,
        "p50_ms": round(ordered[patches // 2], 2),
        "p99_ms": round(ordered[patches * 99 // 100], 2),
        "grown": {key: last[key] - first[key] for key in first},
    }


def _holds(held: list[Any]) -> dict[str, int]:
    gc.collect()
    return {
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks(),
        "references": sum(map(sys.getrefcount, held)),
        "modules": len(sys.modules),
        "resident_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * 4096,
    }


def has_grown(told: dict[str, Any]) -> bool:
    """Whether more is left than the interpreter's own caches."""
    grown = told["grown"]
    return bool(
        grown["objects"] > MOST_OBJECTS
        or grown["blocks"] > MOST_BLOCKS
        or grown["references"] > len(VERSIONS)
        or grown["modules"] > 0
    )


def main() -> int:
    """Soak, and tell; 1 if something has grown."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--patches", type=int, default=10_002, help="a multiple of three (default %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        told = soak(Path(folder), options.patches)
    print(json.dumps(told))
    return int(has_grown(told))


if __name__ == "__main__":
    sys.exit(main())
