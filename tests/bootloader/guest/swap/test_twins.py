"""A property: after any edits, a process that was patched answers as one that was started with the last of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings

from tests.bootloader.guest.swap.grammar import HEAD, versions
from tests.bootloader.guest.swap.programs import programs
from tests.bootloader.guest.swap.stage import Files
from tests.tracing import untraced

TOP = Path(__file__).parents[4]


class Twins:
    """The process that makes the pairs."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.bootloader.guest.swap.twins"]
        self._number = 0
        self._process = subprocess.Popen(
            command, cwd=TOP, env=untraced(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def compare(self, versions: list[Files]) -> dict[str, Any]:
        """What the two say that are made of these versions."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._number += 1
        self._process.stdin.write(json.dumps([self._number, versions]) + "\n")
        told: dict[str, Any] = {}
        while told.get("number") != self._number:  # a comparison before this one may have been given up
            told = json.loads(self._process.stdout.readline())
        assert told["wrong"] == ""
        return told

    def close(self) -> None:
        self._process.communicate(timeout=20)


@pytest.fixture(scope="module")
def twins() -> Iterator[Twins]:
    made = Twins()
    yield made
    made.close()


def agree(told: dict[str, Any]) -> None:
    differing = {name: (told["patched"].get(name), fresh) for name, fresh in told["fresh"].items()}
    assert {name: pair for name, pair in differing.items() if pair[0] != pair[1]} == {}
    assert told["patched"].keys() == told["fresh"].keys()


def of_one_module(sources: list[str]) -> list[Files]:
    return [{"app.py": source} for source in sources]


@pytest.mark.timeout(300)  # of which no program takes more than 20
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(sources=versions())
def test_a_patched_process_answers_as_a_fresh_one(twins: Twins, sources: list[str]) -> None:
    told = twins.compare(of_one_module(sources))
    event(f"refused {len(told['refused'])} of {len(sources) - 1}")
    agree(told)


@pytest.mark.timeout(300)  # of which no program takes more than 20
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(sources=programs())
def test_a_patched_program_of_several_modules_answers_as_a_fresh_one(twins: Twins, sources: list[Files]) -> None:
    told = twins.compare(sources)
    event(f"refused {len(told['refused'])} of {told['whole'] - 1}")
    agree(told)


def test_what_is_only_bodies_and_literals_is_never_refused(twins: Twins) -> None:
    source = (
        HEAD + "A = {}\n\ndef f(a={}):\n    return a\n@counted\ndef g():\n    return {}\n\nclass P:\n    one = {}\n"
    )
    edits = [source.format(a, b, c, a) for a, b, c in [(1, 2, 3), (4, 5, 6), ("'x'", "'y'", None)]]
    told = twins.compare(of_one_module(edits))
    assert told["refused"] == []
    assert told["last"] == 2
    assert told["stale"] == []
    assert told["patched"] == told["fresh"]


def test_two_that_differ_are_told_apart(twins: Twins) -> None:
    told = twins.compare(of_one_module([HEAD + "A = []\n", HEAD + "A = []\n\nA.append(1)\n"]))
    assert told["refused"]
    assert told["fresh"]["app.A"] == ["list"]


def test_a_version_that_does_not_start_is_passed_over(twins: Twins) -> None:
    told = twins.compare(of_one_module(["A = 1\n", "A = nowhere\n", "A = 2\n"]))
    assert (told["whole"], told["last"], told["patched"]["app.A"]) == (2, 2, "2")
