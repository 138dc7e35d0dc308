"""Owns what runs: the applications, in their order, and the change from one generation to the next.

Everything here happens in turns, one at a time (``turns``); other threads call the public methods. A change of
generation is a ``transition``: applications stop, the live tree is switched, applications start; or they take it in
place, if each of them can (``patch``). It is over when they are healthy or one has failed. What rung it takes is
decided in ``ladder``, what states mean in ``lifecycle``, who starts when in ``plan``, and after a death ``recovery``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..journal import Journal
from ..ladder import HOLD, PATCH, RESTART, Decision
from ..store.loans import Loan
from ..wire.errors import Fault, Refused
from .aftermath import Aftermath
from .application import Application
from .attachment import Attachment
from .breaker import Next
from .confine import Confinement
from .display import Display
from .lifecycle import ALIVE, WELL, State
from .look import look
from .patch import Patch
from .recovery import Recovery
from .stack import Stack
from .transition import Transition
from .turns import Turns
from .usage import Usage
from .warmth import Warmth, check_s

_CHANGE_S = 70.0
_END_S = 5.0


class Supervisor:
    """Its callbacks are called on its thread. ``on_fate(generation, fate, why)``: a generation is healthy or failed.
    ``on_fall(generation, why)``: it is to be given up for what ran before it. ``attached``: whether a session of
    ``reactor dev`` is there. ``lend``: the last healthy generation, see ``aftermath``. ``root_of`` tells a generation's
    root. ``cut_off``: the last bootloader here did not end in order, nor did what it ran.
    """

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        lock: int,
        confinement: Confinement,
        on_fate: Callable[[int, str, str], None],
        on_fall: Callable[[int, str], None],
        attached: Callable[[], bool],
        lend: Callable[[], Loan | None],
        root_of: Callable[[int], str],
        *,
        cut_off: bool,
    ) -> None:
        self._folder = folder
        self._journal = journal
        self._lock = lock
        self.confinement = confinement
        """What holds the applications."""
        self._on_fate = on_fate
        self._on_fall = on_fall
        self._turns = Turns("supervisor", self._fault)
        self._live: Transition | None = None
        self._change: Transition | None = None
        """The one under way, until it has switched and is the live one."""
        self._changes = 0
        self._closing: Future[None] | None = None
        self._warmth = Warmth(folder, journal, lock, self._turns, confinement)
        self.warmth = self._warmth.told
        self.expect: Callable[[Any], None] = lambda launch: self._turns.soon(partial(self._warmth.fit, launch))
        """Has a process stand by for a launch that is to be started later."""
        aftermath = Aftermath(folder, journal, self._warmth, lend)
        self._recovery = Recovery(journal, aftermath, attached, self._proceed, self._follow)
        self._stack = Stack(folder, journal, self._turns, self._warmth, self._proceed, root_of, cut_off=cut_off)
        self.attachment = Attachment(folder, journal, self._turns, self._stack, self._warmth)
        self.display = Display(folder, journal, self._turns, self._warmth, lambda: self._live)
        self.usage = Usage(self._turns, self._stack)
        self.look = partial(look, self._turns, self._stack)

    def start(self) -> None:
        """Begin; the warm parent imports what the applications of the last time imported."""
        self._turns.start()
        self._turns.soon(self._warmth.start)

    # what other threads ask

    def running(self) -> tuple[str, ...]:
        """The names of the applications that have a process, and were not asked to stop."""
        return self._turns.call(lambda: self._stack.running, 30)

    @property
    def changes(self) -> int:
        """The number of the last change that came about."""
        return self._live.number if self._live is not None else 0

    def change(self, transition: Transition) -> int:
        """Build, check, stop, switch, start as ``transition`` says; the generation's number once the new processes have
        their orders. It takes its turns on the thread that asks, because each hop between threads is felt at every
        save. What does not compile is :class:`Refused`, and nothing has been stopped.
        """
        self._turns.now(partial(self._attempt, transition, partial(self._receive, transition)))
        try:
            tree = transition.build()
            self._turns.now(partial(self._built, transition, tree))
            transition.note()
        except Exception as error:  # noqa: BLE001 - raised below, once what was stopped for it starts again
            self._turns.soon(partial(self._break_off, transition, error))
        else:
            transition.noted = True
            self._turns.now(self._proceed)
        ends = (app.grace_s + 2 * app.safe_s + app.assets_s for app in transition.launch.applications)
        longest_s = max(ends, default=0) + _CHANGE_S + 1.2 * check_s(len(transition.unchecked))
        try:
            return self._turns.result(transition.switched, longest_s)
        except TimeoutError:
            late = Refused("busy", "the change took too long", do="look at `reactor status`, then try again")
            self._turns.call(lambda: self._break_off(transition, late), 30)
            return transition.switched.result(0)  # it may have come about at the last moment

    def states(self) -> list[dict[str, Any]]:
        """The applications, their states, and why, for ``status``."""
        return self._turns.call(
            lambda: [{**told, "deaths": self._recovery.deaths(told["application"])} for told in self._stack.told()], 30
        )

    def left(self) -> None:
        """Nobody sits before it any more who mends what fails."""
        self._turns.soon(self._recovery.release)

    def longest_end_s(self, grace_s: float) -> float:
        """How long :meth:`close` may take, where applications have to be killed and their outputs be made safe."""
        return grace_s + 2 * max((app.spec.safe_s for app in self._stack), default=0.0) + _END_S

    def close(self, grace_s: float) -> None:
        """Stop everything, each application within ``grace_s``, and end."""
        done: Future[None] = Future()

        def begin() -> None:
            self._closing = done
            self._recovery.end()
            for transition in (self._live, self._change):
                if transition is not None:
                    transition.told.set()  # no more will be
                    if not transition.switched.done():
                        transition.switched.set_exception(_ending())
            self._stack.stop("the bootloader ends", grace_s)
            self._proceed()

        self._turns.soon(begin)
        try:
            self._turns.result(done, self.longest_end_s(grace_s))
        except TimeoutError:
            self._journal.add("notice", {"code": "slow-end", "text": "applications were still there at the end"})
        self._turns.call(self._end, 10)
        self._turns.close(5)

    def _end(self) -> None:
        self._warmth.close()
        self._stack.close()

    # the change of a generation

    def _receive(self, transition: Transition) -> None:
        """Begin with what touches nothing: the tree is built meanwhile."""
        if self._change is not None:
            raise Refused("busy", "another change is under way", do="try again")
        decision = transition.decide(self._stack.running, "")
        if decision.patch and transition.programs is not None:
            self._decide(transition, "", decision)
        elif transition.at_hand:
            self._check(transition)

    def _advance(self, transition: Transition) -> None:
        """The next step to the switch, once the tree is built, and whoever is asked, or compiles, has answered."""
        if transition.tree is None or transition.asking or transition.checking or transition.switched.done():
            return
        if transition.unchecked:
            self._check(transition)
        elif self._change is not transition:
            self._decide(transition, "")
        elif transition.unpatchable:
            self._decide(transition, transition.unpatchable)
        else:
            self._proceed()

    def _check(self, transition: Transition) -> None:
        transition.checking, tree = True, transition.tree or Path()
        self._warmth.check(tree, transition.unchecked, partial(self._checked, transition), transition.at_hand)

    def _built(self, transition: Transition, tree: Path) -> None:
        transition.stage("store")
        transition.tree, transition.programs = tree, None
        self._attempt(transition, lambda: self._advance(transition))

    def _checked(self, transition: Transition, problem: dict[str, Any]) -> None:
        def go_on() -> None:
            if problem:
                raise Refused.from_fields(problem)
            transition.unchecked.clear()
            transition.checking = False
            self._advance(transition)

        transition.stage("check")
        self._attempt(transition, go_on)

    def _attempt(self, transition: Transition, step: Callable[[], None]) -> None:
        """One step towards a change. Where it fails, the change does not come about."""
        try:
            if self._closing is not None:
                raise _ending()
            step()
        except Exception as error:  # noqa: BLE001 - handed to the thread that asked for the change
            self._break_off(transition, error)

    def _decide(self, transition: Transition, unpatchable: str, decision: Decision | None = None) -> None:
        """Begin what the change asks for: applications are asked whether they can take it in place, or stop.

        None stops for what may not compile.
        """
        if self._change is not transition:
            self._change = transition
            self._changes = transition.number = self._changes + 1
        decision = decision or transition.decide(self._stack.running, unpatchable)
        patch = Patch([self._stack[name] for name in decision.patch])
        if behind := patch.behind(transition.paths):
            return self._decide(transition, behind)
        transition.unpatchable = unpatchable
        if decision.patch:
            transition.decision, transition.patch, transition.asking = decision, patch, True
            new, prepared = transition.tree or transition.before, partial(self._prepared, transition, patch)
            patch.prepare(transition.before, new, transition.paths, transition.programs or {}, prepared)
        elif transition.checked:
            transition.decision, transition.patch = decision, None
            for name in decision.stop:
                self._stack[name].stop("a new generation")
        self._proceed()
        return None

    def _prepared(self, transition: Transition, patch: Patch, why: str) -> None:
        """All can take it in place, or ``why`` one can't: nothing has been touched. What they have compiled for that is
        compiled: by the interpreter that is to run it.
        """
        if self._change is transition:  # else it was broken off
            transition.stage("prepare")
            transition.asking, transition.unpatchable = False, why
            transition.unchecked -= patch.compiled
            self._attempt(transition, lambda: self._advance(transition))

    def _break_off(self, transition: Transition, error: Exception) -> None:
        """The change does not come about. What was stopped for it starts again, as nothing else has changed."""
        if self._live is transition:
            transition.came_about()  # its tree is live, whatever applications go on to make of it
        if transition.switched.done():
            return
        transition.switched.set_exception(error)
        if self._change is transition:
            self._change = None
            for name in transition.decision.stop:
                self._stack.want(name)
            self._proceed()

    def _proceed(self) -> None:
        """Whatever can go on now, goes on: called after everything that happens to an application."""
        for app in self._stack:
            if self._live is not None:
                self._recovery.see_to(app, self._live.launch, proven=self._live.proven)
        busy = [app for app in self._stack if not self._recovery.rests(app)]
        if self._closing is not None:
            if not busy and not self._closing.done():
                self._closing.set_result(None)
        elif self._change is not None:
            if self._change.may_switch and not any(map(self._must_go, busy)):
                self._switch(self._change)
        elif self._live is not None and not self._live.asking:
            self._stack.start_due(self._recovery.rests)
            self._judge(self._live)

    def _must_go(self, app: Application) -> bool:
        """Whether the switch waits for ``app``: it was asked to stop, or it ended by itself."""
        runs = app.spec.name in self._stack.running
        return not runs or (self._change is not None and app.spec.name in self._change.decision.stop)

    def _switch(self, change: Transition) -> None:
        if change.decision.stop:
            change.stage("stop")
        try:
            change.switch()
        except Exception as error:  # noqa: BLE001 - handed to the thread that asked for the change
            self._break_off(change, error)
            return
        if change.patch is not None:
            change.asking = True
            change.patch.commit(change.paths, partial(self._patched, change, change.patch))
        change.stage("switch")
        change.generation = change.record(change.decision)  # applications take the change meanwhile
        if self._live is not None and self._live.fate in ("", "running"):
            self._fate(self._live, "replaced", "the next one came before it was healthy")
        self._live, self._change = change, None
        self._warmth.fit(change.launch)
        self._recovery.forget()
        self._stack.renew(change.launch, change.decision.start, change.generation)
        for app in self._stack:
            if app.spec.name not in change.decision.concerned:
                app.missed.update(change.paths)
        for name in change.decision.patch:
            self._stack[name].generation = change.generation  # in place, or by starting again
        if change.patch is None:
            change.came_about()
        self._proceed()

    def _patched(self, change: Transition, patch: Patch, why: str) -> None:
        """All applications have taken the new tree, which is live; or ``why`` one has not: then they start again. Where
        they are not to restart, they go on as they are.
        """
        if self._closing is not None:
            return
        change.stage("patch")
        change.asking = False
        decision = change.decision
        if why and change.launch.reload == PATCH:
            change.decision = replace(decision, rung=HOLD, why=f"{why}; what runs goes on, and is not to restart")
            for name in set(decision.patch) - patch.reports.keys():
                self._stack[name].generation = patch.generations[name]
                self._stack[name].missed.update(change.paths)
        elif why:
            start = decision.concerned
            change.decision = replace(decision, rung=RESTART, why=why, stop=decision.patch, start=start, patch=())
            for name in decision.patch:
                self._stack[name].stop("it could not be patched")
                self._stack.want(name)
        else:
            change.decision, change.reports = replace(decision, why=patch.words), patch.reports
            for name in decision.patch:
                self._stack[name].patched()
        change.came_about()
        self._proceed()

    def _judge(self, live: Transition) -> None:
        """How far those are that the last change started. One that failed may come to be well after its next start."""
        if live.fate in ("healthy", "replaced") or live.decision.rung == HOLD:
            return
        apps = [self._stack[name] for name in live.decision.concerned]
        failed = next((app for app in apps if app.has_failed), None)
        if failed is not None and live.fate != "failed":
            self._fate(live, "failed", f"{failed.spec.name} {failed.why}")
            if failed.state in ALIVE and live.launch.on_failure == "rollback" and not live.proven:
                self._on_fall(live.generation, f"{failed.spec.name} {failed.why}")
        if not live.fate and all(app.state in WELL or app.state is State.RUNNING for app in apps):
            if live.decision.start:
                live.stage("start")
            self._fate(live, "running", "")
        if all(app.state in WELL for app in apps):
            self._fate(live, "healthy", ", ".join(app.why for app in apps if app.why))

    def _fate(self, transition: Transition, fate: str, why: str) -> None:
        transition.fate = fate
        transition.told.set()
        told = {"change": transition.number, "generation": transition.generation, "state": fate, "why": why}
        self._journal.add("generation", {**told, "stages_ms": transition.stages_ms})
        if fate == "healthy":
            transition.proven = True
        if fate != "running":
            self._on_fate(transition.generation, fate, why)
            self.display.refresh()

    # the applications

    def _follow(self, app: Application, verdict: Next, pause_s: float, why: str) -> None:
        """Carry out what is to follow a death."""
        if not self._stack.holds(app) or self._closing is not None or self._live is None:
            return
        match verdict:
            case Next.RESTART:
                self._stack.want_later(app.spec.name, pause_s)
            case Next.ROLLBACK:
                self._fall(self._live, why)
            case Next.STOP:
                self._stack.stop(f"{why}; the failure handler says stop")

    def _fall(self, live: Transition, why: str) -> None:
        if live.fate != "failed":
            self._fate(live, "failed", why)
        self._on_fall(live.generation, why)

    def _fault(self, error: BaseException) -> None:
        what = str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
        self._journal.add("notice", {"code": "internal-error", "text": f"the supervisor met a fault: {what}"})


def _ending() -> Refused:
    return Refused("ending", "the bootloader ends", do="try again when it runs again")
