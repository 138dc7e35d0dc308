"""What is compiled before a switch: of which text, what is told where it does not compile, and what is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bootloader.guest.check import KEPT, check
from bootloader.wire.records import BYTES

NEW, OLD, BROKEN = "TEXT = 'new ä'\n", "TEXT = 'old'\n", "x = 1\nx = (\n"


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "pycache"))
    folder = tmp_path / "live"
    folder.mkdir()
    return folder


def kept(live: Path) -> list[Path]:
    return list((live.parent / "pycache").rglob("app.*.pyc"))  # and not of codecs, which are imported meanwhile


def imported(live: Path) -> str:
    code = "import sys; import app; sys.stdout.buffer.write(app.TEXT.encode())"
    command = [sys.executable, "-B", "-X", f"pycache_prefix={live.parent / 'pycache'}", "-c", code]
    return subprocess.run(command, cwd=live, capture_output=True, check=True).stdout.decode()


def test_programs_are_compiled_before_they_lie_in_any_tree_and_not_again(live: Path) -> None:
    assert check("/nowhere", str(live), ["app.py"], {"app.py": NEW.encode().decode(BYTES)}) == {}
    (live / "app.py").write_text(NEW)
    [file] = kept(live)
    file.write_bytes(file.read_bytes().replace(b"new", b"NEW"))
    assert imported(live) == "NEW ä", "what was kept is what is run"


def test_what_is_kept_is_not_run_for_another_source(live: Path) -> None:
    assert check("", str(live), ["app.py"], {"app.py": NEW.encode().decode(BYTES)}) == {}
    (live / "app.py").write_text(OLD)
    assert imported(live) == "old"


def test_a_file_of_the_tree_is_compiled_where_its_text_was_not_sent(live: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BROKEN)
    assert check(str(tmp_path), str(live), ["app.py"], {})["line"] == 2


@pytest.mark.parametrize(
    ("source", "line", "text"),
    [
        (BROKEN.encode(), 2, "x = ("),
        (b"# coding: latin-1\nx = '\xe4' (\n", 2, "x = 'ä' ("),
        (b"x = '\xff'\n", 1, "x = '\ufffd'"),
        (b"# coding: none\n", 1, "# coding: none"),
        (b"x = 1\0\n", 1, "x = 1\0"),
    ],
)
def test_what_does_not_compile_is_told_with_its_line(live: Path, source: bytes, line: int, text: str) -> None:
    told = check("/nowhere", str(live), ["app.py"], {"app.py": source.decode(BYTES)})
    assert (told["code"], told["file"], told["line"], told["text"]) == ("syntax-error", "app.py", line, text)
    assert kept(live) == []


def test_of_many_files_no_bytecode_is_kept(live: Path) -> None:
    programs = {f"m{number}.py": "" for number in range(KEPT + 1)}
    assert check("", str(live), list(programs), programs) == {}
    assert kept(live) == []
