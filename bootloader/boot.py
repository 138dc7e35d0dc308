"""Puts the parts of a target together in boot order, and takes them apart backwards.

Nothing that is missing, damaged or taken keeps it from coming up: each part tells what it lost, and goes on without.
The one thing that does is another bootloader that runs on the same state folder.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from .announce import Announcement
from .changes import Changes
from .chronicle import Chronicle
from .journal import Journal
from .lacking import lacking
from .pairing import Pairing
from .priority import spare
from .reach import Reach
from .service import Service
from .state import State
from .streams import Streams
from .supervisor.supervisor import Supervisor
from .tether import Tether
from .unpacking import Unpacking
from .upgrade import Upgrade
from .wire.errors import Fault
from .wire.messages import Fields

_PART_S = 0.25


class Bootloader:
    """A running target. ``reach``: where it listens, or why it does not; ``journal``: what happens on it."""

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
        announce: bool = True,
        rescue: tuple[str, int] | None = None,
    ) -> None:
        """Boot on the folder ``state``, with the folder ``base`` as the last resort, if it is there. With ``hold``,
        applications start only when a host says so. With ``announce``, hosts on the network find it; over the serial
        port ``rescue`` (path and baud rate), they come in without a network.
        """
        with ExitStack() as parts:
            self.journal = Journal()
            for text in lacking():
                self.journal.lose("python-lacks", text)
            self._state = State(state, base, self.journal.lose, nicer=spare())
            parts.callback(self._state.close)
            confinement = self._state.confinement
            confinement.begin()
            parts.callback(confinement.end)
            folder = self._state.folder
            kept = state / "logs"
            chronicle = Chronicle(folder / "logs", self.journal, self._notice, *([kept] if folder != state else []))
            parts.callback(chronicle.close)
            chronicle.start()
            supervisor = Supervisor(
                folder,
                self.journal,
                self._state.lock,
                confinement,
                on_fate=lambda *fate: changes.fared(*fate),
                on_fall=lambda *fall: changes.fell(*fall),
                attached=lambda: service.attached,
                lend=self._state.store.lend_last_healthy,
                root_of=self._state.store.ledger.root_of,
                cut_off=self._state.cut_off,
            )
            store = self._state.store
            changes = Changes(store, supervisor, self.journal)
            parts.callback(changes.close)
            streams = Streams(folder / "run", supervisor.attachment)
            upgrade = Upgrade(state, tether)
            self.pairing = Pairing(state / "trust", name, folder / "run" / "pairing", self._notice)
            self.pairing.display = supervisor.display.show
            unpacking = Unpacking(store, changes.locked, changes.alone)
            parts.callback(unpacking.close)
            heard = (lambda: store.manifest.root, self.journal.lose, lambda: self.pairing.port)
            presence = Announcement(name, *heard) if announce else None
            rest = (
                chronicle,
                upgrade,
                streams,
                self.pairing,
                unpacking,
                lambda: presence is not None and presence.is_told,
            )
            service = Service(name, store, supervisor, changes, self.journal, *rest)
            self._tell_of_keeper(tether.told)
            supervisor.start()
            self._tether, self._supervisor, self._grace_s = tether, supervisor, grace_s
            place = folder / "run" / "address"
            keys, pairing = state / "trust", self.pairing
            self.reach = Reach(
                address, keys, service.link, service.forget, pairing, self.journal, tether, place, presence
            )
            parts.callback(pairing.close)
            parts.callback(self.reach.close)
            if rescue is not None:
                from .rescue import Rescue  # few devices have such a line, and all start sooner without

                way_in = Rescue(*rescue, self.reach.admit, self._notice)
                way_in.start()
                parts.callback(way_in.close)
            parts.callback(service.close)
            parts.callback(self.journal.close, _PART_S)  # the hosts that follow hear the end, and hang up
            parts.callback(supervisor.close, grace_s)  # the first to end, so that hosts hear how
            try:
                in_order = self._state.in_order and not tether.told.text("why", "")
                changes.boot(start=not hold, in_order=in_order)
            except (Fault, OSError) as fault:
                self._notice("boot-failed", f"the applications could not be started: {fault}")
            self._parts = parts.pop_all()

    @property
    def longest_end_s(self) -> float:
        """How long :meth:`close` may take, where outputs are to be made safe."""
        return self._supervisor.longest_end_s(self._grace_s)

    def close(self) -> None:
        """Stop the applications and end every part, the last one first."""
        self._tether.tell({"ends_in": self.longest_end_s})
        self._state.ending()
        self._parts.close()

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
