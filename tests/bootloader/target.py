"""A real bootloader as a process, driven over the real link."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from bootloader.wire import overlay
from bootloader.wire.errors import Fault, Refused
from bootloader.wire.launch import PATH, Application, Launch
from bootloader.wire.manifest import EMPTY, PLAIN, Entry, Manifest, blob_name
from bootloader.wire.messages import Fields
from bootloader.wire.overlay import Overlay
from reactor import trust
from reactor.link import Link

SOON_S = 20.0
"""Longer than anything takes that works, on a machine that is busy."""

Event = dict[str, Any]
Files = Mapping[str, bytes | str]


def app(name: str = "app", entry: str = "app:main", **more: Any) -> Application:
    """An application that is healthy when it is done; with ``settle_s`` 0, as soon as it is up."""
    return Application(name, entry, **{"settle_s": 600.0, **more})


def contents(files: Files, launch: Launch) -> dict[str, bytes]:
    """The files of a tree, with its launch file."""
    told = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    return {**told, PATH: launch.encode()}


def manifest_of(files: Mapping[str, bytes]) -> Manifest:
    return Manifest({path: Entry(blob_name(content), PLAIN, len(content)) for path, content in files.items()})


class Change:
    """A change that the target took: what it answered, and its events."""

    def __init__(self, target: Target, answer: Fields) -> None:
        self._target = target
        self.answer = answer
        self.number = answer.integer("change")
        self.generation = answer.integer("generation")

    def fate(self, *fates: str) -> Event:
        """The event that says how it fared: one of ``fates``."""
        return self._target.event("generation", change=self.number, state=fates or ("healthy", "failed", "replaced"))

    def healthy(self) -> Change:
        assert self.fate()["state"] == "healthy"
        return self

    def state(self, *states: str, application: str = "app") -> Event:
        """The event that says that the application is in one of ``states``."""
        return self._target.event("state", application=application, generation=self.generation, state=states)


class Target:
    """One state folder, and the bootloader that runs on it at the moment.

    ``attached``: it is followed as ``reactor dev`` does, so that what fails is held.
    """

    program: tuple[str, ...] = (sys.executable, "-m", "bootloader")

    def __init__(self, folder: Path, *options: str, attached: bool = True) -> None:
        self.state = folder / "state"
        self.home = folder / "home"
        self.environment: dict[str, str] = {}
        self._options = options
        self._attached = attached
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self.lost = 0
        self.tree = EMPTY
        trust.issue(self.state, self.home, "target")
        self.start()

    def start(self, *options: str) -> None:
        """Start the bootloader, and follow it."""
        self.process = self.spawn(*self._options, *options)
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], SOON_S)
        self.listening = json.loads(self.process.stdout.readline() if ready else b"{}")
        self._connect()

    def again(self) -> None:
        """Follow the bootloader that its keeper has started in place of one that died."""
        self.control.close()
        self._following.close()  # it may have reached one that lives on
        self._follower.join(SOON_S)
        self._connect()

    def _connect(self) -> None:
        self.control = self.link("control")
        self._events = []
        self._following = self.link("events")
        self._following.call("events", {"attached": self._attached}, timeout_s=SOON_S)
        self._follower = threading.Thread(target=self._follow, args=(self._following,), daemon=True)
        self._follower.start()

    def spawn(self, *options: str) -> subprocess.Popen[bytes]:
        """The bootloader's process, whatever becomes of it."""
        where = ["--state", str(self.state), "--listen", "127.0.0.1:0", "--json", "--grace", "0.5"]
        return subprocess.Popen(
            [*self.program, "run", *where, *options],
            env={**plain_environment(), **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # as a service has one
        )

    def link(self, name: str) -> Link:
        certificate = self.state / "trust" / "device.crt"
        identity = trust.host_identity(self.home)
        return Link.connect("127.0.0.1", self.listening["port"], identity, certificate, SOON_S, name)

    def _follow(self, link: Link) -> None:
        cursor = 0
        with suppress(Fault), link:
            while True:
                told, (lines,) = link.call("events", {"cursor": cursor, "wait_s": 20.0}, timeout_s=30)
                cursor = told.integer("cursor")
                with self._changed:
                    self.lost += told.integer("lost")
                    self._events += map(json.loads, lines.splitlines())
                    self._changed.notify_all()
                if told.flag("ended"):
                    break
        with self._changed:
            self._events.append({"event": "link-ended"})
            self._changed.notify_all()

    # events

    @property
    def events(self) -> list[Event]:
        with self._changed:
            return list(self._events)

    def event(self, kind: str, after: Event | None = None, **fields: Any) -> Event:
        """The first event, ``after`` another, that is or comes to be as told; a tuple stands for any of its values."""
        begins = after["n"] if after is not None else 0

        def fits(event: Event) -> bool:
            return (
                event["event"] == kind
                and event["n"] > begins
                and all(
                    event.get(key) in value if isinstance(value, tuple) else event.get(key) == value
                    for key, value in fields.items()
                )
            )

        return self.wait(lambda: next(filter(fits, self._events), None), f"{kind} {fields}")

    def wait(self, found: Callable[[], Event | None], what: str) -> Event:
        """What ``found`` finds, asked after every batch of events."""
        with self._changed:
            event = self._changed.wait_for(found, SOON_S)
            assert event, f"{what} did not come; there were {self._events[-30:]}"
            return event

    def log(self, text: str) -> Event:
        """The line of output that is, or comes to be, ``text``."""
        return self.event("log", text=text)

    def logs(self, generation: Change, *streams: str) -> list[str]:
        """What an application that has ended had printed. Its end is told after all that it printed."""
        end = generation.state("finished", "failed", "stopped")
        start = generation.state("starting")
        return [
            event["text"]
            for event in self.events
            if event["event"] == "log"
            and start["n"] < event["n"] < end["n"]
            and event["stream"] in (streams or STREAMS)
        ]

    def problem(self, change: Change) -> Event:
        return self.event("problem", generation=change.generation)

    def notice(self, code: str) -> Event:
        return self.event("notice", code=code)

    # requests

    def overlay(self, files: Files, *apps: Application, **launch: Any) -> Overlay:
        """The overlay from what the target has to ``files``, with all blobs; it restarts what it concerns."""
        tree = contents(files, Launch(apps or (app(),), **{"reload": "restart", **launch}))
        bare = overlay.diff(self.tree, manifest_of(tree))
        blobs = {blob_name(tree[path]): tree[path] for path, entry in bare.edits.items() if entry is not None}
        return Overlay(bare.base, bare.root, bare.edits, blobs)

    def send(self, sent: Overlay) -> Change:
        """Have the target take an overlay; a refusal is raised."""
        body, blobs = sent.message()
        answer, _ = self.control.call("apply", body, blobs, timeout_s=SOON_S)
        self.tree = self.tree.edit(sent.edits)
        return Change(self, answer)

    def ship(self, files: Files | str, *apps: Application, **launch: Any) -> Change:
        """Have the target run ``files``, or an ``app.py`` of that text."""
        tree = {"app.py": files} if isinstance(files, str) else files
        return self.send(self.overlay(tree, *apps, **launch))

    def refused(self, sent: Overlay) -> Refused:
        """The refusal that ``sent`` gets."""
        try:
            self.send(sent)
        except Refused as refused:
            return refused
        raise AssertionError("it was taken")

    def call(self, method: str, **body: Any) -> Fields:
        return self.control.call(method, body, timeout_s=SOON_S)[0]

    def start_live(self) -> Change:
        return Change(self, self.call("start"))

    def roll_back(self, generation: int = 0) -> Change:
        return Change(self, self.call("rollback", generation=generation))

    def history(self) -> list[dict[str, Any]]:
        """The generations, newest first."""
        return [one.plain() for one in self.call("history", limit=256).objects("generations")]

    def status(self, application: str = "app") -> dict[str, Any]:
        """What ``status`` tells of an application."""
        told = self.call("status").objects("applications")
        return next(one.plain() for one in told if one.text("application") == application)

    def standing(self) -> list[dict[str, Any]]:
        """What ``status`` tells of all applications, as long as nothing happens to them: time alone goes by."""
        told = [one.plain() for one in self.call("status").objects("applications")]
        return [{name: value for name, value in one.items() if name != "up_s"} for one in told]

    def live(self) -> dict[str, bytes]:
        """The files of the live tree, as they lie on the disk."""
        top = self.state / "live"
        return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}

    # processes

    @property
    def pid(self) -> int:
        """The bootloader's own process id: ``process`` is its keeper."""
        return kept_by(self.process.pid)

    def processes(self) -> set[int]:
        """All processes that the bootloader has made, and theirs."""
        return set(descendants(self.pid))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it; its exit status once it, and everything that it started, is gone. SIGKILL is for the keeper and
        the bootloader both, as the power's end is."""
        pid = self.pid
        started = {pid, *descendants(pid)}
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            os.kill(pid, number)
        status = self.process.wait(SOON_S)
        gone(started)
        self.control.close()
        self._follower.join(SOON_S)
        let_go(self.process)
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.end()


def plain_environment() -> dict[str, str]:
    """Without what this shell tells Python to do otherwise than by itself: buffering, bytecode."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") or name == "PYTHONPATH"}


def let_go(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes of a process that has ended."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


STREAMS = ("stdout", "stderr", "log")


def descendants(pid: int) -> Iterator[int]:
    """The processes below ``pid``, which have it as an ancestor now."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    yield from below - {pid}


def kept_by(keeper: int) -> int:
    """The process id of the bootloader that the process ``keeper`` keeps, as soon as there is one."""
    deadline = monotonic() + SOON_S
    while monotonic() < deadline:
        for pid in map(int, Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()):
            if alive(pid):
                return pid
    raise AssertionError("no bootloader is kept")


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pids: set[int]) -> None:
    """Wait until none of ``pids`` is left."""
    deadline = monotonic() + SOON_S
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            assert poll.poll(max(0.0, deadline - monotonic()) * 1000) or not alive(pid), f"process {pid} is still there"
        finally:
            os.close(handle)
