"""An example as a plain process: started, read line by line, asked to stop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def started(module: str, *projects: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m module`` with the sources of ``projects`` on its path; killed if it still runs at the end."""
    env = {name: value for name, value in os.environ.items() if name != "GPIOZERO_PIN_FACTORY"}
    env["PYTHONPATH"] = os.pathsep.join(str(EXAMPLES / project / "src") for project in projects)
    command = [sys.executable, "-u", "-W", "error", "-m", module]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """The next ``count`` lines that ``process`` prints; fewer only if it ends."""
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def stopped(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Ask ``process`` to stop: its exit status, and what it printed from then on."""
    process.terminate()
    output, _ = process.communicate(timeout=20)
    return process.returncode, output.splitlines()
