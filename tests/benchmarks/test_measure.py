"""The statistics of the benchmark."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.measure import Cell, Ratios, Row, aims, percentile, stage_medians

SMALL, LARGE = 10, 10_000


def rows(**medians_ms: float) -> list[Row]:
    """Contestants that take the same time in each cell."""
    cells = [Cell(application, files) for application in ("light", "heavy") for files in (SMALL, LARGE)]
    return [Row(name.replace("_", "-"), cell, (ms,) * 3) for cell in cells for name, ms in medians_ms.items()]


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 95, 7.0),
        ([float(n) for n in range(1, 31)], 95, 29.0),  # 30 saves: one may be slower
        ([float(n) for n in range(1, 101)], 95, 95.0),
        ([3.0, 1.0, 2.0], 100, 3.0),
        ([3.0, 1.0, 2.0], 1, 1.0),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs values"):
        percentile([], 95)


def test_a_row_counts_what_is_missing_as_saves_and_leaves_it_out_of_the_times() -> None:
    row = Row("naive", Cell("light", SMALL), (1.0, 2.0, 9.0), missing=2)
    assert (row.saves, row.median_ms, row.p95_ms) == (5, 2.0, 9.0)


def test_a_row_without_an_answer_has_no_times() -> None:
    row = Row("naive", Cell("light", SMALL), (), missing=5)
    assert (row.saves, row.median_ms, row.p95_ms) == (5, None, None)


def test_the_ratios_compare_reactor_with_the_floor_peers_with_reactor_and_cells_with_cells() -> None:
    found = Ratios(rows(floor=10.0, reactor=15.0, hupper=300.0))
    assert {ratio.value for ratio in found.floor} == {1.5}
    assert {(ratio.above[0], ratio.value) for ratio in found.ahead} == {("hupper", 20.0)}
    assert len(found.floor) == len(found.ahead) == 4
    assert {ratio.above[1].files for ratio in found.size} == {LARGE}
    assert {ratio.below[1].application for ratio in found.weight} == {"light"}


def test_a_contestant_without_an_answer_is_in_no_ratio() -> None:
    cell = Cell("light", SMALL)
    found = Ratios([Row("floor", cell, (10.0,)), Row("reactor", cell, (), missing=3)])
    assert not list(found.items())


def test_one_size_makes_no_ratio_of_sizes() -> None:
    assert Ratios([Row("floor", Cell("light", SMALL), (10.0,))]).size == []


@pytest.mark.parametrize(
    ("medians_ms", "expected"),
    [
        ({"floor": 10.0, "reactor": 20.0, "hupper": 200.0}, ["PASS", "PASS", "PASS"]),
        ({"floor": 10.0, "reactor": 20.1, "hupper": 201.0}, ["MISS", "PASS", "PASS"]),
        ({"floor": 10.0, "reactor": 20.0, "hupper": 900.0, "entr": 199.0}, ["PASS", "MISS", "PASS"]),
        ({"reactor": 20.0, "hupper": 900.0}, ["NOT MEASURED", "PASS", "PASS"]),
        ({"floor": 10.0, "hupper": 900.0}, ["NOT MEASURED", "NOT MEASURED", "NOT MEASURED"]),
    ],
)
def test_an_aim_is_met_by_the_worst_cell_and_the_nearest_peer(
    medians_ms: dict[str, float], expected: list[str]
) -> None:
    assert [aim.verdict for aim in aims(Ratios(rows(**medians_ms)))][:3] == expected


@pytest.mark.parametrize(
    ("medians_ms", "expected"),
    [
        ({"floor": 4.0, "reactor": 6.0, "jurigged": 6.0}, ["PASS", "PASS"]),
        ({"floor": 4.0, "reactor": 6.1, "jurigged": 60.0, "autoreload": 6.0}, ["MISS", "MISS"]),
        ({"floor": 4.0, "jurigged": 60.0}, ["NOT MEASURED", "NOT MEASURED"]),
    ],
)
def test_the_aims_of_a_patch_are_held_against_those_that_patch(
    medians_ms: dict[str, float], expected: list[str]
) -> None:
    patched = [Row(name, Cell("patched", SMALL), (ms,)) for name, ms in medians_ms.items()]
    restarted = [Row(name, Cell("heavy", SMALL), (ms,)) for name, ms in {"floor": 1.0, "reactor": 90.0}.items()]
    assert [aim.verdict for aim in aims(Ratios([*restarted, *patched]))][3:] == expected


def test_a_project_that_slows_reactor_down_misses_the_aim_of_size() -> None:
    cells = {SMALL: 10.0, LARGE: 12.1}
    found = aims(Ratios([Row("reactor", Cell("light", files), (ms,)) for files, ms in cells.items()]))
    assert found[2].verdict == "MISS"
    assert found[2].worst == pytest.approx(1.21)


def test_the_stages_keep_their_order_and_one_that_only_some_saves_had_counts_where_it_was() -> None:
    results: list[dict[str, Any]] = [
        {"stages_ms": {"watch": 1.0, "hash": 2.0}, "save_to_running_ms": 9.0},
        {"stages_ms": {"watch": 3.0, "hash": 2.0, "upload": 5.0}, "save_to_running_ms": 11.0},
        {"rung": "hold"},
    ]
    found = stage_medians(results)
    assert list(found.items()) == [("watch", 2.0), ("hash", 2.0), ("upload", 5.0), ("save_to_running_ms", 10.0)]
