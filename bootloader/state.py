"""The state folder of a running bootloader: made usable, locked, and replaced by a volatile one where it can't be.

A disk that is read-only, fails, or is too full to begin on costs what is written from now on, and not the boot: what
lies on it is run from there, and all that is written goes to a folder in memory, until the power fails. Keys are read
from the state folder in either case. Owns the lock: one bootloader runs on a state folder, and the next one waits
until the applications of the last are gone, however that one ended.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from blake3 import blake3

from .aside import Aside, is_folder, is_other
from .store import bytecode
from .store.store import Store
from .store.trees import OnNotice
from .supervisor.confine import Confinement
from .wire.errors import Fault

fcntl: ModuleType | None
try:
    import fcntl
except Exception:  # noqa: BLE001 - a stripped Python has none; a damaged one may raise anything
    fcntl = None

_LOCK_S = 6.0
_POLL_S = 0.02
_TELL_BYTES = 20
_IN_ORDER = b"ended"
"""What a bootloader leaves in the lock when its applications have ended, and been made safe, as they should."""

_FOLDERS = ("run", "data", "pycache", "logs")
_FILES = ("run/lock", "run/address", "run/pairing", "warm.json", "pycache.sums")
_LEDGERS = ("ledger.jsonl", "ledger.copy")
_FILLED = ("data", "objects", "manifests", "trees")
"""What is there once a generation is."""


class State:
    """``folder`` is where things are written; ``lock`` is the descriptor of its lock, which whoever is started holds
    too; ``in_order`` tells that the last bootloader here ended well, ``cut_off`` that there was one and it did not.
    """

    def __init__(self, state: Path, base: Path, on_notice: OnNotice, *, nicer: int = 0) -> None:
        """On the folder ``state``, with what ``base`` has, if it is there. A :class:`Fault` where another one runs.

        ``nicer``: by how much applications are to be nicer than this process.
        """
        self._nicer = nicer
        found = base if is_folder(base) else None
        try:
            self._take(state, on_notice)
            self.store = Store(state, on_notice, base=found)
            self._drop_volatile(state)
        except OSError as error:
            self._let_go()
            why = f"{error.filename or state}: {error.strerror or error}"
            on_notice("state-volatile", f"the state can't be written, so what is new is lost with the power ({why})")
            volatile = _volatile(state)
            self._take(volatile, on_notice)
            _copy_ledger(state, volatile)
            self.store = Store(volatile, on_notice, base=found, kept=state)

    def _take(self, folder: Path, on_notice: OnNotice) -> None:
        self.folder = folder
        self.lock = -1
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = Aside(folder / "aside")
        if any(os.path.lexists(folder / name) for name in _LEDGERS):
            for place in (folder / name for name in _FILLED if not os.path.lexists(folder / name)):
                on_notice("state-lost", f"'{place}' is gone, with all that was in it")
        for name in (*_FOLDERS, *_FILES):
            place = folder / name
            if is_other(place, folder=name in _FOLDERS):
                aside.take(place)
                on_notice("state-lost", f"'{place}' was something else, which is now in {aside.folder}")
            if name in _FOLDERS:
                place.mkdir(mode=0o700, exist_ok=True)
        self.confinement = Confinement.of(folder, self._nicer)
        self.lock, self._was = _lock(folder / "run" / "lock", self.confinement.end_all)
        self.in_order = self._was == _IN_ORDER
        self.cut_off = not self.in_order and self._was != b""
        self._bytecode = folder / "pycache", folder / "pycache.sums"
        bytecode.check(*self._bytecode)

    def _drop_volatile(self, state: Path) -> None:
        """The state can be written again: what stood in for it is over, unless a bootloader still runs there."""
        for folder in filter(_is_own, volatile_places(state)):
            try:
                os.close(_lock(folder / "run" / "lock", self.confinement.end_all)[0])
            except FileNotFoundError:
                continue
            except Fault:
                self.close()
                raise
            shutil.rmtree(folder, ignore_errors=True)

    def ending(self) -> None:
        """From here on, the next bootloader waits for the lock, and finds that this one ended in order."""
        _tell(self.lock, b"ending")
        self._was = _IN_ORDER

    def close(self) -> None:
        """Let the next one have the lock. One that has not come to run leaves there what it found."""
        _tell(self.lock, self._was)
        if self._was == _IN_ORDER:
            with suppress(OSError):  # then the next one compiles again
                bytecode.note(*self._bytecode)
        self._let_go()

    def _let_go(self) -> None:
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def _lock(path: Path, end_all: Callable[[], None]) -> tuple[int, bytes]:
    """The state folder's lock, and what the last one who had it left there.

    The warm parent holds it too, so it is free only when all processes are gone. A bootloader that ends is waited for,
    the remains of one that died are ended; one that runs is not waited for.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            _acquire(descriptor)
            was = os.pread(descriptor, _TELL_BYTES, 0).strip()
            _tell(descriptor, str(os.getpid()).encode())
            return descriptor, was
        except BlockingIOError:
            if time.monotonic() > deadline or _runs(descriptor):
                os.close(descriptor)
                raise Fault(
                    "already-running",
                    "another bootloader, or what it started, still runs here",
                    to=str(path.parent.parent),
                    do="stop it, or give another folder with --state",
                ) from None
            if _died(descriptor):
                end_all()
            time.sleep(_POLL_S)


def _acquire(lock: int) -> None:
    if fcntl is not None:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        os.lockf(lock, os.F_TLOCK, 0)  # this process's alone: whoever it starts does not hold it


def _tell(lock: int, text: bytes) -> None:
    """Who has the lock: the process id of a bootloader that runs. It outlasts a power cut.

    One write of one length, so that whoever is killed at it leaves the text of before or after.
    """
    with suppress(OSError):  # a full disk: the next one waits in vain before it gives up
        os.pwrite(lock, text.ljust(_TELL_BYTES), 0)
        os.fsync(lock)


def _died(lock: int) -> bool:
    """Whether the one that had the lock was ended before it could give it back."""
    return os.pread(lock, _TELL_BYTES, 0).strip().isdigit() and not _runs(lock)


def _runs(lock: int) -> bool:
    try:
        os.kill(int(os.pread(lock, _TELL_BYTES, 0)), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        pass  # it runs, for another user
    return True


def _volatile(state: Path) -> Path:
    """A folder in memory, or what comes nearest, that is this user's alone: the same one at each start."""
    for folder in volatile_places(state):
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_own(folder):
                return folder
    raise Fault("no-state", "no folder can be written", to=str(state), do="make one usable, or give it with --state")


def volatile_places(state: Path) -> Iterator[Path]:
    """Where a folder may lie that stands in for the folder ``state``, the best place first."""
    name = f"bootloader-{os.geteuid()}-{blake3(os.fsencode(state)).hexdigest()[:16]}"
    yield Path("/run", name)
    if "XDG_RUNTIME_DIR" in os.environ:
        yield Path(os.environ["XDG_RUNTIME_DIR"], name)
    yield Path("/dev/shm", name)
    with suppress(OSError):
        yield Path(tempfile.gettempdir(), name)


def _is_own(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _copy_ledger(state: Path, volatile: Path) -> None:
    """What is known of the generations, unless more of them were made here since."""
    for name in _LEDGERS:
        if not (volatile / name).exists():
            with suppress(OSError):  # what can't be read is as good as lost
                shutil.copyfile(state / name, volatile / name)
