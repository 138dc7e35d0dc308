"""What tests of the target share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootloader.supervisor.confine import own_group
from tests.bootloader.disk import Disk
from tests.bootloader.target import Target


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A store on a folder of its own."""
    return Disk(tmp_path / "state")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    """A bootloader of this test alone."""
    made = Target(tmp_path)
    yield made
    made.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Target]:
    """A bootloader of this test alone, beside which nobody sits who mends what fails."""
    made = Target(tmp_path, attached=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A bootloader that a file's tests use one after the other."""
    made = Target(tmp_path_factory.mktemp("shared"))
    yield made
    made.close()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small disk of its own, made and changed with mount options; only root can."""
    place = tmp_path / "disk"
    place.mkdir()

    def again(options: str) -> Path:
        remount = "remount," if place.is_mount() else ""
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", remount + options, "tmpfs", place], capture_output=True)
        if made.returncode:
            pytest.skip(f"no disk can be mounted here: {made.stderr.decode().strip()}")
        return place

    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    yield again
    if place.is_mount():
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def groups() -> Path:
    """Where this process's cgroup lies, if groups can be made there."""
    own = own_group()
    try:
        assert own is not None
        probe = own / f"reactor-test-{os.getpid()}"
        probe.mkdir()
        probe.rmdir()
    except (OSError, AssertionError) as error:
        pytest.skip(f"no cgroups (v2) can be made here: {error}")
    return own
