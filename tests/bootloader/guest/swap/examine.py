"""Examines rows on the engine alone, each in a process of its own: ``python -m tests.bootloader.guest.swap.examine``.

It needs nothing but the standard library and ``bootloader.guest``, so any interpreter can run it. Names of rows, or
beginnings of names, choose some. It prints a JSON line for each row that it ran: its name, and what was wrong.
"""

from __future__ import annotations

import gc
import json
import os
import select
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from tests.bootloader.guest.swap.rows import Row, rows, write

TIME_S = 20.0


def main(chosen: list[str]) -> int:
    """Run the rows whose names begin with one of ``chosen``; how many were wrong."""
    from bootloader.guest import swap  # here: once, and not again in every process that is forked

    wrong = 0
    for row in rows():
        if row.is_for() and any(row.name.startswith(name) for name in chosen or [""]):
            problem = "".join(
                apart(lambda row=row, examine=examine: examine(row, swap))  # type: ignore[misc]
                for examine in (tells_old_from_new, holds_in_a_fresh_process, is_swapped)
            )
            print(json.dumps({"row": row.name, "wrong": problem}), flush=True)
            wrong += bool(problem)
    return wrong


def apart(run: Callable[[], None]) -> str:
    """Run something in a forked process: nothing, or what was wrong."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        try:
            run()
            said = ""
        except BaseException:
            said = traceback.format_exc(limit=-6)
        with open(theirs, "w", encoding="utf-8") as pipe:
            pipe.write(said[-4000:])
        os._exit(0)
    os.close(theirs)
    said = b""
    with open(ours, "rb", buffering=0) as pipe:
        while True:
            if not select.select([pipe], [], [], TIME_S)[0]:
                os.kill(pid, 9)
                said = f"it was not done within {TIME_S:.0f} s\n".encode()
                break
            if not (chunk := pipe.read(65536)):
                break
            said += chunk
    status = os.waitpid(pid, 0)[1]
    return said.decode() or ("" if status == 0 else f"the process ended with {status}\n")


class Trees:
    """The before and the after of a row on the disk, and the live one that the process imports from."""

    def __init__(self, row: Row, live: str = "before") -> None:
        self.top = Path(tempfile.mkdtemp(prefix="swap-"))
        self.before, self.after, self.live = self.top / "a", self.top / "b", self.top / "live"
        for tree in (self.before, self.after):
            tree.mkdir()
        write(row.before, self.before)
        write(row.after, self.after)
        self.live.symlink_to(self.before if live == "before" else self.after)
        sys.path.insert(0, str(self.live))
        sys.dont_write_bytecode = True

    def switch(self) -> None:
        """Make the after live, with one rename."""
        aside = self.top / "aside"
        aside.symlink_to(self.after)
        aside.rename(self.live)


def run(row: Row, section: str, scope: dict[str, Any]) -> None:
    """Run a section of the row in ``scope``; what fails shows its line."""
    text = getattr(row, section)
    try:
        exec(compile(text, f"<{section}>", "exec"), scope)
    except BaseException as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == f"<{section}>"]
        at = text.splitlines()[(lines or [1])[-1] - 1].strip() if lines else "(not compiled)"
        raise AssertionError(f"{row.name}, {section}: `{at}` failed: {error!r}") from error


def tells_old_from_new(row: Row, swap: Any) -> None:
    """A probe that passes before the edit proves nothing."""
    if row.probe:
        Trees(row)
        scope = {"__name__": "__main__"}
        run(row, "hold", scope)
        try:
            run(row, "probe", scope)
        except AssertionError:
            return
        raise AssertionError("the probe passes before the edit")


def holds_in_a_fresh_process(row: Row, swap: Any) -> None:
    """What a probe asks for has to be what a process that is started with the edit answers."""
    if row.probe:
        Trees(row, "after")
        scope = {"__name__": "__main__"}
        run(row, "hold", scope)
        run(row, "probe", scope)


def is_swapped(row: Row, swap: Any) -> None:
    """The engine does with the row what the row says."""
    trees = Trees(row)
    scope = {"__name__": "__main__"}
    run(row, "hold", scope)
    engine = swap.Swap(str(trees.live))
    untouched = picture(trees.live)
    answer = engine.prepare(str(trees.before), str(trees.after), row.paths)
    assert picture(trees.live) == untouched, "preparing it touched something"
    reason = answer.reason if isinstance(answer, swap.Refusal) else ""
    if not reason and row.told.get("undone"):
        trees.switch()
        try:
            report = answer.commit()
        except swap.Undone as undone:
            reason = str(undone)
            assert picture(trees.live) == untouched, f"undoing it left something behind: {reason}"
        else:
            raise AssertionError("it was to fail, and be undone, but was patched")
    if not row.patched:
        assert reason, "it was to be refused, but can be patched"
        assert all(word in reason for word in row.words("because")), f"the reason says something else: {reason}"
        return
    assert not reason, f"it was to be patched, but was refused: {reason}"
    trees.switch()
    report = answer.commit()
    for section in ("probe", "kept"):
        run(row, section, scope)
    assert sorted(report.old) == sorted(row.words("old")), f"what still runs its old body: {report.old}"
    assert all(any(word in held for held in report.held) for word in row.words("held")), f"held: {report.held}"
    assert set(row.words("patched")) <= set(report.patched), f"what was patched: {report.patched}"


def picture(live: Path) -> dict[str, Any]:
    """All that a swap could touch: the names of the application's modules and classes, the state of its functions."""
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
            seen[f"function {id(function)}"] = (id(code), function.__defaults__, function.__doc__, vars(function).copy())
    return seen


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
