"""State that an application hands to its next start: ``give`` is asked for it at the end, ``take`` gets it before the
entry.

Only plain data crosses, as JSON text, which nobody but the two ends looks into: both are the application's own code,
of two generations, and what the state means is between them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bootloader.wire.records import STATE_BYTES

from . import hook
from .hook import DONE, Result

NOTHING, UNFIT = "nothing", "unfit"


def give(entry: str, limit_s: float) -> tuple[Result, str]:
    """Ask ``entry`` for the state: what came of that, and the state's text, if there is one."""
    result = hook.call(entry, (), limit_s)
    if result.outcome != DONE:
        return result, ""
    if result.value is None:
        return Result(NOTHING), ""
    try:
        if problem := _unfit(result.value, "the state"):
            return Result(UNFIT, problem), ""
        text = json.dumps(result.value)
    except RecursionError:
        return Result(UNFIT, "the state is nested too deeply, or holds itself"), ""
    if len(text) > STATE_BYTES:
        return Result(UNFIT, f"the state is {len(text)} bytes of JSON, at most {STATE_BYTES} are handed over"), ""
    return Result(DONE), text


def take(entry: str, text: str, version: Mapping[str, Any], limit_s: float) -> Result:
    """Hand the state ``text``, which the generation ``version`` gave, to ``entry``."""
    return hook.call(entry, (json.loads(text), dict(version)), limit_s)


def _unfit(value: object, name: str) -> str:
    """What of ``value``, which is called ``name``, would not arrive as it is; empty where all does.

    The next process may know no class of this one's, and JSON would turn the numbers among a dict's keys into texts.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                return f"a key of {name} is {_short(key)}: keys have to be texts"
            if problem := _unfit(item, f"{name}[{_short(key)}]"):
                return problem
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            if problem := _unfit(item, f"{name}[{number}]"):
                return problem
    elif value is not None and type(value) not in (bool, int, float, str):
        return f"{name} is of {type(value).__module__}.{type(value).__qualname__}, which is no plain data"
    return ""


def _short(key: object) -> str:
    text = repr(key)
    return text if len(text) <= 40 else f"{text[:37]}..."
