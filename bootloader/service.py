"""What the link answers: one method a request, a message in, a message out (``docs/protocol.md``).

Turns requests into calls on the store and the supervisor, in the order that keeps a refusal from changing anything.
Knows nothing of sockets and of TLS. A refusal is raised here as a :class:`~bootloader.wire.errors.Fault` and becomes a
value on the wire in the link.
"""

from __future__ import annotations

import os
import platform
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from . import __version__
from .journal import Journal
from .ladder import RESTART, ROLLBACK, Decision, decide, fall
from .ledger import Generation
from .objects import sync
from .store import Staged, Store
from .supervisor import Supervisor
from .transition import Transition
from .triage import BOOTLOADER
from .trust import SELF
from .upgrade import Upgrade
from .wire.errors import Fault, Refused
from .wire.limits import PROTOCOL, UPLOAD_BLOBS
from .wire.manifest import check_hash
from .wire.messages import Fields, pack, unpack
from .wire.overlay import Overlay

_LOCK_S = 90.0
_WAIT_S = 30.0
_EVENTS = 5000
_EVENT_BYTES = 1024 * 1024
_CHORES = 64
_SETTLE_S = 1.0
_END_S = 10.0


@dataclass(eq=False)
class Peer:
    """A host at the other end of one link, until that ends."""

    host: str


Answer = Callable[[Fields, list[bytes], Peer], bytes]


class Service:
    """The answers of one target. Methods are called from the link's threads, several at once."""

    def __init__(self, name: str, store: Store, supervisor: Supervisor, journal: Journal, upgrade: Upgrade) -> None:
        self._name = name
        self._upgrade = upgrade
        self._store = store
        self._supervisor = supervisor
        self._journal = journal
        self._started = time.monotonic()
        self._chores: queue.Queue[Callable[[], None] | None] = queue.Queue(_CHORES)
        self._settling = False
        self._attached: set[Peer] = set()
        self._fallen: set[str] = set()
        """Roots that were given up since a host last changed anything."""
        self._worker = threading.Thread(target=self._work, name="settler", daemon=True)
        self._worker.start()
        self._answers: dict[str, Answer] = {
            "hello": self._hello,
            "status": self._status,
            "missing": self._missing,
            "upload": self._upload,
            "manifest": self._manifest,
            "apply": self._apply,
            "start": self._start,
            "history": self._history,
            "rollback": self._rollback,
            "events": self._events,
            "upgrade": self._take_release,
            "confirm": self._confirm,
        }

    @contextmanager
    def link(self, host: str) -> Iterator[Mapping[str, Callable[[bytes], bytes]]]:
        """What the host called ``host`` may call over one link, which has ended when this is left."""
        peer = Peer(host)

        def bound(answer: Answer) -> Callable[[bytes], bytes]:
            return lambda request: answer(*unpack(request), peer)

        try:
            answers = self._answers if host != SELF else {"hello": self._pulse}
            yield {name: bound(answer) for name, answer in answers.items()}
        finally:
            self._attached.discard(peer)
            self._journal.leave(peer)

    @property
    def attached(self) -> bool:
        """Whether somebody follows who mends what fails: a session of ``reactor dev``."""
        return bool(self._attached)

    def boot(self, *, start: bool) -> None:
        """Make the best that the disk has live, and start it; without ``start``, a host will say when."""
        try:
            with self._locked():
                rung = self._store.recover()
                if rung is not None and start:
                    self._start_live(BOOTLOADER, at_boot=True)
                elif rung is None and self._store.ledger.last() is not None:  # else it is new, and that is no news
                    self._journal.add("notice", {"code": "nothing-to-run", "text": "no generation is left to start"})
        finally:
            self._settle_soon(None)

    def fared(self, number: int, fate: str, why: str) -> None:
        """A generation is healthy, or failed, or was replaced. Called on the supervisor's thread."""
        self._store.ledger.mark(number, fate, why)
        if fate == "healthy":
            self._settle_soon(None)  # the other tree need not stay the last healthy one any more

    def fell(self, number: int, why: str) -> None:
        """A generation is given up. Called on the supervisor's thread."""
        self._chore(lambda: self._fall(number, why))

    def close(self) -> None:
        """Finish the chores and end."""
        with suppress(queue.Full):
            self._chores.put(None, timeout=_END_S)
        self._worker.join(_END_S)

    # requests

    def _hello(self, _fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        last = self._store.ledger.last()
        return pack(
            {
                "protocol": PROTOCOL,
                "version": __version__,
                "name": self._name,
                "python": list(sys.version_info[:3]),
                "machine": platform.machine(),
                "boot": self._journal.boot,
                "pid": os.getpid(),
                "root": self._store.manifest.root,
                "generation": last.number if last is not None else 0,
                "live": str(self._store.live_path),
                "interpreter": sys.executable,
                "release": self._upgrade.root,
            }
        )

    def _pulse(self, fields: Fields, blobs: list[bytes], peer: Peer) -> bytes:
        """`hello`, asked by this device itself: it counts only where the supervisor takes its turns as well."""
        self._supervisor.running()
        return self._hello(fields, blobs, peer)

    def _status(self, _fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        last = self._store.ledger.last()
        disk = shutil.disk_usage(self._store.live_path.parent)
        return pack(
            {
                "name": self._name,
                "version": __version__,
                "python": ".".join(map(str, sys.version_info[:3])),
                "machine": platform.machine(),
                "up_s": round(time.monotonic() - self._started, 1),
                "root": self._store.manifest.root,
                "files": len(self._store.manifest),
                "generation": last.as_fields() if last is not None else {},
                "applications": self._supervisor.states(),
                "attached": self.attached,
                "warm": self._supervisor.warmth(),
                "keeper": self._upgrade.told(),
                "disk_free_bytes": disk.free,
                "disk_bytes": disk.total,
            }
        )

    def _missing(self, fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        wanted = []
        for row in fields.rows("names"):
            match row:
                case [str(name), int(size)]:
                    wanted.append((check_hash(name), size))
                case _:
                    raise Refused("malformed", "not [blake3, size]", to="'names'")
        return pack({"missing": self._store.objects.missing(wanted)})

    def _upload(self, fields: Fields, blobs: list[bytes], _peer: Peer) -> bytes:
        rows = fields.rows("parts")
        if len(rows) != len(blobs) or len(rows) > UPLOAD_BLOBS:
            raise Refused("malformed", "the parts do not match their list", to="'parts'")
        with self._locked():
            for row, content in zip(rows, blobs, strict=True):
                match row:
                    case [str(name), int(offset), int(size)] if offset >= 0:
                        self._store.upload(check_hash(name), offset, size, content)
                    case _:
                        raise Refused("malformed", "not [blake3, offset, size]", to="'parts'")
        return pack({})

    def _manifest(self, fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        manifest = self._store.manifest_of(check_hash(fields.text("root")))
        if manifest is None:
            raise Refused("unknown-root", "this target does not have that manifest", to=fields.text("root")[:12])
        return pack({}, [manifest.text])

    def _apply(self, fields: Fields, blobs: list[bytes], peer: Peer) -> bytes:
        began = time.monotonic()
        overlay = Overlay.decode(fields, blobs)
        with self._locked():
            staged = self._store.stage(overlay)
            self._fallen.clear()
            return self._take(staged, peer.host, began)

    def _start(self, _fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        with self._locked():
            self._fallen.clear()
            return self._start_live(peer.host)

    def _rollback(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        with self._locked():
            ledger = self._store.ledger
            number = fields.integer("generation", 0)
            current = ledger.last()
            if number:
                wanted = ledger.get(number)
                if wanted is None:
                    raise Refused("unknown-generation", "this target has no such generation", to=str(number))
            else:
                live = self._store.manifest.root
                healthy = (one for one in ledger.newest_first() if one.was_healthy and one.root != live)
                wanted = next(healthy, None)
                if wanted is None:
                    raise Refused("no-generation", "no other generation was healthy", do="name one: `reactor history`")
            self._fallen.clear()
            why = f"asked to, from generation {current.number}" if current is not None else "asked to"
            return self._roll_back(wanted, peer.host, why)

    def _history(self, fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        most = max(1, min(256, fields.integer("limit", 20)))
        live = self._store.manifest.root
        generations = [one.as_fields() for one in self._store.ledger.newest_first()[:most]]
        return pack({"generations": generations, "root": live})

    def _events(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        cursor = fields.integer("cursor", 0) if fields.text("boot", "") == self._journal.boot else 0
        if not fields.text("boot", ""):
            cursor = fields.integer("cursor", 0)
        events = max(1, min(_EVENTS, fields.integer("max_events", _EVENTS)))
        size = max(1024, min(_EVENT_BYTES, fields.integer("max_bytes", _EVENT_BYTES)))
        wait_s = max(0.0, min(_WAIT_S, fields.number("wait_s", 0)))
        if fields.flag("attached", False):
            self._attached.add(peer)
        self._journal.enter(peer)
        cursor, lost, lines = self._journal.pull(cursor, events, size, wait_s)
        told = {"boot": self._journal.boot, "cursor": cursor, "lost": lost, "now": time.time()}
        return pack({**told, "ended": self._journal.ended(cursor)}, [lines])

    def _take_release(self, fields: Fields, blobs: list[bytes], _peer: Peer) -> bytes:
        overlay = Overlay.decode(fields, blobs)
        with self._locked():
            return pack({"release": self._upgrade.take(overlay)})

    def _confirm(self, fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        self._upgrade.confirm(check_hash(fields.text("release")))
        return pack({"release": self._upgrade.root})

    # changes

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._store.lock.acquire(timeout=_LOCK_S):
            raise Refused("busy", "another change is under way", do="try again")
        try:
            yield
        finally:
            self._store.lock.release()

    def _take(self, staged: Staged, who: str, began: float, rung: str = "", why: str = "") -> bytes:
        """What is staged becomes what runs, if it compiles."""
        written = (path for path, entry in staged.edits.items() if entry is not None)
        transition = Transition(
            staged.launch,
            lambda running: decide(staged.launch_before, staged.launch, staged.edits, running),
            lambda decision: self._store.switch(staged, who, rung or decision.rung, why or decision.why).number,
            began,
            proven=self._has_been_healthy(staged.manifest.root),
            tree=staged.tree.folder,
            check=tuple(path for path in written if path.endswith(".py")),
            note=lambda: self._store.note(staged),
        )
        transition.stage("store")
        number = self._supervisor.change(transition)
        self._settle_soon(transition.told)
        return pack(
            {
                "change": transition.number,
                "generation": number,
                "root": staged.manifest.root,
                "rung": rung or transition.decision.rung,
                "why": why or transition.decision.why,
                "stages_ms": dict(transition.stages_ms),
            }
        )

    def _start_live(self, who: str, *, at_boot: bool = False) -> bytes:
        """Start what is live and does not run."""
        launch, root, last = self._store.launch(), self._store.manifest.root, self._store.ledger.last()
        if launch is None:
            raise Refused("nothing-live", "this target has no application yet", do="push one")
        if last is None or last.root != root:  # the ledger lost its end
            last = self._store.ledger.add(root, who, RESTART, "found live, and not in the ledger", 0)
        if at_boot:
            self._store.ledger.count_boot(last.number)
        running = self._supervisor.running()
        start = tuple(app.name for app in launch.applications if app.name not in running)
        number = last.number
        change = self._supervisor.changes
        if start:
            decision = Decision(RESTART, f"started by {who}", (), start)
            began, proven = time.monotonic(), self._has_been_healthy(root)
            transition = Transition(launch, lambda _running: decision, lambda _decision: number, began, proven)
            self._supervisor.change(transition)
            change = transition.number
        return pack({"change": change, "generation": number, "root": root, "started": list(start)})

    def _roll_back(self, wanted: Generation, who: str, why: str) -> bytes:
        return self._go_back(wanted.root, f"generation {wanted.number}", who, why)

    def _go_back(self, root: str, name: str, who: str, why: str) -> bytes:
        began = time.monotonic()
        staged = self._store.stage_root(root)
        return self._take(staged, who, began, ROLLBACK, f"to {name}: {why}")

    def _fall(self, number: int, why: str) -> None:
        """What was there before takes the place of a generation that was given up, unless it has been replaced."""
        with self._locked():
            current = self._store.ledger.last()
            if current is None or current.number != number:
                return
            names: dict[str, str] = {}
            for one in self._store.ledger.newest_first():
                if one.was_healthy:
                    names.setdefault(one.root, f"generation {one.number}")
            for root in fall(current.root, list(names), self._store.base_root, self._fallen):
                try:
                    why_back = f"generation {number} failed: {why}"
                    self._go_back(root, names.get(root, "the base"), BOOTLOADER, why_back)
                except Refused as refused:
                    text = f"{names.get(root, 'the base')} can't be gone back to: {refused}"
                    self._journal.add("notice", {"code": "rollback-failed", "text": text})
                else:
                    self._fallen.add(current.root)
                    return
            text = f"{why}; there is nothing else to go back to: what failed stays down until the next push or rollback"
            self._journal.add("notice", {"code": "stays-down", "text": text})

    def _has_been_healthy(self, root: str) -> bool:
        return any(one.root == root and one.was_healthy for one in self._store.ledger.newest_first())

    def _settle_soon(self, told: threading.Event | None) -> None:
        if not self._settling:  # else the one that waits settles this one too
            self._settling = True
            self._chore(lambda: self._settle(told))

    def _settle(self, told: threading.Event | None) -> None:
        """Once the application runs, make the switch durable; only then is the other tree touched."""
        if told is not None:
            told.wait(_SETTLE_S)
        self._settling = False
        with self._locked():
            paths = self._store.settle()
        sync(paths)
        with self._locked():
            self._store.catch_up()
            paths = self._store.settle()
        sync(paths)

    def _chore(self, chore: Callable[[], None]) -> None:
        try:
            self._chores.put_nowait(chore)
        except queue.Full:
            self._journal.add("notice", {"code": "chores-late", "text": "the disk is slower than the saves"})

    def _work(self) -> None:
        while (chore := self._chores.get()) is not None:
            try:
                chore()
            except Exception as error:  # noqa: BLE001 - the settler outlives any one chore; the fault becomes an event
                text = str(error) if isinstance(error, (Fault, OSError)) else f"{type(error).__name__}: {error}"
                self._journal.add("notice", {"code": "chore-failed", "text": text})
