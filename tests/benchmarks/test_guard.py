"""Whom the guard would end."""

from benchmarks.guard import descendants


def test_the_descendants_are_all_below_and_nobody_else() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 13: 10, 20: 1, 21: 20}
    assert sorted(descendants(10, parents)) == [11, 12, 13]
    assert descendants(12, parents) == []
