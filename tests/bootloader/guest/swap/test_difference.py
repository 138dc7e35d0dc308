"""The comparison of sources, on real ones: the standard library's."""

from __future__ import annotations

import dataclasses
import json.decoder
import typing
from pathlib import Path
from types import ModuleType

import pytest

from bootloader.guest.swap.difference import difference
from bootloader.guest.swap.plan import Plan
from bootloader.guest.swap.source import Source, alike


def plan_of(module: ModuleType, before: str = "", after: str = "") -> Plan:
    text = Path(str(module.__file__)).read_text()
    new = text.replace(before, after) if before else text
    return difference(Source("m.py", text.encode(), "live/m.py"), Source("m.py", f"\n\n{new}".encode(), "live/m.py"))


@pytest.mark.parametrize("module", [dataclasses, json.decoder, typing], ids=lambda module: module.__name__)
def test_lines_that_move_change_nothing_and_lose_no_code(module: ModuleType) -> None:
    plan = plan_of(module)
    assert (plan.steps, plan.edits, plan.changed, plan.touched) == ([], [], [], set())
    assert {id(old) for old, _ in plan.successors} >= {
        id(code) for (name, _), found in plan.old.codes.items() for code in found if name != "__annotate__"
    }
    assert all(alike(old, new) and old.co_qualname == new.co_qualname for old, new in plan.successors)


def test_one_changed_body_is_the_only_change() -> None:
    plan = plan_of(json.decoder, "obj, end = self.raw_decode(s, idx=_w(s, 0).end())", "obj, end = None, 0")
    assert plan.changed == ["JSONDecoder.decode"]
    assert [old.co_name for old, new in plan.successors if not alike(old, new)] == ["decode"]
    assert (plan.steps, plan.edits) == ([], [])
