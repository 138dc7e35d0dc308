"""A dependency is added to a project: how long until the program runs with it, and what went over the link.

``python -m benchmarks.dependency [--rounds 3] [PACKAGE…]``. The wheels are downloaded once, and found in a folder from
then on, so that no network is measured. In each round `reactor dev` runs a project of no dependencies on the embedded
target; the package is added to its settings, and the program that imports it says so; then one more, tiny, is added.
Beside that, what people do today: `pip install` of the same wheels into a fresh virtual environment.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .machine import facts

_SETTINGS = """\
[project]
name = "app"
dependencies = {wanted}
[tool.reactor]
entry = "main:main"
settle_s = 0.1
"""
_MAIN = """\
import time
from importlib import import_module

found = 0
for name in {names}:
    try:
        import_module(name)
        found += 1
    except ImportError:
        pass


def main():
    print("runs with", found, flush=True)
    time.sleep(10_000)
"""
SMALL = "six"


def main() -> None:
    """Run, and print a table and the facts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("packages", nargs="*", default=["numpy"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        wheels = folder / "wheels"
        download = [
            "download",
            "--only-binary",
            ":all:",
            "-q",
            "-d",
            str(wheels),
            *arguments.packages,
            SMALL,
            "packaging",
        ]
        subprocess.run([sys.executable, "-m", "pip", *download], check=True)
        env = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        rows = [_round(folder / str(number), arguments.packages, env) for number in range(arguments.rounds)]
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{name:34} {statistics.median(values):12.2f}   {min(values):.2f} to {max(values):.2f}")
    today, ours = (
        statistics.median(sum(row[name] for name in names) for row in rows)
        for names in (("fresh environment, s", "pip install, s"), ("added to running, s",))
    )
    print(f"{'today / reactor':34} {today / ours:12.2f}")
    print(json.dumps({"packages": arguments.packages, **facts()}))


def _round(folder: Path, packages: list[str], env: Mapping[str, str]) -> dict[str, float]:
    (project := folder / "app").mkdir(parents=True)
    found: dict[str, float] = {}
    (project / "main.py").write_text(_MAIN.format(names=[*packages, SMALL]))
    _write(project, ["packaging"])  # so that it sees no more than it requires
    with _dev(project, {**env, "REACTOR_HOME": str(folder / "home")}) as events:
        _until(events, "runs with 0")
        _until(events, "")
        for name, wanted in (("added", packages), ("one more", [*packages, SMALL])):
            began = time.monotonic()
            _write(project, ["packaging", *wanted])
            told = _until(events, f"runs with {len(wanted)}")
            found[f"{name} to running, s"] = time.monotonic() - began
            result = _until(events, "")[-1]
            for stage in ("fetch", "layer"):
                found[f"{name}: {stage}, s"] = result["stages_ms"].get(stage, 0) / 1000
            (provided,) = [one["text"] for one in told if one.get("code") == "provided"]
            print(f"  {provided}", file=sys.stderr)
    began = time.monotonic()
    venv.create(folder / "venv", with_pip=True)
    found["fresh environment, s"] = time.monotonic() - began
    began = time.monotonic()
    subprocess.run([folder / "venv/bin/python", "-m", "pip", "install", "-q", *packages], env=env, check=True)
    found["pip install, s"] = time.monotonic() - began
    return found


def _write(project: Path, wanted: list[str]) -> None:
    aside = project / "pyproject.toml.tmp~"
    aside.write_text(_SETTINGS.format(wanted=json.dumps(wanted)))
    aside.replace(project / "pyproject.toml")


@contextmanager
def _dev(project: Path, env: Mapping[str, str]) -> Iterator[Iterator[dict[str, Any]]]:
    """A ``reactor dev``, and its events."""
    words = [sys.executable, "-m", "reactor", "dev", str(project), "--json"]
    with subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield map(json.loads, process.stdout)
        finally:
            process.send_signal(signal.SIGINT)


def _until(events: Iterator[dict[str, Any]], said: str) -> list[dict[str, Any]]:
    """The events up to the line ``said``, or, where that is empty, up to the next healthy result."""
    told = []
    for event in events:
        told.append(event)
        if event["event"] == "problem":
            raise SystemExit(event["message"])
        if event.get("text") == said if said else event["event"] == "result" and event["healthy"]:
            return told
    raise SystemExit("reactor dev ended")


if __name__ == "__main__":
    main()
