"""A REPL on one or more devices, and on this host beside them: what is entered, and where it runs.

Owns the remotes, the host's own names, and the orders that begin with ``%``. Knows nothing of how lines are typed, nor
of how events are shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootloader.wire.errors import Fault

from .. import report
from ..project import Project
from ..targets import Target
from .here import Here
from .menu import PREFIX, Completion
from .remote import Answer, Remote, Told

ALL = "all"
_COMPLETE_S = 1.0
_AGAIN_S = 0.1
_TO_COME = ("not-running", "nothing-live")
_GAP = 3

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], None]


@dataclass(frozen=True, slots=True)
class Order:
    """A word after ``%``: what follows it, what it does, and how; ``key`` does the same, as a terminal names it."""

    form: str
    what: str
    carry_out: Callable[[str], object]
    """What it raises as a Fault is shown; False is no good end."""
    key: str = ""


class Repl:
    """``tell`` gets events, from any thread. ``width`` is asked how many columns the screen has now, 0 where there is
    none. The first target is where one is.

    ``patience_s``: how long a target is waited for that does not run yet, or has been sent nothing yet.

    :meth:`enter` is called from one thread, and may take as long as what is entered does.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        application: str,
        project: Project | None,
        tell: Callable[[Told], None],
        width: Callable[[], int] = lambda: 0,
        patience_s: float = 0.0,
    ) -> None:
        self._patience_s = patience_s
        self._closing = threading.Event()
        self._targets = {target.name: target for target in targets}
        self._application = application
        self._project = project
        self._tell = tell
        self._width = width
        self._remotes: dict[str, Remote] = {}
        self._on = [next(iter(self._targets))]
        self._is_here = False
        self._here = Here(self._said_here)
        self._running: list[Remote] = []
        self.orders: Mapping[str, Order] = {
            "host": Order("[LINE]", "run a line on this host; without one, all that follow", self._host),
            "device": Order("[LINE]", "run a line on the device; without one, all that follow", self._device),
            "get": Order("NAME [= EXPRESSION]", "copy a value of the device's to this host, as NAME", self._get),
            "put": Order("NAME [= EXPRESSION]", "copy a value of this host's to the device, as NAME", self._put),
            "on": Order("TARGET… | all", "run what follows on these devices", self._choose),
            "app": Order(
                "[NAME]", "run what follows in another application; without a name, the main one", self._enter_app
            ),
        }
        """Those that it knows, by their words."""

    @property
    def where(self) -> str:
        """Where the next line runs, in a few words."""
        if self._is_here:
            return "host"
        return " ".join(self._on) + (f" {self._application}" if self._application else "")

    @property
    def is_python(self) -> bool:
        """Whether the device runs what is typed next."""
        return not self._is_here

    def start(self) -> None:
        """Reach the first device; a :class:`Fault` where that can't be."""
        for name in self._on:
            self._remote(name)

    def enter(self, text: str) -> bool:
        """Carry out what was entered; whether it came to a good end."""
        try:
            if not text.strip():
                return True
            if not text.startswith(PREFIX):
                return self._host(text) if self._is_here else self._device(text)
            word, _, argument = text[len(PREFIX) :].partition(" ")
            order = self.orders.get(word.strip())
            if order is None:
                known = ", ".join(f"{PREFIX}{name}" for name in self.orders)
                raise Fault("unknown-order", f"'{PREFIX}{word.strip()}' is none", do=f"there are: {known}")
            return order.carry_out(argument) is not False
        except Fault as fault:
            self._tell({"target": "", **report.problem(fault)})
            return False

    def interrupt(self) -> bool:
        """Have what was entered end; at the second time, it is left behind. False where nothing runs."""
        if self._here.interrupt():
            return True
        running = list(self._running)
        for remote in running:
            remote.interrupt()
        return bool(running)

    def complete(self, text: str, at: int) -> Completion:
        """What may stand at that place."""
        if text.startswith(PREFIX) and " " not in text[:at]:
            words = tuple(
                (f"{PREFIX}{name}", "order") for name in self.orders if f"{PREFIX}{name}".startswith(text[:at])
            )
            return Completion(words, 0)
        if text.startswith(f"{PREFIX}on "):
            word = text[:at].rpartition(" ")[2]
            names = [name for name in (*self._targets, ALL) if name.startswith(word)]
            return Completion(tuple((name, "target") for name in names), at - len(word))
        if self._is_here or text.startswith((f"{PREFIX}host ", f"{PREFIX}put ")):
            return self._here.complete(text, at)
        remote = self._remotes.get(self._on[0])
        if remote is None:
            return Completion()
        skip = text.index(" ") + 1 if text.startswith(f"{PREFIX}") else 0
        found = remote.complete(text[skip:], at - skip, _COMPLETE_S)
        return Completion(found.items, found.start + skip, found.signature)

    def close(self) -> None:
        """End all of them."""
        self._closing.set()
        for remote in self._remotes.values():
            remote.close()

    # orders

    def _device(self, source: str) -> bool:
        if not source.strip():
            self._is_here = False
            return True
        quiet = source.rstrip().endswith(";")
        remotes = [self._remote(name) for name in self._on]
        answers = self._each(remotes, lambda remote: remote.run(source, quiet=quiet))
        if len(remotes) == 1 or not self._side_by_side(remotes, answers):
            for remote, answer in zip(remotes, answers, strict=True):
                self._tell({"event": "answer", "target": remote.target.name, **told(answer)})
        return all(answer.is_well for answer in answers)

    def _host(self, source: str) -> bool:
        if not source.strip():
            self._is_here = True
            return True
        answer = self._here.run(source)
        event = told(answer)
        texts = {key: report.clean(text) for key, text in event.items() if isinstance(text, str)}
        self._tell({"event": "answer", "target": "", **event, **texts})
        return answer.is_well

    def _get(self, argument: str) -> bool:
        name, expression = _assigned(argument, "get")
        remotes = [self._remote(each) for each in self._on]
        values: dict[str, Any] = {}

        def get(remote: Remote) -> Answer:
            values[remote.target.name] = remote.get(expression)
            return Answer("done")

        self._each(remotes, get)
        names = [remote.target.name for remote in remotes]
        value = {each: values[each] for each in names} if len(names) > 1 else values[names[0]]
        self._here.names[name] = value
        self._note(f"{name} is here now: {_in_short(value)}")
        return True

    def _put(self, argument: str) -> bool:
        name, expression = _assigned(argument, "put")
        try:
            value = self._here.get(expression)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise Fault("unfit-value", what, to=expression[:40], do="it is worked out on this host") from error
        for each in self._on:
            self._remote(each).put(name, value)
            self._note(f"{name} is there now: {_in_short(value)}", each)
        return True

    def _choose(self, argument: str) -> bool:
        names = argument.replace(",", " ").split()
        if names == [ALL]:
            names = list(self._targets)
        unknown = [name for name in names if name not in self._targets]
        if unknown or not names:
            known = ", ".join((*self._targets, ALL))
            raise Fault(
                "unknown-target", "no target of that name", to=" ".join(unknown) or "%on", do=f"there are: {known}"
            )
        for name in names:
            self._remote(name)
        self._on, self._is_here = list(dict.fromkeys(names)), False
        return True

    def _enter_app(self, argument: str) -> bool:
        before, self._application = self._application, argument.strip()
        old, self._remotes = self._remotes, {}
        try:
            self.start()
        except Fault:
            self._application, self._remotes = before, old
            raise
        for remote in old.values():
            remote.close()
        return True

    # carrying them out

    def _remote(self, name: str) -> Remote:
        remote = self._remotes.get(name)
        if remote is None or remote.is_over:
            remote = Remote(self._targets[name], self._application, self._project, self._tell, self._width)
            self._reach(remote)
            self._remotes[name] = remote
        return remote

    def _reach(self, remote: Remote) -> None:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return remote.start()
            except Fault as fault:
                if fault.code not in _TO_COME or time.monotonic() > deadline or self._closing.wait(_AGAIN_S):
                    raise

    def _each(self, remotes: list[Remote], ask: Callable[[Remote], Answer]) -> list[Answer]:
        """Ask all of them at once."""
        answers: dict[Remote, Answer] = {}
        faults: list[Fault] = []

        def one(remote: Remote) -> None:
            try:
                answers[remote] = ask(remote)
            except Fault as fault:
                faults.append(fault)

        self._running = remotes
        try:
            threads = [
                threading.Thread(target=one, args=[remote], name=f"{remote.target.name} run", daemon=True)
                for remote in remotes[1:]
            ]
            for thread in threads:
                thread.start()
            one(remotes[0])
            for thread in threads:
                thread.join()
        finally:
            self._running = []
        if faults:
            raise faults[0]
        return [answers[remote] for remote in remotes]

    def _side_by_side(self, remotes: list[Remote], answers: list[Answer]) -> bool:
        """Show results in columns, where all are results, and there is room for that."""
        columns = [answer.text.splitlines() or [""] for answer in answers]
        widths = [max(map(len, [remote.target.name, *lines])) for remote, lines in zip(remotes, columns, strict=True)]
        if not all(answer.outcome == "done" for answer in answers) or not any(answer.text for answer in answers):
            return False
        if sum(widths) + _GAP * len(widths) > self._width() or max(map(len, columns)) > 20:
            return False
        rows = [[lines[row] if row < len(lines) else "" for lines in columns] for row in range(max(map(len, columns)))]
        names = [remote.target.name for remote in remotes]
        self._tell({"event": "answers", "target": "", "targets": names, "rows": rows})
        return True

    def _said_here(self, stream: str, text: str) -> None:
        told = {"event": "output", "target": "", "statement": 0, "stream": stream, "part": False}
        self._tell({**told, "text": report.clean(text)})  # it may be of a value that a device gave

    def _note(self, text: str, target: str = "") -> None:
        self._tell({"event": "session", "target": target, "state": "moved", "text": text})


def told(answer: Answer) -> Told:
    """An answer, as its event has it."""
    keys = ("outcome", "text", "cut", "why", "traceback", "status", "ms")
    return {key: getattr(answer, key) for key in keys}


def _assigned(argument: str, order: str) -> tuple[str, str]:
    name, equals, expression = argument.partition("=")
    name = name.strip()
    if not name.isidentifier() or (equals and not expression.strip()):
        raise Fault("bad-order", f"not NAME, or NAME = EXPRESSION: '{argument.strip()[:40]}'", to=f"{PREFIX}{order}")
    return name, expression.strip() or name


def _in_short(value: object) -> str:
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"an array of {getattr(value, 'dtype', '?')}, {' x '.join(map(str, shape)) or 'no dimensions'}"
    if isinstance(value, list | tuple | dict | set | frozenset | str | bytes):
        return f"a {kind} of {len(value)}"
    return f"{report.clean(repr(value)[:40])}"
