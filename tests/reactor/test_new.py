from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bootloader.wire.errors import Fault
from reactor import settings
from reactor.cli.new import write


def test_a_new_project_has_settings_that_can_be_read_and_an_entry_that_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "porch-light"
    written = write("porch-light", folder)
    assert sorted(path.relative_to(folder).as_posix() for path in written) == [
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/porch_light/__init__.py",
        "src/porch_light/main.py",
    ]
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(written)
    text = (folder / "pyproject.toml").read_text()
    assert tomllib.loads(text)["project"]["name"] == "porch-light"
    read = settings.parse(text, "pyproject.toml")
    assert (read.main.name, read.main.entry) == ("porch-light", "porch_light.main:main")
    assert not any("$" in path.read_text() for path in written)


def test_a_new_project_runs_with_the_standard_library_alone(tmp_path: Path) -> None:
    write("porch-light", tmp_path)
    code = """
import itertools, time
def stop(seconds, count=itertools.count()):
    if next(count) == 2: raise SystemExit(0)
time.sleep = stop
from porch_light.main import main
main()
"""
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'src')!r})\n{code}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.splitlines() == ["tick 1", "tick 2", "tick 3", "switched off"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    assert all(path.is_relative_to(tmp_path) for path in write("blinky", tmp_path))


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(Fault, match="not an empty folder") as refused:
        write("blinky", tmp_path)
    assert refused.value.code == "folder-in-use"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blinky").write_text("mine")
    with pytest.raises(Fault, match="not an empty folder"):
        write("blinky", tmp_path / "blinky")
    with pytest.raises(Fault, match="can't be written"):
        write("blinky", tmp_path / "blinky" / "deeper")
    assert (tmp_path / "blinky").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("My Project", "my-project"),
        ("Blinky", "blinky"),
        ("2nd", "my-2nd"),
        ("json", "my-json"),
        ("class", "my-class"),
        ("bootloader", "my-bootloader"),
        ("../up", "up"),
        ("a/b", "a-b"),
        ("a.b", "a-b"),
        ("ä", "my-project"),
        ("", "my-project"),
        (" ", "my-project"),
        ("x" * 40, "x" * 32),
        ("blinky\n", "blinky"),
        ("blinky-", "blinky"),
    ],
)
def test_a_name_that_does_not_do_is_refused_with_one_that_does(name: str, suggestion: str, tmp_path: Path) -> None:
    with pytest.raises(Fault) as refused:
        write(name, tmp_path / "new")
    assert refused.value.code == "bad-name"
    assert refused.value.do == f"try '{suggestion}'"
    assert not (tmp_path / "new").exists()
    assert write(suggestion, tmp_path / "new")
