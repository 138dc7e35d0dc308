"""Commands whose output can't be written, or that nobody reads: one line at most, an exit code, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import WAIT_S, Bench, until

TALKS = """\
import time

def main():
    while True:
        print("tick", flush=True)
        time.sleep(0.05)
"""
SETTINGS = 'entry = "main:main"\nsettle_s = 0.1'


def started(bench: Bench, output: int, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "reactor", *arguments]
    return subprocess.Popen(
        command, env=bench.env, cwd=bench.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=-1, text=True
    )


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["lines", "json"])
@pytest.mark.parametrize("command", ["dev", "push", "status", "new"])
def test_output_that_cannot_be_written_is_one_line_and_the_end(
    bench: Bench, command: str, form: tuple[str, ...]
) -> None:
    bench.project({"main.py": TALKS}, SETTINGS)
    full = os.open("/dev/full", os.O_WRONLY)
    process = started(bench, full, command, {"status": "--path=app", "new": "another"}.get(command, "app"), *form)
    os.close(full)
    _, said = process.communicate(timeout=WAIT_S)
    assert said == "reactor: the output can't be written: No space left on device\n"
    assert process.returncode == 1
    until(lambda: not bench.processes())


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["lines", "json"])
def test_a_reader_that_goes_ends_dev_without_a_word(bench: Bench, form: tuple[str, ...]) -> None:
    project = bench.project({"main.py": TALKS}, SETTINGS)
    end, start = os.pipe()
    process = started(bench, start, "dev", str(project), *form)
    os.close(start)
    with open(end) as output:
        assert output.readline()
    _, said = process.communicate(timeout=WAIT_S)
    assert (process.returncode, said) == (1, "")
    until(lambda: not bench.processes())


def test_a_command_with_its_output_closed_does_its_work(bench: Bench) -> None:
    project = bench.project({"main.py": "print('once')\n"}, 'entry = "main"\nsettle_s = 0.1')
    script = f'"{sys.executable}" -m reactor push "{project}" >&-'
    done = subprocess.run(["sh", "-c", script], env=bench.env, capture_output=True, text=True, timeout=WAIT_S)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_that_nobody_can_be_told_ends_a_command_all_the_same(bench: Bench) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "reactor", "status", "--path", "nowhere"]
        done = subprocess.run(command, env=bench.env, cwd=bench.folder, stdout=full, stderr=full, timeout=WAIT_S)
    assert done.returncode == 1
