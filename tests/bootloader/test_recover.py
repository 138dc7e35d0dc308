"""What a start finds on the disk, whatever happened to it: the best generation that is left, whole, or none."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.inside.sector import unreadable
from bootloader.store.space import SPARE_BYTES
from bootloader.store.trees import content_time_ns
from bootloader.store.triage import MOST_BOOTS
from bootloader.wire.launch import PATH
from bootloader.wire.manifest import EMPTY, blob_name
from tests.bootloader.disk import LAUNCH, Disk, in_place, on_disk, text
from tests.bootloader.target import SOON_S
from tests.bootloader.wire.trees import Tree as Files
from tests.bootloader.wire.trees import manifest_of

MIB = 1024 * 1024
FILES = ("ledger.jsonl", "ledger.copy")
GOOD = text("main.py", "package/stays.py", "old.py")
NEW = text("main.py", "package/stays.py", "package/new.py")


def root_of(files: Files) -> str:
    return manifest_of({**files, PATH: LAUNCH}).root


def settled(disk: Disk) -> Files:
    """A healthy generation, in both trees."""
    disk.healthy(GOOD)
    disk.healthy(NEW)
    return NEW


def young(disk: Disk) -> Files:
    """The live generation is not known to be healthy; the other tree is the last healthy one."""
    disk.healthy(GOOD)
    disk.become(NEW)
    disk.sync()
    return NEW


def older(disk: Disk) -> Files:
    """It has failed, nobody has gone back, and what comes next will be built in a third tree."""
    young(disk)
    disk.store.ledger.mark(2, "failed", "why")
    disk.settle()
    return GOOD


def unsettled(disk: Disk) -> Files:
    """The bootloader was killed right after the switch."""
    disk.healthy(GOOD)
    staged = disk.stage(disk.overlay(NEW))
    disk.store.note(staged)
    disk.switch(staged)
    return NEW


def failed(disk: Disk) -> Files:
    """The live generation failed: the last healthy one is to be started."""
    disk.healthy(GOOD)
    disk.store.ledger.mark(disk.become(NEW), "failed", "why")
    disk.settle()
    return GOOD


def far(disk: Disk) -> Files:
    """Only failed generations are in the trees: there was no room to let the last healthy one stay in one."""
    disk.healthy(GOOD)
    for files in (NEW, text("main.py")):
        disk.store.ledger.mark(disk.become(files), "failed", "why")
        disk.sync()
    shutil.rmtree(lent_tree(disk))
    return GOOD


HISTORIES: dict[str, Callable[[Disk], Files]] = {
    made.__name__: made for made in (settled, young, older, unsettled, failed, far)
}


ONLY = {
    "far": (f"objects/{blob_name(b'old.py')[:2]}/{blob_name(b'old.py')[2:]}",),  # what failed is all that is left
}
"""What has no second copy."""


def flipped(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if content else b"\0"


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: os.truncate(file, 0),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "flipped": lambda file: file.write_bytes(flipped(file.read_bytes())),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "gone": in_place(lambda _: None),
    "a folder": in_place(lambda file: (file / "junk").mkdir(parents=True)),
    "a dangling link": in_place(lambda file: file.symlink_to("nowhere")),
    "a link to itself": in_place(lambda file: file.symlink_to(file.name)),
}


def everything(folder: Path) -> Iterator[str]:
    """All files and links of a state folder."""
    yield from sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    yield "live"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("history", HISTORIES)
def test_any_one_file_may_be_damaged_in_any_way(tmp_path: Path, history: str, damage: str) -> None:
    disk = Disk(tmp_path / "state")
    wanted = HISTORIES[history](disk)
    files = list(everything(disk.folder))
    assert len(files) > 15
    for name in files:
        copy = Disk(tmp_path / "copy", source=disk.folder)
        file = copy.folder / name
        if damage in ("cut", "empty", "zeros", "flipped", "longer") and (file.is_symlink() or not file.exists()):
            continue
        only = name in ONLY.get(history, ())
        DAMAGES[damage](file)
        rung = copy.reopen()
        assert rung is not None, name
        if only:
            assert copy.live() in [{**files, PATH: LAUNCH} for files in (GOOD, text("main.py"))]
        else:
            assert copy.live() == {**wanted, PATH: LAUNCH}, name
            assert copy.store.manifest.root == rung.root == root_of(wanted)
        copy.become(text("next.py"))
        copy.settle()
        again = copy.reopen()
        assert again is not None
        assert again.root == root_of(text("next.py")), name
        assert copy.live() == {**text("next.py"), PATH: LAUNCH}
        shutil.rmtree(copy.folder)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    """One of each kind. Any application can put one there."""
    disk = Disk(tmp_path / "state")
    wanted = young(disk)
    kinds = {(Path(name).parent.name if len(Path(name).name) > 40 else name): name for name in everything(disk.folder)}
    names = [name for name in kinds.values() if not name.startswith("trees/") or name.endswith(".root")]
    assert len(names) > 7
    for name in names:
        copy = Disk(tmp_path / "copy", source=disk.folder)
        in_place(os.mkfifo)(copy.folder / name)
        rung = copy.reopen()
        assert rung is not None
        assert copy.live() == {**wanted, PATH: LAUNCH}, name
        copy.become(text("next.py"))
        copy.settle()
        shutil.rmtree(copy.folder)


@pytest.mark.parametrize("history", ["settled", "unsettled", "failed"])
def test_any_one_file_may_lie_where_the_disk_is_bad(tmp_path: Path, history: str) -> None:
    disk = Disk(tmp_path / "state")
    wanted = HISTORIES[history](disk)
    for name in everything(disk.folder):
        file = disk.folder / name
        if file.is_symlink() or not file.is_file():
            continue
        copy = Disk(tmp_path / "copy", source=disk.folder)
        with unreadable(copy.folder / name):
            rung = copy.reopen()
            assert rung is not None, name
            assert copy.live() == {**wanted, PATH: LAUNCH}, name
            copy.become(text("next.py"))
            copy.settle()
            again = copy.reopen()
            assert again is not None
            assert again.root == root_of(text("next.py")), name
            assert copy.live() == {**text("next.py"), PATH: LAUNCH}, name
        shutil.rmtree(copy.folder)


def test_a_whole_state_is_found_without_a_word_and_without_a_change(disk: Disk) -> None:
    settled(disk)
    before = {name: (disk.folder / name).lstat().st_mtime_ns for name in everything(disk.folder)}
    for _ in range(2):
        rung = disk.reopen()
        assert rung is not None
        assert rung.root == root_of(NEW)
    assert {name: (disk.folder / name).lstat().st_mtime_ns for name in everything(disk.folder)} == before
    assert disk.notices == []


@pytest.mark.parametrize("history", ["settled", "young", "unsettled", "failed"])
@pytest.mark.parametrize("lost", ["manifests", "manifests and notes", "manifests and ledger"])
def test_trees_whose_manifests_are_all_lost_are_known_by_what_is_in_them(disk: Disk, history: str, lost: str) -> None:
    wanted = HISTORIES[history](disk)
    shutil.rmtree(disk.folder / "manifests")
    for name in {"notes": ("trees/a.root", "trees/b.root"), "ledger": FILES}.get(lost.rpartition(" ")[2], ()):
        (disk.folder / name).unlink()
    disk.reopen()
    assert disk.live() == {**(NEW if lost.endswith("ledger") else wanted), PATH: LAUNCH}
    disk.settle()
    disk.reopen()
    assert disk.store.manifest_of(disk.store.manifest.root) is not None


def test_a_new_folder_has_nothing_to_start(disk: Disk) -> None:
    assert disk.reopen() is None
    assert disk.notices == []


@pytest.mark.parametrize("history", ["settled", "young"])
def test_what_is_live_is_made_whole_beside_and_never_edited_where_it_lies(disk: Disk, history: str) -> None:
    HISTORIES[history](disk)
    live = (disk.folder / "live").resolve()
    (live / "main.py").write_bytes(b"torn")
    (live / "old.py").write_bytes(b"by the application")
    before = on_disk(live)
    generations = len(disk.store.ledger.newest_first())
    disk.reopen()
    assert disk.live() == {**NEW, PATH: LAUNCH}
    assert (disk.folder / "live").resolve() != live
    assert on_disk(live) == before
    assert disk.codes == ["live-lost"] + ["tree-mended"] * (history == "young")
    assert len(disk.store.ledger.newest_first()) == generations, "it is the same generation"


def test_a_deletion_that_was_undone_is_no_part_of_what_runs(disk: Disk) -> None:
    disk.healthy(GOOD)
    disk.healthy(NEW)
    back = disk.folder / "live" / "old.py"
    back.write_bytes(b"old.py")
    os.utime(back, ns=(content_time_ns(blob_name(b"old.py")),) * 2)
    disk.reopen()
    assert disk.live() == {**NEW, PATH: LAUNCH}
    assert disk.codes == ["live-lost"]


def test_what_is_beyond_repair_gives_way_to_the_last_healthy_generation(disk: Disk) -> None:
    young(disk)
    (disk.folder / "live" / "package" / "new.py").unlink()
    disk.store.objects.discard(blob_name(b"package/new.py"))
    rung = disk.reopen()
    assert rung is not None
    assert disk.live() == {**GOOD, PATH: LAUNCH}
    assert disk.codes == ["live-lost", "generation-lost"]
    newest = disk.store.ledger.last()
    assert newest is not None
    assert (newest.rung, newest.who, newest.why) == (
        "rollback",
        "bootloader",
        "to generation 1: what was live is lost",
    )


def test_a_generation_is_not_torn_down_for_one_that_can_not_be_made(disk: Disk) -> None:
    """The other tree is the last healthy one, and stays it."""
    young(disk)
    idle = disk.idle()
    inode = (idle / "main.py").stat().st_ino
    (disk.folder / "live" / "package" / "new.py").unlink()
    disk.store.objects.discard(blob_name(b"package/new.py"))
    disk.reopen()
    assert (idle / "main.py").stat().st_ino == inode


def test_a_generation_that_takes_the_device_down_loses(disk: Disk) -> None:
    disk.healthy(GOOD)
    number = disk.become(NEW)
    disk.settle()
    for _ in range(MOST_BOOTS):
        rung = disk.reopen()
        assert rung is not None
        assert (rung.root, rung.generation) == (root_of(NEW), number)
        disk.store.ledger.count_boot(number)
    disk.reopen()
    assert disk.live() == {**GOOD, PATH: LAUNCH}
    newest = disk.store.ledger.last()
    assert newest is not None
    assert (
        newest.why
        == f"to generation 1: generation 2 was started {MOST_BOOTS} times in a row and cut off soon each time"
    )


def test_the_last_healthy_generation_stays_in_a_tree_while_others_fail(disk: Disk) -> None:
    disk.healthy(GOOD)
    for number in range(4):
        disk.store.ledger.mark(disk.become(text(f"broken{number}.py")), "failed", "why")
        disk.settle()
        assert lent(disk) == {**GOOD, PATH: LAUNCH}
    assert disk.live() == {**text("broken3.py"), PATH: LAUNCH}
    disk.healthy(NEW)
    assert lent(disk) == disk.live() == {**NEW, PATH: LAUNCH}


def lent_tree(disk: Disk) -> Path:
    """Where what is lent as the last healthy generation's lies."""
    loan = disk.store.lend_last_healthy()
    assert loan is not None
    loan.give_back()
    return loan.tree


def lent(disk: Disk) -> Files:
    return on_disk(lent_tree(disk))


def test_a_tree_on_loan_is_not_built_in(mount: Callable[[str], Path]) -> None:
    disk = Disk(mount("size=40m") / "state")
    young(disk)  # there is no room for a third tree, so the only other one is the one that is lent
    loan = disk.store.lend_last_healthy()
    assert loan is not None
    builds = threading.Thread(target=lambda: disk.become(text("next.py")))
    builds.start()
    builds.join(0.2)
    assert builds.is_alive()
    assert on_disk(loan.tree) == {**GOOD, PATH: LAUNCH}
    loan.give_back()
    builds.join(SOON_S)
    assert disk.live() == {**text("next.py"), PATH: LAUNCH}
    assert disk.store.lend_last_healthy() is None


def test_a_third_tree_is_made_where_there_is_room_and_goes_where_there_is_none(mount: Callable[[str], Path]) -> None:
    disk = Disk(mount("size=40m") / "state")
    older(disk)
    third = disk.folder / "trees" / "c"
    assert not third.exists()
    mount("size=100m")
    disk.settle()
    assert on_disk(third) == {**NEW, PATH: LAUNCH}
    mount("size=10m")
    disk.settle()
    assert on_disk(third) == {}
    assert lent(disk) == {**GOOD, PATH: LAUNCH}


# a base, and a state that can't be written


@pytest.fixture
def base(tmp_path: Path) -> Path:
    made = Disk(tmp_path / "base")
    made.healthy(text("base.py"))
    return made.folder


def test_the_base_is_run_where_nothing_else_is(disk: Disk, base: Path) -> None:
    rung = disk.reopen(base=base)
    assert rung is not None
    assert disk.live() == {**text("base.py"), PATH: LAUNCH}
    assert (disk.folder / "live").resolve() == (base / "live").resolve(), "it is not copied"
    assert disk.store.base_root == root_of(text("base.py"))
    newest = disk.store.ledger.last()
    assert newest is not None
    assert newest.why.startswith("to the base: ")
    disk.reopen(base=base)
    assert disk.store.ledger.last() == newest
    disk.become(GOOD)
    disk.settle()
    disk.reopen(base=base)
    assert disk.live() == {**GOOD, PATH: LAUNCH}
    disk.switch(disk.stage_root(disk.store.base_root))
    disk.settle()
    assert disk.live() == {**text("base.py"), PATH: LAUNCH}
    assert on_disk(base / "live") == {**text("base.py"), PATH: LAUNCH}


def test_a_base_whose_tree_is_damaged_is_made_whole_from_its_blobs(disk: Disk, base: Path) -> None:
    before = {path: path.read_bytes() for path in base.rglob("*") if path.is_file()}
    for tree in (base / "trees").iterdir():
        if tree.is_dir():
            (tree / "base.py").write_bytes(b"damaged")
            before[tree / "base.py"] = b"damaged"
    disk.reopen(base=base)
    assert disk.live() == {**text("base.py"), PATH: LAUNCH}
    assert {path: path.read_bytes() for path in base.rglob("*") if path.is_file()} == before


def test_a_base_repairs_what_the_state_lost(disk: Disk, base: Path) -> None:
    disk.healthy(text("base.py", "more.py"))
    disk.healthy(text("base.py", "most.py"))
    for tree in ("a", "b"):
        (disk.folder / "trees" / tree / "base.py").unlink()
    disk.store.objects.discard(blob_name(b"base.py"))
    disk.reopen(base=base)
    assert disk.live() == {**text("base.py", "most.py"), PATH: LAUNCH}


def test_the_base_and_what_the_state_has_of_it_outlive_every_collection_of_space(
    mount: Callable[[str], Path], base: Path
) -> None:
    disk = Disk(mount(f"size={SPARE_BYTES + 24 * MIB}") / "state")
    disk.reopen(base=base)
    root = disk.store.base_root
    disk.switch(disk.stage_root(root))
    disk.settle()
    for _ in range(4):
        disk.healthy({**text("main.py"), "asset.bin": (os.urandom(3 * MIB), 0o644)})
    filler_bytes = disk.store.objects.free_bytes() - SPARE_BYTES // 2
    (disk.folder / "filler").write_bytes(bytes(filler_bytes))
    disk.store.catch_up()
    oldest = next(one.root for one in reversed(disk.store.ledger.newest_first()) if one.root != root)
    assert disk.store.manifest_of(oldest) is None, "nothing was collected"
    shutil.rmtree(base)
    (disk.folder / "filler").unlink()
    disk.reopen(base=base)
    disk.switch(disk.stage_root(root))
    assert disk.live() == {**text("base.py"), PATH: LAUNCH}


def test_a_state_that_can_not_be_written_is_run_from_where_it_lies(tmp_path: Path, base: Path) -> None:
    kept = Disk(tmp_path / "kept")
    young(kept)
    volatile = Disk(tmp_path / "volatile")
    rung = volatile.reopen(kept=kept.folder, base=base)
    assert rung is not None
    assert volatile.live() == {**NEW, PATH: LAUNCH}
    assert (volatile.folder / "live").resolve() == (kept.folder / "live").resolve()
    volatile.become(text("newer.py"))
    volatile.settle()
    volatile.reopen(kept=kept.folder, base=base)
    assert volatile.live() == {**text("newer.py"), PATH: LAUNCH}
    assert kept.live() == {**NEW, PATH: LAUNCH}


@pytest.mark.parametrize("lost", ["tree", "blob"])
def test_a_state_that_can_neither_be_written_nor_run_is_made_whole_elsewhere(
    tmp_path: Path, base: Path, lost: str
) -> None:
    kept = Disk(tmp_path / "kept")
    young(kept)
    (kept.folder / "live" / "package" / "new.py").unlink()
    if lost == "blob":
        kept.store.objects.discard(blob_name(b"package/new.py"))
    volatile = Disk(tmp_path / "volatile")
    for name in ("ledger.jsonl", "ledger.copy"):
        shutil.copy(kept.folder / name, volatile.folder)
    volatile.reopen(kept=kept.folder, base=base)
    assert volatile.live() == {**(NEW if lost == "tree" else GOOD), PATH: LAUNCH}


def test_with_nothing_left_nothing_is_live(disk: Disk) -> None:
    young(disk)
    shutil.rmtree(disk.folder / "objects")
    for tree in ("a", "b"):
        (disk.folder / "trees" / tree / "main.py").unlink()
    assert disk.reopen() is None
    assert disk.store.live is None
    assert disk.store.manifest == EMPTY
    disk.become(GOOD)
    disk.settle()
    assert disk.reopen() is not None
    assert disk.live() == {**GOOD, PATH: LAUNCH}
