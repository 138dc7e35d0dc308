"""An overlay onto the disk: what lies there is the manifest exactly, and a refusal changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bootloader.store.space import ROOTS_KEPT
from bootloader.store.staged import Staged
from bootloader.wire.delta import Delta
from bootloader.wire.errors import Fault, Refused
from bootloader.wire.launch import PATH
from bootloader.wire.manifest import EMPTY, Entry, blob_name
from bootloader.wire.overlay import Overlay, Splice, diff
from tests.bootloader.disk import LAUNCH, Disk, on_disk, text
from tests.bootloader.wire.trees import Tree as Files
from tests.bootloader.wire.trees import entry_of, manifest_of, pairs
from tests.bootloader.wire.trees import files as some_files


def fitting(tree: Files) -> Files:
    """``tree`` less the files that lie below another file of it."""
    return {path: file for path, file in tree.items() if not any(path.startswith(f"{other}/") for other in tree)}


def is_free(pair: tuple[Files, Files]) -> bool:
    """Whether no file takes the launch file's place: hypothesis knows the constants of the code, that path too."""
    folder = PATH.partition("/")[0]
    return not any(path.split("/")[0] == folder for files in pair for path in files)


@settings(max_examples=40)
@given(pairs().filter(is_free))
def test_any_tree_becomes_any_other_on_disk_in_both_places(
    tmp_path_factory: pytest.TempPathFactory, pair: tuple[Files, Files]
) -> None:
    disk = Disk(tmp_path_factory.mktemp("state"))
    for files in (*pair, pair[0]):
        disk.become(files)
        assert disk.live() == {**files, PATH: LAUNCH}
        disk.settle()
        assert on_disk(disk.folder / "trees" / "a") == on_disk(disk.folder / "trees" / "b") == disk.live()
    assert disk.notices == []
    shutil.rmtree(disk.folder)


paths = st.lists(st.sampled_from(("a", "A", "a.b", "b", "é", "main.py")), min_size=1, max_size=3).map("/".join)
small_trees = st.dictionaries(paths, some_files, max_size=6).map(fitting)


class Sequence(RuleBasedStateMachine):
    """Overlays, rollbacks, restarts, broken-off work and lost blobs in any order, against a simple model."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        self.disk = Disk(Path(self.folder, str(id(self)) + os.urandom(4).hex()))
        self.model: Files = {}
        self.been: dict[str, Files] = {}

    def switched(self, staged: Staged, model: Files) -> None:
        self.disk.switch(staged)
        self.model = model
        self.been[staged.manifest.root] = model

    @rule(files=small_trees)
    def apply(self, files: Files) -> None:
        self.switched(self.disk.stage(self.disk.overlay(files)), {**files, PATH: LAUNCH})

    @rule(files=small_trees)
    def refuse_after_staging(self, files: Files) -> None:
        self.disk.stage(self.disk.overlay(files))  # it does not compile, say

    @rule(files=small_trees)
    def refuse_a_stale_one(self, files: Files) -> None:
        with pytest.raises(Refused):
            self.disk.stage(replace(self.disk.overlay(files), base="ab" * 32))

    @precondition(lambda self: self.been)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        root = data.draw(st.sampled_from(sorted(self.been)))
        try:
            staged = self.disk.stage_root(root)
        except Refused as refused:
            if refused.code != "missing-blob" or not self.lost:
                raise
        else:
            self.switched(staged, self.been[root])

    lost = False

    @rule()
    def settle(self) -> None:
        self.disk.settle()
        if self.model:
            assert on_disk(self.disk.folder / "trees" / "a") == on_disk(self.disk.folder / "trees" / "b") == self.model

    @rule()
    def restart(self) -> None:
        self.disk.reopen()

    @precondition(lambda self: self.model)
    @rule(junk=st.binary(max_size=4), cut=st.booleans())
    def tear_the_idle_tree(self, junk: bytes, cut: bool) -> None:
        idle = self.disk.idle()
        for path in [path for path in idle.rglob("*") if path.is_file()] if cut else []:
            path.write_bytes(junk)
        idle.with_suffix(".root").unlink(missing_ok=True)
        self.disk.reopen()

    @precondition(lambda self: self.model)
    @rule(data=st.data(), damage=st.booleans())
    def lose_a_blob(self, data: st.DataObject, damage: bool) -> None:
        objects = [path for path in (self.disk.folder / "objects").glob("??/*") if path.is_file()]
        if objects:
            path = data.draw(st.sampled_from(sorted(objects)))
            path.write_bytes(b"x" * path.stat().st_size) if damage else path.unlink()
            self.lost = True

    @invariant()
    def what_lies_there_is_what_was_applied(self) -> None:
        if self.model:
            assert self.disk.live() == self.model
            assert self.disk.store.manifest == manifest_of(self.model)
        else:
            assert self.disk.store.manifest == EMPTY

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            shutil.rmtree(self.disk.folder)


def test_sequences_with_rollbacks_restarts_and_damage_end_where_the_model_does(tmp_path: Path) -> None:
    Sequence.folder = tmp_path
    run_state_machine_as_test(Sequence, settings=settings(max_examples=50, stateful_step_count=15, deadline=None))


def test_a_file_that_can_not_be_made_leaves_no_folder_behind(tmp_path: Path) -> None:
    """An empty folder would be a package to Python."""
    disk = Disk(tmp_path)
    disk.become({"package/deep/a": (b"a", 0o644)})
    root = disk.store.manifest.root
    disk.become({})
    disk.settle()
    disk.store.objects.path(blob_name(b"a")).unlink()
    with suppress(Refused):
        disk.switch(disk.stage_root(root))
    disk.settle()
    assert on_disk(disk.folder / "trees" / "a") == on_disk(disk.folder / "trees" / "b") == disk.live()


# refusals


def edit_of(overlay: Overlay, path: str) -> str:
    entry = overlay.edits[path]
    assert entry is not None
    return entry.blake3


def with_blob(overlay: Overlay, name: str, blob: bytes | Splice | None) -> Overlay:
    blobs = {**overlay.blobs, name: blob}
    return replace(overlay, blobs={key: value for key, value in blobs.items() if value is not None})


def damaged(disk: Disk, _: Overlay) -> Overlay:
    """It counts on a blob that the target had, and that rots on the disk."""
    path = disk.store.objects.path(blob_name(b"early.py"))
    path.write_bytes(b"EARLY.PY")
    return without(disk, disk.overlay(text("main.py", "early.py")))


def without(disk: Disk, overlay: Overlay) -> Overlay:
    return with_blob(overlay, edit_of(overlay, "early.py"), None)


def misfitting(disk: Disk) -> Splice:
    disk.store.objects.put(blob_name(b"short"), b"short")
    return Splice(blob_name(b"short"), Delta(0, 6, b""))


def linked(disk: Disk, overlay: Overlay) -> Overlay:
    (disk.idle() / "package").symlink_to(disk.folder)
    return disk.overlay(text("main.py", "package/new.py"))


def launchless(disk: Disk, content: bytes | None) -> Overlay:
    files = {**text("main.py"), PATH: LAUNCH}
    after = {**text("main.py"), **({PATH: (content, 0o644)} if content is not None else {})}
    bare = diff(manifest_of(files), manifest_of(after))
    return replace(bare, blobs={blob_name(content): content} if content is not None else {})


GOOD = text("main.py", "new.py")
NEW = blob_name(b"new.py")
OTHER = blob_name(b"nobody's")

REFUSALS: dict[str, tuple[str, Callable[[Disk, Overlay], Overlay]]] = {
    "a blob with another content": ("malformed", lambda _, good: with_blob(good, NEW, b"NEW.PY")),
    "a short blob": ("malformed", lambda _, good: with_blob(good, NEW, b"new.p")),
    "a long blob": ("malformed", lambda _, good: with_blob(good, NEW, b"new.py and more")),
    "a blob that nobody needs": ("malformed", lambda _, good: with_blob(good, OTHER, b"nobody's")),
    "a missing blob": ("missing-blob", lambda _, good: with_blob(good, NEW, None)),
    "a damaged blob": ("missing-blob", damaged),
    "a delta against a blob that is not there": (
        "missing-blob",
        lambda _, good: with_blob(good, NEW, Splice(OTHER, Delta(3, 0, b".py"))),
    ),
    "a delta that does not fit its base": (
        "malformed",
        lambda disk, good: with_blob(good, NEW, misfitting(disk)),
    ),
    "a delta to something else": (
        "malformed",
        lambda _, good: with_blob(good, NEW, Splice(blob_name(b"main.py"), Delta(0, 3, b"old"))),
    ),
    "a delta of another length": (
        "malformed",
        lambda _, good: with_blob(good, NEW, Splice(blob_name(b"main.py"), Delta(0, 0, b"new.py!"))),
    ),
    "a stale root": ("stale-root", lambda _, good: replace(good, base="ab" * 32)),
    "a wrong root": ("wrong-root", lambda _, good: replace(good, root="ab" * 32)),
    "a deletion of what is not there": (
        "malformed",
        lambda _, good: replace(good, edits={**good.edits, "absent.py": None}),
    ),
    "a file that is a folder": (
        "malformed",
        lambda _, good: replace(good, edits={**good.edits, "main.py/x": entry_of((b"new.py", 0o644))}),
    ),
    "a path that escapes": (
        "malformed",
        lambda _, good: replace(good, edits={**good.edits, "../x": entry_of((b"new.py", 0o644))}),
    ),
    "a symlink in the way": ("symlink-in-the-way", linked),
    "no launch file": ("no-launch", lambda disk, _: launchless(disk, None)),
    "a launch file that makes no sense": ("no-launch", lambda disk, _: launchless(disk, b"{}")),
    "a blob larger than the disk": (
        "missing-blob",
        lambda _, good: Overlay(
            good.base,
            manifest_of({**text("main.py"), PATH: LAUNCH}).edit({"huge": Entry(OTHER, 0o644, 4 * 1024**3)}).root,
            {"huge": Entry(OTHER, 0o644, 4 * 1024**3)},
        ),
    ),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_refusal_changes_nothing_and_the_next_good_overlay_works(disk: Disk, why: str) -> None:
    disk.become(text("main.py", "early.py"))
    disk.become(text("main.py"))
    disk.settle()
    code, make = REFUSALS[why]
    bad = make(disk, disk.overlay(GOOD))
    before = disk.state()
    with pytest.raises(Fault) as caught:
        disk.stage(bad)
    assert caught.value.code == code
    assert disk.state() == before
    if code == "stale-root":
        assert caught.value.fields["root"] == disk.store.manifest.root
    disk.become(GOOD)
    disk.settle()
    assert disk.live() == {**GOOD, PATH: LAUNCH}


def test_a_root_that_the_target_no_longer_has_is_refused(disk: Disk) -> None:
    disk.become(text("main.py"))
    before = disk.state()
    with pytest.raises(Refused) as caught:
        disk.stage_root("ab" * 32)
    assert caught.value.code == "unknown-root"
    assert disk.state() == before


# a full disk


def test_an_overlay_that_would_fill_the_disk_is_refused_at_once(mount: Callable[[str], Path]) -> None:
    small = Disk(mount("size=17m") / "state")
    small.become(text("main.py"))
    before = small.state()
    with pytest.raises(Refused) as caught:
        small.become({"big.bin": (os.urandom(1024 * 1024), 0o644)})
    assert caught.value.code == "disk-full"
    assert small.state() == before
    small.become({"fix.py": (b"# what filled the disk is no more", 0o644)})
    with pytest.raises(Refused) as caught:
        small.store.upload(blob_name(b""), 0, 1024 * 1024, b"x")
    assert caught.value.code == "disk-full"
    mount("size=40m")
    small.become({"big.bin": (os.urandom(1024 * 1024), 0o644)})


@pytest.mark.parametrize("free", [5, 20, 60, 90])
def test_a_disk_that_is_full_in_the_middle_changes_nothing_and_heals(mount: Callable[[str], Path], free: int) -> None:
    place = mount("size=64m,nr_inodes=1000")
    small = Disk(place / "state")
    small.become(text("main.py", "package/old.py"))
    small.settle()
    before = small.state()
    used = sum(1 for _ in place.rglob("*")) + 1
    many = {**text("main.py"), **{f"package/{number}.py": (str(number).encode(), 0o644) for number in range(40)}}
    wanted = small.overlay(many)
    mount(f"size=64m,nr_inodes={used + free}")
    with pytest.raises(Refused) as caught:
        small.stage(wanted)
    assert caught.value.code == "disk-full"
    assert small.state() == before
    small.reopen()
    assert small.state()[1:4] == before[1:4]  # type: ignore[index]
    mount("size=64m,nr_inodes=1000")
    small.become(many)
    small.settle()
    assert small.live() == {**many, PATH: LAUNCH}
    assert not (small.folder / "aside").exists()


# what it costs


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """The calls of the operating system and of ``open``; not of what only computes with paths."""
    calls: Counter[str] = Counter()

    def count(_frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and getattr(called, "__module__", "") in ("posix", "io", "_io"):
            calls[called.__name__] += called.__name__ != "fspath" and not called.__name__.startswith("_path")

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def test_applying_costs_the_change_and_not_the_tree(tmp_path: Path) -> None:
    costs = []
    for size in (10, 1000):
        disk = Disk(tmp_path / str(size))
        files = {f"package{number % 10}/{number}.py": (str(number).encode(), 0o644) for number in range(size)}
        for _ in range(2):
            files["package3/3.py"] = (os.urandom(8), 0o644)
            disk.become(files)
            disk.settle()
        overlay = disk.overlay({**files, "package3/3.py": (b"changed", 0o644)})
        disk.store.objects.path(blob_name(b"changed")).parent.mkdir(exist_ok=True)  # in one of them it is by chance
        with counted() as calls:
            disk.switch(disk.stage(overlay))
            disk.settle()
        assert calls["open"] > 5
        costs.append(calls)
    assert costs[0] == costs[1]


# what a start finds


def test_a_restart_finds_what_was_live(disk: Disk) -> None:
    disk.become(text("main.py"))
    disk.become(text("other.py"))
    before = disk.state()
    disk.reopen()
    assert disk.state()[1:4] == before[1:4]  # type: ignore[index]
    assert disk.notices == []
    assert disk.store.launch() is not None


PARTS = (
    *(
        "manifests",
        "manifests/blocks",
        "manifests/copy",
        "manifests/copy/blocks",
        "objects",
        "objects/part",
        "ledger.jsonl",
        "ledger.copy",
        "aside",
    ),
    *("trees", "trees/a", "trees/b", "trees/a.root", "trees/b.root", "live", "live.new"),
)
LOSSES = [(lost, instead) for lost in PARTS for instead in ("nothing", "a file", "a folder", "a dangling link")]


@pytest.mark.parametrize(("lost", "instead"), LOSSES)
def test_a_start_survives_the_loss_of_any_part_of_the_state(disk: Disk, lost: str, instead: str) -> None:
    disk.become(text("main.py"))
    disk.become(text("main.py", "new.py"))
    disk.settle()
    place = disk.folder / lost
    shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink(missing_ok=True)
    match instead:
        case "a file":
            place.write_bytes(b"junk")
        case "a folder":
            place.mkdir()
            (place / "junk").write_bytes(b"junk")
        case "a dangling link":
            place.symlink_to("nowhere")
    disk.reopen()
    disk.become(text("main.py", "newer.py"))
    disk.settle()
    disk.reopen()
    assert disk.live() == {**text("main.py", "newer.py"), PATH: LAUNCH}


def test_a_blob_that_rots_comes_back_from_the_live_tree(disk: Disk) -> None:
    disk.become(text("main.py", "stays.py"))
    disk.settle()
    for path in (disk.folder / "objects").glob("??/*"):
        path.write_bytes(b"x" * path.stat().st_size)
    shutil.rmtree(disk.idle())
    disk.reopen()
    disk.become(text("main.py", "stays.py", "new.py"))
    disk.settle()
    assert disk.live() == {**text("main.py", "stays.py", "new.py"), PATH: LAUNCH}


def test_a_switch_that_fails_changes_nothing(disk: Disk) -> None:
    disk.become(text("main.py"))
    staged = disk.stage(disk.overlay(GOOD))
    before = disk.state()
    (disk.folder / "live.new").unlink()
    with pytest.raises(OSError):
        disk.switch(staged)
    assert disk.state() == before
    disk.become(GOOD)


def test_manifests_are_forgotten_but_never_one_that_a_rollback_may_want(disk: Disk) -> None:
    first = disk.become(text("first.py"))
    disk.store.ledger.mark(first, "healthy")
    root = disk.store.manifest.root
    second = disk.become(text("second.py"))
    disk.store.ledger.mark(second, "healthy")
    for number in range(2 * ROOTS_KEPT):
        disk.become(text(f"{number}.py", "common.py"))
        disk.settle()
    assert not disk.store.objects.has(blob_name(b"5.py"), 4), "what only a forgotten manifest names"
    assert disk.store.objects.has(blob_name(b"first.py"), 8)
    assert disk.store.objects.has(blob_name(b"common.py"), 9)
    kept = [path for path in (disk.folder / "manifests").iterdir() if path.is_file()]
    assert ROOTS_KEPT <= len(kept) <= 2 * ROOTS_KEPT
    for wanted in (root, *(one.root for one in disk.store.ledger.newest_first()[:ROOTS_KEPT])):
        assert disk.store.manifest_of(wanted) is not None
    disk.switch(disk.stage_root(root))


def test_a_large_file_comes_in_parts_and_is_copied_through(disk: Disk) -> None:
    content = os.urandom(5 * 1024 * 1024)
    name = blob_name(content)
    for offset in range(0, len(content), 2 * 1024 * 1024):
        disk.store.upload(name, offset, len(content), content[offset : offset + 2 * 1024 * 1024])
    overlay = disk.overlay({"model.bin": (content, 0o755)})
    disk.switch(disk.stage(with_blob(overlay, name, None)))
    disk.settle()
    assert disk.live()["model.bin"] == (content, 0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_where_the_disk_fails_under_one_tree_what_is_live_is_made_anew_in_another(disk: Disk) -> None:
    disk.healthy(text("first"))
    disk.healthy(text("second"))
    failing = disk.idle()
    (disk.folder / "live" / "second").write_bytes(b"damaged")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", failing], capture_output=True)
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode().strip()}")
    try:
        assert disk.reopen() is not None
        assert disk.live() == {**text("second"), PATH: LAUNCH}
        assert {"live-lost", "idle-behind", "tree-mended"} <= set(disk.codes)
    finally:
        subprocess.run(["umount", "--lazy", failing], check=True)
