"""What a release of the bootloader needs of this device besides Python: lines such as ``rpyc==6.0.2``.

They are in its `requirements.txt`, which lies in the package so that it travels with it. Knows what is installed;
installs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

_LINE = re.compile(r"([A-Za-z0-9_-]+)(==|>=)(\d+(?:\.\d+)*)")
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def unmet(text: str, carried: Collection[str]) -> Iterator[str]:
    """Those lines of ``text`` that this device does not meet, each with what it has; of packages that are ``carried``
    along none is. :class:`ValueError` where a line is no such thing.
    """
    from importlib import metadata  # with all of email; and upgrades are rare

    for line in text.split():
        told = _LINE.fullmatch(line)
        if told is None:
            raise ValueError(f"'{line[:40]}' names no version")
        name, how, wanted = told.groups()
        if name in carried:
            continue
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            there = ""
        has = _numbers(there)
        if not (has == _numbers(wanted) if how == "==" else has >= _numbers(wanted)):
            yield f"{line} (it has {there or 'none'})"


def _numbers(version: str) -> list[int]:
    """Those that a version begins with; a trailing ``.0`` counts for nothing."""
    told = _NUMBERS.match(version)
    return [int(each) for each in re.sub(r"(\.0+)+$", "", told[0]).split(".")] if told else []
