"""``python -m benchmarks.provisioning``: a board with a stock Debian, until it runs what is saved here; seconds, bytes.

Each board is a virtual machine with a fresh disk (``tests/device``), so it needs root once, to build that, and a
package index. The first board finds no wheel on this host, the second one all of them. Beside that, in the same run:
how long the machine took to boot, and how long `scp` takes for the very bytes that a board was given.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

from tests.device.machine import Machine, Unavailable

from .contestants.reactor import Dev
from .figures import Figures, show
from .guard import guarded

BOARDS = {"first": "no wheel cached", "second": "all cached"}
PROVISION_S = 1800.0
RECEIVED = "cat /sys/class/net/en*/statistics/rx_bytes"
MAIN = "import time\n\n\ndef main() -> None:\n    time.sleep(10_000)\n"
SETTINGS = '[project]\nname = "app"\n[tool.reactor]\nentry = "main:main"\nsettle_s = 0.1\n'


def rows(scratch: Path) -> Iterator[Figures]:
    """A row each board."""
    home = scratch / "home"
    os.environ["REACTOR_HOME"] = str(home)
    for name, wheels in BOARDS.items():
        folder = scratch / name
        folder.mkdir()
        before = _size(home)
        with Machine.booted(folder) as board:
            figures = _provisioned(board, name)
            figures["fetched_bytes"] = _size(home) - before
            figures |= _live(board, name, folder, home)
            figures |= _copied(board, folder)
            live_s = figures["provision_s"] + figures["dev_s"]
            ratios = {
                "live_s": round(live_s, 1),
                "boot_s": round(board.took_s, 1),
                "of_scp": round(live_s / figures["scp_s"], 1),
                "of_boot": round(live_s / board.took_s, 2),
            }
            yield {"board": name, "wheels": wheels, **ratios, **figures}


def _provisioned(board: Machine, name: str) -> dict[str, Any]:
    """The real command, by its own events: how long, and where that went."""
    words = [sys.executable, "-m", "reactor", "provision", "pi@board", "--ssh", f"ssh -F {board.config}", "--json"]
    words += ["--name", name, "--address", f"127.0.0.1:{board.port}"]
    before, began = int(board.ssh(RECEIVED)), monotonic()
    spent: dict[str, float] = {}
    last, stage = began, "look"
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told, now = json.loads(line), monotonic()
            if told["event"] == "problem":
                raise SystemExit(told["message"])
            if told.get("state") == "planned":
                stage = "fetch"
            elif told.get("state") == "done" or told["event"] == "provisioned":
                stage = told.get("step", "reach")
            else:
                continue
            spent[f"{stage}_s"] = spent.get(f"{stage}_s", 0.0) + now - last
            last = now
    if process.wait(PROVISION_S):
        raise SystemExit("it was not provisioned")
    took_s = monotonic() - began
    received = int(board.ssh(RECEIVED)) - before
    stages = {name: round(value, 1) for name, value in spent.items()}
    return {"provision_s": round(took_s, 1), **stages, "board_bytes": received, "payload_bytes": told["sent_bytes"]}


def _live(board: Machine, name: str, folder: Path, home: Path) -> dict[str, Any]:
    """`reactor dev` from its start to a program that is healthy there."""
    project = folder / "app"
    project.mkdir()
    (project / "pyproject.toml").write_text(SETTINGS)
    (project / "main.py").write_text(MAIN)
    before, began = int(board.ssh(RECEIVED)), monotonic()
    dev = Dev(project, home, folder / "dev log", "-t", name)
    try:
        dev.ready()
        took_s = monotonic() - began
    finally:
        dev.end()
    return {"dev_s": round(took_s, 1), "dev_bytes": int(board.ssh(RECEIVED)) - before}


def _copied(board: Machine, folder: Path) -> dict[str, Any]:
    """What people do today, of the same bytes: an archive of what lies there now, by scp, compressed as well."""
    archive = folder / "archive"
    with archive.open("wb") as file:
        words: list[str | Path] = ["ssh", "-F", board.config, "board", "tar -C /opt/live-reactor -cf - ."]
        subprocess.run(words, stdout=file, check=True, timeout=PROVISION_S)
    began = monotonic()
    copy: list[str | Path] = ["scp", "-q", "-C", "-F", board.config, archive, "board:/tmp/archive"]
    subprocess.run(copy, check=True, timeout=PROVISION_S)
    return {"scp_s": round(monotonic() - began, 1)}


def _size(home: Path) -> int:
    """How many bytes of wheels this host has."""
    return sum(path.stat().st_size for path in home.glob("cache/wheels/*/*"))


def main(arguments: list[str] | None = None) -> int:
    """The front door; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.provisioning")
    parser.add_argument("--json", action="store_true", help="one JSON object a line in place of a table")
    options = parser.parse_args(arguments)
    return guarded(lambda scratch: _run(scratch, as_json=options.json), "provisioning")


def _run(scratch: Path, *, as_json: bool) -> int:
    try:
        show("Benchmark of provisioning", [("boards", rows(scratch))], as_json=as_json)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
