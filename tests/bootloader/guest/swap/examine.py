"""Examines rows on the engine alone, each in a process of its own: ``python -m tests.bootloader.guest.swap.examine``.

It needs nothing but the standard library and ``bootloader.guest``, so any interpreter can run it. Names of rows, or
beginnings of names, choose some. It prints a JSON line for each row that it ran: its name, and what was wrong.
"""

from __future__ import annotations

import gc
import json
import sys
import traceback
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from tests.bootloader.guest.swap.rows import Row, rows
from tests.bootloader.guest.swap.stage import Stage, apart


def main(chosen: list[str]) -> int:
    """Run the rows whose names begin with one of ``chosen``; how many were wrong."""
    from bootloader.guest import swap  # here: once, and not again in every process that is forked

    wrong = 0
    for row in rows():
        if row.is_for() and any(row.name.startswith(name) for name in chosen or [""]):
            problem = "".join(
                apart(partial(examine, row, swap))[1]
                for examine in (tells_old_from_new, holds_in_a_fresh_process, is_swapped)
            )
            print(json.dumps({"row": row.name, "wrong": problem}), flush=True)
            wrong += bool(problem)
    return wrong


def run(row: Row, section: str, scope: dict[str, Any]) -> None:
    """Run a section of the row in ``scope``; what fails shows its line."""
    text = getattr(row, section)
    try:
        exec(compile(text, f"<{section}>", "exec"), scope)
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno or 1 for frame in frames if frame.filename == f"<{section}>"]
        at = text.splitlines()[lines[-1] - 1].strip() if lines else "(not compiled)"
        raise AssertionError(f"{row.name}, {section}: `{at}` failed: {error!r}") from error


def tells_old_from_new(row: Row, swap: Any, folder: Path) -> str:
    """A probe that passes before the edit proves nothing."""
    if row.probe:
        Stage(folder, row.before)
        scope = {"__name__": "__main__"}
        run(row, "hold", scope)
        try:
            run(row, "probe", scope)
        except AssertionError:
            return ""
        raise AssertionError("the probe passes before the edit")
    return ""


def holds_in_a_fresh_process(row: Row, swap: Any, folder: Path) -> str:
    """What a probe asks for has to be what a process that is started with the edit answers."""
    if row.probe:
        Stage(folder, row.after)
        scope = {"__name__": "__main__"}
        run(row, "hold", scope)
        run(row, "probe", scope)
    return ""


def is_swapped(row: Row, swap: Any, folder: Path) -> str:
    """The engine does with the row what the row says."""
    stage = Stage(folder, row.before)
    after = stage.stage(row.after)
    scope = {"__name__": "__main__"}
    run(row, "hold", scope)
    engine = swap.Swap(str(stage.live))
    untouched = picture(stage.live)
    reason, undone = "", False
    try:
        prepared = engine.prepare(swap.Tree(str(stage.tree)), swap.Tree(str(after)), row.paths)
        assert picture(stage.live) == untouched, "preparing it touched something"
        assert row.patched or row.told.get("undone"), "it was to be refused, but can be patched"
        stage.switch(after)
        report = prepared.commit().as_fields()
    except (swap.Refusal, swap.Undone) as refusal:  # whose traceback holds what was tried: it has to go
        reason, undone = refusal.reason, isinstance(refusal, swap.Undone)
    if reason:
        assert not row.patched, f"it was to be patched, but: {reason}"
        assert undone == bool(row.told.get("undone")), f"not then: {reason}"
        assert picture(stage.live) == untouched, f"something was left behind: {reason}"
        assert all(word in reason for word in row.words("because")), f"another reason: {reason}"
        return ""
    assert row.patched, "it was to fail and be undone, but was patched"
    for section in ("probe", "kept"):
        run(row, section, scope)
    old = sorted(each["name"] for each in report["old"])
    assert old == sorted(row.words("old")), f"what still runs its old body: {old}"
    assert all(any(word in note for note in report["notes"]) for word in row.words("notes")), str(report["notes"])
    assert set(row.words("patched")) <= {*report["patched"], *report["added"]}, str(report["patched"])
    return ""


def picture(live: Path) -> dict[str, Any]:
    """All that a swap could touch: the names of the application's modules and classes, the state of its functions."""
    gc.collect()
    seen: dict[str, Any] = {}
    for name, module in sys.modules.items():
        if (getattr(module, "__file__", None) or "").startswith(str(live)):
            seen[name] = (id(module), {key: id(value) for key, value in vars(module).items()})
            for value in vars(module).values():
                if isinstance(value, type):
                    seen[f"{name}.{value.__qualname__}"] = {
                        key: id(each) for key, each in vars(value).items() if not key.startswith("__static")
                    }
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and function.__code__.co_filename.startswith(str(live)):
            code: CodeType = function.__code__
            seen[f"function {id(function)}"] = (
                id(code),
                function.__defaults__,
                function.__doc__,
                vars(function).copy(),
            )
    return seen


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
