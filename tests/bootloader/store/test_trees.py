"""One tree on disk: it is what its note says, it touches what is its own, and it follows no symlink."""

from __future__ import annotations

import importlib.util
import os
import py_compile
from collections.abc import Callable
from pathlib import Path

import pytest

from bootloader.aside import Aside
from bootloader.store.objects import Objects
from bootloader.store.trees import Tree, content_time_ns
from bootloader.wire.errors import Refused
from bootloader.wire.manifest import EMPTY, Manifest, blob_name
from tests.bootloader.wire.trees import Tree as Files
from tests.bootloader.wire.trees import manifest_of


class Disk:
    """A tree with the blobs and manifests that it needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifests: dict[str, Manifest] = {}
        self.notices: list[tuple[str, str]] = []
        self.objects = Objects(folder / "objects")
        self.tree = self.opened()

    def opened(self) -> Tree:
        return Tree(
            self.folder / "a",
            self.manifests.get,
            Aside(self.folder / "aside"),
            lambda code, text: self.notices.append((code, text)),
        )

    def compared(self) -> Tree:
        """The tree as a start finds it, once it has looked."""
        tree = self.opened()
        if tree.manifest is None and tree.noted is not None:
            tree.compare(tree.noted, lambda path: any(path in manifest for manifest in self.manifests.values()))
        return tree

    def known(self, files: Files) -> Manifest:
        manifest = manifest_of(files)
        self.manifests[manifest.root] = manifest
        for content, _ in files.values():
            self.objects.put(blob_name(content), content)
        return manifest

    def become(self, files: Files) -> None:
        assert self.tree.manifest is not None
        wanted = self.known(files)
        self.tree.edit(self.tree.manifest.edits_to(wanted), wanted, self.objects, {})

    def path(self, name: str) -> Path:
        return self.tree.folder / name

    def aside(self) -> dict[str, bytes]:
        """What was moved aside: file names and contents."""
        found = [path for path in (self.folder / "aside").rglob("*") if path.is_file()]
        return {path.name: path.read_bytes() for path in found}


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def plain(*names: str) -> Files:
    return {name: (name.encode(), 0o644) for name in names}


def test_a_tree_that_never_was_is_empty(disk: Disk) -> None:
    assert disk.tree.manifest == EMPTY


def test_modes_and_times_come_from_the_manifest_whatever_the_umask(disk: Disk) -> None:
    before = os.umask(0o077)
    try:
        disk.become({"tool": (b"#!", 0o755), "text": (b"..", 0o644)})
    finally:
        os.umask(before)
    for name, content, mode in (("tool", b"#!", 0o755), ("text", b"..", 0o644)):
        status = disk.path(name).stat()
        assert status.st_mode & 0o7777 == mode
        assert status.st_mtime_ns == content_time_ns(blob_name(content))


def test_times_differ_where_contents_of_one_length_do_so_that_python_sees_it(disk: Disk) -> None:
    names = [blob_name(b"x = %d" % number) for number in range(100)]
    times = {content_time_ns(name) for name in names}
    assert len(times) == 100
    assert all(time % 1_000_000_000 == 0 and 0 <= time < 2**31 * 1_000_000_000 for time in times)


def test_bytecode_of_the_old_text_is_not_taken_for_the_new_one(disk: Disk) -> None:
    disk.become({"module.py": (b"x = 1\n", 0o644)})
    stale = py_compile.compile(str(disk.path("module.py")), doraise=True)
    disk.become({"module.py": (b"x = 2\n", 0o644)})
    spec = importlib.util.spec_from_file_location("module", disk.path("module.py"))
    assert spec is not None
    assert spec.loader is not None
    assert importlib.util.cache_from_source(str(disk.path("module.py"))) == stale
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.x == 2


def test_what_an_application_wrote_is_left_alone(disk: Disk) -> None:
    disk.become(plain("package/module.py", "package/old.py"))
    disk.path("package/state.db").write_bytes(b"precious")
    disk.become(plain("other/module.py"))
    disk.become(plain("package/module.py"))
    assert disk.path("package/state.db").read_bytes() == b"precious"
    assert disk.notices == []


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("package/module.py", "package"),  # a file lies where a folder is to be
        ("package", "package/state.db"),  # a folder lies where a file is to be
        ("a/b/c/deep.py", "a/b"),
        ("name", "name/x/y"),
    ],
)
def test_what_an_application_wrote_in_the_way_is_moved_aside_with_a_notice(disk: Disk, mine: str, theirs: str) -> None:
    disk.become(plain("main.py"))
    disk.path(theirs).parent.mkdir(parents=True, exist_ok=True)
    disk.path(theirs).write_bytes(b"precious")
    disk.become(plain("main.py", mine))
    assert disk.path(mine).read_bytes() == mine.encode()
    assert disk.aside() == {Path(theirs).name: b"precious"}
    assert [code for code, _ in disk.notices] == ["moved-aside"]


def test_a_name_as_long_as_names_get_can_be_moved_aside(disk: Disk) -> None:
    disk.become(plain("main.py"))
    disk.path("n" * 255).mkdir()
    (disk.path("n" * 255) / "kept").write_bytes(b"precious")
    disk.become(plain("main.py", "n" * 255))
    assert disk.aside() == {"kept": b"precious"}


@pytest.mark.parametrize("theirs", ["a file", "a folder", "nothing"])
def test_a_file_is_gone_whatever_the_application_made_of_it(disk: Disk, theirs: str) -> None:
    disk.become(plain("main.py", "package/module.py"))
    disk.path("package/module.py").unlink()
    if theirs == "a file":
        disk.path("package").rmdir()
        disk.path("package").write_bytes(b"precious")
    elif theirs == "a folder":
        disk.path("package/module.py").mkdir()
        disk.path("package/module.py/kept").write_bytes(b"precious")
    disk.become(plain("main.py"))
    assert disk.tree.manifest == manifest_of(plain("main.py"))
    kept = [path.read_bytes() for path in disk.folder.rglob("*") if path.is_file() and path.name in ("package", "kept")]
    assert kept == ([] if theirs == "nothing" else [b"precious"])


@pytest.mark.parametrize(("link", "wanted"), [("package", "package/new.py"), ("a", "a/b/c/new.py"), (".", "new.py")])
def test_a_symlink_where_a_folder_should_be_is_refused_before_anything_is_touched(
    disk: Disk, tmp_path: Path, link: str, wanted: str
) -> None:
    disk.become(plain("main.py", "zoo/last.py"))
    outside = tmp_path / "outside"
    outside.mkdir()
    if link == ".":
        disk.tree.folder.rename(tmp_path / "moved")
        outside = tmp_path / "moved"
    disk.path(link).symlink_to(outside)
    before = sorted(outside.iterdir())
    with pytest.raises(Refused) as caught:
        disk.become(plain("aaa.py", wanted))
    assert (caught.value.code, caught.value.to) == ("symlink-in-the-way", link)
    assert sorted(outside.iterdir()) == before
    assert disk.tree.manifest == manifest_of(plain("main.py", "zoo/last.py"))
    assert disk.path("main.py").read_bytes() == b"main.py"
    assert not disk.path("aaa.py").exists()


def test_a_symlink_in_place_of_a_file_is_replaced_and_not_followed(disk: Disk, tmp_path: Path) -> None:
    disk.become(plain("main.py", "gone.py"))
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    for name in ("main.py", "gone.py"):
        disk.path(name).unlink()
        disk.path(name).symlink_to(outside)
    disk.become({"main.py": (b"new", 0o755)})
    assert disk.path("main.py").read_bytes() == b"new"
    assert not disk.path("main.py").is_symlink()
    assert outside.read_bytes() == b"precious"
    assert outside.stat().st_mode & 0o777 != 0o755


def test_an_edit_that_breaks_off_leaves_no_piece_and_a_tree_that_is_known_to_be_half_done(disk: Disk) -> None:
    disk.become(plain("main.py"))
    wanted = disk.known(plain("aaa.py", "main.py", "zzz.py"))
    disk.objects.path(blob_name(b"zzz.py")).unlink()
    assert disk.tree.manifest is not None
    with pytest.raises(Refused):
        disk.tree.edit(disk.tree.manifest.edits_to(wanted), wanted, disk.objects, {})
    assert disk.compared().manifest is None
    assert not disk.path("zzz.py").exists()
    disk.tree.rebuild(disk.known(plain("main.py", "zzz.py")), disk.objects)
    assert {path.name for path in disk.tree.folder.iterdir()} == {"main.py", "zzz.py"}
    assert disk.aside() == {}


def test_a_rebuild_keeps_what_is_right_and_moves_aside_what_is_no_blob(disk: Disk, tmp_path: Path) -> None:
    disk.become({"right.py": (b"right", 0o755), "package/stale.py": (b"stale", 0o644)})
    kept = disk.path("right.py").stat().st_ino
    disk.path("right.py").chmod(0o700)
    disk.path("state.db").write_bytes(b"precious")
    disk.path("inner").symlink_to(tmp_path)
    wanted = disk.known({"right.py": (b"right", 0o755), "inner/new.py": (b"new", 0o644)})
    disk.tree.rebuild(wanted, disk.objects)
    assert disk.path("right.py").stat().st_ino == kept
    assert disk.path("right.py").stat().st_mode & 0o777 == 0o755
    assert not disk.path("package/stale.py").exists()
    assert disk.path("inner/new.py").read_bytes() == b"new"
    assert disk.aside()["state.db"] == b"precious"
    assert not (tmp_path / "new.py").exists()
    assert disk.compared().manifest == wanted


@pytest.mark.parametrize("what", ["file", "symlink"])
def test_a_rebuild_takes_the_place_of_anything(disk: Disk, tmp_path: Path, what: str) -> None:
    place = disk.tree.folder
    place.write_bytes(b"a file") if what == "file" else place.symlink_to(tmp_path)
    again = disk.compared()
    assert again.manifest is None
    again.rebuild(disk.known(plain("main.py")), disk.objects)
    assert not place.is_symlink()
    assert (place / "main.py").read_bytes() == b"main.py"


@pytest.mark.parametrize("note", [b"", b"nonsense\n", b"\xff\xfe", b"0" * 64 + b"\n", None])
def test_a_note_that_makes_no_sense_is_no_note(disk: Disk, note: bytes | None) -> None:
    disk.become(plain("main.py"))
    place = disk.folder / "a.root"
    place.unlink()
    place.write_bytes(note) if note is not None else place.mkdir()
    tree = disk.opened()
    assert (tree.manifest, tree.noted) == (None, None)
    assert tree.compare(manifest_of(plain("main.py")), lambda _: False) == ""
    tree.edit({}, manifest_of(plain("main.py")), disk.objects, {})
    assert disk.compared().manifest == manifest_of(plain("main.py"))


def test_a_folder_that_is_gone_is_not_believed_to_hold_what_its_note_says(disk: Disk) -> None:
    disk.become(plain("main.py"))
    disk.path("main.py").unlink()
    disk.tree.folder.rmdir()
    assert disk.compared().manifest is None


def instead(file: Path, make: Callable[[Path], object]) -> None:
    file.unlink()
    make(file)


def test_a_file_that_is_changed_in_any_way_is_seen(disk: Disk, tmp_path: Path) -> None:
    disk.become(plain("main.py", "package/module.py"))
    wrong: dict[str, Callable[[Path], object]] = {
        "cut": lambda file: file.write_bytes(b""),
        "flipped": lambda file: file.write_bytes(b"qackage/module.py"),
        "gone": lambda file: file.unlink(),
        "mode": lambda file: file.chmod(0o755),
        "folder": lambda file: instead(file, Path.mkdir),
        "pipe": lambda file: instead(file, os.mkfifo),
        "link": lambda file: file.symlink_to(file.rename(tmp_path / "there")),
        "linked folder": lambda file: file.parent.symlink_to(file.parent.rename(tmp_path / "p")),
    }
    for name, damage in wrong.items():
        assert disk.compared().manifest == manifest_of(plain("main.py", "package/module.py"))
        damage(disk.path("package/module.py"))
        tree = disk.opened()
        assert tree.noted is not None
        assert "package/module.py" in tree.compare(tree.noted, lambda _: False), name
        assert tree.manifest is None
        tree.rebuild(tree.noted, disk.objects)


LEFT = {
    "whole": (b"gone.py", None, True),
    "cut": (b"", None, True),
    "torn, with its time": (b"gone", 1_000_000_000, True),
    "an application's": (b"theirs", 1_000_000_001, False),
}


@pytest.mark.parametrize("left", LEFT)
def test_a_deletion_that_a_power_cut_undid_is_seen_and_an_application_s_own_file_is_not_one(
    disk: Disk, left: str
) -> None:
    content, time_ns, wrong = LEFT[left]
    disk.become(plain("main.py", "gone.py"))
    disk.become(plain("main.py"))
    disk.path("gone.py").write_bytes(content)
    if time_ns is not None or left == "whole":
        at = content_time_ns(blob_name(content)) if time_ns is None else time_ns
        os.utime(disk.path("gone.py"), ns=(at, at))
    assert (disk.compared().manifest is None) == wrong


def test_what_was_written_and_the_folders_that_say_so_are_told_up_to_that_of_the_trees(disk: Disk) -> None:
    disk.become(plain("main.py", "package/inner/module.py"))
    disk.tree.unsynced.clear()
    disk.become(plain("main.py", "other/inner/module.py"))
    top = disk.tree.folder
    told = disk.tree.unsynced.keys()
    gone, new = top / "package" / "inner" / "module.py", top / "other" / "inner" / "module.py"
    assert {gone, new, *list(gone.parents)[:4], *list(new.parents)[:4], top.with_suffix(".root")} <= told
