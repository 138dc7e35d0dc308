"""Asks targets one thing, over one link each: what ``status``, ``history``, ``restart``, ``rollback``, ``logs`` share.

What a target answers is read field by field and told in words of this host: nothing that it adds gets through.
"""

from __future__ import annotations

import argparse
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from bootloader.wire.errors import Fault
from bootloader.wire.messages import Fields

from .. import lease
from ..clocks import moment
from ..follow import Earlier, Follower, Paths, translate
from ..link import Link
from ..outcomes import NEVER_TOLD, Fate, Outcome, Outcomes
from ..project import Project
from ..report import clean, whole
from ..targets import Target
from ..targets.embedded import Embedded
from ..terminal import Terminal
from . import options

Told = dict[str, Any]

MOST = 256
"""Most of anything that is listed: no target has more applications, hosts or generations to tell of."""

_CALL_S = 120.0
_WAIT_S = 5.0
_FATE_S = 600.0


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that asks."""
    options.add_project(parser, positional=False)
    options.add_output(parser)


@dataclass(frozen=True, slots=True)
class Asked:
    """A target, and the link that it is asked over."""

    target: Target
    link: Link
    project: Project | None
    terminal: Terminal

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.target.name

    @property
    def was_running(self) -> bool:
        """Whether it ran before it was asked; the embedded one is started to answer, if it must."""
        return not (isinstance(self.target, Embedded) and self.target.started)

    def follow(
        self,
        hear: Callable[[Fields, float, Told | None], None],
        context_events: int,
        rest: Callable[[], None] = lambda: None,
        earlier: Iterable[Earlier] = (),
    ) -> Follower:
        """What pulls its events, with so many of the past heard already, and what is kept of ``earlier`` starts.

        ``hear`` gets each event, when it came, and what of it is for the user, if anything; ``rest`` is called when all
        that came at once was heard.
        """
        hello, _ = self.link.call("hello", {})
        paths = Paths(clean(hello.text("live")), self.project)

        def heard(event: Fields, at: float) -> None:
            told = translate(event, paths)
            hear(event, at, None if told is None else {"target": self.name, **told, **follower.stamp(event)})

        def notice(code: str, text: str) -> None:
            self.terminal.tell({"event": "notice", "target": self.name, "code": code, "text": text})

        follower = Follower(heard, notice, context_events, rest=rest)
        for start in earlier:
            follower.past(self.link, start)
        follower.take_up(self.link, hello.text("boot"))
        return follower


def each(
    arguments: argparse.Namespace,
    terminal: Terminal,
    ask: Callable[[Asked], bool],
    *,
    start: bool = True,
    at_once: bool = False,
) -> int:
    """Ask every target; 0 if each of them answered well. ``start``: the embedded one, too, where it does not run.

    ``at_once``: not one after the other.
    """
    project = options.project_if_any(arguments)
    targets = options.targets_of(arguments, project, attach=True, start=start)
    if project is not None:
        terminal.belongs_to([root.folder for root in project.roots])
    terminal.many = len(targets) > 1

    def one(target: Target) -> bool:
        try:
            with closing(target), target.connect("ask") as link:
                return ask(Asked(target, link, project, terminal))
        except Fault as fault:
            terminal.fault(fault, target.name)
            return False

    well = _at_once(one, targets) if at_once and len(targets) > 1 else [one(target) for target in targets]
    return 0 if all(well) else 1


def _at_once(ask: Callable[[Target], bool], targets: Sequence[Target]) -> list[bool]:
    """Each on a thread of its own, which ends with the program, at the latest. What one raises ends them all."""
    answers: queue.SimpleQueue[bool | Exception] = queue.SimpleQueue()

    def one(target: Target) -> None:
        try:
            answers.put(ask(target))
        except Exception as error:  # noqa: BLE001 - raised in the thread of whoever asked
            answers.put(error)

    for target in targets:
        threading.Thread(target=one, args=(target,), name=f"{target.name} ask", daemon=True).start()
    well = []
    for _ in targets:
        answer = answers.get()
        if isinstance(answer, Exception):
            raise answer
        well.append(answer)
    return well


def change(asked: Asked, rung: str, request: Mapping[str, Any], *, take: bool) -> bool:
    """Have a target take a ``rung``, which is also what that request is called, and show whether it becomes well.

    The lease is had meanwhile; ``take``: from whoever has it.
    """
    lease.have(asked.link, rung, take=take)
    outcomes = Outcomes()
    results: list[Told] = []
    is_under_way = False

    def hear(event: Fields, at: float, told: Told | None) -> None:
        if event.text("event", "") == "generation":
            results.extend(outcomes.happened(Fate.read(event, at)))
        elif told is not None and is_under_way:
            asked.terminal.tell(told)

    follower = asked.follow(hear, context_events=1)
    is_under_way, began = True, time.monotonic()
    answer, _ = asked.link.call(rung, request, timeout_s=_CALL_S)
    number, generation = whole(answer.integer("change")), whole(answer.integer("generation"))
    root, reason = clean(answer.text("root")), clean(answer.text("why", "asked to"))
    results += outcomes.expect(Outcome(number, generation, root, (), rung, reason, began))
    while not results and time.monotonic() < began + _FATE_S:
        follower.pull(asked.link, _WAIT_S)
    result = (results or outcomes.give_up(NEVER_TOLD))[0]
    asked.terminal.tell({"target": asked.name, **result})
    return bool(result["healthy"])


def generation_of(one: Fields) -> Told:
    """A generation, as ``status`` and ``history`` tell it."""
    return {
        "generation": whole(one.integer("generation")),
        "root": clean(one.text("root")),
        "applied_at": moment(one.number("at")),
        "who": clean(one.text("who")),
        "rung": clean(one.text("rung")),
        "reason": clean(one.text("why")),
        "files_count": whole(one.integer("files")),
        "fate": clean(one.text("fate")),
        "fate_why": clean(one.text("fate_why")),
        "was_healthy": one.flag("was_healthy"),
    }
