"""One target, from this host: its link, the tree that it has, the saves that it is owed, and what became of them.

One thread ships (control link), one follows (events link). The newest tree is what counts: it is kept until the target
has it, whatever happens to the link, and a save that comes while another ships replaces it. Faults of the link are
told, waited out with growing pauses, and healed; faults of trust end the session, because waiting mends nothing there.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from bootloader.wire.errors import CallTimeout, Fault, LinkClosed, LinkDown, Malformed, Refused, Untrusted
from bootloader.wire.limits import PROTOCOL
from bootloader.wire.manifest import EMPTY, Edits, Manifest
from bootloader.wire.messages import Fields

from . import shipment, syntax
from .follow import Paths, parse, shown, translate
from .link import Link
from .outcomes import FATES, Outcome, Outcomes
from .report import clean
from .scan import FileChanged, Scanner
from .targets import Target

_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_EVENTS_WAIT_S = 10.0
_BATCH_BYTES = 512 * 1024
_JOIN_S = 5.0
_CONTEXT_EVENTS = 10
"""How many earlier events of a target are told at the first connection."""
_PROGRESS_BYTES = 256 * 1024

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Save:
    """A tree to ship. ``edits`` lead to it from ``previous``; times are seconds of the monotonic clock."""

    manifest: Manifest
    previous: Manifest
    edits: Edits
    saved_at: float
    stages_ms: dict[str, float]


class Session:
    """One target of a ``dev`` or ``push``. ``tell`` gets its events; it is called from the session's threads."""

    def __init__(self, target: Target, source: Scanner, tell: Tell, *, watching: bool) -> None:
        self.target = target
        self._source = source
        self._tell_all = tell
        self._watching = watching
        self._changed = threading.Condition()
        self._wanted: Save | None = None
        self._has: Manifest | None = None
        self._broken: Fault | None = None
        self._closing = False
        self.fatal: Fault | None = None
        self._was_ready = False
        self._outcomes = Outcomes()
        self._boot = ""
        self._cursor = -_CONTEXT_EVENTS
        self._python = (0, 0)
        self._control: Link | None = None
        self._events: Link | None = None
        self._paths = Paths("", source.project)
        self._threads = [threading.Thread(target=self._run, name=f"{target.name} ship", daemon=True)]

    def start(self) -> None:
        """Begin: connect, and ship the newest save."""
        self._threads[0].start()

    def submit(self, save: Save) -> None:
        """Ship this tree, in place of any that has not been shipped yet."""
        with self._changed:
            waiting = self._wanted
            if waiting is not None and waiting.manifest is save.previous:
                edits = {**waiting.edits, **save.edits}
                save = Save(save.manifest, waiting.previous, edits, waiting.saved_at, save.stages_ms)
            self._wanted = save
            self._changed.notify_all()

    def close(self) -> None:
        """End the session; the target goes on."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._disconnect()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(_JOIN_S)

    def _tell(self, event: dict[str, Any]) -> None:
        self._tell_all({"event": event["event"], "target": self.target.name, **event})

    # the link

    def _run(self) -> None:
        failures = 0
        while not self._closing:
            try:
                self._connect()
                failures = 0
                self._ship_for_ever()
            except LinkClosed:
                return
            except (LinkDown, CallTimeout) as fault:
                failures = self._wait_out(fault, failures)
            except Fault as fault:
                self._end(fault)
                return
            except Exception as error:  # noqa: BLE001 - a thread that dies silently is a session that hangs
                self._end(Fault("internal-error", f"{type(error).__name__}: {error}", do="please report this"))
                raise
            finally:
                self._disconnect()

    def _wait_out(self, fault: Fault, failures: int) -> int:
        if failures == 0:
            self._tell({"event": "link", "state": "down", "why": clean(str(fault))})
        elif failures == 1 or failures % 10 == 0:
            self._tell({"event": "link", "state": "retrying", "why": clean(str(fault))})
        with self._changed:
            pause_s = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
            self._changed.wait_for(lambda: self._closing, timeout=pause_s)
        return failures + 1

    def _end(self, fault: Fault) -> None:
        self.fatal = fault
        told = {"event": "problem", "code": fault.code, "message": clean(str(fault))}
        for result in self._outcomes.give_up(fault.what):
            self._tell(result)
        self._tell(told)

    def _connect(self) -> None:
        control = self.target.connect("control")
        self._control = control
        hello, _ = control.call("hello", {})
        if hello.integer("protocol") != PROTOCOL:
            raise Fault(
                "other-protocol",
                f"it speaks protocol {hello.integer('protocol')}, this host speaks {PROTOCOL}",
                to=self.target.name,
                do="install the same version of live-reactor on both",
            )
        events = self.target.connect("events")
        self._events = events
        python = hello.integers("python")
        self._python = (python[0], python[1]) if len(python) >= 2 else (0, 0)
        self._paths = Paths(clean(hello.text("live")), self._source.project)
        if hello.text("boot") != self._boot:
            for result in self._outcomes.give_up("the target started again before it was healthy"):
                self._tell(result)
            self._cursor = 0 if self._boot else -_CONTEXT_EVENTS
            self._boot = hello.text("boot")
        self._broken = None
        thread = threading.Thread(target=self._follow, args=(events,), name=f"{self.target.name} follow", daemon=True)
        self._threads[1:] = [thread]
        thread.start()
        if self._was_ready:
            self._tell({"event": "link", "state": "up", "why": ""})
        self._first(control, hello)

    def _first(self, control: Link, hello: Fields) -> None:
        """What the target has, against what it should have."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted is not None or self._has is not None or self._closing)
            save = self._wanted
        root = hello.text("root")
        wanted = save.manifest if save is not None else self._has
        if wanted is None:
            raise LinkClosed()
        if root == wanted.root:
            self._has = wanted
            with self._changed:
                if self._wanted is save:
                    self._wanted = None
            self._start(control, wanted, time.monotonic())
        else:
            self._has = EMPTY if root == EMPTY.root else shipment.fetch(control, root)
            if save is None:
                save = Save(wanted, self._has, self._has.edits_to(wanted), time.monotonic(), {})
                with self._changed:
                    self._wanted = self._wanted or save
            self._ship(control)
        if not self._was_ready:
            self._was_ready = True
            self._tell(
                {
                    "event": "ready",
                    "project": self._source.project.settings.name,
                    "root": wanted.root,
                    "generation": self._generation(control),
                    "files_count": len(wanted),
                    "python": ".".join(map(str, hello.integers("python")[:3])),
                    "watching": self._watching,
                }
            )

    def _generation(self, control: Link) -> int:
        hello, _ = control.call("hello", {})
        return hello.integer("generation", 0)

    def _disconnect(self) -> None:
        for link in (self._control, self._events):
            if link is not None:
                link.close()

    # shipping

    def _ship_for_ever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted is not None or self._broken is not None or self._closing)
                if self._closing:
                    raise LinkClosed()
                if self._broken is not None:
                    raise self._broken
            assert self._control is not None
            self._ship(self._control)

    def _ship(self, control: Link) -> None:
        """Ship the newest save. It is owed until the target has it or has refused it."""
        with self._changed:
            save = self._wanted
        if save is None:
            return
        began = time.monotonic()
        base = self._has if self._has is not None else save.previous
        edits = save.edits if base is save.previous else base.edits_to(save.manifest)
        files = tuple(sorted({shown(self._source.project, path) for path in edits or save.edits}))
        if not edits:  # taken back to what the target has
            self._settle_with(save, base)
            self._start(control, base, save.saved_at, files)
            return
        try:
            if self._compiles(save, edits, files):
                self._send(control, save, shipment.Shipment(base, save.manifest, edits), files, began)
            else:
                self._settle_with(save, base)
        except Refused as refused:
            self._refused(save, refused, files)
            self._settle_with(save, base)
        except FileChanged:
            self._settle_with(save, base)  # the watcher has seen that change too, and brings it as the next save

    def _settle_with(self, save: Save, has: Manifest) -> None:
        self._has = has
        with self._changed:
            if self._wanted is save:
                self._wanted = None

    def _compiles(self, save: Save, edits: Edits, files: tuple[str, ...]) -> bool:
        """Whether every Python file that changed compiles; each that does not is told with its place."""
        problems = []
        for path, entry in edits.items():
            if entry is None or not path.endswith(".py"):
                continue
            name = shown(self._source.project, path)
            problem = syntax.check(self._source.content(entry.blake3), name, self._python, sys.version_info[:2])
            if problem is not None:
                problems.append(problem)
        for problem in problems:
            told = {"event": "problem", **asdict(problem)}
            self._tell({**told, "message": f"syntax error: {problem.message}"})
        if problems:
            self._held(save, files, "it does not compile")
        return not problems

    def _held(self, save: Save, files: tuple[str, ...], reason: str) -> None:
        self._tell(Outcome(0, 0, save.manifest.root, files, "hold", reason, save.saved_at).result(healthy=False))

    def _send(self, control: Link, save: Save, parcel: shipment.Shipment, files: tuple[str, ...], began: float) -> None:
        sent = time.monotonic()
        answer = shipment.send(control, parcel, self._source, self._progress)
        back = time.monotonic()
        there_ms = {name: value for name, value in answer.child("stages_ms").plain().items() if _is_number(value)}
        stages = dict(save.stages_ms)
        stages["wait"] = round(max(0.0, (began - save.saved_at) * 1000 - sum(stages.values())), 3)
        stages["diff"] = round((sent - began) * 1000, 3)
        stages["ship"] = round(max(0.0, (back - sent) * 1000 - sum(there_ms.values())), 3)
        self._settle_with(save, save.manifest)
        outcome = Outcome(
            answer.integer("change"),
            answer.integer("generation"),
            save.manifest.root,
            files,
            clean(answer.text("rung")),
            clean(answer.text("why")),
            save.saved_at,
            stages,
        )
        for result in self._outcomes.expect(outcome):
            self._tell(result)

    def _progress(self, done: int, total: int) -> None:
        if total >= _PROGRESS_BYTES:
            self._tell({"event": "progress", "done_bytes": done, "total_bytes": total})

    def _refused(self, save: Save, refused: Refused, files: tuple[str, ...]) -> None:
        told: dict[str, Any] = {"event": "problem", "code": clean(refused.code), "message": clean(str(refused))}
        if refused.code == "syntax-error":
            told["message"] = f"syntax error: {clean(refused.what)}"
            told["file"] = shown(self._source.project, clean(str(refused.fields.get("file", ""))))
            for key in ("line", "column", "text"):
                value = refused.fields.get(key, 0)
                told[key] = clean(value) if isinstance(value, str) else value
        self._tell(told)
        self._held(save, files, "it does not compile there" if refused.code == "syntax-error" else "it was refused")

    def _start(self, control: Link, manifest: Manifest, began: float, files: tuple[str, ...] = ()) -> None:
        """The target has this tree already: start what does not run, or say that it does."""
        if not len(manifest):
            return
        answer, _ = control.call("start", {}, timeout_s=90)
        started = answer.texts("started")
        reason = "started" if started else "the target has this already"
        rung = "restart" if started else "none"
        change, generation = answer.integer("change"), answer.integer("generation")
        outcome = Outcome(change, generation, manifest.root, files, rung, reason, began)
        if started:
            results = self._outcomes.expect(outcome)
        else:
            status, _ = control.call("status", {})
            states = {app.text("state", "") for app in status.objects("applications")}
            if states <= {"healthy", "finished"}:
                results = [outcome.result(healthy=True)]
            else:
                results = self._outcomes.expect(outcome)
        for result in results:
            self._tell(result)

    # events

    def _follow(self, link: Link) -> None:
        """Pull events until the link ends, and hand over what they say."""
        try:
            while True:
                body = {"boot": self._boot, "cursor": self._cursor, "max_bytes": _BATCH_BYTES, "wait_s": _EVENTS_WAIT_S}
                answer, blobs = link.call("events", body, timeout_s=_EVENTS_WAIT_S + 10)
                at = time.monotonic()
                if answer.integer("lost"):
                    text = (
                        f"{answer.integer('lost')} events were dropped: the target told them faster than they were read"
                    )
                    self._tell({"event": "notice", "code": "events-lost", "text": text})
                for event in parse(blobs[0] if blobs else b""):
                    self._heard(event, at)
                self._cursor = answer.integer("cursor")
        except LinkClosed:
            return
        except Fault as fault:
            broken = fault if isinstance(fault, (LinkDown, Untrusted)) else LinkDown(str(fault), to=self.target.name)
            with self._changed:
                if link is self._events:
                    self._broken = broken
                self._changed.notify_all()
            with suppress(Fault):
                link.close()

    def _heard(self, event: Fields, at: float) -> None:
        if event.text("event", "") == "generation":
            fate = event.text("state", "")
            if fate not in FATES:
                raise Malformed("not a generation's fate", to=clean(fate[:40]))
            stages = {name: value for name, value in event.child("stages_ms").plain().items() if _is_number(value)}
            change = event.integer("change")
            for result in self._outcomes.happened(change, fate, clean(event.text("why", "")), at, stages):
                self._tell(result)
            return
        told = translate(event, self._paths)
        if told is not None:
            self._tell(told)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
