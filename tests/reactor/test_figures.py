"""Figures of a target are read with distrust, and said as a person says them; those that are missing are left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.errors import Malformed
from bootloader.wire.messages import Fields
from reactor.figures import application, cells, device, imports, shown, span
from tests.reactor.test_report import HOSTILE, RAW

BOARD = {
    "cpu_percent": 12.3,
    "cpus": 4,
    "load": 0.5,
    "memory_bytes": 1_900_000_000,
    "memory_available_bytes": 1_600_000_000,
    "temperature_c": 48.25,
    "up_s": 7300,
}


def test_a_device_is_shown_in_a_line() -> None:
    line = "CPU 12 % of 4, load 0.50, 300 MB of 1.9 GB in use, 48.2 °C, up 2 h 1 min"
    assert shown(device(Fields(BOARD))) == line


@pytest.mark.parametrize("missing", [*BOARD, *[None]])
def test_a_figure_that_is_missing_is_left_out(missing: str | None) -> None:
    told = device(Fields({key: None if key == missing else value for key, value in BOARD.items()}))
    assert told.keys() == BOARD.keys() - {missing}
    assert shown(told)
    assert shown(device(Fields({}))) == ""


def test_an_application_is_shown_in_cells_and_lines() -> None:
    rows = [["app", 3.5, 9.0, False, True], ["quick", 0.2, 0.2, False, False], ["numpy", 80, 120, True, False]]
    one = {"up_s": 5, "cpu_percent": 40.2, "rss_bytes": 25_000_000, "processes": 1, "threads": 3, "imports": rows}
    told = application(Fields(one))
    assert cells(told) == ("5 s", "40 %", "25 MB, 3 threads")
    assert list(imports(told)) == [
        "slowest imports of its start: app 3.5 ms",
        "imported ahead of its start: numpy 80.0 ms",
    ]
    assert cells(application(Fields({**one, "processes": 2})))[2] == "25 MB in 2 processes"
    assert cells(application(Fields({}))) == ("-", "-", "-")


@given(
    st.dictionaries(
        st.sampled_from([*BOARD, "rss_bytes", "processes", "imports"]), st.integers() | st.text() | st.none()
    )
)
def test_figures_of_another_shape_are_malformed_and_nothing_else(body: dict[str, Any]) -> None:
    try:
        shown(device(Fields(body)))
        cells(application(Fields(body)))
    except Malformed:
        return


@pytest.mark.parametrize(
    "row", [[], ["a", 1, 1, True], [1, 1, 1, True, True], ["a", "1", 1, True, True], ["a", 1, 1, 1, 1]]
)
def test_an_import_that_makes_no_sense_is_malformed(row: list[Any]) -> None:
    with pytest.raises(Malformed):
        application(Fields({"imports": [row]}))


def test_nothing_raw_of_a_name_reaches_the_screen() -> None:
    (line,) = imports(application(Fields({"imports": [[HOSTILE, 5, 5, False, False]]})))
    assert not RAW.search(line)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")]
)
def test_a_span_is_said_as_a_person_says_it(seconds: float, said: str) -> None:
    assert span(seconds) == said
