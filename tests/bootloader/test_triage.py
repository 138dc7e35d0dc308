"""What to boot, from what the disk says."""

from __future__ import annotations

import pytest

from bootloader.ledger import Generation
from bootloader.triage import choose

A, B = "aa" * 32, "bb" * 32


def generation(number: int, root: str, fate: str, *, was_healthy: bool | None = None) -> Generation:
    healthy = fate == "healthy" if was_healthy is None else was_healthy
    return Generation(number, root, 0.0, "host", "restart", "", 1, fate, healthy, "why")


@pytest.mark.parametrize(
    ("live", "ledger", "start", "back_to"),
    [
        pytest.param(None, [], False, None, id="a new device"),
        pytest.param(None, [generation(1, A, "failed")], False, None, id="torn, and nothing was healthy"),
        pytest.param(None, [generation(2, B, "applied"), generation(1, A, "healthy")], True, 1, id="torn"),
        pytest.param(
            None, [generation(1, A, "healthy")], True, 1, id="torn while healthy: it is rebuilt from its blobs"
        ),
        pytest.param(A, [generation(1, A, "healthy")], True, None, id="healthy"),
        pytest.param(A, [generation(1, A, "replaced", was_healthy=True)], True, None, id="was healthy once"),
        pytest.param(B, [generation(2, B, "applied"), generation(1, A, "healthy")], True, None, id="not known yet"),
        pytest.param(B, [generation(2, B, "failed"), generation(1, A, "healthy")], True, 1, id="failed"),
        pytest.param(
            B, [generation(2, B, "failed", was_healthy=True), generation(1, A, "healthy")], True, None, id="failed late"
        ),
        pytest.param(B, [generation(2, B, "failed"), generation(1, A, "failed")], True, None, id="nothing better"),
        pytest.param(A, [], True, None, id="the ledger is lost"),
        pytest.param(
            A,
            [generation(3, A, "healthy"), generation(2, B, "healthy"), generation(1, A, "failed")],
            True,
            None,
            id="the newest word on a root counts",
        ),
    ],
)
def test_the_device_starts_the_best_that_it_has(
    live: str | None, ledger: list[Generation], start: bool, back_to: int | None
) -> None:
    choice = choose(live, ledger)
    assert choice.start == start
    assert (choice.back_to.number if choice.back_to is not None else None) == back_to
    assert choice.why
