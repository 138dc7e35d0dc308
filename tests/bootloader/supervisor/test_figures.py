"""What the system's texts say in figures; where a text makes no sense, there is no figure, and no error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.supervisor.figures import Process, device, percent, process, processor, spent

STAT = "7 (a) b (c)) S 1 2 3 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 3 0 12345 1000000 250 18446744073709551615\n"
MEMINFO = "MemTotal:        1000 kB\nMemFree:          10 kB\nMemAvailable:     400 kB\n"


def test_a_process_is_read_whatever_it_is_called() -> None:
    assert process(STAT, 100, 4096) == Process(2.0, 250 * 4096, 3)
    assert process(Path(f"/proc/{os.getpid()}/stat").read_text(), 100, 4096) is not None


@given(st.text() | st.text(alphabet="0123456789 ()-x"))
def test_no_text_is_an_error(text: str) -> None:
    process(text, 100, 4096)
    processor(text)
    device({"meminfo": text, "uptime": text, "loadavg": text}, [text])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cpu  10 5 20 100 15 1 2 3 9 9\ncpu0 1 1 1 1\n", (41, 156)),
        ("cpu 1 2 3 4\n", (6, 10)),
        ("cpu 1 2 3\n", None),
        ("intr 1 2 3 4\n", None),
        ("cpu a b c d\n", None),
        ("", None),
    ],
)
def test_the_processors_are_read(text: str, found: tuple[int, int] | None) -> None:
    assert processor(text) == found


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ((10, 100), (20, 120), 50.0),
        ((10, 100), (10, 100), None),
        ((10, 100), (5, 120), 0.0),
        ((10, 100), (90, 120), 100.0),
        (None, (1, 2), None),
        ((1, 2), None, None),
    ],
)
def test_how_busy_it_was(before: tuple[int, int] | None, after: tuple[int, int] | None, found: float | None) -> None:
    assert percent(before, after) == found


@given(st.dictionaries(st.integers(1, 5), st.floats(0, 1e6)), st.dictionaries(st.integers(1, 5), st.floats(0, 1e6)))
def test_what_processes_took_is_never_less_than_nothing(before: dict[int, float], after: dict[int, float]) -> None:
    old, new = ({pid: Process(cpu, 0, 1) for pid, cpu in one.items()} for one in (before, after))
    assert spent(old, new) >= 0
    assert spent(new, new) == 0
    assert spent({}, new) == pytest.approx(sum(after.values()))


@pytest.mark.parametrize(
    ("texts", "temperatures", "told"),
    [
        ({}, [], {}),
        ({"meminfo": MEMINFO}, [], {"memory_bytes": 1_024_000, "memory_available_bytes": 409_600}),
        ({"meminfo": "MemTotal: much\n"}, [], {}),
        ({"uptime": "12.5 20.1\n", "loadavg": "0.25 0.1 0.1 1/100 7\n"}, [], {"up_s": 12.5, "load": 0.25}),
        ({"uptime": "inf\n", "loadavg": "nan"}, [], {}),
        ({}, ["48312\n", "51000\n", "-273000\n", "hot\n", ""], {"temperature_c": 51.0}),
        ({}, ["999000\n"], {}),
    ],
)
def test_a_device_is_told_as_far_as_it_tells(
    texts: dict[str, str], temperatures: list[str], told: dict[str, float]
) -> None:
    assert device(texts, temperatures) == told
