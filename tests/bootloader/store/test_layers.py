"""Layers on a disk: whole or not there, mended, shared, and gone with the last generation that needs them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from bootloader.store import unpack
from bootloader.wire.errors import Refused
from bootloader.wire.launch import PATH, Launch
from bootloader.wire.layer import layer_name
from tests.bootloader.disk import LAUNCH, Disk, in_place, text
from tests.bootloader.wheels import Built, build, of
from tests.bootloader.wire.trees import Tree as Files

ONE, TWO, LARGE = build("one"), build("two"), build("large", files={f"large/m{n}.py": f"N = {n}\n" for n in range(20)})


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "state")


def send(disk: Disk, *built: Built) -> None:
    for each in built:
        disk.store.upload(each.wheel.blake3, 0, each.wheel.size, each.content)


def make(disk: Disk, *built: Built) -> Path:
    send(disk, *built)
    wheels = [each.wheel for each in built]
    disk.store.layers.make(wheels, disk.store.room)
    return folder(disk, *built)


def folder(disk: Disk, *built: Built) -> Path:
    return disk.folder / "layers" / layer_name(each.wheel for each in built)


def modules(place: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (place / "site").rglob("*.py")}


def needing(*built: Built, files: Files = text("main.py")) -> Files:  # noqa: B008 - never changed
    """A tree whose launch file needs the layer of these."""
    launch = replace(Launch.decode(LAUNCH[0]), wheels=tuple(sorted(each.wheel for each in built)))
    return {**files, PATH: (launch.encode(), 0o644)}


def test_of_wheels_with_too_many_files_in_all_no_more_is_read_than_shows_that(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may hold tens of thousands, and there may be hundreds."""
    monkeypatch.setattr(unpack, "MANIFEST_FILES", 5)
    unread = of("zzz-1-py3-none-any.whl", b"no archive, which would be told")
    send(disk, ONE, TWO, unread)
    with pytest.raises(Refused) as caught:
        disk.store.layers.make([each.wheel for each in (ONE, TWO, unread)], disk.store.room)
    assert caught.value.code == "layer-too-large"


def test_a_layer_is_made_of_its_wheels_and_named_by_them(disk: Disk) -> None:
    place = make(disk, ONE, TWO)
    assert place == folder(disk, TWO, ONE)
    assert modules(place) == {"one.py": "VERSION = '1'\n", "two.py": "VERSION = '1'\n"}
    assert disk.store.layers.has([TWO.wheel, ONE.wheel])
    assert disk.notices == []


def test_what_is_missing_is_asked_for_and_nothing_that_is_there(disk: Disk) -> None:
    wheels = [ONE.wheel, TWO.wheel]
    assert disk.store.layers.missing(wheels) == [ONE.wheel.blake3, TWO.wheel.blake3]
    send(disk, ONE)
    assert disk.store.layers.missing(wheels) == [TWO.wheel.blake3]
    with pytest.raises(Refused) as caught:
        disk.store.layers.make(wheels, disk.store.room)
    assert caught.value.code == "missing-blob"
    assert sorted(path.name for path in (disk.folder / "layers").iterdir()) == []
    make(disk, ONE, TWO)
    disk.store.objects.discard(ONE.wheel.blake3)
    assert disk.store.layers.missing([ONE.wheel]) == []  # as it lies unpacked in the other one


def test_one_more_wheel_costs_no_more_than_itself(disk: Disk) -> None:
    before = make(disk, LARGE)
    needed: list[int] = []

    def room(sizes: Iterable[int]) -> None:
        needed.extend(sizes)

    send(disk, ONE)
    disk.store.layers.make([LARGE.wheel, ONE.wheel], room)
    after = folder(disk, LARGE, ONE)
    assert len(needed) == 3  # of the small one
    for path in (before / "site").rglob("*.py"):
        assert (after / path.relative_to(before)).samefile(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": lambda file: file.write_bytes(b"VERSION = '2'\n"),
    "cut": lambda file: os.truncate(file, 3),
    "gone": lambda file: file.unlink(),
    "a link": in_place(lambda file: file.symlink_to("/etc/passwd")),
    "a folder": in_place(lambda file: file.mkdir()),
    "all of it": lambda file: shutil.rmtree(file.parent),
    "no list": in_place(lambda file: file.parents[1].with_suffix(".files").unlink()),
    "a torn list": in_place(lambda file: os.truncate(file.parents[1].with_suffix(".files"), 100)),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_layer_that_is_damaged_is_mended_before_anything_runs(name: str, disk: Disk) -> None:
    place = make(disk, ONE, TWO)
    disk.healthy(needing(ONE, TWO))
    whole = modules(place)
    DAMAGES[name](place / "site" / "one.py")
    assert disk.reopen() is not None
    assert modules(place) == whole
    assert "layer-mended" in disk.codes
    assert not (place / "site" / "one.py").is_symlink()


def test_one_that_can_not_be_mended_gives_way_and_is_asked_for_again(disk: Disk) -> None:
    disk.healthy(text("main.py"))
    place = make(disk, ONE)
    disk.healthy(needing(ONE))
    (place / "site" / "one.py").write_text("damaged")
    disk.store.objects.discard(ONE.wheel.blake3)
    rung = disk.reopen()
    assert rung is not None
    assert rung.generation == 1
    assert {"layer-damaged", "generation-lost"} <= set(disk.codes)
    assert disk.store.layers.missing([ONE.wheel]) == [ONE.wheel.blake3]
    with pytest.raises(Refused) as caught:
        disk.stage(disk.overlay(needing(ONE)))
    assert caught.value.code == "missing-layer"
    make(disk, ONE)
    disk.become(needing(ONE))


def test_that_of_the_last_healthy_generation_is_mended_too_as_it_makes_outputs_safe(disk: Disk) -> None:
    place = make(disk, ONE)
    disk.healthy(needing(ONE))
    whole = modules(place)
    make(disk, TWO)
    disk.become(needing(TWO))
    disk.sync()
    for code in ("layer-mended", "layer-damaged"):
        (place / "site" / "one.py").write_text("damaged")
        disk.notices.clear()
        rung = disk.reopen()
        assert rung is not None
        assert rung.generation == 2
        assert (modules(place) == whole) == (code == "layer-mended")
        assert disk.codes[-1] == code
        disk.store.objects.discard(ONE.wheel.blake3)  # from here on it can't be mended


def test_a_wheel_that_is_damaged_among_the_blobs_is_asked_for_again(disk: Disk) -> None:
    send(disk, ONE)
    disk.store.objects.path(ONE.wheel.blake3).write_bytes(b"#" * ONE.wheel.size)
    assert disk.store.layers.missing([ONE.wheel]) == []
    with pytest.raises(Refused) as caught:
        disk.store.layers.make([ONE.wheel], disk.store.room)
    assert caught.value.code == "missing-blob"
    assert disk.store.layers.missing([ONE.wheel]) == [ONE.wheel.blake3]


def test_a_layer_goes_back_with_its_generation(disk: Disk) -> None:
    make(disk, ONE)
    disk.healthy(needing(ONE))
    root = disk.store.manifest.root
    make(disk, TWO)
    disk.healthy(needing(TWO))
    shutil.rmtree(folder(disk, ONE))  # lost meanwhile, too
    disk.reopen()
    disk.switch(disk.stage_root(root))
    assert modules(folder(disk, ONE)) == {"one.py": "VERSION = '1'\n"}
    launch = disk.store.launch()
    assert launch is not None
    assert launch.wheels == (ONE.wheel,)


def test_layers_and_wheels_go_with_the_last_generation_that_needs_them(disk: Disk) -> None:
    make(disk, ONE)
    disk.healthy(needing(ONE))
    make(disk, TWO)
    disk.healthy(needing(TWO))
    (cached := disk.folder / "pycache" / str(folder(disk, ONE)).lstrip("/")).mkdir(parents=True)
    disk.healthy(needing(TWO, files=text("main.py", "more.py")))
    disk.store.space.make(2**60, ())
    assert folder(disk, TWO).is_dir()
    assert not folder(disk, ONE).exists()
    assert not folder(disk, ONE).with_suffix(".files").exists()
    assert not cached.exists()
    assert not disk.store.objects.has(ONE.wheel.blake3, ONE.wheel.size)
    assert disk.store.objects.has(TWO.wheel.blake3, TWO.wheel.size)


def test_two_wheels_may_bring_the_same_file_and_where_it_differs_the_first_ones_is_taken(disk: Disk) -> None:
    first = build("a", files={"shared/__init__.py": "", "tests/conftest.py": "A = 1\n", "a.py": ""})
    second = build("b", files={"shared/__init__.py": "", "tests/conftest.py": "B = 1\n", "b.py": ""})
    place = make(disk, second, first)
    assert (place / "site/tests/conftest.py").read_text() == "A = 1\n"
    ((code, told),) = disk.notices
    assert code == "layer-clash"
    assert "'site/tests/conftest.py' is in a-1-py3-none-any.whl and in b-1-py3-none-any.whl" in told
    assert modules(make(disk, second))["conftest.py"] == "B = 1\n"  # not taken from where it gave way


def test_a_file_and_a_folder_of_one_name_are_refused_and_nothing_is_left(disk: Disk) -> None:
    for other in ({"x": ""}, {"x/y/z.py": ""}):
        with pytest.raises(Refused) as caught:
            make(disk, build("a", files={"x/y": ""}), build("b", files=other))
        assert caught.value.code == "bad-wheel"
    assert list((disk.folder / "layers").iterdir()) == []


def test_without_room_nothing_is_made(disk: Disk) -> None:
    send(disk, LARGE)

    def room(_sizes: Iterable[int]) -> None:
        raise Refused("disk-full", "no room")

    with pytest.raises(Refused):
        disk.store.layers.make([LARGE.wheel], room)
    assert list((disk.folder / "layers").iterdir()) == []


def test_a_layer_of_a_folder_that_is_only_read_is_used_where_it_lies(tmp_path: Path) -> None:
    base = Disk(tmp_path / "base")
    lies = make(base, ONE)
    base.healthy(needing(ONE))
    disk = Disk(tmp_path / "state")
    assert disk.reopen(base=base.folder) is not None
    assert folder(disk, ONE).readlink() == lies
    assert disk.store.layers.has([ONE.wheel])
    (lies / "site" / "one.py").write_text("damaged")
    assert disk.reopen(base=base.folder) is not None  # its wheel is there as well
    assert modules(folder(disk, ONE)) == {"one.py": "VERSION = '1'\n"}


def test_what_was_being_made_when_the_power_failed_is_gone(disk: Disk) -> None:
    (disk.folder / "layers" / "new" / "site").mkdir(parents=True)
    disk.reopen()
    assert list((disk.folder / "layers").iterdir()) == []


def test_each_file_has_the_time_of_its_content(disk: Disk) -> None:
    """So that no bytecode of another version is taken for it."""
    times = {make(disk, build("one", version)).joinpath("site/one.py").stat().st_mtime_ns for version in "123"}
    assert len(times) == 3


class Cuts:
    """Copies of a folder as it is before each thing that is done to the disk: what a kill at that moment leaves."""

    def __init__(self, folder: Path, into: Path) -> None:
        self.folder = folder
        self.made: list[Path] = []
        self._into = into
        self._on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, _arguments: object) -> None:
        if self._on and event in ("open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.symlink"):
            self._on = False
            self.made.append(self._into / str(len(self.made)))
            shutil.copytree(self.folder, self.made[-1], symlinks=True)
            self._on = True

    def during(self, act: Callable[[], object]) -> None:
        self._on = True
        try:
            act()
        finally:
            self._on = False


def test_wherever_it_is_cut_off_a_layer_is_whole_or_not_there(disk: Disk, tmp_path: Path) -> None:
    """Made anew, with another one to link from, and mended in place of one that is damaged."""
    make(disk, ONE)
    disk.healthy(needing(ONE))
    cuts = Cuts(disk.folder, tmp_path / "cuts")
    cuts.during(lambda: make(disk, ONE, TWO))
    disk.healthy(needing(ONE, TWO))
    (folder(disk, ONE, TWO) / "site" / "two.py").write_text("damaged")
    cuts.during(disk.reopen)
    assert len(cuts.made) > 50
    for place in cuts.made:
        cut = Disk(place)
        rung = cut.reopen()
        assert rung is not None, place
        launch = cut.store.launch()
        assert launch is not None
        assert modules(place / "layers" / layer_name(launch.wheels)) == {
            f"{wheel.distribution}.py": "VERSION = '1'\n" for wheel in launch.wheels
        }
        shutil.rmtree(place)
