"""What does not compile is told with file, line and column; what may compile on the target is left to it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from reactor.syntax import TEXT_CHARS, SyntaxProblem, check

HERE = (sys.version_info.major, sys.version_info.minor)


def same(source: bytes) -> SyntaxProblem | None:
    return check(source, "src/app.py", HERE, HERE)


GOOD = [
    b"",
    b"x = 1",
    b"\xef\xbb\xbfx = 1\n",  # a byte-order mark
    b"# -*- coding: latin-1 -*-\nx = '\xe9'\n",
    "π = 'ü'\r\n".encode(),
    b"async def f():\n    await f()\n",
    b"match 1:\n    case _: pass\n",
    b"try: pass\nexcept* OSError: pass\n",
]


@pytest.mark.parametrize("source", GOOD)
def test_good_code_is_good(source: bytes) -> None:
    assert same(source) is None


BAD = [
    # source, line, column (None: whatever this Python says), what the message holds
    (b"def main():\n    return (1\n\nx = 2\n", 2, 12, "'(' was never closed"),
    (b"x = 1\nfor in x:\n    pass\n", 2, 5, "invalid syntax"),
    (b"if x:\npass\n", 2, 1, "expected an indented block"),
    (b"if x:\n        a\n    b\n", 3, None, "unindent"),
    ("ü = 'ä' +\n".encode(), 1, 10, "invalid syntax"),
    (b"return 1\n", 1, None, "outside function"),
    (b"def f():\n    x = 1\n    global x\n", 3, None, "before global"),
    (b"x = '\xe9'\n", 1, None, "utf-8"),
    (b"# coding: nonesuch\n", None, None, "nonesuch"),
    (b"x = 1\0\n", None, None, "null byte"),
    (b"x = " + b"(" * 5_000, 1, None, "nested"),
    (b"x = " + b"-" * 200_000 + b"1\n", None, None, "nested"),
]


@pytest.mark.parametrize(("source", "line", "column", "holds"), BAD)
def test_bad_code_is_told_with_its_place(source: bytes, line: int | None, column: int | None, holds: str) -> None:
    problem = same(source)
    assert problem is not None
    assert (problem.code, problem.file) == ("syntax-error", "src/app.py")
    assert holds in problem.message.lower()  # "Non-UTF-8" on some versions
    assert line in (None, problem.line)
    assert column in (None, problem.column)
    assert problem.line >= 1
    assert problem.column >= 1


def test_the_line_itself_comes_along_bounded() -> None:
    problem = same(b"x = 1\nfor in x:\n    pass\n")
    assert problem is not None
    assert problem.text == "for in x:"
    problem = same(b"x = '" + b"y" * 10_000 + b"' = = 2\n")
    assert problem is not None
    assert len(problem.text) == TEXT_CHARS


def test_the_line_is_of_what_was_checked_not_of_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("another\nfile\naltogether\n")
    problem = check(b"def f():\n    x = 1\n    global x\n", "app.py", HERE, HERE)
    assert problem is not None
    assert problem.text == "    global x"


def test_what_the_target_is_too_old_for_is_told() -> None:
    problem = check(b"match 1:\n    case _: pass\n", "a.py", (3, 9), HERE)
    assert problem is not None
    assert "3.10" in problem.message
    assert check(b"x = 1\n", "a.py", (3, 9), HERE) is None
    assert check(b"x = = 1\n", "a.py", (3, 9), HERE) is not None


def test_on_a_newer_target_the_target_decides() -> None:
    newer = (HERE[0], HERE[1] + 1)
    assert check(b"new syntax, who knows\n", "a.py", newer, HERE) is None


def test_warnings_are_neither_problems_nor_printed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(b"x = '\\d'\nx is 'a'\nassert (x, 'y')\n") is None
    script = (
        "import sys; from reactor.syntax import check; v = sys.version_info[:2]; check(b\"x = '\\\\d'\", 'a', v, v)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="annotations are as if imported from __future__ there")
def test_the_checker_s_own_future_imports_do_not_leak_into_what_it_checks() -> None:
    # Under `from __future__ import annotations`, which this package uses, the walrus here would not compile.
    assert same(b"def f():\n    x: (y := 1) = 2\n") is None
