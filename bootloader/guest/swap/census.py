"""Finds what lives in this process of a module's definitions, in one pass over all objects.

Functions are found however well they are hidden: behind decorators, in closures, in some library's list of callbacks.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Container
from dataclasses import dataclass
from types import AsyncGeneratorType, CodeType, CoroutineType, FunctionType, GeneratorType
from typing import Any, TypeAlias

Suspended: TypeAlias = "GeneratorType[Any, Any, Any] | CoroutineType[Any, Any, Any] | AsyncGeneratorType[Any, Any]"


Cache = functools._lru_cache_wrapper


@dataclass(frozen=True, slots=True)
class Census:
    """``functions``, ``suspended``: those whose code is of the files asked for.

    ``caches``: all of ``functools.cache`` and ``lru_cache``.
    """

    functions: list[FunctionType]
    suspended: list[Suspended]
    caches: list[Cache[Any]]


class Witness:
    """Made before the application runs: what the collector still shows it, it shows of the application too."""


class Frozen(Exception):
    """The application has called ``gc.freeze()``: what lived then can't be found."""


def census(files: Container[str], witness: Witness) -> Census:
    """Raises :class:`Frozen` where the collector does not show ``witness``."""
    found = Census([], [], [])
    kinds = {*_CODE, FunctionType, Cache, Witness}
    witnessed = False
    for thing in [each for each in gc.get_objects() if type(each) in kinds]:
        if type(thing) is FunctionType:
            if thing.__code__.co_filename in files:
                found.functions.append(thing)
        elif type(thing) is Cache:
            found.caches.append(thing)
        elif type(thing) is Witness:
            witnessed |= thing is witness
        elif code_of(thing).co_filename in files:
            found.suspended.append(thing)
    if not witnessed:
        raise Frozen("the application called `gc.freeze()`, and what it froze can't be found")
    return found


def code_of(suspended: Suspended) -> CodeType:
    """The code that a suspended body runs."""
    code: CodeType = getattr(suspended, _CODE[type(suspended)])
    return code


_CODE: dict[type, str] = {GeneratorType: "gi_code", CoroutineType: "cr_code", AsyncGeneratorType: "ag_code"}
