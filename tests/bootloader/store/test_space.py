"""A full disk: what may go, goes; what is dear, stays; and what does not fit is refused before anything is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bootloader.journal import Block
from bootloader.segments import FILE_BYTES, Writer, found
from bootloader.store.reserve import RESERVE_BYTES
from bootloader.store.space import ROOTS_KEPT, SPARE_BYTES
from bootloader.wire.errors import Refused
from bootloader.wire.launch import PATH
from bootloader.wire.manifest import blob_name
from tests.bootloader.disk import LAUNCH, Disk, text
from tests.bootloader.wire.trees import Tree as Files

MIB = 1024 * 1024


def asset(size_bytes: int) -> Files:
    return {**text("main.py"), "asset.bin": (os.urandom(size_bytes), 0o644)}


@pytest.fixture
def full(mount: Callable[[str], Path]) -> Disk:
    """A disk that old assets have filled, but for what an overlay leaves, and something that was in the way."""
    disk = Disk(mount(f"size={SPARE_BYTES + 24 * MIB}") / "state")
    for _ in range(5):
        disk.healthy(asset(3 * MIB))
    (disk.folder / "aside" / "1").mkdir(parents=True)
    (disk.folder / "aside" / "1" / "junk").write_bytes(bytes(MIB))
    filler_bytes = disk.store.objects.free_bytes() - SPARE_BYTES - 4 * MIB
    (disk.folder / "filler").write_bytes(bytes(filler_bytes))
    return disk


def test_what_is_kept_of_the_past_goes_before_any_generation_does(full: Disk) -> None:
    logs = full.folder / "logs"
    logs.mkdir()
    writer = Writer(logs, "a" * 16, "c0ffee00", 0)
    for number in range(1, 4):
        writer.append(Block(number, number, os.urandom(FILE_BYTES - 1000)))
    writer.close()
    blobs = set(full.store.objects.names())
    needed_bytes = full.store.objects.free_bytes() + 5 * MIB // 2
    assert full.store.space.make(needed_bytes, ()) >= needed_bytes
    assert [segment.first for segment in found(logs)] == [3]
    assert set(full.store.objects.names()) == blobs


def test_old_generations_make_room_and_the_last_healthy_ones_stay(full: Disk) -> None:
    healthy = [one.root for one in full.store.ledger.newest_first()][:2]
    wanted = asset(2 * MIB)
    full.become(wanted)
    full.settle()
    assert full.live() == {**wanted, PATH: LAUNCH}
    assert not (full.folder / "aside" / "1").exists()
    for root in healthy:
        assert full.store.manifest_of(root) is not None
        full.switch(full.stage_root(root))
        full.settle()
    gone = full.store.ledger.newest_first()[-1]
    with pytest.raises(Refused) as caught:
        full.stage_root(gone.root)
    assert caught.value.code == "unknown-root"


def test_what_does_not_fit_is_refused_with_what_is_missing_and_nothing_dear_is_touched(full: Disk) -> None:
    before, healthy = full.state(), [one.root for one in full.store.ledger.newest_first()][:2]
    with pytest.raises(Refused) as caught:
        full.stage(full.overlay(asset(30 * MIB)))
    assert caught.value.code == "disk-full"
    assert "KB are missing" in str(caught.value)
    assert full.state() == before
    assert all(full.store.manifest_of(root) is not None for root in healthy)
    full.reopen()
    assert full.live() == before[1]  # type: ignore[index]
    assert full.codes == []


def test_what_was_uploaded_for_an_overlay_stays_until_that_has_come(full: Disk) -> None:
    first, second = os.urandom(2 * MIB), os.urandom(2 * MIB)
    for content in (first, second):
        full.store.upload(blob_name(content), 0, len(content), content)
    assert full.store.objects.missing([(blob_name(each), len(each)) for each in (first, second)]) == []


def test_a_small_fix_has_the_reserve_while_nobody_else_writes_and_the_rest_of_it_is_held_again(
    mount: Callable[[str], Path],
) -> None:
    disk = Disk(mount(f"size={SPARE_BYTES + 8 * MIB}") / "state")
    disk.healthy(text("main.py"))
    disk.settle()
    disk.store.catch_up()
    reserve = disk.folder / "reserve"
    assert reserve.stat().st_size == RESERVE_BYTES
    (disk.folder / "filler").write_bytes(bytes(disk.store.objects.free_bytes()))
    fix = disk.overlay({**text("main.py"), "fix.bin": (os.urandom(20_000), 0o644)})
    with pytest.raises(Refused) as caught:
        disk.stage(fix)
    assert caught.value.code == "disk-full"
    assert reserve.stat().st_size == RESERVE_BYTES
    assert disk.store.objects.free_bytes() == 0
    with disk.store.space.alone():
        staged = disk.stage(fix)
    assert RESERVE_BYTES // 2 < reserve.stat().st_size < RESERVE_BYTES
    disk.store.note(staged)
    disk.switch(staged)
    disk.settle()
    disk.reopen()
    assert disk.store.manifest.root == staged.manifest.root


def test_blobs_that_nothing_names_go_with_the_oldest_roots(disk: Disk) -> None:
    orphan = b"uploaded for an overlay that never came"
    disk.store.objects.put(blob_name(orphan), orphan)
    for number in range(2 * ROOTS_KEPT + 1):
        disk.become(text(f"{number}.py"))
        disk.store.settle()
    disk.store.catch_up()
    assert not disk.store.objects.has(blob_name(orphan), len(orphan))
    assert not disk.store.objects.has(blob_name(b"0.py"), 4)
    newest = f"{2 * ROOTS_KEPT}.py"
    assert disk.store.objects.has(blob_name(newest.encode()), len(newest))


@pytest.mark.parametrize("free_blocks", [0, 3, 8, 15, 40])
def test_a_small_fix_of_many_files_has_the_reserve_whatever_is_left_of_the_disk(
    mount: Callable[[str], Path], free_blocks: int
) -> None:
    disk = Disk(mount(f"size={SPARE_BYTES + 8 * MIB}") / "state")
    disk.healthy(text("main.py"))
    _fill(disk, free_blocks)
    fix = disk.overlay(text("main.py", *(f"{number}.py" for number in range(20))))
    with pytest.raises(Refused) as caught:
        disk.stage(fix)
    assert caught.value.code == "disk-full"
    assert "KB are missing" in str(caught.value), "it was begun, and has touched what it could"
    with disk.store.space.alone():
        staged = disk.stage(fix)
    disk.switch(staged)
    assert disk.store.manifest.root == staged.manifest.root


@pytest.mark.parametrize("free_blocks", [0, 3, 8, 15])
def test_a_boot_that_has_to_make_a_tree_anew_has_the_reserve(mount: Callable[[str], Path], free_blocks: int) -> None:
    disk = Disk(mount(f"size={SPARE_BYTES + 8 * MIB}") / "state")
    disk.healthy(text("main.py", *(f"{number}.py" for number in range(20))))
    wanted = disk.live()
    for tree in (disk.folder / "trees").iterdir():
        if tree.is_dir():
            for number in range(20):
                (tree / f"{number}.py").unlink()
    _fill(disk, free_blocks)
    disk.reopen()
    assert disk.live() == wanted
    assert (disk.folder / "reserve").stat().st_size > 0


def _fill(disk: Disk, free_blocks: int) -> None:
    assert (disk.folder / "reserve").stat().st_size == RESERVE_BYTES
    block = os.statvfs(disk.folder).f_frsize
    with (disk.folder / "filler").open("wb") as filler:
        filler.write(bytes(disk.store.objects.free_bytes() - free_blocks * block))
    assert disk.store.objects.free_bytes() == free_blocks * block
