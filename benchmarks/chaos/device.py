"""A real bootloader on a state folder of ours: started, driven over its own link, killed.

Knows what a user of the link knows: events, statuses, answers. Every wait has a deadline; what does not come in time is
a :class:`~bootloader.wire.errors.Fault`.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from bootloader.wire import overlay
from bootloader.wire.errors import Fault, LinkDown
from bootloader.wire.limits import INLINE_BYTES
from bootloader.wire.manifest import EMPTY, Manifest, blob_name
from bootloader.wire.messages import Fields
from bootloader.wire.overlay import Overlay
from reactor import trust
from reactor.link import Link

from ..guard import descendants, parents
from .generations import Generation
from .tally import Tally
from .wheels import Made

SOON_S = 30.0
_END_S = 10.0
_POLL_S = 0.02

_BARE = (
    *("unshare", "-m", "sh", "-c"),
    'for place in $(grep " cgroup2 " /proc/mounts | cut -d " " -f 2); do umount -l $place; done; exec "$@"',
    "sh",
)
"""What a target is started through to have no cgroups, as in most containers."""

Event = dict[str, Any]


class Device:
    """One state folder, and the bootloader that runs on it at the moment. ``home``: the host that it obeys."""

    def __init__(self, state: Path, home: Path, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.state = state
        self.home = home
        self._log = log
        self._env = dict(env or {})
        self.command: tuple[str, ...] = ()
        """What the bootloader is started through, if anything."""
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.pid = 0
        self._link: Link | None = None
        self._cursor = 0
        self._events: list[Event] = []

    # its life

    def spawn(self, *options: str) -> subprocess.Popen[bytes]:
        """Start the bootloader, whatever becomes of it."""
        where = ["--state", str(self.state), "--listen", "127.0.0.1:0", "--json", "--grace", "0.5", *options]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, sys.executable, "-m", "bootloader", "run", *where],
                env={**os.environ, **self._env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        return self.process

    def start(self, *options: str) -> None:
        """Start the bootloader, and reach it."""
        self.port = self.listening(self.spawn(*options))
        self.reach()

    def listening(self, process: subprocess.Popen[bytes]) -> int:
        """The port that a new process tells."""
        assert process.stdout is not None
        told = first_line(process.stdout, SOON_S)
        if told.get("event") != "listening":
            raise Fault("chaos-not-up", f"it said {told} and not that it listens; {self.said()}", to=str(self.state))
        return int(told["port"])

    def reach(self) -> None:
        """Link up with what runs, also where it was restarted meanwhile."""
        deadline = time.monotonic() + SOON_S
        while True:
            try:
                self._unlink()
                self._link = self.link("chaos")
                hello = self.call("hello")
                break
            except (Fault, OSError) as error:
                if time.monotonic() > deadline:
                    raise Fault("chaos-not-reached", f"{error}; {self.said()}", to=str(self.state)) from error
                time.sleep(_POLL_S)
        self.pid = hello.integer("pid")
        self._cursor = 0
        self._events.clear()

    def link(self, name: str, home: Path | None = None) -> Link:
        """A link of its own."""
        identity = trust.host_identity(home or self.home)
        return Link.connect("127.0.0.1", self.port, identity, self.certificate, 5.0, name)

    @property
    def certificate(self) -> Path:
        """The device's certificate as this host knows it, whatever becomes of the device's own file."""
        return self.home / "device.crt"

    def meet(self) -> None:
        """Have the device obey this host, and remember its certificate: once, before anything else."""
        trust.issue(self.state, self.home, "chaos")
        self.certificate.write_bytes((self.state / "trust" / "device.crt").read_bytes())

    def cut(self) -> None:
        """SIGKILL to all that runs of it, at once, as a power cut looks to a process; returns when all are gone."""
        if self.process is None:
            return
        self._ended(self.kill())

    def kill(self) -> list[int]:
        """The first half of :meth:`cut`, for another thread: the processes that were killed."""
        assert self.process is not None
        pids = [self.process.pid, *_below(self.process.pid)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids

    def kill_child(self, chance: random.Random) -> None:
        """SIGKILL to one process below the bootloader: the warm parent, the application, what stands by."""
        if below := sorted(_below(self.pid)):
            with suppress(ProcessLookupError):
                os.kill(chance.choice(below), signal.SIGKILL)

    def end(self) -> None:
        """An orderly end."""
        if self.process is not None:
            pids = [self.process.pid, *_below(self.process.pid)]
            self.process.send_signal(signal.SIGTERM)
            self._ended(pids)

    def _ended(self, pids: list[int]) -> None:
        assert self.process is not None
        self._unlink()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Fault("chaos-no-end", "it did not end", to=str(self.state)) from None
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        deadline = time.monotonic() + _END_S
        while left := [pid for pid in pids if alive(pid)]:
            if time.monotonic() > deadline:
                raise Fault("chaos-left", f"processes {left} are still there", to=str(self.state))
            time.sleep(_POLL_S)

    def _unlink(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def said(self) -> str:
        """The end of what it printed."""
        return " | ".join(self._log.read_text(errors="replace")[-1500:].splitlines()) or "it printed nothing"

    # its answers

    def call(self, method: str, **body: Any) -> Fields:
        """One request."""
        if self._link is None:
            raise LinkDown("no link")
        return self._link.call(method, body, timeout_s=SOON_S)[0]

    def root(self) -> str:
        """The root that it says is live."""
        return self.call("hello").text("root")

    def release(self) -> str:
        """The root of the bootloader that answers."""
        return self.call("hello").text("release")

    def upgrade(self, release: Overlay) -> None:
        """Have it try another bootloader, and reach that."""
        assert self._link is not None
        body, blobs = release.message()
        self._link.call("upgrade", body, blobs, timeout_s=SOON_S)
        deadline = time.monotonic() + SOON_S
        while self.release() != release.root:
            if time.monotonic() > deadline:
                raise Fault("chaos-no-upgrade", f"it does not run {release.root[:12]}; {self.said()}")
            with suppress(Fault):  # the one of before, on its way out
                time.sleep(_POLL_S)
                self.reach()

    def ship(self, generation: Generation) -> None:
        """Have it run ``generation``: from what it has, with its layer and all blobs that it lacks."""
        assert self._link is not None
        if generation.wheels:
            self._provide(generation.wheels)
        wanted = generation.manifest
        bare = overlay.diff(self._manifest(), wanted)
        needed = {entry.blake3: entry.size for entry in bare.edits.values() if entry is not None}
        contents = {blob_name(content): content for content in generation.files.values()}
        missing = self.call("missing", names=[[name, size] for name, size in needed.items()]).texts("missing")
        blobs = {name: contents[name] for name in missing}
        large = {name: blobs.pop(name) for name in [name for name in blobs if len(blobs[name]) > 8192]}
        for name, content in large.items():
            self._upload(name, content)
        assert sum(map(len, blobs.values())) <= INLINE_BYTES
        body, carried = Overlay(bare.base, bare.root, bare.edits, blobs).message()
        self._link.call("apply", body, carried, timeout_s=SOON_S)

    def _provide(self, wheels: Sequence[Made]) -> None:
        """Have it make a layer of ``wheels``, unless it has that."""
        deadline = time.monotonic() + SOON_S
        contents = {made.wheel.blake3: made.content for made in wheels}
        rows = [made.wheel.row for made in wheels]
        while not (answer := self.call("layer", wheels=rows, wait_s=0.5)).flag("ready"):
            if time.monotonic() > deadline:
                raise Fault("chaos-no-layer", f"its layer is not made; {self.said()}", to=str(self.state))
            for name in answer.texts("missing"):
                self._upload(name, contents[name])

    def _upload(self, name: str, content: bytes) -> None:
        """A blob, in two parts."""
        assert self._link is not None
        half = len(content) // 2
        for at, part in ((0, content[:half]), (half, content[half:])):
            self._link.call("upload", {"parts": [[name, at, len(content)]]}, [part], timeout_s=SOON_S)

    def roll_back(self, number: int) -> None:
        """Have it go back to the generation with this number."""
        self.call("rollback", generation=number)

    def _manifest(self) -> Manifest:
        assert self._link is not None
        root = self.root()
        if root == EMPTY.root:
            return EMPTY
        _, (text,) = self._link.call("manifest", {"root": root}, timeout_s=SOON_S)
        return Manifest.parse(text)

    # its events

    def event(self, fits: Callable[[Event], bool], what: str, timeout_s: float = SOON_S) -> Event:
        """The first event since it was reached that ``fits``."""
        assert self._link is not None
        deadline = time.monotonic() + timeout_s
        at = 0
        while True:
            while at < len(self._events):
                if fits(self._events[at]):
                    return self._events[at]
                at += 1
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                tail = [event for event in self._events if event["event"] != "log"][-12:]
                raise Fault("chaos-no-event", f"{what} did not come in {timeout_s:g} s; the last were {tail}")
            told, (lines,) = self._link.call(
                "events", {"cursor": self._cursor, "wait_s": min(left_s, 5.0)}, timeout_s=SOON_S
            )
            self._cursor = told.integer("cursor")
            self._events += map(json.loads, lines.splitlines())

    def overflowed(self) -> bool:
        """Whether of the events that were not asked for yet some are lost."""
        # Before the first gap there may be what is kept apart from logs, and for longer.
        return self.call("events", cursor=self._cursor, max_events=64).integer("lost") > 0

    def pulled(self) -> tuple[int, int, int]:
        """Ask for all events up to the newest of now: how many there were, were told, and were said to be lost."""
        assert self._link is not None
        began, told, lost = self._cursor, 0, 0
        newest = self.call("events", cursor=-1).integer("cursor")
        while self._cursor < newest:
            fields, (lines,) = self._link.call("events", {"cursor": self._cursor}, timeout_s=SOON_S)
            self._cursor = fields.integer("cursor")
            told += len(lines.splitlines())
            lost += fields.integer("lost")
        return self._cursor - began, told, lost

    def attach(self) -> None:
        """Be a developer's session on this link: what fails is held as it is."""
        self.call("events", cursor=self._cursor, attached=True)

    def mark(self) -> None:
        """From here on, only new events count."""
        while (cursor := self.call("events", cursor=self._cursor).integer("cursor")) != self._cursor:
            self._cursor = cursor
        self._events.clear()

    def well(self) -> None:
        """Wait until its application is up, whenever that began."""
        deadline = time.monotonic() + SOON_S
        while True:
            states = [one.text("state") for one in self.call("status").objects("applications")]
            if states and set(states) <= {"healthy", "finished"}:
                return
            if time.monotonic() > deadline:
                raise Fault("chaos-not-well", f"its applications are {states} after {SOON_S:g} s")
            time.sleep(_POLL_S)

    def says(self, sentence: str) -> None:
        """Wait until its application has printed ``sentence``."""
        self.event(lambda event: event["event"] == "log" and event["text"] == sentence, f"'{sentence}'")

    def said_last(self, beginning: str) -> str:
        """The last thing that its application has printed that begins so, or nothing."""
        lines = (event["text"] for event in reversed(self._events) if event["event"] == "log")
        return next((line for line in lines if line.startswith(beginning)), "nothing")


def kinds(tally: Tally) -> dict[str, tuple[str, ...]]:
    """The kinds of target that there are here, and what each is started through."""
    found: dict[str, tuple[str, ...]] = {"as it comes": ()}
    if os.geteuid() == 0 and subprocess.run([*_BARE, "true"], capture_output=True).returncode == 0:
        found["without cgroups"] = _BARE
    else:
        tally.counts["targets without cgroups skipped, as none can be had here"] += 1
    return found


def first_line(pipe: IO[bytes], timeout_s: float) -> dict[str, Any]:
    """What a bootloader says first; nothing where that is no JSON object, or does not come."""
    ready, _, _ = select.select([pipe], [], [], timeout_s)
    try:
        told = json.loads(pipe.readline()) if ready else {}
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _below(root: int) -> list[int]:
    return descendants(root, parents())
