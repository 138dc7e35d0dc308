"""What to boot, from what the disk says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootloader.store.ledger import Generation
from bootloader.store.triage import MOST_BOOTS, MOST_HEALTHY_BOOTS, ladder, worn

A, B, BASE, C, D = "aa" * 32, "bb" * 32, "cc" * 32, "dd" * 32, "ee" * 32
WORN = MOST_HEALTHY_BOOTS


def generation(
    number: int, root: str, fate: str, *, was_healthy: bool | None = None, boots: int = 0, who: str = "host"
) -> Generation:
    healthy = fate == "healthy" if was_healthy is None else was_healthy
    return Generation(number, root, 0.0, who, "restart", "", 1, fate, healthy, "why", boots)


@pytest.mark.parametrize(
    ("live", "ledger", "base", "order"),
    [
        pytest.param("", [], "", [], id="a new device"),
        pytest.param("", [], BASE, [BASE], id="a new device that was provisioned"),
        pytest.param("", [generation(1, A, "failed")], "", [A], id="nobody knows what is live, so the newest"),
        pytest.param(A, [], "", [A], id="the ledger is lost"),
        pytest.param(A, [], BASE, [A, BASE], id="the ledger is lost, and there is a base"),
        pytest.param(A, [generation(1, A, "healthy")], BASE, [A, BASE], id="healthy"),
        pytest.param(A, [generation(1, A, "replaced", was_healthy=True)], "", [A], id="was healthy once"),
        pytest.param(B, [generation(2, B, "applied"), generation(1, A, "healthy")], "", [B, A], id="not known yet"),
        pytest.param("", [generation(2, B, "applied"), generation(1, A, "healthy")], "", [B, A], id="the link is lost"),
        pytest.param(B, [generation(2, B, "failed"), generation(1, A, "healthy")], "", [A, B], id="failed"),
        pytest.param(B, [generation(2, B, "failed")], BASE, [BASE, B], id="failed, and only the base is left"),
        pytest.param(
            B, [generation(2, B, "failed", was_healthy=True), generation(1, A, "healthy")], "", [B, A], id="failed late"
        ),
        pytest.param(B, [generation(2, B, "failed"), generation(1, A, "failed")], "", [B], id="nothing better"),
        pytest.param(
            A,
            [generation(3, A, "healthy"), generation(2, B, "healthy"), generation(1, A, "failed")],
            "",
            [A, B],
            id="the newest word on a root counts",
        ),
        pytest.param(
            A, [generation(3, A, "failed"), generation(1, A, "healthy")], "", [A], id="a root that was healthy, again"
        ),
        pytest.param(
            B,
            [generation(2, B, "applied", boots=MOST_BOOTS), generation(1, A, "healthy")],
            BASE,
            [A, BASE],
            id="takes the device down",
        ),
        pytest.param(
            B, [generation(2, B, "applied", boots=MOST_BOOTS - 1)], "", [B], id="may take the device down once more"
        ),
        pytest.param(B, [generation(2, B, "applied", boots=MOST_BOOTS)], "", [], id="takes it down, nothing is left"),
        pytest.param(
            B, [generation(2, B, "healthy", boots=WORN - 1)], "", [B], id="healthy, and the power fails now and then"
        ),
        pytest.param(
            B,
            [generation(2, B, "healthy", boots=WORN), generation(1, A, "healthy")],
            BASE,
            [A, BASE],
            id="was healthy, and takes the device down since",
        ),
        pytest.param(
            A,
            [
                generation(4, A, "healthy", boots=WORN, who="bootloader"),
                generation(3, B, "healthy", boots=WORN),
                generation(2, C, "healthy"),
            ],
            BASE,
            [BASE],
            id="what takes it down twice is not in the code",
        ),
        pytest.param(
            A,
            [
                generation(5, A, "healthy", boots=WORN),
                generation(4, D, "healthy"),
                generation(3, B, "healthy", boots=WORN),
                generation(2, C, "healthy"),
            ],
            BASE,
            [D, C, BASE],
            id="the one of long ago does not count",
        ),
        pytest.param(
            BASE,
            [generation(3, BASE, "applied", boots=MOST_BOOTS, who="bootloader"), generation(2, B, "failed", boots=3)],
            BASE,
            [],
            id="the base takes it down too",
        ),
        pytest.param(
            A,
            [generation(3, A, "applied", boots=1), generation(2, A, "applied", boots=3)],
            "",
            [A],
            id="somebody sent it again",
        ),
        pytest.param(
            A,
            [generation(3, A, "applied", boots=1, who="bootloader"), generation(2, A, "applied", boots=2)],
            "",
            [],
            id="going back to it does not make it better",
        ),
    ],
)
def test_the_device_starts_the_best_that_it_has(
    live: str, ledger: list[Generation], base: str, order: list[str]
) -> None:
    rungs = ladder(live, ledger, base)
    assert [rung.root for rung in rungs] == order
    newest = {one.root: one.number for one in reversed(ledger)}
    assert all(rung.generation == newest.get(rung.root, 0) and rung.why for rung in rungs)


def test_why_it_is_not_the_live_one_is_told() -> None:
    failed, healthy = generation(2, B, "failed"), generation(1, A, "healthy")
    assert ladder(B, [failed, healthy])[0].why == "generation 2 failed: why"
    tired = replace(failed, fate="applied", boots=MOST_BOOTS)
    assert worn([tired, healthy]) == {B}
    assert (
        ladder(B, [tired, healthy])[0].why
        == f"generation 2 was started {MOST_BOOTS} times in a row and cut off soon each time"
    )
    assert ladder("", [healthy])[0].why == "it was not known what is live"
