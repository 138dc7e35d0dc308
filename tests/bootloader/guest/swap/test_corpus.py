"""Every row of the corpus, on the engine alone. What the rows claim is in ``edits/``; what a row is, in ``rows.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.bootloader.guest.swap.rows import Row, read, rows
from tests.tracing import untraced

TOP = Path(__file__).parents[4]
ROWS = rows()
MOST_TIME_S = 100


@cache
def examined(topic: str) -> dict[str, str]:
    """What is wrong with each row of a topic, examined in one go, in processes forked from one without threads."""
    command = [sys.executable, "-m", "tests.bootloader.guest.swap.examine", f"{topic}/"]
    told = subprocess.run(command, cwd=TOP, env=untraced(), stdout=subprocess.PIPE, text=True, timeout=MOST_TIME_S)
    found = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
    return {each["row"]: each["wrong"] for each in found}


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_an_edit_is_patched_or_refused_as_its_row_says(row: Row) -> None:
    if not row.is_for():
        pytest.skip(f"Python {row.told['python']} reads it")
    assert examined(row.name.partition("/")[0])[row.name] == "", row.claim


def test_the_corpus_is_a_big_one() -> None:
    assert len(ROWS) >= 150
    assert len({row.claim for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It claims.\nrung: maybe\n\n=== after a.py\n", "its rung"),
        ("It claims.\nrung: restart\n\n=== after a.py\n", "because of what"),
        ("It claims.\nrung: patch\n\n=== both a.py\n", "changes nothing"),
        ("It claims.\nrung: patch\n\n=== after a.py\n", "probes nothing"),
        ("It claims.\nrung: patch\nwhy: not\n\n=== after a.py\n=== probe\n", "'why'"),
        ("It claims.\nrung: patch\n\n=== after a.py\n=== prob\n", "'prob'"),
    ],
)
def test_a_row_that_says_nothing_is_none(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read("a/row", text)
