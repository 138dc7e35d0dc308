"""A release runs only where it is what was kept, to the byte, beside the installed one that it was kept beside."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bootloader.keeper import release
from bootloader.keeper.release import Release, Unusable

ROOT = "ab" * 32


@pytest.fixture
def sealed(tmp_path: Path) -> Release:
    """A release that is kept."""
    folder = release.place(tmp_path, ROOT)
    for path in ("bootloader/__main__.py", "bootloader/wire/limits.py", "bootloader/__pycache__/limits.cpython-x.pyc"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())
    made = release.seal(tmp_path, ROOT)
    release.keep(tmp_path, made)
    return made


def test_a_kept_release_is_the_one_to_run(tmp_path: Path, sealed: Release) -> None:
    assert release.kept(tmp_path) == sealed


def test_where_none_was_kept_the_installed_one_runs(tmp_path: Path) -> None:
    assert release.kept(tmp_path) is None


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: list[Callable[[Path], None]] = [flipped, emptied, os.unlink, unreadable, piped]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_to_any_file_is_seen(tmp_path: Path, sealed: Release, damage: Callable[[Path], None]) -> None:
    files = [path for path in sealed.folder.rglob("*") if path.is_file()]
    assert len(files) == 4
    for path in [*files, tmp_path / "bootloaders" / "kept"]:
        before = path.read_bytes()
        damage(path)
        if path.name == "kept" and not path.exists():
            assert release.kept(tmp_path) is None
        else:
            with pytest.raises(Unusable):
                release.kept(tmp_path)
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(before)
        assert release.kept(tmp_path) == sealed


@pytest.mark.parametrize("added", ["ssl.py", "bootloader/new.py", "bootloader/wire/limits.so"])
def test_a_file_that_was_added_is_seen(tmp_path: Path, sealed: Release, added: str) -> None:
    """It could stand before a module of Python's own."""
    (sealed.folder / added).write_bytes(b"")
    with pytest.raises(Unusable, match="added"):
        release.kept(tmp_path)


def test_the_bytecode_of_another_python_is_no_damage(tmp_path: Path, sealed: Release) -> None:
    (sealed.folder / "bootloader/__pycache__/limits.cpython-y.pyc").write_bytes(b"")
    assert release.kept(tmp_path) == sealed


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"root": 1, "seal": "", "installed": ""}'])
def test_a_note_that_makes_no_sense_is_seen(tmp_path: Path, sealed: Release, text: str) -> None:
    (tmp_path / "bootloaders" / "kept").write_text(text)
    with pytest.raises(Unusable):
        release.kept(tmp_path)


def test_an_installed_one_that_was_updated_since_counts_more(tmp_path: Path, sealed: Release) -> None:
    note = tmp_path / "bootloaders" / "kept"
    assert json.loads(note.read_text())["installed"] == release.installed()
    note.write_text(note.read_text().replace(release.installed(), "of an older package"))
    with pytest.raises(Unusable, match="updated"):
        release.kept(tmp_path)
