"""The tables of the benchmark."""

from __future__ import annotations

from benchmarks.measure import Cell, Ratios, Row, Sync
from benchmarks.report import ratios, saves, syncs, table


def test_a_table_is_aligned_and_is_markdown() -> None:
    text = table("T", ["", "ms"], [["floor", "9.0"], ["rsync-kept", "340.0"]])
    assert text.split("\n") == [
        "## T",
        "",
        "|            |    ms |",
        "| ---------- | ----: |",
        "| floor      |   9.0 |",
        "| rsync-kept | 340.0 |",
    ]


def test_what_went_wrong_is_shown_beside_the_times() -> None:
    cell = Cell("light", 10)
    text = saves([Row("naive", cell, (1.0, 2.0), missing=3, stale=4, again=5), Row("gone", cell, (), missing=5)])
    naive, gone = text.split("\n")[-2:]
    assert [part.strip() for part in naive.split("|")[1:-1]] == ["naive", "1.5 / 2.0", "5", "3", "4", "5"]
    assert [part.strip() for part in gone.split("|")[1:-1]] == ["gone", "- / -", "5", "5", "0", "0"]


def test_a_table_with_nothing_to_compare_is_left_out() -> None:
    assert ratios(Ratios([])) == []
    assert len(ratios(Ratios([Row("floor", Cell(name, 10), (1.0,)) for name in ("light", "heavy")]))) == 1


def test_the_end_of_a_whole_tree_s_command_is_shown_where_it_has_one() -> None:
    ours, theirs = syncs([Sync("ours", 10_000, 2.0, 1.0, 0.5), Sync("theirs", 10_000, 2.0, 1.0)]).split("\n")[-2:]
    assert [part.strip() for part in ours.split("|")[1:-1]] == ["ours", "10,000", "2.00", "1.00", "0.50"]
    assert theirs.split("|")[-2].strip() == "-"
