"""Keeps the tree tidy: what a reader can rely on in every file, beyond what linters know."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
PRODUCT = ("bootloader", "reactor")
ALL = (*PRODUCT, "benchmarks", "examples", "tests")

NO_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "manager", "misc"}
MOST_LINES = 400
MOST_TEST_LINES = 600
"""A file of tests is a list of claims, read one at a time."""
MAY_PRINT = (
    "bootloader/__main__.py",
    "reactor/__main__.py",
    "reactor/terminal.py",
    "reactor/cli/",
    "reactor/template/",
    "bootloader/guest/entry.py",  # the application's own voice: what Python prints of a SystemExit
)


@cache
def modules(*folders: str) -> dict[str, ast.Module]:
    """Every Python file in ``folders``: its path from the top, and what it says."""
    files = [path for folder in folders for path in sorted((TOP / folder).rglob("*.py")) if ".venv" not in path.parts]
    return {path.relative_to(TOP).as_posix(): ast.parse(path.read_bytes()) for path in files}


def calls(module: ast.Module, *names: str) -> Iterator[int]:
    """The lines on which one of ``names``, as in ``sys.exit``, is called."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
            yield node.lineno


def is_broad(kind: ast.expr | None) -> bool:
    """Whether an ``except`` of ``kind`` catches everything."""
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(each is None or ast.unparse(each) in ("Exception", "BaseException") for each in kinds)


def says_nothing(node: ast.stmt) -> bool:
    """``pass``, ``continue``, ``...``, and returning nothing."""
    if isinstance(node, ast.Return):
        return node.value is None or ast.unparse(node.value) == "None"
    return isinstance(node, ast.Pass | ast.Continue) or ast.unparse(node) == "..."


def swallowed(module: ast.Module) -> Iterator[int]:
    """The lines on which any failure at all is caught, and nobody hears of it."""
    for node in ast.walk(module):
        match node:
            case ast.ExceptHandler() if is_broad(node.type) and all(map(says_nothing, node.body)):
                yield node.lineno
            case ast.Call() if ast.unparse(node.func).endswith("suppress") and any(map(is_broad, node.args)):
                yield node.lineno


def test_a_file_is_named_after_what_it_holds() -> None:
    assert [path for path in modules(*ALL) if NO_NAMES & set(Path(path).with_suffix("").parts)] == []


def test_no_file_is_too_long_to_be_read() -> None:
    lengths = {path: len((TOP / path).read_text().splitlines()) for path in modules(*ALL)}
    most = {path: MOST_TEST_LINES if path.startswith("tests/") else MOST_LINES for path in lengths}
    assert {path: length for path, length in lengths.items() if length > most[path]} == {}


def test_every_module_says_what_it_is_for() -> None:
    described = modules(*PRODUCT, "benchmarks", "examples")
    assert [path for path, module in described.items() if not ast.get_docstring(module)] == []


def test_only_the_front_doors_print() -> None:
    assert [
        f"{path}:{line}"
        for path, module in modules(*PRODUCT).items()
        for line in calls(module, "print", "sys.stdout.write", "sys.stderr.write")
        if not path.startswith(MAY_PRINT)
    ] == []


def test_only_main_exits() -> None:
    assert [
        f"{path}:{line}"
        for path, module in modules(*PRODUCT).items()
        for line in calls(module, "sys.exit", "exit", "quit")
        if not path.endswith("/__main__.py")
    ] == []


def test_nothing_is_swallowed() -> None:
    assert [f"{path}:{line}" for path, module in modules(*ALL).items() for line in swallowed(module)] == []


def test_no_test_sleeps() -> None:
    found = modules("tests").items()
    assert [f"{path}:{line}" for path, module in found for line in calls(module, "time.sleep", "sleep")] == []


@pytest.mark.parametrize(
    "code",
    [
        "try: f()\nexcept Exception: pass",
        "try: f()\nexcept: pass",
        "try: f()\nexcept (OSError, BaseException) as error: ...",
        "for each in f():\n  try: g()\n  except Exception: continue",
        "def f():\n  try: g()\n  except Exception: return None",
        "with contextlib.suppress(Exception): f()",
    ],
)
def test_a_swallowed_failure_is_seen(code: str) -> None:
    assert list(swallowed(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "try: f()\nexcept OSError: pass",
        "try: f()\nexcept Exception as error: say(error)",
        "def f():\n  try: g()\n  except Exception: return False",
        "with contextlib.suppress(OSError): f()",
    ],
)
def test_a_failure_that_is_expected_or_told_is_fine(code: str) -> None:
    assert not list(swallowed(ast.parse(code)))
