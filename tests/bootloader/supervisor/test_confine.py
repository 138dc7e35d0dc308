"""Groups of processes on the real system: what is in one is counted, limited and killed as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootloader.supervisor.confine import Confinement, Group
from tests.bootloader.target import SOON_S, alive, gone

FAMILY = """
import os, signal, sys, time
from bootloader.guest import limits
limits.join(sys.argv[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.setsid()
if os.fork() == 0:
    os.setsid()
    if os.fork() != 0: os._exit(0)
else:
    os.wait()
    print("up", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def confinement(tmp_path: Path, groups: Path) -> Iterator[Confinement]:
    made = Confinement.of(tmp_path)
    made.begin()
    yield made
    made.end()


def group_of(confinement: Confinement) -> Group:
    group = confinement.group()
    assert group is not None
    return group


class Family:
    """A process in the group, and its daemon."""

    def __init__(self, group: Group) -> None:
        command = [sys.executable, "-c", FAMILY, str(group.path)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"up\n"
        self._process.stdout.close()
        self.pids = set(group.pids())
        assert self._process.pid in self.pids
        assert len(self.pids) == 2

    def gone(self) -> None:
        """Wait until it is."""
        assert self._process.wait(SOON_S) == -signal.SIGKILL
        gone(self.pids)


def test_whatever_was_forked_in_a_group_is_killed_with_it(confinement: Confinement) -> None:
    one, other = group_of(confinement), group_of(confinement)
    family, others = Family(one), Family(other)
    assert one.populated
    one.kill()
    assert one.wait(SOON_S)
    family.gone()
    assert set(other.pids()) == others.pids
    other.kill()
    others.gone()


def stands(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_what_is_in_a_group_stands_still_for_a_while(confinement: Confinement) -> None:
    group = group_of(confinement)
    family = Family(group)
    with confinement.still():
        assert "frozen 1" in (group.path / "cgroup.events").read_text()
    assert "frozen 0" in (group.path / "cgroup.events").read_text()
    group.kill()
    family.gone()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_without_groups_what_was_started_here_is_stopped_for_a_while() -> None:
    sleeper = "import time; print('up', flush=True); time.sleep(1000)"
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleeper!r}], start_new_session=True)"
    with subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        pids = [process.pid, *map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())]
        try:
            with Confinement().still():
                assert [stands(pid) for pid in pids] == [True, True]
            assert not any(map(stands, pids))
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)


def test_what_is_in_a_group_of_a_group_belongs_to_it(confinement: Confinement) -> None:
    group = group_of(confinement)
    (group.path / "own" / "deeper").mkdir(parents=True)
    family = Family(Group(group.path / "own" / "deeper", frozenset()))
    assert set(group.pids()) == family.pids
    assert group.populated
    group.kill()
    family.gone()
    assert group.wait(SOON_S)
    assert group.remove()


def test_a_group_that_nobody_needs_goes_when_it_is_empty(confinement: Confinement) -> None:
    group = group_of(confinement)
    family = Family(group)
    group.release()
    assert group.path.exists()
    group.kill()
    family.gone()
    assert group.wait(SOON_S)
    again = group_of(confinement)  # the next one is made: the old one is looked at again
    assert not group.path.exists()
    again.release()
    assert not again.path.exists()


def test_a_group_that_is_waited_for_in_vain_says_so(confinement: Confinement) -> None:
    group = group_of(confinement)
    family = Family(group)
    assert not group.wait(0.001)
    group.kill()
    family.gone()


def test_the_next_one_on_a_state_folder_ends_what_the_last_one_left(tmp_path: Path, groups: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    last, other = Confinement.of(tmp_path / "one"), Confinement.of(tmp_path / "other")
    last.begin()
    other.begin()
    left, others = Family(group_of(last)), Family(group_of(other))
    following = Confinement.of(tmp_path / "one")
    following.begin()
    left.gone()
    assert all(map(alive, others.pids))
    following.end()
    other.end()
    others.gone()


def test_without_groups_all_is_as_if_there_was_nothing_to_do() -> None:
    none = Confinement()
    none.begin()
    none.end_all()
    assert none.group() is None
    assert none.told() == {"groups": False, "limits": []}
    none.end()


def test_a_group_that_is_gone_is_empty(confinement: Confinement) -> None:
    group = group_of(confinement)
    assert group.remove()
    assert not group.populated
    assert not group.ran_out_of_memory
    assert list(group.pids()) == []
    assert group.wait(0)
    group.kill()


def test_limits_are_the_groups_where_the_system_has_them(confinement: Confinement) -> None:
    group = group_of(confinement)
    held = group.limit(64 * 1024 * 1024, 7)
    assert held == confinement.controllers
    if not held:
        pytest.skip("this system's groups limit nothing")
    told = {file: (group.path / file).read_text().strip() for file in ("memory.max", "memory.oom.group", "pids.max")}
    assert told == {"memory.max": "67108864", "memory.oom.group": "1", "pids.max": "7"}


DELEGATED = """
import json, os, sys
from pathlib import Path
from bootloader.supervisor.confine import Confinement
from bootloader.guest import limits
limits.join(sys.argv[1])
if os.fork():  # the keeper
    os.wait()
    sys.exit()
made = Confinement.of(Path(sys.argv[2]))
made.begin()
again = Confinement.of(Path(sys.argv[2]))
group = made.group()
lines = [Path(f"/proc/{pid}/cgroup").read_text() for pid in (os.getpid(), os.getppid())]
homes = [next(line[3:].strip() for line in text.splitlines() if line.startswith("0::")) for text in lines]
print(json.dumps([homes, sorted(made.controllers), str(group.path), again.told()["groups"]]))
made.end()
"""


def test_in_a_group_of_its_own_it_moves_with_its_keeper_to_make_room(tmp_path: Path, groups: Path) -> None:
    unit = groups / f"reactor-test-{os.getpid()}"
    unit.mkdir()
    try:
        done = subprocess.run(
            [sys.executable, "-c", DELEGATED, str(unit), str(tmp_path)], capture_output=True, text=True, timeout=SOON_S
        )
        assert not done.stderr
        homes, controllers, group, again = json.loads(done.stdout)
        assert all(home.endswith(f"{unit.name}/bootloader") for home in homes)
        assert group.startswith(f"{unit}/reactor-")
        assert again
        here = set((groups / "cgroup.controllers").read_text().split())
        assert set(controllers) == here & {"memory", "pids", "cpu"}
    finally:
        Group(unit, frozenset()).remove()
    assert not unit.exists()
