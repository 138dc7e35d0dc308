"""What the value of each setting may be: one reader a kind, which gives it as it is used, or says what was expected.

Pure. Knows nothing of keys, tables and files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bootloader.wire.launch import ASSETS, ENTRY, LIMITS

from .plan import pattern_problem

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\]\s*)?(?:$|[<>=!~;(@])")


class Unfit(Exception):
    """A value is not what its key takes; the text says what was expected."""


def table(value: object) -> Mapping[str, Any]:
    """A table."""
    if not isinstance(value, dict):
        raise Unfit("a table")
    return value


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Unfit("true or false")
    return value


def texts(value: object) -> tuple[str, ...]:
    """A list of texts, none of them empty."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item and "\0" not in item for item in value):
        raise Unfit("a list of strings")
    return tuple(value)


def requirements(value: object) -> tuple[str, ...]:
    """A list of requirements as packaging tools write them, each of which begins with a name."""
    for text in (found := texts(value)):
        if not _REQUIREMENT.match(text):
            raise Unfit(f'a list of requirements such as "gpiozero>=2", which {text!r} is not')
    return found


def distribution(requirement: str) -> str:
    """The name that a requirement begins with."""
    found = _REQUIREMENT.match(requirement)
    return found[1] if found else ""


def patterns(value: object) -> tuple[str, ...]:
    """A list of patterns as in a .gitignore, at least one."""
    patterns = texts(value)
    if not patterns:
        raise Unfit('a list of patterns such as "src/**"')
    for pattern in patterns:
        if problem := pattern_problem(pattern):
            raise Unfit(f"patterns as in a .gitignore: {pattern!r} {problem}")
    return patterns


def entry(value: object) -> str:
    """A module, or a callable in one."""
    if not isinstance(value, str) or not ENTRY.fullmatch(value):
        raise Unfit("'package.module' or 'package.module:callable'")
    if re.fullmatch(r".*\.py", value):
        raise Unfit("a module, not a file: leave '.py' off")
    return value


def callable_of(value: object) -> str:
    """A callable in a module."""
    if not isinstance(value, str) or not ENTRY.fullmatch(value) or ":" not in value:
        raise Unfit("'package.module:callable'")
    return value


def assets(value: object) -> str:
    """What is done about assets: one of two words, or a callable."""
    if isinstance(value, str) and (value in ASSETS or (ENTRY.fullmatch(value) and ":" in value)):
        return value
    raise Unfit(f"{' or '.join(map(repr, ASSETS))}, or 'package.module:callable'")


def address(value: object) -> str:
    """Where a target is."""
    if not isinstance(value, str) or not re.fullmatch(r"[^\s\0]+", value):
        raise Unfit("'host' or 'host:port'")
    return value


def port(value: object) -> str:
    """A serial port."""
    if not isinstance(value, str) or not re.fullmatch(r"[^\s\0]+", value):
        raise Unfit("a device such as '/dev/ttyUSB0', 'socket://host:port' or 'rfc2217://host:port'")
    if "://" in value and not value.startswith(("socket://", "rfc2217://")):
        raise Unfit("'socket://host:port' or 'rfc2217://host:port'")
    return value


def baud(value: object) -> int:
    """The speed of a serial port."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise Unfit("bits a second, such as 115200")
    return value


def one_of(values: tuple[str, ...]) -> Callable[[object], str]:
    """A reader of one of ``values``."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in values:
            raise Unfit(" or ".join(f"'{each}'" for each in values))
        return value

    return read


def seconds(key: str) -> Callable[[object], float]:
    """A reader of a time, within the limits of ``key``."""
    least, most = LIMITS[key]

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise Unfit(f"seconds, {least:g} to {most:g}")
        return float(value)

    return read


def count(key: str) -> Callable[[object], int]:
    """A reader of a whole number, within the limits of ``key``."""
    least, most = LIMITS[key]

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Unfit(f"a whole number, {least:.0f} to {most:.0f}")
        return value

    return read


def env(value: object) -> Mapping[str, str]:
    """Environment variables."""
    if not isinstance(value, dict):
        raise Unfit('a table of strings such as { LED_PIN = "17" }')
    for key, text in value.items():
        if not key or "=" in key or "\0" in key:
            raise Unfit(f"names of environment variables: {key!r} is none")
        if not isinstance(text, str) or "\0" in text:
            raise Unfit(f'strings only: write {key} = "{text if isinstance(text, int | float) else "..."}"')
    return dict(value)
