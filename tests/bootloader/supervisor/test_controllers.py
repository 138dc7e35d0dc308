"""What is written for the controllers of cgroup v2, which few machines that run tests have: read back from a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bootloader.supervisor.confine import Confinement, Group

MB = 1024 * 1024

FILES = {
    "cgroup": ("type", "procs", "subtree_control"),
    "memory": ("memory.max", "memory.swap.max", "memory.oom.group", "memory.events"),
    "pids": ("pids.max",),
    "cpu": ("cpu.weight",),
}


def one_over_the_other(*texts: str) -> str:
    """What a plain file has when each text was written to it from its start; a system's would take each for itself."""
    held = ""
    for text in texts:
        held = text + held[len(text) :]
    return held


ENABLED = one_over_the_other("+memory", "+pids", "+cpu")


class Hierarchy:
    """A plain folder in the place of a group: whatever is made below has a group's files, as the system makes them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *controllers: str) -> None:
        self.base = folder / "unit"
        self._controllers = controllers
        mkdir = Path.mkdir

        def make(path: Path, *arguments: Any, **options: Any) -> None:
            mkdir(path, *arguments, **options)
            if path.is_relative_to(self.base):
                self._fill(path)

        monkeypatch.setattr(Path, "mkdir", make)
        self.base.mkdir()
        (self.base / "cgroup.procs").write_text(f"{os.getpid()}\n")
        self.confinement = Confinement(self.base / "reactor-1")
        self.confinement.begin()

    def _fill(self, group: Path) -> None:
        for name in FILES["cgroup"]:
            (group / f"cgroup.{name}").touch()
        for controller in self._controllers:
            for name in FILES[controller]:
                (group / name).touch()
        granted = "" if group == self.base else " ".join(self._controllers)
        (group / "cgroup.subtree_control").write_text(f"{' ' * len(ENABLED)}\n{granted}\n")

    def told(self, *path: str) -> str:
        return self.base.joinpath(*path).read_text()


def group_of(hierarchy: Hierarchy) -> Group:
    group = hierarchy.confinement.group()
    assert group is not None
    return group


def test_the_controllers_are_asked_for_on_the_way_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hierarchy = Hierarchy(tmp_path, monkeypatch, "memory", "pids", "cpu")
    for way in ([], ["reactor-1"]):
        assert hierarchy.told(*way, "cgroup.subtree_control").startswith(ENABLED)
    assert hierarchy.confinement.told() == {"groups": True, "limits": ["cpu", "memory", "pids"]}


def test_the_bootloader_has_a_larger_share_of_the_processor_than_all_applications(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hierarchy = Hierarchy(tmp_path, monkeypatch, "memory", "pids", "cpu")
    assert hierarchy.told("bootloader", "cgroup.procs") == str(os.getpid())
    assert hierarchy.told("bootloader", "cpu.weight") == "1000"
    assert hierarchy.told("reactor-1", "cpu.weight") == "100"


def test_all_applications_together_leave_memory_to_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hierarchy = Hierarchy(tmp_path, monkeypatch, "memory", "pids", "cpu")
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    left = there - int(hierarchy.told("reactor-1", "memory.max"))
    assert max(64 * MB, there // 10) == left
    assert hierarchy.told("bootloader", "memory.max") == ""


def test_an_application_has_its_bounds_and_is_ended_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hierarchy = Hierarchy(tmp_path, monkeypatch, "memory", "pids", "cpu")
    group = group_of(hierarchy)
    assert group.limit(64 * MB, 7) == {"memory", "pids", "cpu"}
    told = {name: (group.path / name).read_text() for name in (*FILES["memory"], *FILES["pids"])}
    assert told == {
        "memory.max": str(64 * MB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "memory.events": "",
        "pids.max": "7",
    }


def test_one_without_a_bound_of_memory_has_that_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = group_of(Hierarchy(tmp_path, monkeypatch, "memory", "pids", "cpu"))
    group.limit(0, 512)
    assert [(group.path / name).read_text() for name in ("memory.max", "memory.oom.group")] == ["", "1"]
    assert (group.path / "pids.max").read_text() == "512"


def test_what_the_system_does_not_control_is_neither_asked_of_it_nor_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hierarchy = Hierarchy(tmp_path, monkeypatch, "pids")  # as Raspberry Pi OS, without ``memory``
    group = group_of(hierarchy)
    assert group.limit(64 * MB, 7) == {"pids"}
    assert (group.path / "pids.max").read_text() == "7"
    assert hierarchy.confinement.told() == {"groups": True, "limits": ["pids"]}


def test_a_group_in_which_the_system_has_killed_for_memory_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = group_of(Hierarchy(tmp_path, monkeypatch, "memory", "pids", "cpu"))
    (group.path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\n")
    assert not group.ran_out_of_memory
    (group.path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 1\n")
    assert group.ran_out_of_memory
