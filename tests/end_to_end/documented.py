"""What docs/json.md says of the lines of ``--json``, so that every line of every test is held to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

TEXT = (Path(__file__).parents[2] / "docs" / "json.md").read_text("utf-8")

_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "whole": (int,),
    "number": (int, float),
    "flag": (bool,),
    "list": (list,),
    "object": (dict,),
    "null": (type(None),),
}
_ROW = re.compile(r"\| `(\w+)` \| ([\w ]+) \| (always|) ?\| .*\|")


@dataclass(frozen=True)
class Key:
    """What a key may hold, and whether each event of its kind has it."""

    kinds: tuple[type, ...]
    always: bool

    def fits(self, value: object) -> bool:
        return type(value) in self.kinds


def _keys(section: str) -> dict[str, Key]:
    rows = (_ROW.fullmatch(line) for line in section.splitlines())
    return {
        row[1]: Key(sum((_KINDS[kind] for kind in row[2].split(" or ")), ()), row[3] == "always") for row in rows if row
    }


@cache
def events() -> Mapping[str, Mapping[str, Key]]:
    """The keys of each event, by its name."""
    head, *sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    common = _keys(head)
    assert set(common) == {"event", "target", "at", "target_at", "host_at", "boot"}
    named = ((re.match(r"`(\w+)`\n", section), section) for section in sections)
    return {name[1]: {**common, **_keys(section)} for name, section in named if name}


def breaches(event: Mapping[str, Any]) -> Iterator[str]:
    """What of ``event`` is not as documented."""
    name = event.get("event")
    keys = events().get(str(name))
    if keys is None:
        yield f"no event '{name}' is documented"
        return
    for key, value in event.items():
        if key not in keys:
            yield f"{name}: no key '{key}' is documented"
        elif not keys[key].fits(value):
            yield f"{name}: '{key}' is {value!r}"
    for key in keys.keys() - event.keys():
        if keys[key].always:
            yield f"{name}: '{key}' is missing"
    moment = datetime.fromisoformat(event["at"])
    if moment.tzinfo is None or not re.search(r"\.\d{3}[+-]", event["at"]):
        yield f"{name}: 'at' is {event['at']}"
