"""The engine on this very process: what an edit leads to, and what is refused."""

from __future__ import annotations

import gc
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootloader.guest.swap import Refusal, Undone
from tests.bootloader.guest.swap.process import Process, process


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Process]:
    yield from process(tmp_path)


def test_a_function_held_by_others_runs_its_new_body(app: Process) -> None:
    app.start(app="def f():\n    return 1\n", other="from app import f\nheld = [f]\n")
    other = app.load("other")
    report = app.patch(app="# moved\ndef f():\n    'now with a docstring'\n    return 2\n")
    assert (other.f(), other.held[0](), other.f.__doc__) == (2, 2, "now with a docstring")
    assert report.as_fields()["patched"] == ["app.f"]


def test_lines_that_only_moved_are_right_and_not_reported(app: Process) -> None:
    app.start(app="def f():\n    raise OSError\n\ng = lambda: f()\n")
    module = app.load()
    report = app.patch(app="\n\n\ndef f():\n    raise OSError\n\n# more\ng = lambda: f()\n")
    with pytest.raises(OSError) as caught:
        module.g()
    assert [frame.lineno for frame in traceback.extract_tb(caught.value.__traceback__)][1:] == [8, 5]
    assert inspect.getsource(module.f).startswith("def f():\n    raise")
    assert report.patched == []


def test_a_failure_halfway_is_undone_and_named(app: Process) -> None:
    before = "X = 1\ndef f(a=1): return X + a\nclass A:\n    x = 1\n"
    app.start(app=before)
    module = app.load()
    names, code = dict(vars(module)), module.f.__code__
    with pytest.raises(Undone) as undone:
        app.patch(
            app="X = 2\ndef f(a=2): return X - a\nclass A:\n    x = 2\n    def g(self): pass\nimport nowhere_at_all\n"
        )
    assert undone.value.reason == (
        "`app.py:6` could not be patched: ModuleNotFoundError: No module named 'nowhere_at_all'"
    )
    assert (dict(vars(module)), module.f.__code__, module.f()) == (names, code, 2)
    assert (module.A.x, hasattr(module.A, "g")) == (1, False)


def test_what_a_cache_remembers_of_the_old_body_is_forgotten(app: Process) -> None:
    app.start(app="import functools\n@functools.cache\ndef f(): return 1\n")
    module = app.load()
    assert module.f() == 1
    app.patch(app="import functools\n@functools.cache\ndef f(): return 2\n")
    assert module.f() == 2


def test_a_constant_follows_a_star(app: Process) -> None:
    app.start(app="from limits_of_it import *\ndef f(): return X\n", limits_of_it="X = 1000\n")
    module = app.load()
    app.patch(limits_of_it="X = 2000\n")
    assert module.f() == 2000


def test_a_default_follows_its_constant_in_a_module_that_was_patched_before(app: Process) -> None:
    app.start(app="from limits_of_it import X\ndef f(x=X): return x, 1\n", limits_of_it="X = 1\n")
    module = app.load()
    app.patch(app="from limits_of_it import X\ndef f(x=X): return x, 2\n")
    app.patch(limits_of_it="X = 3\n")
    assert module.f() == (3, 2)


def test_old_bodies_that_go_on_are_named(app: Process) -> None:
    app.start(app="def count():\n    yield 1\n    yield 2\ndef same():\n    yield 1\n")
    module = app.load()
    counting, other = module.count(), module.same()
    assert next(counting) == next(other) == 1
    report = app.patch(app="def count():\n    yield 3\n    yield 4\n\ndef same():\n    yield 1\n")
    assert report.as_fields()["old"] == [{"name": "app.count", "where": "generator", "line": 2}]
    assert next(counting) == 2


def test_what_the_application_froze_can_not_be_patched(app: Process) -> None:
    app.start(app="def f(): return 1\n")
    module = app.load()
    gc.freeze()
    try:
        with pytest.raises(Undone, match="froze"):
            app.patch(app="def f(): return 2\n")
    finally:
        gc.unfreeze()
    assert module.f() == 1


def test_a_module_that_is_imported_meanwhile_undoes_the_patch(app: Process) -> None:
    app.start(app="def f(): return 1\n", late="X = 1\n")
    module = app.load()
    prepared = app.prepare(app="def f(): return 2\n", late="X = 2\n")
    app.load("late")
    with pytest.raises(Undone, match="was imported while the patch was being made"):
        prepared.commit()
    assert module.f() == 1


def test_a_module_that_has_what_changes_and_is_imported_meanwhile_undoes_the_patch(app: Process) -> None:
    app.start(app="X = 1\n", late="from app import X\n")
    module = app.load()
    prepared = app.prepare(app="X = 2\n")
    app.load("late")
    with pytest.raises(Undone, match=r"late\.py: was imported while"):
        prepared.commit()
    assert module.X == 1


def test_what_comes_to_live_meanwhile_and_can_not_be_patched_undoes_the_patch(app: Process) -> None:
    app.start(app="def make():\n    n = 1\n    def inner(): return n\n    return inner\n")
    module = app.load()
    prepared = app.prepare(app="def make():\n    n = m = 1\n    def inner(): return n + m\n    return inner\n")
    inner = module.make()
    with pytest.raises(Undone, match=r"app\.py:3: needs other variables"):
        prepared.commit()
    assert (inner(), module.make()()) == (1, 1)


def test_a_default_that_can_not_be_evaluated_is_named_with_its_line(app: Process) -> None:
    app.start(app="X = 1\ndef f(a=1): return a\n")
    module = app.load()
    with pytest.raises(Undone, match=r"app\.py:2: could not be patched: NameError"):
        app.patch(app="X = 1\ndef f(a=nowhere): return a\n")
    assert module.f() == 1


def test_lambdas_that_were_the_same_on_a_line_are_told_apart_or_refused(app: Process) -> None:
    app.start(app="x = [lambda: 1, lambda: 1]\n")
    module, after = app.load(), "x = [lambda: 1, lambda: 2]\n"
    if sys.version_info[:2] == (3, 12):  # where both have one code object
        with pytest.raises(Refusal, match="has lambdas that were the same, and which Python does not tell apart"):
            app.patch(app=after)
    else:
        app.patch(app=after)
        assert [each() for each in module.x] == [1, 2]


EDITS = re.findall(
    r"^=== (.*)\n((?s:.*?))^--- after\n((?s:.*?))^--- (then|refused)\n(.*)$",
    (Path(__file__).parent / "edits.txt").read_text(),
    re.MULTILINE,
)


def of_kind(kind: str) -> list[Any]:
    return [pytest.param(*row[1:3], row[4], id=row[0].replace(" ", "-")) for row in EDITS if row[3] == kind]


@pytest.mark.parametrize(("before", "after", "claim"), of_kind("then"))
def test_an_edit_is_taken_in_place(app: Process, before: str, after: str, claim: str) -> None:
    app.start(app=before)
    module = app.load()
    app.patch(app=after)
    assert eval(claim, vars(module))


@pytest.mark.parametrize(("before", "after", "reason"), of_kind("refused"))
def test_what_can_not_be_done_is_refused_in_words(app: Process, before: str, after: str, reason: str) -> None:
    app.start(app=before)
    module = app.load()
    names = dict(vars(module))
    with pytest.raises(Refusal) as refused:
        app.prepare(app=after)
    assert reason in refused.value.reason
    assert vars(module) == names
