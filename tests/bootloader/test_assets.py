"""A file that is no code changes beside a running application: it is told of that, and goes on."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from tests.bootloader.target import Change, Target, app

SYNC = """
import asyncio, threading

def main():
    print("began", {name!r})
    threading.Event().wait()
"""
ASYNC = """
import asyncio, threading
NAME = {name!r}

async def main():
    global loop
    loop = asyncio.get_running_loop()
    print("began", NAME)
    await asyncio.Event().wait()
"""
TELLS = "def changed(paths): print('told', [path.read_text() if path.exists() else 'gone' for path in paths])\n"
ROUNDS = (f"round {number}" for number in count())


class Running:
    """A program that runs, and what is saved beside it."""

    def __init__(self, shared: Target, source: str, hook: str, **more: Any) -> None:
        self.shared = shared
        self.name = next(ROUNDS)
        self.files = {"app.py": source.format(name=self.name) + hook, "table.csv": f"first of {self.name}"}
        self.spec = app(**{"settle_s": 0.0, "assets": "app:changed", "assets_s": 5.0, **more})
        shared.ship(self.files, self.spec)
        shared.log(f"began {self.name}")
        self.pid = shared.status()["pid"]

    def save(self, **files: str) -> Change:
        return self.ship(files, "auto").healthy()

    def ship(self, files: dict[str, str], reload: str) -> Change:
        self.files |= {path.replace("_", "."): text for path, text in files.items()}
        return self.shared.ship(self.files, self.spec, reload=reload)

    @property
    def goes_on(self) -> bool:
        return bool(self.shared.status()["pid"] == self.pid)


def rung(change: Change) -> tuple[str, str]:
    return change.answer.text("rung"), change.answer.text("why")


@pytest.mark.parametrize("source", [SYNC, ASYNC], ids=["a function", "a coroutine"])
@pytest.mark.parametrize("hook", [TELLS, f"async {TELLS}"], ids=["plain", "async"])
def test_a_program_is_told_what_changed_and_goes_on(shared: Target, source: str, hook: str) -> None:
    running = Running(shared, source, hook)
    change = running.save(table_csv=f"second of {running.name}")
    shared.log(f"told ['second of {running.name}']")
    assert rung(change) == ("patch", "`app:changed` was told of `table.csv`")
    assert running.goes_on


def test_a_file_that_is_gone_or_new_is_one_that_changed(shared: Target) -> None:
    running = Running(shared, SYNC, TELLS)
    del running.files["table.csv"]
    running.save(zones_csv=f"new in {running.name}")
    shared.log(f"told ['gone', 'new in {running.name}']")
    assert running.goes_on


def test_code_and_files_of_one_save_are_taken_in_this_order(shared: Target) -> None:
    running = Running(shared, SYNC, TELLS)
    change = running.save(app_py=running.files["app.py"].replace("'told'", "'new code is told'"), table_csv="both")
    shared.log("new code is told ['both']")
    assert rung(change) == ("patch", "app.changed; `app:changed` was told of `table.csv`")
    assert running.goes_on


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_hook_is_called_on_the_loop_of_the_program(shared: Target, kind: str) -> None:
    running = Running(shared, ASYNC, f"{kind} changed(paths): print(NAME, asyncio.get_running_loop() is loop)\n")
    running.save(table_csv="second")
    shared.log(f"{running.name} True")


def test_what_a_hook_starts_hears_signals(shared: Target) -> None:
    hook = "def changed(paths): subprocess.run(['grep', 'SigBlk', '/proc/self/status', paths[0]])\n"
    running = Running(shared, "import subprocess" + SYNC, hook)
    running.save(table_csv=f"SigBlk of {running.name}")
    read = shared.event("log", text=f"{shared.state / 'live' / 'table.csv'}:SigBlk of {running.name}")
    blocked = [
        event["text"] for event in shared.events if event["n"] < read["n"] and "SigBlk:" in str(event.get("text"))
    ]
    assert blocked == [f"/proc/self/status:SigBlk:\t{'0' * 16}"]


def test_what_reads_its_files_when_it_needs_them_just_goes_on(shared: Target) -> None:
    running = Running(shared, SYNC, "", assets="keep")
    assert rung(running.save(table_csv="second")) == ("patch", "nobody was told of `table.csv`")
    assert running.goes_on


def test_without_a_hook_it_starts_again(shared: Target) -> None:
    running = Running(shared, SYNC, "", assets="restart")
    assert rung(running.save(table_csv="second")) == ("restart", "only assets changed")
    assert not running.goes_on


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        ("def changed(paths): return False\n", "`app:changed` said no"),
        ("def changed(paths): raise KeyError('x')\n", "`app:changed` raised KeyError: 'x'"),
        ("async def changed(paths): raise TimeoutError\n", "`app:changed` raised TimeoutError"),
        ("async def changed(paths): await asyncio.Event().wait()\n", "`app:changed` was not done within 0.2 s"),
        ("", "app has no 'changed'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("source", [SYNC, ASYNC], ids=["a function", "a coroutine"])
def test_one_that_does_not_take_it_starts_again(shared: Target, source: str, hook: str, why: str) -> None:
    running = Running(shared, source, hook, assets_s=0.2, grace_s=0.2)
    change = running.save(table_csv="second")
    assert rung(change) == ("restart", why)
    assert not running.goes_on


def test_one_that_says_no_and_is_not_to_restart_goes_on_and_is_asked_again(shared: Target) -> None:
    running = Running(shared, SYNC, "def changed(paths): return 'good' in paths[0].read_text()\n")
    change = running.ship({"table_csv": "bad"}, "patch")
    assert rung(change) == ("hold", "`app:changed` said no; what runs goes on, and is not to restart")
    assert running.goes_on
    change = running.ship({"table_csv": "good"}, "patch").healthy()
    assert rung(change) == ("patch", "`app:changed` was told of `table.csv`")
    assert running.goes_on


@pytest.mark.parametrize("source", [SYNC, ASYNC], ids=["a function", "a coroutine"])
def test_one_that_hangs_in_it_starts_again(shared: Target, source: str) -> None:
    hook = "def changed(paths): threading.Event().wait()\n"
    running = Running(shared, source, hook, assets_s=0.2, grace_s=0.2)
    found, why = rung(running.save(table_csv="second"))
    assert found == "restart"
    assert why in ("`app:changed` was not done within 0.2 s", "app did not answer within 0.7 s")
    assert not running.goes_on


def test_an_exception_comes_with_its_place(shared: Target) -> None:
    running = Running(shared, SYNC, "def changed(paths):\n    raise KeyError('x')\n")
    problem = shared.problem(running.save(table_csv="second"))
    assert (problem["code"], problem["what"]) == ("call-raised", "`app:changed` raised KeyError: 'x'")
    assert problem["frames"][-1]["function"] == "changed"
