"""What the link answers: one method a request, a message in, a message out (``docs/protocol.md``).

Turns requests into calls on the store, the supervisor and ``changes``, and knows who is linked. Knows nothing of
sockets and of TLS. A refusal is raised here as a :class:`~bootloader.wire.errors.Refused`, and sent by the link.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import __version__, unit
from .changes import Changes
from .chronicle import Chronicle
from .journal import Journal
from .lease import Lease
from .machine import platform
from .pairing import Pairing
from .peer import Peer
from .store.store import Store
from .streams import Streams
from .supervisor.supervisor import Supervisor
from .trust import HOSTS, ROLES, SELF, Trust, assign, dismiss
from .unpacking import Unpacking
from .upgrade import Upgrade
from .wire.errors import Refused
from .wire.layer import read_wheels
from .wire.limits import PROTOCOL, STREAM_BYTES, UPLOAD_BLOBS
from .wire.manifest import check_hash
from .wire.messages import Fields, pack, unpack
from .wire.overlay import Overlay

_WAIT_S = 30.0
_MEASURE_S = 2.0
_EVENTS = 5000
_EVENT_BYTES = 1024 * 1024

Answer = Callable[[Fields, list[bytes], Peer], bytes]

_CHANGES = frozenset({"upload", "apply", "start", "restart", "rollback", "upgrade"})
"""What needs the lease, of this very session."""

_REACHES = frozenset({"open", "write"})
"""What needs that no other host has the lease: it reaches into what runs, and ships no tree."""

_LOOKS = frozenset({"hello", "status", "history", "boots", "events"})
"""What a host may ask that is let to look, and nothing more."""


def _refuse(_fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
    do = "have a host that may do everything make it one of those"
    raise Refused("observer", "this host may look, and change nothing", to=peer.host, do=do)


def _role_in(fields: Fields, default: str | None = None) -> str:
    role = fields.text("role", default)
    if role not in ROLES:
        raise Refused("malformed", f"not one of {', '.join(ROLES)}", to="'role'")
    return role


class Service:
    """The answers of one target. Methods are called from the link's threads, several at once."""

    def __init__(
        self,
        name: str,
        store: Store,
        supervisor: Supervisor,
        changes: Changes,
        journal: Journal,
        chronicle: Chronicle,
        upgrade: Upgrade,
        streams: Streams,
        pairing: Pairing,
        unpacking: Unpacking,
        is_announced: Callable[[], bool],
    ) -> None:
        self._name = name
        self._upgrade = upgrade
        self._store = store
        self._supervisor = supervisor
        self._changes = changes
        self._journal = journal
        self._chronicle = chronicle
        self._streams = streams
        self._pairing = pairing
        self._unpacking = unpacking
        self._is_announced = is_announced
        self._platform = platform()
        self._lease = Lease(lambda told: journal.add("lease", told), lambda host: streams.end(but=host))
        self._started = time.monotonic()
        self._attached: set[Peer] = set()
        self._answers: dict[str, Answer] = {
            "hello": self._hello,
            "status": self._status,
            "lease": self._let,
            "missing": self._missing,
            "upload": self._upload,
            "layer": self._layer,
            "manifest": self._manifest,
            "apply": self._apply,
            "start": self._start,
            "restart": self._restart,
            "history": self._history,
            "stack": self._stack,
            "rollback": self._rollback,
            "boots": self._boots,
            "events": self._events,
            "upgrade": self._take_release,
            "confirm": self._confirm,
            "open": self._open,
            "write": self._write,
            "read": self._read,
            "close": self._close,
            "trust": self._trust,
            "role": self._role,
            "distrust": self._distrust,
            "invite": self._invite,
        }

    @contextmanager
    def link(
        self, host: str, observes: bool, is_dismissed: Callable[[], bool]
    ) -> Iterator[Mapping[str, Callable[[bytes], bytes]]]:
        """What the host called ``host`` may call over one link, which has ended when this is left.

        One that ``observes`` is refused whatever could change something, and one that ``is_dismissed`` whatever had to
        wait until it was.
        """
        peer = Peer(host, observes, is_dismissed)

        def bound(name: str, answer: Answer) -> Callable[[bytes], bytes]:
            def answered(request: bytes) -> bytes:
                peer.asked_at = time.monotonic()
                if observes or name not in _CHANGES | _REACHES:
                    return answer(*unpack(request), peer)
                with self._lease.during(peer, peer.session if name in _CHANGES else peer.any_session, peer.check):
                    if name in _REACHES:
                        return answer(*unpack(request), peer)
                    with self._changes.locked():
                        peer.check()
                        return answer(*unpack(request), peer)

            return answered

        try:
            answers = self._answers if host != SELF else {"hello": self._pulse, "invite": self._invite}
            if observes:
                answers = {name: answer if name in _LOOKS else _refuse for name, answer in answers.items()}
            yield {name: bound(name, answer) for name, answer in answers.items()}
        finally:
            self._detach(peer)
            self._journal.leave(peer)
            self._streams.left(peer)
            self._lease.left(peer)

    @property
    def attached(self) -> bool:
        """Whether somebody follows who mends what fails: a session of ``reactor dev``."""
        return bool(self._attached)

    def _detach(self, peer: Peer) -> None:
        if peer in self._attached:
            self._attached.discard(peer)
            if not self._attached:
                self._supervisor.left()

    def forget(self, host: str) -> None:
        """A host is obeyed no more: what it has begun ends."""
        self._streams.end(host)
        self._lease.forget(host)
        self._pairing.disinvite(host)

    def close(self) -> None:
        """End what goes on between requests."""
        self._lease.close()
        self._streams.end()

    # requests

    def _hello(self, _fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        last = self._store.ledger.last()
        return pack(
            {
                "protocol": PROTOCOL,
                "version": __version__,
                "name": self._name,
                "python": list(sys.version_info[:3]),
                "machine": os.uname().machine,
                "boot": self._journal.boot,
                "pid": os.getpid(),
                "root": self._store.manifest.root,
                "generation": last.number if last is not None else 0,
                "live": str(self._store.live_path),
                "interpreter": sys.executable,
                "release": self._upgrade.root,
                "platform": self._platform,
            }
        )

    def _pulse(self, fields: Fields, blobs: list[bytes], peer: Peer) -> bytes:
        """`hello`, asked by this device itself: it counts only where the supervisor takes its turns as well."""
        self._supervisor.running()
        return self._hello(fields, blobs, peer)

    def _status(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        last = self._store.ledger.last()
        disk = shutil.disk_usage(self._store.live_path.parent)
        window_s = min(_MEASURE_S, fields.number("measure_s", 0))
        device, used = self._supervisor.usage.over(window_s) if window_s > 0 else ({}, {})
        return pack(
            {
                "name": self._name,
                "version": __version__,
                "python": ".".join(map(str, sys.version_info[:3])),
                "machine": os.uname().machine,
                "up_s": round(time.monotonic() - self._started, 1),
                "root": self._store.manifest.root,
                "files": len(self._store.manifest),
                "generation": last.as_fields() if last is not None else {},
                "applications": [{**one, **used.get(one["application"], {})} for one in self._supervisor.states()],
                "device": device,
                "lost": self._journal.lost,
                "attached": self.attached,
                "lease": self._lease.told(peer.any_session),
                "warm": self._supervisor.warmth(),
                "confined": self._supervisor.confinement.told(),
                "keeper": self._upgrade.told(),
                "unit": unit.told(),
                "announced": self._is_announced(),
                "disk_free_bytes": disk.free,
                "disk_bytes": disk.total,
            }
        )

    def _let(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        """Whose the lease is, once what is asked for was done. That another session has it is no refusal."""
        if peer.join(fields):
            self._lease.left(peer)
        match fields.text("do"):
            case "look":
                pass
            case "give":
                self._lease.give(peer.session)
            case "get" | "take" as do:
                self._lease.get(peer, peer.session, peer.check, take=do == "take")
            case _:
                raise Refused("malformed", "neither look, get, take nor give", to="'do'")
        return pack({"lease": self._lease.told(peer.session)})

    def _missing(self, fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        wanted = []
        for row in fields.rows("names"):
            match row:
                case [str(name), int(size)]:
                    wanted.append((check_hash(name), size))
                case _:
                    raise Refused("malformed", "not [blake3, size]", to="'names'")
        missing = self._store.objects.missing(wanted)
        begun = ((name, self._store.objects.begun(name)) for name in missing)
        return pack({"missing": missing, "begun": [[name, size] for name, size in begun if size]})

    def _upload(self, fields: Fields, blobs: list[bytes], _peer: Peer) -> bytes:
        rows = fields.rows("parts")
        if len(rows) != len(blobs) or len(rows) > UPLOAD_BLOBS:
            raise Refused("malformed", "the parts do not match their list", to="'parts'")
        for row, content in zip(rows, blobs, strict=True):
            match row:
                case [str(name), int(offset), int(size)] if offset >= 0:
                    self._changes.upload(check_hash(name), offset, size, content)
                case _:
                    raise Refused("malformed", "not [blake3, offset, size]", to="'parts'")
        return pack({})

    def _layer(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        wait_s = max(0.0, min(_WAIT_S, fields.number("wait_s", 0)))
        return pack(self._unpacking.ask(read_wheels(fields), wait_s, peer.check))

    def _manifest(self, fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        manifest = self._store.manifest_of(check_hash(fields.text("root")))
        if manifest is None:
            raise Refused("unknown-root", "this target does not have that manifest", to=fields.text("root")[:12])
        return pack({}, [manifest.text])

    def _apply(self, fields: Fields, blobs: list[bytes], peer: Peer) -> bytes:
        overlay, restart = Overlay.decode(fields, blobs), fields.flag("restart", False)
        return pack(self._changes.apply(overlay, peer.host, peer.asked_at, restart=restart))

    def _start(self, _fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        return pack(self._changes.start(peer.host))

    def _restart(self, _fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        return pack(self._changes.restart(peer.host))

    def _stack(self, fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        seen = self._supervisor.look(fields.text("application"))
        told = {"pid": seen.pid, "why": seen.why, "stacks": seen.stacks, "system": seen.system}
        return pack(told, [seen.dump] if seen.dump else [])

    def _rollback(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        return pack(self._changes.roll_back(fields.integer("generation", 0), peer.host))

    def _history(self, fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        most = max(1, min(256, fields.integer("limit", 20)))
        generations = [one.as_fields() for one in self._store.ledger.newest_first()[:most]]
        return pack({"generations": generations, "root": self._store.manifest.root})

    def _boots(self, _fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        return pack({"boots": self._chronicle.boots()})

    def _events(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        cursor, boot, began = fields.integer("cursor", 0), fields.text("boot", ""), time.monotonic()
        events = max(1, min(_EVENTS, fields.integer("max_events", _EVENTS)))
        size = max(1024, min(_EVENT_BYTES, fields.integer("max_bytes", _EVENT_BYTES)))
        wait_s = max(0.0, min(_WAIT_S, fields.number("wait_s", 0)))
        if fields.flag("attached", False):
            if peer.observes:
                _refuse(fields, [], peer)
            self._attached.add(peer)
        elif "attached" in fields:
            self._detach(peer)
        self._journal.enter(peer)
        if boot not in ("", self._journal.boot):
            past = self._chronicle.pull(boot, cursor, events, size)
            if past is not None:
                told = {"boot": boot, "cursor": past[0], "lost": past[1], "ended": not past[2]}
                return pack({**told, "now": time.time(), "mono": time.monotonic()}, [past[2]])
            cursor = 0  # of a start that it knows nothing of: whatever it can tell is new
        cursor, lost, lines = self._journal.pull(cursor, events, size, wait_s, fields.integer("newest_bytes", 0))
        told = {"boot": self._journal.boot, "cursor": cursor, "lost": lost, "ended": self._journal.ended(cursor)}
        told["took_s"] = round(time.monotonic() - began, 4)
        return pack({**told, "now": time.time(), "mono": time.monotonic()}, [lines])

    def _take_release(self, fields: Fields, blobs: list[bytes], _peer: Peer) -> bytes:
        return pack({"release": self._upgrade.take(Overlay.decode(fields, blobs))})

    def _confirm(self, fields: Fields, _blobs: list[bytes], _peer: Peer) -> bytes:
        self._upgrade.confirm(check_hash(fields.text("release")))
        return pack({"release": self._upgrade.root})

    def _open(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        kind, application, more = fields.text("kind"), fields.text("application", ""), fields.child("more").plain()
        beside = fields.flag("beside", False)
        opened = self._streams.open(peer, peer.host, kind, application, more, beside=beside)
        if peer.is_dismissed():  # its streams were ended while this one was not there yet
            self._streams.close(peer.host, opened["stream"])
        return pack(opened)

    def _write(self, fields: Fields, blobs: list[bytes], peer: Peer) -> bytes:
        if len(blobs) != 1:
            raise Refused("malformed", "not one blob", to="'write'")
        stream, at = fields.text("stream"), fields.integer("at")
        return pack({"taken": self._streams.write(peer, peer.host, stream, at, blobs[0])})

    def _read(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        stream, at = fields.text("stream"), fields.integer("at")
        most, wait_s = fields.integer("max_bytes", STREAM_BYTES), max(0.0, min(_WAIT_S, fields.number("wait_s", 0)))
        data, ended, why = self._streams.read(peer, peer.host, stream, at, most, wait_s)
        return pack({"ended": ended, "why": why}, [data])

    def _close(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        self._streams.close(peer.host, fields.text("stream"))
        if not self._streams.has(peer.host):
            self._lease.give(peer.any_session)
        return pack({})

    # whom this device obeys

    def _trust(self, _fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        return pack({"hosts": [list(row) for row in Trust.load(self._pairing.trust).rows()], "you": peer.host})

    def _distrust(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        return self._entrust(fields.text("name"), peer, dismiss)

    def _role(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        role = _role_in(fields)
        return self._entrust(fields.text("name"), peer, lambda folder, name: assign(folder, name, role))

    def _entrust(self, name: str, peer: Peer, change: Callable[[Path, str], bool]) -> bytes:
        try:
            if not change(self._pairing.trust, name):
                raise Refused("unknown-host", "this device does not obey a host of that name", to=name[:64])
        except OSError as error:
            raise Refused("not-written", f"whom this device obeys is as it was ({error.strerror})", to=name) from error
        if name != peer.host:  # that one is to have this answer; its links end in a moment
            self._pairing.renew()
        return pack({})

    def _invite(self, fields: Fields, _blobs: list[bytes], peer: Peer) -> bytes:
        shown = self._pairing.open(_role_in(fields, HOSTS), peer.host, peer.check)
        if peer.is_dismissed():  # as for streams
            self._pairing.disinvite(peer.host)
        told = {"code": shown.code, "host": shown.host, "port": shown.port, "open_s": shown.open_s}
        return pack({**told, "role": shown.role})
