"""Blobs on disk: what is kept is what its name says, and a lost one comes back where another copy is."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.chaos.inside.sector import unreadable
from bootloader.store import objects as module
from bootloader.store.objects import Objects, sync
from bootloader.wire.errors import Fault, Malformed, Refused
from bootloader.wire.manifest import blob_name


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "objects")


def kept(objects: Objects, content: bytes) -> str:
    name = blob_name(content)
    objects.put(name, content)
    return name


def test_a_blob_comes_back_as_it_was_put(objects: Objects) -> None:
    name = kept(objects, b"content")
    assert objects.read(name) == b"content"
    assert objects.has(name, 7)
    assert not objects.has(name, 6)


def test_content_of_another_name_is_refused_and_not_kept(objects: Objects, tmp_path: Path) -> None:
    name = blob_name(b"one")
    with pytest.raises(Malformed):
        objects.put(name, b"two")
    assert objects.missing([(name, 3)]) == [name]
    assert not [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]


def test_an_absent_blob_is_refused_by_name(objects: Objects) -> None:
    name = blob_name(b"absent")
    with pytest.raises(Refused) as caught:
        objects.read(name)
    assert (caught.value.code, caught.value.to) == ("missing-blob", f"blob {name[:12]}")


@pytest.mark.parametrize("damage", [b"", b"conteNt", b"content and more"])
def test_a_damaged_blob_is_removed_and_refused(objects: Objects, damage: bytes) -> None:
    name = kept(objects, b"content")
    objects.path(name).write_bytes(damage)
    with pytest.raises(Refused) as caught:
        objects.read(name)
    assert caught.value.code == "missing-blob"
    assert not objects.path(name).exists()
    objects.put(name, b"content")
    assert objects.read(name) == b"content"


@pytest.mark.parametrize("loss", ["absent", "damaged", "unreadable"])
@pytest.mark.parametrize("way", ["read", "copy"])
def test_a_lost_blob_is_taken_from_a_tree_that_still_has_it(tmp_path: Path, loss: str, way: str) -> None:
    wrong, link, right = tmp_path / "wrong", tmp_path / "link", tmp_path / "right"
    wrong.write_bytes(b"changed since")
    right.write_bytes(b"content")
    link.symlink_to(right)
    objects = Objects(tmp_path / "objects", lambda _name: [tmp_path / "absent", wrong, link, right])
    name = kept(objects, b"content")
    if loss == "absent":
        objects.path(name).unlink()
    elif loss == "damaged":
        objects.path(name).write_bytes(b"longer than before")
    with unreadable(objects.path(name)) if loss == "unreadable" else nullcontext():
        if way == "read":
            assert objects.read(name) == b"content"
        else:
            with open(tmp_path / "copy", "wb") as file:
                objects.copy(name, file.fileno())
            assert (tmp_path / "copy").read_bytes() == b"content"
    assert objects.path(name).read_bytes() == b"content"
    assert not objects.path(name).is_symlink()


@pytest.mark.parametrize("way", ["read", "copy"])
def test_a_blob_that_can_not_be_read_and_is_nowhere_else_is_asked_for_again(
    objects: Objects, tmp_path: Path, way: str
) -> None:
    name = kept(objects, b"content")
    with unreadable(objects.path(name)), open(tmp_path / "copy", "wb") as file:
        with pytest.raises(Refused) as caught:
            objects.read(name) if way == "read" else objects.copy(name, file.fileno())
        assert caught.value.code == "missing-blob"
        assert objects.missing([(name, 7)]) == [name]
        objects.put(name, b"content")
        assert objects.read(name) == b"content"


def test_a_full_disk_is_no_blob_that_is_lost(objects: Objects) -> None:
    name = kept(objects, b"content")
    with open("/dev/full", "wb") as full, pytest.raises(OSError, match="No space left"):
        objects.copy(name, full.fileno())
    assert objects.read(name) == b"content"


def test_a_copy_of_a_blob_that_is_nowhere_is_refused(objects: Objects, tmp_path: Path) -> None:
    with open(tmp_path / "copy", "wb") as file, pytest.raises(Refused):
        objects.copy(blob_name(b"absent"), file.fileno())


def test_a_blob_too_large_for_memory_is_copied_and_never_read(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = kept(objects, b"x" * 5000)
    monkeypatch.setattr(module, "READ_BYTES", 4000)
    with pytest.raises(Refused) as caught:
        objects.read(name)
    assert caught.value.code == "too-large"
    with open(tmp_path / "copy", "wb") as file:
        objects.copy(name, file.fileno())
    assert (tmp_path / "copy").read_bytes() == b"x" * 5000


@given(st.binary(min_size=1, max_size=64), st.integers(1, 64))
def test_parts_in_order_make_the_blob(tmp_path_factory: pytest.TempPathFactory, content: bytes, size: int) -> None:
    objects = Objects(tmp_path_factory.mktemp("objects"))
    name = blob_name(content)
    for offset in range(0, len(content), size):
        assert not objects.has(name, len(content))
        objects.append(name, offset, content[offset : offset + size], len(content))
    assert objects.read(name) == content


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([(4, b"tent")], "wrong-part"),
        ([(0, b"con"), (4, b"ent")], "wrong-part"),
        ([(0, b"con"), (2, b"tent")], "wrong-part"),
        ([(0, b"content and more")], "wrong-part"),
        ([(0, b"con"), (3, b"TENT")], "malformed"),
    ],
)
def test_parts_that_do_not_fit_are_refused_and_can_be_sent_again(
    objects: Objects, tmp_path: Path, parts: list[tuple[int, bytes]], code: str
) -> None:
    name = blob_name(b"content")
    *before, (offset, last) = parts
    for earlier in before:
        objects.append(name, *earlier, 7)
    with pytest.raises(Fault) as caught:
        objects.append(name, offset, last, 7)
    assert caught.value.code == code
    assert not [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    objects.append(name, 0, b"con", 7)
    objects.append(name, 3, b"tent", 7)
    assert objects.read(name) == b"content"


def test_an_upload_may_begin_anew(objects: Objects) -> None:
    name = blob_name(b"content")
    objects.append(name, 0, b"cont", 7)
    objects.append(name, 0, b"con", 7)
    objects.append(name, 3, b"tent", 7)
    assert objects.read(name) == b"content"


def test_an_upload_that_was_broken_off_is_forgotten_at_the_next_start(objects: Objects, tmp_path: Path) -> None:
    objects.append(blob_name(b"content"), 0, b"con", 7)
    again = Objects(tmp_path / "objects")
    assert not [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert kept(again, b"other")


def test_what_is_gone_or_no_plain_file_needs_no_fsync(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    names = ("file", "folder", "link", "absent", "file/below", "folder/absent")
    sync([tmp_path / name for name in names])
    sync([tmp_path / str(number) for number in range(1000)])
