"""Folders that come, go, move and change places while they are watched by inotify: none is lost."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reactor.project import Project
from reactor.scan import Scanner
from tests.reactor.test_watch import SETTINGS, Desk, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "blinky/pyproject.toml", SETTINGS).parent


@pytest.fixture
def inotify(folder: Path) -> Iterator[Desk]:
    desk = Desk(folder)
    yield desk
    desk.watcher.close()


def test_a_folder_that_is_moved_in_is_told_and_watched(inotify: Desk) -> None:
    write(inotify.folder.parent / "outside/deep/a.py")
    (inotify.folder.parent / "outside").rename(inotify.folder / "inside")
    inotify.expect("inside")
    inotify.forget()
    write(inotify.folder / "inside/deep/a.py", "new")
    inotify.expect("inside/deep/a.py")


def test_folders_that_are_made_one_in_another_are_told_and_watched(inotify: Desk) -> None:
    scanner = Scanner(inotify.project)
    scanner.full()
    for turn in range(10):
        write(inotify.folder / f"a{turn}/b/c/d/e/f.py", str(turn))
    wanted = Scanner(Project.open(inotify.folder)).full()
    inotify.until(lambda: scanner.update(inotify.told()).manifest == wanted)
    inotify.forget()
    write(inotify.folder / "a7/b/c/d/e/f.py", "new")
    inotify.expect("a7/b/c/d/e/f.py")


def test_a_folder_that_is_renamed_is_watched_under_its_new_name(inotify: Desk) -> None:
    write(inotify.folder / "one/deep/a.py")
    inotify.expect("one")
    (inotify.folder / "one").rename(inotify.folder / "two")
    inotify.expect("one", "two")
    inotify.forget()
    write(inotify.folder / "two/deep/a.py", "new")
    inotify.expect("two/deep/a.py")


def test_two_folders_that_change_places_are_both_watched(inotify: Desk) -> None:
    for name in ("one", "two"):
        write(inotify.folder / name / "deep/a.py")
    inotify.expect("one", "two")
    inotify.forget()
    at, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    one, two = (os.fsencode(inotify.folder / name) for name in ("one", "two"))
    if ctypes.CDLL(None, use_errno=True).renameat2(at, one, at, two, exchange):
        pytest.skip(f"no exchange here: {os.strerror(ctypes.get_errno())}")
    write(inotify.folder / "mark.py")
    inotify.expect("one", "two", "mark.py")
    inotify.forget()
    paths = ("one/a.py", "one/deep/a.py", "two/a.py", "two/deep/a.py")
    for path in paths:
        write(inotify.folder / path, "new")
    inotify.expect(*paths)


def test_a_folder_that_moves_while_folders_are_looked_for_is_watched_where_it_moves_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = write(folder / "one/a.py").parent, write(folder / "other/b.py").parent
    scan = os.scandir

    def meanwhile(place: str) -> Iterator[os.DirEntry[str]]:
        if place == str(other) and one.exists():
            one.rename(other / "one")
        return scan(place)

    with monkeypatch.context() as patch:
        patch.setattr("os.scandir", meanwhile)
        desk = Desk(folder)
    assert not one.exists()
    desk.expect("one", "other/one")
    desk.forget()
    (other / "one").rename(one)
    desk.expect("one", "other/one")
    desk.forget()
    write(one / "a.py", "new")
    desk.expect("one/a.py")
    desk.watcher.close()


def test_a_folder_that_is_moved_out_is_told_and_watched_no_more(inotify: Desk) -> None:
    write(inotify.folder / "one/deep/a.py")
    inotify.expect("one")
    (inotify.folder / "one").rename(inotify.folder.parent / "outside")
    write(inotify.folder / "mark.py")
    inotify.expect("one", "mark.py")
    inotify.until(lambda: inotify.watcher.get(0.2) is None)
    inotify.forget()
    write(inotify.folder.parent / "outside/deep/a.py", "newer")
    write(inotify.folder / "last.py")
    inotify.expect("last.py")
    assert inotify.told() == {inotify.folder / "last.py"}
