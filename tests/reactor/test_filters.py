"""A filter lets through the lines that all of its words hold for, and says what is wrong with a word."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.errors import Fault
from reactor.filters import LEVELS, Filter


def line(text: str = "Tick 42", **more: Any) -> dict[str, Any]:
    return {"event": "log", "target": "porch", "application": "main", "stream": "stdout", "text": text, **more}


ROWS: list[tuple[str, dict[str, Any], bool]] = [
    ("", line(), True),
    ("level:info", line(), True),
    ("level:warning", line(), False),
    ("level:warning", line(stream="stderr"), True),
    ("level:error", line(stream="stderr"), False),
    ("level:warning", line(stream="log", level="error"), True),
    ("level:warning", line(stream="log", level="info"), False),
    ("app:main", line(), True),
    ("app:net,main", line(), True),
    ("app:net", line(), False),
    ("!app:net", line(), True),
    ("on:porch", line(), True),
    ("on:attic,cellar", line(), False),
    ("tick", line(), True),
    ("TICK", line(), True),
    ("tock", line(), False),
    ("!tick", line(), False),
    ('"ick 4"', line(), True),
    ("'ick  4'", line(), False),
    ("/^tick/", line(), False),
    ("/^tick/i", line(), True),
    (r"/tick \d+$/i app:main", line(), True),
    (r"/a\/b/", line("a/b"), True),
    ("!/4.$/", line(), False),
    ("tick app:net", line(), False),
    ("level:info tick app:main on:porch !tock", line(), True),
    ("lvl:error", line("an lvl:error"), True),
    ("tock level:error", {"event": "state", "target": "porch", "application": "main"}, True),
    ("app:net", {"event": "state", "target": "porch", "application": "main"}, False),
    ("app:net on:attic tock", {"event": "result", "target": "porch"}, True),
    ("app:net tock", {"event": "notice", "target": "", "text": "x"}, True),
    ("tock", {"event": "console", "port": "/dev/ttyUSB0", "text": "boot"}, False),
]


@pytest.mark.parametrize(("words", "event", "through"), ROWS, ids=str)
def test_what_all_words_hold_for_is_let_through(words: str, event: dict[str, Any], through: bool) -> None:
    assert Filter(words).lets(event) is through
    assert list(Filter(words).through([event])) == ([event] if through else [])


@pytest.mark.parametrize(("words", "what"), [("level:loud", "is no level"), ("/(/", "is no regular expression")])
def test_a_word_that_makes_no_sense_is_a_fault_that_names_it(words: str, what: str) -> None:
    with pytest.raises(Fault, match=what) as caught:
        Filter(f"tick {words}")
    assert caught.value.code == "bad-filter"
    assert words.removeprefix("level:") in str(caught.value)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12))
def test_a_text_given_as_an_option_is_looked_for_as_it_is(text: str) -> None:
    if text.startswith("/") and text.rstrip("i").endswith("/"):
        return  # a regular expression
    assert Filter.of(texts=[text]).lets(line(f"before {text} after"))
    assert not Filter.of(texts=[f"{text}x"]).lets(line("before"))


def test_filters_are_joined_compared_and_shown_by_their_words() -> None:
    options = Filter.of("error", ["net", "main"], ["a b", "/x/"])
    assert str(options) == "level:error app:net,main 'a b' /x/"
    assert options == Filter(str(options)) == Filter("level:error app:net,main") & Filter("'a b' /x/")
    assert options
    assert not Filter()
    assert [level for level in LEVELS if Filter(f"level:{level}").lets(line(stream="log", level="warning"))] == [
        "debug",
        "info",
        "warning",
    ]
