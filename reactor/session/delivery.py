"""What one target has, and how a save gets there: shipped or started, and its result told once.

Owns the knowledge of the target's tree, and what somebody else (a push, a rollback) did to it: that is told, and left
alone until the next save. Knows a link only while it uses it; when to try again is the session's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from bootloader.wire.errors import CallTimeout, Fault, LinkClosed, LinkDown, Malformed, Refused, Untrusted
from bootloader.wire.launch import PATH as LAUNCH
from bootloader.wire.manifest import EMPTY, Edits, Manifest

from .. import shipment, syntax
from ..follow import named, shown, tree_file
from ..layers import Layers
from ..link import Link
from ..outcomes import Fate, Outcome, Outcomes, patch_of, stages_of
from ..pace import Pace
from ..report import clean, problem, whole
from ..scan import FileChanged, Scanner

_START_S = 90.0
_TRIES = 5
_SYNTAX_PROBLEMS = 20
_WELL = frozenset({"healthy", "finished"})
_ON_THE_WAY = frozenset({"starting", "running", "stopping"})

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Save:
    """A tree to ship. ``edits`` lead to it from ``previous``; times are seconds of the monotonic clock."""

    manifest: Manifest
    previous: Manifest
    edits: Edits
    saved_at: float
    stages_ms: dict[str, float]


def merged(waiting: Save | None, save: Save) -> Save:
    """``save`` in place of one that still waits: one that does what both do, where it follows from that one."""
    if waiting is None or waiting.manifest is not save.previous:
        return save
    before = waiting.previous
    edits = {path: new for path, new in {**waiting.edits, **save.edits}.items() if new != before.get(path)}
    return Save(save.manifest, before, edits, waiting.saved_at, save.stages_ms)


class Delivery:
    """The saves of one target on their way. Of one thread, but for :meth:`heard`.

    ``look_again`` looks at the project's files again, and says whether there is a newer save now.
    """

    def __init__(
        self, target: str, source: Scanner, tell: Tell, look_again: Callable[[], bool], *, fresh: bool
    ) -> None:
        """``fresh``: what is required is looked for anew."""
        self.has: Manifest | None = None
        """The tree that the target has, where that is known."""
        self.generation: int | None = None
        """The newest generation that is known to be there; None before the first look."""
        self.python = sys.version_info[:2]
        """The version of Python that the target runs."""
        self.layers = Layers(target, tell, fresh=fresh)
        self._target = target
        self._source = source
        self._tell = tell
        self._look_again = look_again
        self._outcomes = Outcomes()
        self._heard = 0
        self._under_way: Save | None = None
        self._restart = False
        self._unpatchable: Save | None = None
        """The last save, where it would have been a restart, and the settings allow none."""

    def heard(self, fate: Fate) -> None:
        """A generation fared somehow. From the thread that follows."""
        self._heard = max(self._heard, fate.generation)
        self._tell_each(self._outcomes.happened(fate))

    def give_up(self, why: str) -> None:
        """The events of what was sent so far will not be heard any more."""
        self._heard = 0
        self._tell_each(self._outcomes.give_up(why))

    @property
    def is_overtaken(self) -> bool:
        """Whether the target told of a generation that did not come from here: time for :meth:`look`."""
        return self.generation is not None and self._heard > self.generation

    def look(self, control: Link) -> None:
        """See what somebody else made live."""
        if self._look(control, self.has).root != (self.has or EMPTY).root:
            self.has = None

    def resume(self, control: Link, *, restarted: bool) -> Save | None:
        """After the link was down: what is owed to the target now, unless something newer is."""
        save, has, known = self._under_way, self.has, self.generation
        if known is None:  # nothing was sent yet
            self._under_way = None
            return save
        live = self._look(control, has if save is None else save.manifest)
        self._under_way = self.has = None
        if save is not None:
            if live.root != save.manifest.root or live.generation <= known or restarted:
                return save
            self.has = save.manifest  # the call was cut, and carried out all the same
            files = self._files(save.edits)
            self._expect(Outcome(0, live.generation, live.root, files, live.rung, live.why, save.saved_at))
            return None
        if has is not None and live.root != has.root and live.generation <= known:  # lost, with the power, say
            return Save(has, EMPTY, EMPTY.edits_to(has), time.monotonic(), {})
        self.has = has if has is not None and live.root == has.root else None
        if not restarted:
            return None
        tree = self.has = self.has or shipment.fetch(control, live.root)
        return Save(tree, tree, {}, time.monotonic(), {})

    def deliver(self, control: Link, save: Save, *, restart: bool = False) -> bool:
        """Ship ``save`` and say what became of it, or leave that to a newer one: False. Raises a link's faults only.

        ``restart``: whatever the settings say, what runs is to restart for it.
        """
        self._under_way, self._unpatchable, self._restart = save, None, restart
        settled = self._deliver(control, save, time.monotonic())
        self._under_way = None
        return settled

    def _deliver(self, control: Link, save: Save, began: float) -> bool:
        for _ in range(_TRIES):
            try:
                self._under_way = save = self._dressed(save)
                self._try(control, save, began)
                return True
            except (LinkDown, LinkClosed, CallTimeout, Untrusted, Malformed):
                raise
            except FileChanged as changed:
                fault: Fault = changed
                if self._look_again():
                    return False
            except Fault as refused:
                fault = refused
                if refused.code == "leased":
                    self._under_way = None
                    raise
                if refused.code in ("missing-layer", "missing-blob"):
                    self.layers.forget()
                elif refused.code == "stale-root":
                    self.has = None
                else:
                    break
        self._refused(save, fault)
        return True

    def _dressed(self, save: Save) -> Save:
        """``save`` with the wheels in its launch file that what it requires comes to on this target."""
        before = save.manifest.get(LAUNCH)
        if before is None:
            return save
        entry = self._source.dress(self._target, self.layers.dressed(before.blake3, self._source.content))
        if entry == before:
            return save
        edits = {**save.edits, LAUNCH: entry} if LAUNCH in save.edits else save.edits
        return replace(save, manifest=save.manifest.edit({LAUNCH: entry}), edits=edits)

    def _try(self, control: Link, save: Save, began: float) -> None:
        if self.has is None:
            live = self._look(control, save.manifest)
            self.has = save.manifest if live.root == save.manifest.root else shipment.fetch(control, live.root)
        edits = self._edits(save)
        if not edits:
            self._start(control, save)
        else:
            self._send(control, shipment.Shipment(self.has, save.manifest, edits), save, began)

    def _look(self, control: Link, expected: Manifest | None) -> shipment.Live:
        """What the target runs now; told, where somebody else put it there and it is not the ``expected`` tree."""
        live = shipment.look(control)
        known, self.generation = self.generation, max(live.generation, self._heard)
        if known is not None and live.generation > known and (expected is None or live.root != expected.root):
            what = f"generation {live.generation} is live now, by {live.who} ({live.rung}: {live.why})"
            self._tell(
                {"event": "notice", "code": "changed-elsewhere", "text": f"{what}; the next save takes its place"}
            )
        return live

    def _edits(self, save: Save) -> Edits:
        """What leads from what the target has to ``save``."""
        base = save.previous if self.has is None else self.has
        return save.edits if base is save.previous else base.edits_to(save.manifest)

    def _files(self, edits: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted({shown(self._source.project, path) for path in edits}))

    def _problems(self, edits: Edits) -> list[syntax.SyntaxProblem]:
        """Where Python files do not compile, as far as this host can tell: the target, which is asked, only says where
        the first one does not.
        """
        found = []
        for path, entry in edits.items():
            if entry is not None and path.endswith(".py"):
                with suppress(Fault):  # what can't be read any more is the target's to tell of
                    source = self._source.content(entry.blake3)
                    name = shown(self._source.project, path)
                    found.append(syntax.check(source, name, self.python, sys.version_info[:2]))
        return [problem for problem in found if problem is not None]

    def _does_not_compile(self, save: Save, problems: Sequence[syntax.SyntaxProblem]) -> None:
        for found in problems[:_SYNTAX_PROBLEMS]:
            self._tell({"event": "problem", **asdict(found), "message": f"syntax error: {found.message}"})
        self._held(save, "it does not compile")

    def _send(self, control: Link, parcel: shipment.Shipment, save: Save, began: float) -> None:
        if (entry := parcel.manifest.get(LAUNCH)) is not None:
            self.layers.provide(control, entry.blake3, self._source.content)
        sent = time.monotonic()
        progress = _Progress(self._tell, sent, len(parcel.edits))
        try:
            answer = shipment.send(control, parcel, self._source, progress, restart=self._restart)
        except Refused as refused:
            problems = self._problems(parcel.edits) if refused.code == "syntax-error" else []
            if not problems:
                raise
            self._does_not_compile(save, problems)
            return
        progress.over()
        back = time.monotonic()
        there_ms = stages_of(answer)
        stages = dict(save.stages_ms)
        stages["wait"] = _ms((began - save.saved_at) * 1000 - sum(stages.values()))
        stages |= (waited := self.layers.took_ms())
        stages["diff"] = _ms((sent - began) * 1000 - sum(waited.values()))
        stages["ship"] = _ms((back - sent) * 1000 - sum(there_ms.values()))
        self.has, self.generation = save.manifest, whole(answer.integer("generation"))
        rung, why = clean(answer.text("rung")), named(self._source.project, clean(answer.text("why")))
        change, files = whole(answer.integer("change")), self._files(parcel.edits)
        outcome = Outcome(change, self.generation, self.has.root, files, rung, why, save.saved_at, stages)
        outcome.patched, outcome.old = patch_of(answer)
        if rung == "hold":  # it is live, but what runs did not take it: no fate of it follows
            self._tell(outcome.result(healthy=False))
        else:
            self._expect(outcome)

    def _start(self, control: Link, save: Save) -> None:
        """The target should have this tree already: start what does not run, or say that it does."""
        live = self._look(control, save.manifest)
        if live.root != save.manifest.root:
            raise Refused("stale-root", "the live tree is another", do="compare with it and send again")
        answer, _ = control.call("start", {}, timeout_s=_START_S)
        started = bool(answer.texts("started"))
        rung, reason = ("restart", "started") if started else ("none", "the target has this already")
        edits = save.edits if len(save.previous) else {}  # the first look finds every file, and none of them is new
        change, files = whole(answer.integer("change")) if started else 0, self._files(edits)
        outcome = Outcome(change, live.generation, live.root, files, rung, reason, save.saved_at)
        states = {"starting"}
        if not started:
            status, _ = control.call("status", {})
            states = {app.text("state", "") for app in status.objects("applications")}
        if states <= _WELL:
            self._tell(outcome.result(healthy=True))
        elif states <= _WELL | _ON_THE_WAY:
            self._expect(outcome)
        else:
            self._tell(outcome.result(healthy=False, why="it does not run"))

    def restart(self, control: Link) -> None:
        """What runs stops, and starts again, with the last save, where that was refused as it can't be patched."""
        began = time.monotonic()
        if (refused_save := self._unpatchable) is not None:
            try:
                self.deliver(control, replace(refused_save, saved_at=began, stages_ms={}), restart=True)
            except Refused as refused:  # another session has the lease by now
                self._unpatchable = refused_save
                self._tell(problem(refused))
            return
        try:
            answer, _ = control.call("restart", {}, timeout_s=_START_S)
        except Refused as refused:
            self._tell(problem(refused))
            return
        change, generation = whole(answer.integer("change")), whole(answer.integer("generation"))
        self._expect(Outcome(change, generation, clean(answer.text("root")), (), "restart", "asked to", began))

    def withhold(self, save: Save, why: str) -> None:
        """Another session has the lease: ``save`` does not go there. What is there already is no news."""
        if save.edits:
            self._held(save, why)

    def _expect(self, outcome: Outcome) -> None:
        self._tell_each(self._outcomes.expect(outcome))

    def _refused(self, save: Save, fault: Fault) -> None:
        """The save did not get there, and what runs goes on."""
        told, reason = problem(fault), "it could not be shipped"
        if isinstance(fault, Refused):
            reason = "it was refused"
            file = tree_file(self._source.project, str(fault.fields.get("file", "")))
            told |= {"file": file} if file is not None else {}
        if fault.code == "not-patchable":
            self._unpatchable = save
            told["message"] = named(self._source.project, told["message"])
        if fault.code == "syntax-error":
            told["message"], reason = f"syntax error: {clean(fault.what)}", "it does not compile there"
        self._tell(told)
        self._held(save, reason)

    def _held(self, save: Save, reason: str) -> None:
        files = self._files(self._edits(save) or save.edits)
        self._tell(Outcome(0, 0, save.manifest.root, files, "hold", reason, save.saved_at).result(healthy=False))

    def _tell_each(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            self._tell(event)


class _Progress:
    """How far a shipment is, told where it takes long: the upload, and then what the target does with it."""

    def __init__(self, tell: Tell, began: float, files: int) -> None:
        self._tell = tell
        self._pace = Pace(began)
        self._files = files
        self._is_there = False

    def __call__(self, done: int, total: int) -> None:
        if self._pace.due(time.monotonic(), ended=done >= total):
            self._tell({"event": "progress", "what": "ship", "done_bytes": done, "total_bytes": total})
            self._is_there = done >= total
            if self._is_there:
                self._apply(0)

    def over(self) -> None:
        """The target has it."""
        if self._is_there:
            self._apply(self._files)

    def _apply(self, done: int) -> None:
        self._tell({"event": "progress", "what": "apply", "done_files": done, "total_files": self._files})


def _ms(took_ms: float) -> float:
    return round(max(0.0, took_ms), 3)
