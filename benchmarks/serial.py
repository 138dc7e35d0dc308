"""``python -m benchmarks.serial``: a one-line edit over a serial line, with the real commands at both ends.

The line is two pseudo-terminals with a thread between that carries bytes at the line's baud rate, and counts them. The
device is a bootloader that listens on a port that nobody is told of. Prints a table, or with ``--json`` one object a
line. Linux only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any

from reactor import trust
from reactor.targets.wired import SCHEME, Wired

from .cable import Cable, Way
from .contestants.reactor import Dev
from .figures import Figures, show
from .guard import guarded
from .processes import Program

BAUDS = (115200, 921600, 9600)
SAVES, QUICK_SAVES = 20, 3
QUIET_S = 1.5
"""How long what comes after a save may take, so that it is not counted with the next one."""

LISTENING_S = 20.0
KERNEL = b"[   12.345678] usb 1-1: new high-speed USB device number 2 using dwc2\r\n"

MAIN = '''\
"""What the board does, again and again."""

import time

PERIOD_S = 3600.0


def step(number: int) -> str:
    """One line of what there is to say."""
    return f"version 0, step {number}"


def main() -> None:
    """Until the end."""
    number = 0
    while True:
        number += 1
        print(step(number), flush=True)
        time.sleep(PERIOD_S)
'''


def rows(scratch: Path, baud: int, saves: int) -> Iterator[Figures]:
    """A row each way to take an edit; and at the usual rate one with the kernel's messages on the line."""
    for way, spoil in (("patch", _clean), ("restart", _clean), ("restart, kernel talks", _kernel())):
        if spoil is _clean or baud == BAUDS[0]:
            folder = scratch / f"{baud} {way}"
            folder.mkdir(parents=True)
            yield {"baud": baud, "edit": way, **_measured(folder, baud, way.partition(",")[0], spoil, saves)}


def _measured(folder: Path, baud: int, way: str, spoil: Callable[[Way, bytes], bytes], saves: int) -> dict[str, Any]:
    home = folder / "home"
    os.environ["REACTOR_HOME"] = str(home)
    with Cable(baud, spoil) as cable:
        state = folder / "state"
        trust.issue(state, home, "porch")
        address = f"{SCHEME}{cable.host}:{baud}"
        trust.remember(home, "porch", (state / "trust" / "device.crt").read_text("ascii"), address)
        where = ["--state", str(state), "--listen", "127.0.0.1:0", "--rescue", f"{cable.device}:{baud}"]
        bootloader = Program(
            [sys.executable, "-m", "bootloader", "run", *where], cwd=folder, log=folder / "log", env={}
        )
        try:
            until = monotonic() + LISTENING_S
            while not (state / "run" / "address").exists() and monotonic() < until:
                sleep(0.05)
            connect_s, connect_bytes = _connect(address, cable)
            edits = _edits(folder, cable, address, way, saves)
        finally:
            bootloader.end()
    return {"connect_s": connect_s, "connect_bytes": connect_bytes, **edits}


def _connect(address: str, cable: Cable) -> tuple[float, int]:
    """The port opened, the line's session, TLS both ways, one small call; the median of some."""
    took, size = [], []
    for _ in range(5):
        began, before = monotonic(), sum(cable.count_bytes.values())
        with closing(Wired("porch", address)) as target, target.connect("benchmark") as link:
            link.call("hello", {})
            took.append(monotonic() - began)
            size.append(sum(cable.count_bytes.values()) - before)
    return round(statistics.median(took), 2), round(statistics.median(size))


def _edits(folder: Path, cable: Cable, address: str, way: str, saves: int) -> dict[str, Any]:
    project = folder / "app"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        f'[tool.reactor]\nentry = "main:main"\nsettle_s = 0.05\nreload = "{way}"\n', "utf-8"
    )
    main = project / "main.py"
    main.write_text(MAIN, "utf-8")
    dev = Dev(project, Path(os.environ["REACTOR_HOME"]), folder / "dev log", "-t", address)
    told, there, back = [], [], []
    try:
        dev.ready()
        dev.result(1)
        dev.results.clear()
        for number in range(1, saves + 1):
            sleep(QUIET_S)
            aside = main.with_suffix(".new")
            aside.write_text(MAIN.replace("version 0", f"version {number}"), "utf-8")
            before, began = cable.count_bytes, monotonic()
            aside.replace(main)
            dev.result(number + 1)
            told.append(monotonic() - began)
            after = cable.count_bytes
            there.append(after["there"] - before["there"])
            back.append(after["back"] - before["back"])
        results = list(dev.results)
    finally:
        dev.end()
    wrong = [one for one in results if not one["healthy"] or one["rung"] != way]
    assert not wrong, f"not {way}: {wrong[0]}"
    running = [one["save_to_running_ms"] / 1000 for one in results]
    return {
        "saves": saves,
        "running_s": round(statistics.median(running), 3),
        "running_longest_s": round(max(running), 3),
        "told_s": round(statistics.median(told), 3),
        "bytes_there": round(statistics.median(there)),
        "bytes_back": round(statistics.median(back)),
    }


def _clean(_way: Way, data: bytes) -> bytes:
    return data


def _kernel() -> Callable[[Way, bytes], bytes]:
    """On its console, in the middle of each twentieth piece of what else is said: it spoils a packet of five."""
    random = Random(115200)

    def spoil(way: Way, data: bytes) -> bytes:
        half = len(data) // 2
        return data[:half] + KERNEL + data[half:] if way == "back" and random.random() < 0.05 else data

    return spoil


def main(arguments: list[str] | None = None) -> int:
    """The front door; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serial")
    parser.add_argument("--json", action="store_true", help="one JSON object a line in place of tables")
    parser.add_argument("--baud", nargs="+", type=int, default=BAUDS, metavar="N", help="rates of the line")
    parser.add_argument("--quick", action="store_true", help="a look")
    options = parser.parse_args(arguments)
    return guarded(lambda scratch: _run(options, scratch), "serial")


def _run(options: argparse.Namespace, scratch: Path) -> int:
    saves = QUICK_SAVES if options.quick else SAVES
    parts = ((f"{baud} baud", rows(scratch, baud, saves)) for baud in options.baud)
    show("Benchmark of the serial line", parts, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
