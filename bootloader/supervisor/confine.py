"""Keeps applications from taking the device along: groups of processes that are counted, limited and killed as one.

Owns the cgroup v2 groups of one bootloader, below the group that it was started in. Each process that a warm parent
forks gets a group, so whatever it starts is in there, wherever it forks to. A controller that the system does not give
(Raspberry Pi OS comes without ``memory``, a container often with none) costs that limit: what is left to the process
itself is told to it (``guest.limits``). Knows nothing of applications.

    <group that the bootloader was started in>
     |- bootloader          itself and its keeper, where the system wants a group to hold groups or processes
     `- reactor-<id>        all that it started; the id is its state folder's, so that the next one on it finds it
         |- 1               a warm parent, or a process that it forked, and all that comes of that
         `- 2 …
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from .family import children, family, read, still

PROCESSES = 512
"""How many processes and threads an application may have that does not say."""

_SYSTEM_BYTES = 64 * 1024 * 1024
"""Memory that all applications together leave to the system, at least; and a tenth of it."""

_HOME = "bootloader"
_HOME_WEIGHT = 1000
_APPLICATIONS_WEIGHT = 100
"""All of them together: a tenth of the home's, and as much as one ordinary process where the bootloader has no home."""

_CONTROLLERS = ("memory", "pids", "cpu")
_MOST_PIDS = 100_000
_GONE_S = 2.0
_STILL_S = 0.5
_POLL_S = 0.002


class Group:
    """A group of processes. One that is not there any more is empty."""

    def __init__(self, path: Path, controllers: frozenset[str]) -> None:
        self.path = path
        self._controllers = controllers
        self.released = False

    @property
    def populated(self) -> bool:
        """Whether any process is in there, or below; one that has ended and was not waited for is none."""
        return "populated 1" in read(self.path / "cgroup.events")

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether the system has killed in there, as there was no more."""
        counts = dict(line.split() for line in read(self.path / "memory.events").splitlines())
        return counts.get("oom_kill", "0") != "0"

    def pids(self) -> Iterator[int]:
        """The processes in there and below."""
        for folder in (self.path, *_below(self.path)):
            yield from map(int, itertools.islice(read(folder / "cgroup.procs").split(), _MOST_PIDS))

    def outgrows(self, most: int) -> bool:
        """Whether more processes and threads than that are in there, and below."""
        return sum(read(folder / "cgroup.threads").count("\n") for folder in (self.path, *_below(self.path))) > most

    def limit(self, memory_bytes: int, processes: int) -> frozenset[str]:
        """Bound what is in there together; 0 bytes: by nothing of its own. The controllers that see to it."""
        if "memory" in self._controllers and memory_bytes:
            _write(self.path / "memory.max", str(memory_bytes))
            _write(self.path / "memory.swap.max", "0")
        if "pids" in self._controllers:
            _write(self.path / "pids.max", str(processes))
        return self._controllers

    def kill(self) -> None:
        """SIGKILL to all, those that are being forked at this moment too."""
        if not _write(self.path / "cgroup.kill", "1"):  # Linux before 5.14
            for pid in self.pids():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def wait(self, timeout_s: float) -> bool:
        """Whether nothing is in there any more, at the latest then."""
        deadline = time.monotonic() + timeout_s
        try:
            events = os.open(self.path / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return True
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while populated := self.populated:
            if (left_s := deadline - time.monotonic()) <= 0:
                break
            poll.poll(left_s * 1000)
            os.pread(events, 1, 0)  # the next change is told once this one was read
        os.close(events)
        return not populated

    def freeze(self) -> bool:
        """Let nothing in there run, until :meth:`thaw`; whether it stands still, at the latest after a while."""
        if not _write(self.path / "cgroup.freeze", "1"):  # Linux before 5.2
            return False
        return _soon(lambda: "frozen 1" in read(self.path / "cgroup.events"))

    def thaw(self) -> None:
        """All in there goes on."""
        _write(self.path / "cgroup.freeze", "0")

    def release(self) -> None:
        """Nobody needs it any more: it goes, now or when nothing is in there any more."""
        self.released = True
        self.remove()

    def remove(self) -> bool:
        """Whether it is gone, with its groups; while anything is in there, it stays."""
        with suppress(OSError):
            self.path.rmdir()
            return True
        with suppress(OSError):
            for folder in (*reversed(_below(self.path)), self.path):
                folder.rmdir()
        return not self.path.exists()


class Confinement:
    """The groups of one bootloader, below ``top``; without, there are none, and the processes are on their own."""

    def __init__(self, top: Path | None = None, nicer: int = 0) -> None:
        self._top = Group(top, frozenset()) if top is not None else None
        self._names = (f"{os.getpid()}.{number}" for number in itertools.count(1))
        self._made: list[Group] = []
        self.controllers: frozenset[str] = frozenset()
        """What the groups can limit: of ``memory``, ``pids`` and ``cpu``."""
        self.nicer = nicer
        """How much nicer than the bootloader its processes have to be, to be as nice as others are."""

    @classmethod
    def of(cls, folder: Path, nicer: int = 0) -> Confinement:
        """The groups of whoever runs on the state folder ``folder``. Nothing is made, changed or ended yet."""
        where = own_group()
        if where is None:
            return cls(None, nicer)
        seat = folder.stat()
        return cls(where / f"reactor-{seat.st_dev:x}-{seat.st_ino:x}", nicer)

    def end_all(self) -> None:
        """Kill whatever the bootloader before this one has started; that one must be gone."""
        if self._top is not None:
            self._top.kill()

    def begin(self) -> None:
        """Make what the groups need, and end what is left in them. The state folder's lock must be held."""
        if self._top is None:
            return
        self._top.kill()
        self._top.wait(_GONE_S)
        self._top.remove()
        top, base = self._top.path, self._top.path.parent
        try:
            top.mkdir(exist_ok=True)
        except OSError:  # not ours to make: read-only in most containers, another user's elsewhere
            self._top = None
            return
        if (base / "cgroup.type").exists():  # any but the system's first group
            _make_room(base)
        for controller in _CONTROLLERS:
            if _write(base / "cgroup.subtree_control", f"+{controller}"):
                _write(top / "cgroup.subtree_control", f"+{controller}")
        self.controllers = frozenset(read(top / "cgroup.subtree_control").split()) & frozenset(_CONTROLLERS)
        _write(base / _HOME / "cpu.weight", str(_HOME_WEIGHT))
        _write(top / "cpu.weight", str(_APPLICATIONS_WEIGHT))
        _write(top / "memory.max", str(_for_applications()))

    @contextmanager
    def still(self) -> Iterator[None]:
        """Whatever the bootloader has started stands still meanwhile, as far as that can be had: it writes nothing."""
        stopped: list[int] = []
        try:
            if self._top is None or not self._top.freeze():
                still(lambda: [pid for pid, _ in family(children(os.getpid()))], stopped)
            yield
        finally:
            if self._top is not None:
                self._top.thaw()
            for pid in stopped:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGCONT)

    def told(self) -> dict[str, object]:
        """What there is, for ``status``."""
        return {"groups": self._top is not None, "limits": sorted(self.controllers)}

    def group(self) -> Group | None:
        """A new group; None where there is none to be had."""
        if self._top is None:
            return None
        self._made = [group for group in self._made if not (group.released and group.remove())]
        group = Group(self._top.path / next(self._names), self.controllers)
        try:
            group.path.mkdir()
        except OSError:
            return None
        self._made.append(group)
        # One killed for memory: all of it, not a part that others wait for.
        _write(group.path / "memory.oom.group", "1")
        return group

    def end(self) -> None:
        """Remove what is there, at the end."""
        if self._top is not None:
            self._top.kill()
            self._top.wait(_GONE_S)
            self._top.remove()


def own_group() -> Path | None:
    """Where this process's group, or the one that has it as its home, lies on the disk."""
    own = next((line[3:] for line in read(Path("/proc/self/cgroup")).splitlines() if line.startswith("0::/")), "")
    for line in read(Path("/proc/self/mountinfo")).splitlines():
        before, _, after = line.partition(" - ")
        if own and after.startswith("cgroup2 "):
            root, mount = before.split()[3:5]
            path = PurePosixPath(own)
            if path.is_relative_to(root):
                group = Path(mount) / path.relative_to(root)
                return group.parent if group.name == _HOME else group
    return None


def _make_room(base: Path) -> None:
    """Move this process and its keeper to a group of their own, if nobody else is here: limits need an empty one."""
    here = read(base / "cgroup.procs").split()
    if {int(pid) for pid in here} <= {os.getpid(), os.getppid()}:
        with suppress(OSError):
            (base / _HOME).mkdir(exist_ok=True)
        for pid in here:
            _write(base / _HOME / "cgroup.procs", pid)


def _soon(is_so: Callable[[], bool]) -> bool:
    """Whether it becomes so within a moment."""
    deadline = time.monotonic() + _STILL_S
    while not (so := is_so()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return so


def _for_applications() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total - max(_SYSTEM_BYTES, total // 10)


def _below(folder: Path) -> list[Path]:
    """The groups below ``folder``, each before its own ones."""
    return [Path(path) for path, _, _ in os.walk(folder)][1:]


def _write(file: Path, text: str) -> bool:
    """Whether the system took ``text`` there."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, text.encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
