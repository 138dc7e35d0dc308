"""What a disk may hold after a power cut: the model, and the record that it is told from."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import folders
from benchmarks.chaos.disk import Disk, Image, Thing, digest
from benchmarks.chaos.recording import INSIDE

Step = dict[str, Any]


def disk(content: bytes | None = b"old") -> Disk:
    """A folder that holds the file ``it``, or nothing."""
    image = {} if content is None else {"it": Thing("file", content, 0o644)}
    return Disk(image, {".": 1, **dict.fromkeys(image, 2)})


def written(ino: int, text: str, at: int = 0) -> Step:
    return {"op": "write", "ino": ino, "at": at, "data": base64.b85encode(text.encode()).decode()}


def create(path: str, ino: int) -> Step:
    return {"op": "create", "path": path, "ino": ino, "mode": 0o644}


def held(disk: Disk, path: str = "it") -> set[bytes | None]:
    """What the file may hold after a cut now; None where it may not be there."""
    images = [make() for _, make in disk.outcomes()]
    return {image[path].content if path in image else None for image in images}


def done(disk: Disk, *steps: Step) -> Disk:
    for step in steps:
        disk.do(step)
    return disk


def test_what_is_not_fsynced_may_be_lost_zero_or_torn_or_there() -> None:
    assert held(done(disk(), written(2, "four", at=3))) == {b"old", b"oldfour", b"old\0\0\0\0", b"oldfo"}


def test_what_is_fsynced_is_there() -> None:
    assert held(done(disk(), written(2, "four", at=3), {"op": "fsync", "ino": 2})) == {b"oldfour"}


def test_a_new_name_is_certain_only_with_its_folder() -> None:
    steps = [create("new", 3), written(3, "x"), {"op": "fsync", "ino": 3}]
    assert held(done(disk(), *steps), "new") == {b"x", None}
    assert held(done(disk(), *steps, {"op": "fsync", "ino": 1}), "new") == {b"x"}


def test_a_deletion_may_be_undone() -> None:
    assert held(done(disk(), {"op": "unlink", "path": "it"})) == {b"old", None}


REPLACED = [create("it.new", 3), written(3, "new"), {"op": "rename", "path": "it.new", "to": "it"}]


def test_a_rename_may_come_before_the_content_that_was_not_fsynced() -> None:
    assert b"" in held(done(disk(), *REPLACED))


def test_a_file_that_is_fsynced_and_then_renamed_is_the_old_or_the_new_at_every_cut() -> None:
    made = disk()
    steps = [*REPLACED[:2], {"op": "fsync", "ino": 3}, REPLACED[2]]
    for step in steps:
        made.do(step)
        assert held(made) <= {b"old", b"new"}
    made.do({"op": "fsync", "ino": 1})
    assert held(made) == {b"new"}


def test_what_lies_in_a_folder_that_is_lost_is_lost() -> None:
    made = done(disk(None), {"op": "mkdir", "path": "in", "ino": 5, "mode": 0o755}, create("in/it", 6))
    made.do({"op": "fsync", "ino": 5})
    assert {"in/it" in make() for _, make in made.outcomes()} == {True, False}


def test_a_sync_of_everything_leaves_one_outcome() -> None:
    made = done(disk(), *REPLACED, {"op": "sync"})
    assert held(made) == {b"new"}


def test_the_number_of_a_deleted_file_may_come_again() -> None:
    made = done(disk(), {"op": "unlink", "path": "it"}, create("other", 2), written(2, "other"))
    assert made.image()["other"].content == b"other"
    assert b"old" in held(made)


LINKED = [create("new", 3), written(3, "new"), {"op": "link", "path": "new", "to": "also"}]


def test_what_is_written_to_a_file_shows_under_each_of_its_names() -> None:
    made = done(disk(None), *LINKED, written(3, "W", at=2))
    for _, make in made.outcomes():
        assert len({thing.content for thing in make().values()}) <= 1
    assert {made.image()[name].content for name in ("new", "also")} == {b"neW"}


def test_one_name_of_a_file_may_be_lost_without_the_other() -> None:
    made = done(disk(None), *LINKED, {"op": "fsync", "ino": 3})
    assert {frozenset(make()) for _, make in made.outcomes()} == {
        frozenset(names) for names in ((), ("new",), ("also",), ("also", "new"))
    }


def test_a_name_that_replaces_another_leaves_the_other_name_what_it_was() -> None:
    steps = [{"op": "link", "path": "it", "to": "also"}, *REPLACED, {"op": "sync"}]
    image = done(disk(), *steps).image()
    assert (image["it"].content, image["also"].content) == (b"new", b"old")


# the record

_PROGRAM = """
import os, pathlib, shutil, tempfile
top = pathlib.Path(FOLDER)
(top / "a").mkdir()
(top / "a" / "text").write_text("some text")
(top / "a" / "text").write_text("shorter")
with open(top / "log", "ab", buffering=0) as file:
    file.write(b"one"); file.write(b"two")
with open(top / "log", "r+b") as file:
    file.seek(1); file.write(b"XX"); file.truncate(5)
(top / "link").symlink_to("a")
(top / "link" / "through").write_bytes(b"a symlink")
os.link(top / "log", top / "second")
(top / "log").rename(top / "a" / "log")
(top / "a" / "text").chmod(0o600)
os.utime(top / "a" / "text", (5, 5))
with tempfile.TemporaryDirectory(dir=top) as made:
    pathlib.Path(made, "x").touch()
shutil.copyfile(top / "second", top / "copy")
handle = os.open(top / "raw", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
os.posix_fallocate(handle, 0, 9)
os.write(handle, b"raw"); os.pwrite(handle, b"R", 0); os.ftruncate(handle, 2); os.fsync(handle); os.close(handle)
(top / "gone").write_text("x"); (top / "gone").unlink()
(top / "link").unlink()
if os.fork() == 0:
    (top / "forked").write_text("by a child")
    os._exit(0)
os.wait()
"""


def recorded(tmp_path: Path, program: str) -> tuple[Image, Image]:
    """What a program left in a folder, and what its record leads to."""
    folder = tmp_path / "folder"
    (folder / "before").mkdir(parents=True)
    start = folders.read(folder)
    env = {
        **os.environ,
        "PYTHONPATH": str(INSIDE),
        "CHAOS_FOLDER": str(folder),
        "CHAOS_RECORD": str(tmp_path / "record"),
    }
    subprocess.run(
        [sys.executable, "-c", program.replace("FOLDER", repr(str(folder)))], env=env, check=True, timeout=60
    )
    made = Disk(*start)
    for line in (tmp_path / "record").read_text().splitlines():
        made.do(json.loads(line))
    return folders.read(folder)[0], made.image()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_record_leads_to_what_there_is(tmp_path: Path) -> None:
    found, told = recorded(tmp_path, _PROGRAM)
    assert folders.unlike(found, told) == []
    assert found["copy"].content == b"oXXtw"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_what_was_not_seen_is_found_out(tmp_path: Path) -> None:
    found, told = recorded(tmp_path, _UNSEEN)
    assert folders.unlike(found, told) == ["unseen"]


_UNSEEN = """
import pathlib, subprocess
pathlib.Path(FOLDER, "seen").touch()
subprocess.run(["touch", FOLDER + "/unseen"], check=True)
"""


def test_an_image_that_is_laid_out_is_read_back(tmp_path: Path) -> None:
    image = {
        "a": Thing("folder", b"", 0o700),
        "a/file": Thing("file", b"x", 0o600, 7_000_000_000),
        "to": Thing("link", b"nowhere"),
    }
    folders.lay(image, tmp_path / "folder")
    found, inodes = folders.read(tmp_path / "folder")
    assert folders.unlike(found, image) == []
    assert found["a/file"].ns == image["a/file"].ns
    assert set(inodes) == {".", *image}


def test_two_names_of_one_file_are_laid_out_as_such_and_read_back(tmp_path: Path) -> None:
    image = {
        name: Thing("file", name[:1].encode(), 0o644, 0, number) for name, number in [("a", 7), ("ab", 7), ("b", 0)]
    }
    folders.lay(image, tmp_path / "folder")
    found, inodes = folders.read(tmp_path / "folder")
    assert folders.unlike(found, image) == []
    assert (tmp_path / "folder" / "a").samefile(tmp_path / "folder" / "ab")
    again = Disk(found, inodes)
    again.do(written(inodes["a"], "x"))
    assert {name: thing.content for name, thing in again.image().items()} == {"a": b"x", "ab": b"x", "b": b"b"}


def test_two_files_with_one_content_are_not_one_file_of_two_names() -> None:
    apart = {name: Thing("file", b"x", 0o644) for name in ("a", "b")}
    one = {name: Thing("file", b"x", 0o644, 0, 5) for name in ("a", "b")}
    assert folders.unlike(apart, one) == ["b"]
    assert digest(apart) != digest(one)
    assert digest(one) == digest({name: Thing("file", b"x", 0o644, 0, 6) for name in ("a", "b")})
