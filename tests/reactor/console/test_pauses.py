"""How often a port that is not there is tried."""

from __future__ import annotations

import pytest

from reactor.console import pause_s


@pytest.mark.parametrize(("is_dear", "most"), [(False, 0.5), (True, 5.0)])
def test_pauses_grow_and_stay_bounded(is_dear: bool, most: float) -> None:
    pauses = [pause_s(tries, is_dear=is_dear) for tries in range(100)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.1
    assert pauses[-1] == most
