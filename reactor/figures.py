"""What a device and its applications use: a target's figures read with distrust, and said as a person says them. Pure.

Each figure may be missing: systems tell different things, and older targets none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bootloader.wire.errors import Malformed
from bootloader.wire.messages import Fields

from .report import clean, duration, size, whole

_IMPORTS = 40
_SHOWN = 3
_SHOWN_MS = 1.0
_NUMBERS = ("cpu_percent", "load", "temperature_c", "up_s")
_WHOLES = ("cpus", "memory_bytes", "memory_available_bytes")

Told = dict[str, Any]


def device(answer: Fields) -> Told:
    """The figures of a device that there are."""
    told: Told = {key: answer.number(key) for key in _NUMBERS if maybe(answer, key) is not None}
    return told | {key: whole(answer.integer(key)) for key in _WHOLES if maybe(answer, key) is not None}


def application(answer: Fields) -> Told:
    """The figures of an application, null where there are none, and the slowest imports of its last start."""
    return {
        "up_s": maybe(answer, "up_s"),
        "cpu_percent": maybe(answer, "cpu_percent"),
        "rss_bytes": _whole(answer, "rss_bytes"),
        "processes_count": _whole(answer, "processes"),
        "threads_count": _whole(answer, "threads"),
        "imports": [_import(row) for row in answer.rows("imports")[:_IMPORTS]],
    }


def maybe(answer: Fields, key: str) -> float | None:
    """A number that may be null, or missing where the target's version does not tell it."""
    return answer.number(key) if answer.plain().get(key) is not None else None


def _whole(answer: Fields, key: str) -> int | None:
    return whole(answer.integer(key)) if answer.plain().get(key) is not None else None


def _import(row: list[Any]) -> Told:
    match row:
        case [str(name), int() | float() as own_ms, int() | float() as all_ms, bool(warm), bool(own)]:
            times = Fields({"self_ms": own_ms, "total_ms": all_ms})
            ms = {key: times.number(key) for key in ("self_ms", "total_ms")}
            return {"module": clean(name[:200]), **ms, "warm": warm, "own": own}
        case _:
            raise Malformed("not [module, ms, ms, flag, flag]", to="'imports'")


def shown(told: Mapping[str, Any]) -> str:
    """A device's figures in one line; empty where there are none."""
    parts, cpus = [], told.get("cpus", 1)
    if "cpu_percent" in told:
        parts.append(f"CPU {told['cpu_percent']:.0f} %" + (f" of {cpus}" if cpus > 1 else ""))
    if "load" in told:
        parts.append(f"load {told['load']:.2f}")
    if "memory_bytes" in told and "memory_available_bytes" in told:
        used = max(0, told["memory_bytes"] - told["memory_available_bytes"])
        parts.append(f"{size(used)} of {size(told['memory_bytes'])} in use")
    if "temperature_c" in told:
        parts.append(f"{told['temperature_c']:.1f} °C")
    if "up_s" in told:
        parts.append(f"up {span(told['up_s'])}")
    return ", ".join(parts)


def cells(told: Mapping[str, Any]) -> tuple[str, str, str]:
    """How long an application has been up, and what it uses, for a table."""
    up_s, percent, rss = told["up_s"], told["cpu_percent"], told["rss_bytes"]
    processes, threads = told["processes_count"], told["threads_count"]
    memory = "-" if rss is None else size(rss)
    if processes is not None and processes > 1:
        memory += f" in {processes} processes"
    elif threads is not None:
        memory += f", {threads} thread{'s' * (threads != 1)}"
    return "-" if up_s is None else span(up_s), "-" if percent is None else f"{percent:.0f} %", memory


def imports(told: Mapping[str, Any]) -> Iterator[str]:
    """Lines about the imports that were slow, those of the start itself and those that were ahead of it."""
    for warm, words in ((False, "slowest imports of its start"), (True, "imported ahead of its start")):
        slow = [one for one in told["imports"] if one["warm"] is warm and one["self_ms"] >= _SHOWN_MS][:_SHOWN]
        if slow:
            yield f"{words}: " + ", ".join(f"{one['module']} {duration(one['self_ms'])}" for one in slow)


def span(seconds: float) -> str:
    """How long something has been so, as a person says it."""
    minutes = int(seconds) // 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    hours = minutes // 60
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
