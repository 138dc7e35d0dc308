"""What the figures are: medians and 95th percentiles of saves, their ratios, and the aims that they meet or miss.

Pure. Knows neither how a save is timed nor how a table is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from statistics import median
from typing import Any

from .projects import HEAVY, LIGHT, PATCHED

APPLICATIONS = (LIGHT, HEAVY, PATCHED)
OURS, FLOOR, WAY = "reactor", "floor", "way"
TOLD = "save_to_running_ms"

RESTART_AT_MOST = 2.0
PATCH_AT_MOST = 1.5
AHEAD_AT_LEAST = 10.0
SIZE_AT_MOST = 1.2


@dataclass(frozen=True, slots=True)
class Cell:
    """One of the four things that are measured: the light or the heavy application among so many files."""

    application: str
    files: int

    def __str__(self) -> str:
        return f"{self.application}, {self.files:,} files"


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant in one cell. ``times_ms`` holds a time a right answer; what went wrong is counted beside it.

    ``missing``: saves whose version did not run in time. ``stale``: starts of code that was already replaced.
    ``again``: a version started once more than it was saved.
    """

    contestant: str
    cell: Cell
    times_ms: tuple[float, ...]
    missing: int = 0
    stale: int = 0
    again: int = 0

    @property
    def saves(self) -> int:
        """How many saves were made."""
        return len(self.times_ms) + self.missing

    @property
    def median_ms(self) -> float | None:
        """The median of the answered saves."""
        return median(self.times_ms) if self.times_ms else None

    @property
    def p95_ms(self) -> float | None:
        """The 95th percentile of the answered saves."""
        return percentile(self.times_ms, 95) if self.times_ms else None

    def summary(self) -> dict[str, Any]:
        """The row as plain values."""
        wrong = {"missing": self.missing, "stale": self.stale, "again": self.again}
        times = {"saves": self.saves, "median_ms": self.median_ms, "p95_ms": self.p95_ms}
        return {"contestant": self.contestant, **asdict(self.cell), **times, **wrong}


@dataclass(frozen=True, slots=True)
class Sync:
    """Seconds to bring a whole tree to where there is nothing, to find that nothing changed, and to end at Ctrl-C."""

    contestant: str
    files: int
    first_s: float
    again_s: float
    end_s: float | None = None


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of ``values`` that at least ``percent`` % of them do not exceed (nearest rank)."""
    if not values or not 0 < percent <= 100:
        raise ValueError("a percentile needs values, and a percentage above 0 and up to 100")
    return sorted(values)[ceil(len(values) * percent / 100) - 1]


def stage_medians(results: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The median ms of each stage of reactor's ``result`` events, in their order, and of the sum that it tells."""
    values: dict[str, list[float]] = {}
    for result in results:
        for name, ms in {**result.get("stages_ms", {}), TOLD: result.get(TOLD)}.items():
            if ms is not None:
                values.setdefault(name, []).append(ms)
    told = values.pop(TOLD, None)
    return {name: median(own) for name, own in ({**values, TOLD: told} if told else values).items()}


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of ``above`` by the median of ``below``: two (contestant, cell)s."""

    above: tuple[str, Cell]
    below: tuple[str, Cell]
    value: float

    def summary(self) -> dict[str, Any]:
        """The ratio as plain values."""
        (above, above_cell), (below, below_cell) = self.above, self.below
        return {
            "above": {"contestant": above, **asdict(above_cell)},
            "below": {"contestant": below, **asdict(below_cell)},
            "value": self.value,
        }


class Ratios:
    """Every ratio that the rows allow. A pair without two medians has none."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._medians = {(row.contestant, row.cell): row.median_ms for row in rows if row.median_ms is not None}
        names = dict.fromkeys(name for name, _ in self._medians)
        cells = dict.fromkeys(cell for _, cell in self._medians)
        peers = [name for name in names if name not in (OURS, FLOOR, WAY)]
        sizes = sorted({cell.files for cell in cells})
        self.floor = self._all(((name, cell), (FLOOR, cell)) for name in (OURS, WAY) for cell in cells)
        self.ahead = self._all(((peer, cell), (OURS, cell)) for peer in peers for cell in cells)
        self.size = self._all(
            ((name, Cell(application, large)), (name, Cell(application, small)))
            for name in names
            for application in APPLICATIONS
            for small, large in [(sizes[0], sizes[-1])]
            if small != large
        )
        self.weight = self._all(
            ((name, Cell(HEAVY, files)), (name, Cell(LIGHT, files))) for name in names for files in sizes
        )

    def items(self) -> Iterator[tuple[str, Ratio]]:
        """Every ratio with the name of its kind."""
        for kind in ("floor", "ahead", "size", "weight"):
            for ratio in getattr(self, kind):
                yield kind, ratio

    def _all(self, pairs: Iterable[tuple[tuple[str, Cell], tuple[str, Cell]]]) -> list[Ratio]:
        return [
            Ratio(above, below, self._medians[above] / self._medians[below])
            for above, below in pairs
            if above in self._medians and below in self._medians
        ]


@dataclass(frozen=True, slots=True)
class Aim:
    """What was promised, and the worst ratio that was measured; None where nothing was."""

    text: str
    worst: float | None
    met: bool

    @property
    def verdict(self) -> str:
        """PASS, MISS, or NOT MEASURED."""
        return "NOT MEASURED" if self.worst is None else "PASS" if self.met else "MISS"


def aims(ratios: Ratios) -> list[Aim]:
    """The promises. Each is held against its worst cell, or its nearest peer."""
    own_floor = {
        patched: [
            ratio.value
            for ratio in ratios.floor
            if ratio.above[0] == OURS and (ratio.above[1].application == PATCHED) is patched
        ]
        for patched in (False, True)
    }
    ahead = [ratio.value for ratio in ratios.ahead if ratio.above[1].application == HEAVY]
    patched_ahead = [ratio.value for ratio in ratios.ahead if ratio.above[1].application == PATCHED]
    size = [ratio.value for ratio in ratios.size if ratio.above[0] == OURS]
    return [
        _at_most(RESTART_AT_MOST, f"a restart within {RESTART_AT_MOST:g}x of the floor", own_floor[False]),
        _at_least(AHEAD_AT_LEAST, f"{AHEAD_AT_LEAST:g}x ahead of every peer with numpy imported", ahead),
        _at_most(SIZE_AT_MOST, f"within {SIZE_AT_MOST:g}x between 10 and 10,000 files", size),
        _at_most(PATCH_AT_MOST, f"a patch within {PATCH_AT_MOST:g}x of the floor", own_floor[True]),
        _at_least(1.0, "a patch ahead of every reloader inside the application's own process", patched_ahead),
    ]


def _at_most(bound: float, text: str, values: Sequence[float]) -> Aim:
    worst = max(values, default=None)
    return Aim(text, worst, worst is not None and worst <= bound)


def _at_least(bound: float, text: str, values: Sequence[float]) -> Aim:
    worst = min(values, default=None)
    return Aim(text, worst, worst is not None and worst >= bound)
