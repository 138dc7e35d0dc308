"""Puts the parts of a target together in boot order, and takes them apart backwards.

Owns the state folder's lock: one bootloader runs on a state folder, and the next one waits until the applications of
the last are gone, however that one ended.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from .changes import Changes
from .confine import Confinement, spare
from .journal import Journal
from .listener import Listener
from .pulse import Pulse
from .service import Service
from .store import Store
from .supervisor import Supervisor
from .tether import Tether
from .trust import Trust
from .upgrade import Upgrade
from .wire.errors import Fault
from .wire.messages import Fields

_LOCK_S = 6.0
_POLL_S = 0.02
_PART_S = 0.25
_TELL_BYTES = 20
_IN_ORDER = b"ended"
"""What a bootloader leaves in the lock when its applications have ended, and been made safe, as they should."""


class Bootloader:
    """A running target. ``address``: where it listens; ``journal``: what happens on it."""

    def __init__(
        self,
        state: Path,
        address: tuple[str, int],
        name: str,
        tether: Tether,
        *,
        base: Path,
        hold: bool,
        grace_s: float,
    ) -> None:
        """Boot on the folder ``state``, with the folder ``base`` as the last resort, if it is there. With ``hold``,
        applications start only when a host says so.
        """
        with ExitStack() as parts:
            _folders(state)
            confinement = Confinement.of(state, spare())
            self._lock, self._was = _lock(state / "run" / "lock", confinement.end_all)
            parts.callback(self._leave)
            confinement.begin()
            parts.callback(confinement.end)
            self.journal = Journal()
            trust = Trust.load(state / "trust")
            try:
                store = Store(state, self._notice, base=base if base.is_dir() else None)
            except OSError as error:
                raise _no_state(error) from error
            supervisor = Supervisor(
                state,
                self.journal,
                self._lock,
                confinement,
                on_fate=lambda *fate: changes.fared(*fate),
                on_fall=lambda *fall: changes.fell(*fall),
                attached=lambda: service.attached,
                lend=store.lend_last_healthy,
                cut_off=self._was not in (b"", _IN_ORDER),
            )
            changes = Changes(store, supervisor, self.journal)
            parts.callback(changes.close)
            service = Service(name, store, supervisor, changes, self.journal, Upgrade(state, tether))
            listener = Listener(address, trust, service.link, self._link_event, self._fault, tether.listening)
            parts.callback(listener.close)
            self.address = listener.address
            parts.callback(self.journal.close, _PART_S)  # the hosts that follow hear the end, and hang up
            supervisor.start()
            parts.callback(supervisor.close, grace_s)  # the first to end, so that hosts hear how
            for problem in trust.problems:
                self._notice(problem.code, str(problem))
            self._tell_of_keeper(tether.told)
            listener.start()
            tether.tell({"listening": True}, listener.fileno())
            pulse = Pulse(listener, trust, lambda: tether.tell({"beat": True}), self._notice)
            pulse.start()
            parts.callback(pulse.close)
            self._publish(state / "run" / "address")
            try:
                changes.boot(start=not hold)
            except (Fault, OSError) as fault:
                self._notice("boot-failed", f"the applications could not be started: {fault}")
            self._parts = parts.pop_all()

    def close(self) -> None:
        """Stop the applications and end every part, the last one first."""
        _tell(self._lock, b"ending")
        self._was = _IN_ORDER
        self._parts.close()

    def _leave(self) -> None:
        """Let the next one have the lock. One that has not come to run leaves there what it found."""
        _tell(self._lock, self._was)
        os.close(self._lock)

    def _publish(self, path: Path) -> None:
        """Tell commands on this machine where we listen."""
        aside = path.with_suffix(".new")
        try:
            aside.write_text(f"{self.address[0]} {self.address[1]}\n")
            aside.replace(path)
        except OSError as error:
            self._notice("address-not-told", f"commands on this machine will not find us by themselves: {error}")

    def _tell_of_keeper(self, told: Fields) -> None:
        """What it has seen of the bootloaders before this one."""
        if why := told.text("why", ""):
            self._notice("restarted", f"the bootloader {why}, and was started again")
        if undone := told.text("undone", ""):
            self._notice("upgrade-undone", f"{undone}; the one of before is back")
        if left := told.text("left", ""):
            self._notice("release-left", f"the release that was kept does not run: {left}")
        if problem := told.text("problem", ""):
            self._notice("no-watchdog", problem)

    def _notice(self, code: str, text: str) -> None:
        self.journal.add("notice", {"code": code, "text": text})

    def _link_event(self, kind: str, fields: Mapping[str, str | int]) -> None:
        self.journal.add("link", {"kind": kind, **fields})

    def _fault(self, error: Exception) -> None:
        self._notice("internal-error", f"a request met a fault: {type(error).__name__}: {error}")


def _folders(state: Path) -> None:
    try:
        for folder in (state, state / "run", state / "data"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _no_state(error) from error


def _no_state(error: OSError) -> Fault:
    do = "make it usable, or give another folder with --state"
    return Fault("no-state", error.strerror or str(error), to=str(error.filename), do=do)


def _lock(path: Path, end_all: Callable[[], None]) -> tuple[int, bytes]:
    """The state folder's lock, and what the last one who had it left there.

    The warm parent holds it too, so it is free only when all processes are gone. A bootloader that ends is waited for,
    the remains of one that died are ended; one that runs is not waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _no_state(error) from error
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


def _tell(lock: int, text: bytes) -> None:
    """Who has the lock: the process id of a bootloader that runs. It outlasts a power cut.

    One write of one length, so that whoever is killed at it leaves the text of before or after.
    """
    with suppress(OSError):  # a full disk: the next one waits in vain before it gives up
        os.pwrite(lock, text.ljust(_TELL_BYTES), 0)
        os.fsync(lock)


def _died(lock: int) -> bool:
    """Whether the one that had the lock was ended before it could give it back."""
    return os.pread(lock, _TELL_BYTES, 0).isdigit() and not _runs(lock)


def _runs(lock: int) -> bool:
    try:
        os.kill(int(os.pread(lock, _TELL_BYTES, 0)), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass  # it runs, for another user
    return True
