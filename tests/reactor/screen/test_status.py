"""The status line: what it says of each target, and what it leaves out where there is no room."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.screen.status import Status

READY = {"event": "ready", "generation": 3}
HEALTHY = {"event": "state", "application": "app", "state": "healthy"}
RESULT = {
    "event": "result",
    "rung": "patch",
    "healthy": True,
    "generation": 4,
    "save_to_running_ms": 12.34,
}
HOLD = {"event": "result", "rung": "hold", "healthy": False, "generation": 0}
SHIP = {"event": "progress", "what": "ship", "total_bytes": 8000}
HINT = "F1 help"

Events = list[dict[str, Any]]


def line(status: Status, width: int = 120, latency_ms: float | None = None, *notes: str) -> str:
    shown = status.line(width, {"local": latency_ms, "porch": latency_ms}, notes, HINT)
    return "".join(text for text, _ in shown)


def heard(*events: dict[str, Any], targets: tuple[str, ...] = ("local",)) -> Status:
    status = Status(targets)
    for event in events:
        status.heard({"target": targets[0], **event})
    return status


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        ([], "local · ● connecting"),
        ([READY], "local · ● up · generation 3"),
        ([READY, HEALTHY], "local · ✓ healthy · generation 3"),
        ([READY, HEALTHY, RESULT], "local · ✓ healthy · generation 4 · patch 12.3 ms"),
        ([READY, HEALTHY, RESULT, HOLD], "local · ✓ healthy · generation 4 · last save held"),
        ([READY, HEALTHY, {**RESULT, "rung": "none"}], "local · ✓ healthy · generation 4"),
        ([READY, HEALTHY, HOLD, {**RESULT, "rung": "none"}], "local · ✓ healthy · generation 4"),
        ([READY, {**RESULT, "rung": "none"}], "local · ✓ healthy · generation 4"),
        ([READY, HEALTHY, {**HEALTHY, "application": "net", "state": "failed"}], "local · ✗ net failed · generation 3"),
        ([READY, HEALTHY, {**HEALTHY, "application": "net", "state": "starting"}], "local · … starting · generation 3"),
        ([READY, {**HEALTHY, "state": "stopped"}], "local · ● stopped · generation 3"),
        ([READY, HEALTHY, {"event": "link", "state": "down"}], "local · ● link down · generation 3"),
        ([READY, HEALTHY, {**SHIP, "done_bytes": 2000}], "local · shipping to local: 2.0 kB of 8.0 kB ━━━─────────"),
        ([READY, HEALTHY, {**SHIP, "done_bytes": 2000}, RESULT], "local · ✓ healthy · generation 4 · patch 12.3 ms"),
        ([READY, HEALTHY, {**SHIP, "done_bytes": 8000}], "local · ✓ healthy · generation 3"),
        (
            [READY, {"event": "progress", "target": "", "what": "scan", "done_files": 5, "total_files": 9}],
            "local · ● up · generation 3 │ looking at 5 of 9 files",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_target_is_told_in_words(events: Events, shown: str) -> None:
    assert line(heard(*events)) == f" {shown}{' ' * (120 - len(shown) - len(HINT) - 2)}{HINT}"


def test_several_targets_are_told_in_marks_and_what_is_wrong_in_words() -> None:
    status = heard(READY, HEALTHY, RESULT, targets=("local", "porch"))
    assert line(status, 120, 0.8).startswith(" local ✓ g4 0.8 ms │ porch ● connecting")
    status.heard({**READY, "target": "porch"})
    status.heard({**HEALTHY, "target": "porch", "state": "failed"})
    assert line(status, 120, 0.8).startswith(" local ✓ g4 0.8 ms │ porch ✗ app failed g3 0.8 ms")


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (120, "local · ✓ healthy · generation 4 · patch 12.3 ms · link 0.4 ms │ only level:warning"),
        (86, "local · ✓ healthy · generation 4 · patch 12.3 ms · link 0.4 ms │ only level:warning"),
        (80, "local · ✓ healthy · generation 4 · patch 12.3 ms │ only level:warning"),
        (60, "local · ✓ healthy · patch 12.3 ms │ only level:warning"),
        (40, "local · ✓ healthy │ only level:warning"),
        (20, "local · ✓ healthy"),
    ],
)
def test_what_matters_least_is_left_out_first(width: int, shown: str) -> None:
    assert line(heard(READY, HEALTHY, RESULT), width, 0.4, "only level:warning").removesuffix(HINT).strip() == shown


EVENTS = st.sampled_from([READY, HEALTHY, RESULT, HOLD, {**SHIP, "done_bytes": 1}, {"event": "link", "state": "down"}])


@given(st.lists(EVENTS), st.integers(1, 200), st.floats(0, 1e6))
def test_whatever_happened_the_line_has_its_target_and_one_line(events: Events, width: int, latency_ms: float) -> None:
    shown = line(heard(*events), width, latency_ms)
    assert shown.startswith(" local")
    assert "\n" not in shown


def test_a_line_of_output_changes_nothing() -> None:
    status = heard(READY)
    assert not status.heard({"event": "log", "target": "local"})
    assert status.heard({**HEALTHY, "target": "local"})
