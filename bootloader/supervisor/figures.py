"""What the texts of Linux's ``/proc`` and ``/sys`` say in figures. Pure.

Each figure is there where its text makes sense, and None, or left out, where it does not: boards tell different things.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_PLAUSIBLE_C = (-50.0, 200.0)


@dataclass(frozen=True, slots=True)
class Process:
    """``cpu_s``: of the processor, since it began."""

    cpu_s: float
    rss_bytes: int
    threads: int


def process(stat: str, ticks_s: int, page_bytes: int) -> Process | None:
    """A process from its ``stat``, whose second field may hold anything, brackets and spaces too."""
    fields = stat.rpartition(")")[2].split()
    try:
        return Process(
            (int(fields[11]) + int(fields[12])) / ticks_s, max(0, int(fields[21])) * page_bytes, int(fields[17])
        )
    except (IndexError, ValueError):
        return None


def processor(stat: str) -> tuple[int, int] | None:
    """How long all processors together were busy, and how long in all, in ticks, from ``/proc/stat``."""
    name, *fields = (stat.partition("\n")[0].split() or [""])[:9]
    try:
        ticks = [int(field) for field in fields]
    except ValueError:
        return None
    if name != "cpu" or len(ticks) < 4:
        return None
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)  # idle, and waiting for a disk


def percent(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    """How busy it was between two moments."""
    if before is None or after is None or after[1] <= before[1]:
        return None
    return round(min(100.0, max(0.0, 100 * (after[0] - before[0]) / (after[1] - before[1]))), 1)


def spent(before: Mapping[int, Process], after: Mapping[int, Process]) -> float:
    """Seconds of the processor that processes took between two moments; those that are new, since they began."""
    took = (now.cpu_s - before[pid].cpu_s if pid in before else now.cpu_s for pid, now in after.items())
    return sum(max(0.0, seconds) for seconds in took)


def device(texts: Mapping[str, str], temperatures: Iterable[str]) -> dict[str, Any]:
    """The device's figures from ``meminfo``, ``uptime`` and ``loadavg``, and the sensors' thousandths of a degree."""
    told: dict[str, Any] = {}
    memory = {line.partition(":")[0]: _whole(line.partition(":")[2]) for line in texts.get("meminfo", "").splitlines()}
    for key, name in (("memory_bytes", "MemTotal"), ("memory_available_bytes", "MemAvailable")):
        if (size := memory.get(name)) is not None:
            told[key] = size * 1024
    for key, name in (("up_s", "uptime"), ("load", "loadavg")):
        if (number := _number(texts.get(name, ""))) is not None:
            told[key] = number
    degrees = [number / 1000 for text in temperatures if (number := _number(text)) is not None]
    degrees = [one for one in degrees if _PLAUSIBLE_C[0] < one < _PLAUSIBLE_C[1]]
    if degrees:
        told["temperature_c"] = round(max(degrees), 1)
    return told


def _whole(text: str) -> int | None:
    word = (text.split() or [""])[0]
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 16 else None


def _number(text: str) -> float | None:
    word = (text.split() or [""])[0]
    try:
        number = float(word)
    except ValueError:
        return None
    return number if -1e12 < number < 1e12 else None
