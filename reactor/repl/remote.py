"""One interpreter in one application of one target: what is run there, and what it says.

Owns the stream to it, over restarts of the application and cuts of the link: when its process ends, the next one is
taken, and while there is none, a process beside it. What the target says is read with distrust and told as events.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bootloader.wire import plain
from bootloader.wire.errors import CallTimeout, Fault, LinkClosed, LinkDown, Malformed, Refused
from bootloader.wire.messages import Body, Fields
from bootloader.wire.session import KIND, OUTCOMES, VERSION, Messages, framed

from ..follow import Paths
from ..project import Project
from ..report import clean, whole
from ..stream import Stream, StreamEnded
from ..targets import Target
from . import menu
from .menu import Completion
from .story import message, story

_BEGIN_S = 15.0
"""How long an application that is on its way is waited for, before an interpreter beside it is taken."""

_AGAIN_S = 0.1
_PART_S = 0.3
"""How long the beginning of a line waits for its end."""

_PART_CHARS = 4000
_STATEMENTS = 256
_SOURCE_BYTES = 1024 * 1024
_STOP_S = 2.0
_HEARD_S = 1.0
"""How long a process may take to say that it leaves a statement behind."""

_DEAF = (
    "the process does not answer at all, and the statement was left behind: something holds its interpreter; "
    "'reactor stack' tells what, 'reactor restart' ends it"
)

Told = dict[str, Any]


@dataclass(slots=True)
class Answer:
    """What came of a statement. ``outcome``: of :data:`OUTCOMES`, or ``lost``: its process ended first, or is deaf."""

    outcome: str = ""
    text: str = ""
    """Of the result; empty where there is none to show."""
    cut: str = ""
    why: str = ""
    """What it raised, or how it was lost, in a line."""
    traceback: str = ""
    status: int = 0
    """Of a program that ends so: what ``SystemExit`` said, or 1 where it did not work."""
    ms: float = 0.0
    value: Any = None
    is_over: threading.Event = field(default_factory=threading.Event)

    @property
    def is_well(self) -> bool:
        """Whether it came to its end, and is a success."""
        return self.outcome == "done" or (self.outcome == "exit" and self.status == 0)


class Remote:
    """``tell`` gets events, from any thread; ``width`` says how many columns there are now, 0: results of one line."""

    def __init__(
        self,
        target: Target,
        application: str,
        project: Project | None,
        tell: Callable[[Told], None],
        width: Callable[[], int] = lambda: 0,
    ) -> None:
        self.target = target
        self.application = application
        self.is_beside = False
        """Whether it is no process of the application's, as that does not run."""
        self._project = project
        self._tell = tell
        self._width = width
        self._paths = Paths("", None)
        self._numbers = itertools.count(1)
        self._last = self._interrupted = 0
        self._sources: OrderedDict[int, str] = OrderedDict()
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._stream: Stream | None = None
        self._waiting: dict[int, tuple[Answer, float]] = {}
        self._menus: dict[int, tuple[threading.Event, list[Fields]]] = {}
        self._parts: dict[tuple[int, str], str] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name=f"{target.name} repl", daemon=True)

    @property
    def is_over(self) -> bool:
        """Whether it has given up: another one has to be made."""
        return self._stream is None or self._closing.is_set()

    # what a user does

    def start(self) -> None:
        """Reach the interpreter; a :class:`Fault` where there can be none."""
        with self.target.connect("ask") as link:
            hello, _ = link.call("hello", {})
        self._paths = Paths(clean(hello.text("live")), self._project)
        self._open()
        self._thread.start()

    def begin(self, source: str, *, quiet: bool = False) -> Answer:
        """Have ``source`` run; what comes of it is there when it ``is_over``, however long that takes."""
        if len(source) > _SOURCE_BYTES:
            raise Fault("too-large", f"{len(source)} characters are more than is run at once")
        return self._ask({"do": "run", "source": source, "quiet": quiet, "width": self._width()}, source)

    def run(self, source: str, *, quiet: bool = False) -> Answer:
        """Run ``source`` to its end; :meth:`interrupt` from another thread."""
        return self._over(self.begin(source, quiet=quiet))

    def _over(self, answer: Answer) -> Answer:
        answer.is_over.wait()
        return answer

    def get(self, expression: str) -> Any:
        """The value of ``expression`` there, moved here; a :class:`Fault` where it is none that can be."""
        answer = self._over(self._ask({"do": "get", "source": expression}, expression))
        return self._value(answer, "unfit-value")

    def put(self, name: str, value: object) -> None:
        """Have ``name`` be ``value`` there."""
        told, blobs = plain.encode(value)
        self._value(self._over(self._ask({"do": "put", "name": name, "value": told}, "", blobs)), "unfit-value")

    def _value(self, answer: Answer, code: str) -> Any:
        if answer.outcome != "done":
            raise Fault(code, answer.why or answer.outcome, to=self.target.name)
        return answer.value

    def interrupt(self) -> None:
        """Have what runs end. At the second time, it is left behind: there or, where that hears nothing, here."""
        with self._lock:
            number = max(self._waiting, default=0)
            answer, _ = self._waiting.get(number, (None, 0.0))
            is_repeated, self._interrupted = number == self._interrupted, number
        if answer is None:
            return
        with suppress(Fault):  # the reader tells of it
            self._send({"do": "interrupt", "id": number})
        if is_repeated and not answer.is_over.wait(_HEARD_S):
            self._lose(number, _DEAF)

    def complete(self, source: str, at: int, wait_s: float) -> Completion:
        """What may stand at a place in ``source``; nothing where the target does not say in time."""
        number, came, found = next(self._numbers), threading.Event(), list[Fields]()
        self._menus[number] = came, found
        try:
            self._send({"do": "complete", "id": number, "source": source, "at": at})
            came.wait(wait_s)
            return menu.read(found[0], source[:at]) if found else Completion()
        except Fault:
            return Completion()  # the reader tells of it
        finally:
            del self._menus[number]

    def close(self) -> None:
        """End it; what runs there is interrupted."""
        self._closing.set()
        if self._stream is not None:
            self._stream.close()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    # asking

    def _ask(self, body: Body, source: str, blobs: Sequence[bytes] = ()) -> Answer:
        number, answer = next(self._numbers), Answer()
        self._prefer_the_application()
        with self._lock:
            self._waiting[number] = answer, time.monotonic()
            self._sources[number], self._last = source, number
            if len(self._sources) > _STATEMENTS:
                self._sources.popitem(last=False)
        try:
            self._send({**body, "id": number}, blobs)
        except Fault as fault:
            self._lose(number, clean(str(fault)))
        return answer

    def _send(self, body: Body, blobs: Sequence[bytes] = ()) -> None:
        stream = self._stream
        if stream is None:
            raise LinkDown("there is no process to talk with")
        with self._writing:
            stream.write(framed(body, blobs))

    def _lose(self, number: int, why: str) -> None:
        with self._lock:
            answer, began = self._waiting.pop(number, (None, 0.0))
        if answer is not None:
            answer.outcome, answer.why, answer.status = "lost", why, 1
            answer.ms = _since(began)
            answer.is_over.set()

    # the stream

    def _prefer_the_application(self) -> None:
        """Where this is an interpreter beside it, and it runs by now, go there."""
        if not self.is_beside:
            return
        try:
            stream = self._opened(beside=False)
        except Fault:
            return  # it does not run
        old, self._stream, self.is_beside = self._stream, stream, False
        if old is not None:
            old.close()  # which the reader sees, and goes on with the other one
        self._say("up", f"{self._who(stream)} runs again: this is its process now, and the names of before are gone")

    def _open(self) -> None:
        """Reach the application's process, or one beside it, and say which."""
        deadline = time.monotonic() + _BEGIN_S
        while True:
            try:
                stream, why = self._opened(beside=False), ""
                break
            except Refused as refused:
                if refused.code == "not-yet" and time.monotonic() < deadline and not self._closing.wait(_AGAIN_S):
                    continue
                if refused.code not in ("not-running", "not-yet"):
                    raise
                stream, why = self._opened(beside=True), clean(refused.what)
                break
        with self._lock:
            self._stream, self.is_beside = stream, bool(why)
        who = self._who(stream)
        if why:
            self._say(
                "beside", f"{stream.end.application} {why}: this is an interpreter beside it, with its environment"
            )
        else:
            self._say("up", f"in {who}")

    def _opened(self, *, beside: bool) -> Stream:
        return Stream(self.target, KIND, self.application, {}, beside=beside, on_link=self._on_link)

    def _who(self, stream: Stream) -> str:
        return f"{stream.end.application}, process {stream.end.pid}, generation {stream.end.generation}"

    def _on_link(self, state: str, why: str) -> None:
        text = f"the link is cut ({why}); what runs goes on" if state == "down" else "the link is back"
        self._say("cut" if state == "down" else "back", text)

    def _say(self, state: str, text: str) -> None:
        self._tell({"event": "session", "target": self.target.name, "state": state, "text": text})

    # the reader's thread

    def _read_on(self) -> None:
        while not self._closing.is_set():
            stream = self._stream
            assert stream is not None
            try:
                self._read(stream)
            except Fault as fault:
                if self._closing.is_set():
                    return
                if stream is not self._stream:  # it was given up for another one
                    self._end_all("the interpreter beside the application has ended")
                    continue
                self._end_all(clean(fault.what))
                if not self._again(fault):
                    return

    def _again(self, fault: Fault) -> bool:
        """Go on with the next process, if there is one."""
        if not isinstance(fault, StreamEnded):
            self._say("ended", f"the session is over: {clean(str(fault))}")
            with self._lock:
                self._stream = None
            return False
        self._say("ended", f"{clean(fault.what)}: the names of this session are gone with it")
        try:
            self._open()
        except (LinkClosed, LinkDown, CallTimeout, Refused, Malformed) as second:
            self._say("ended", f"the session is over: {clean(str(second))}")
            with self._lock:
                self._stream = None
            return False
        return True

    def _end_all(self, why: str) -> None:
        self._flush()
        for number in list(self._waiting):
            self._lose(number, why)

    def _read(self, stream: Stream) -> None:
        messages = Messages()
        while True:
            data = stream.read(_PART_S if self._parts else 20.0)
            if not data:
                self._flush()
            for fields, blobs in messages.feed(data):
                self._hear(fields, blobs)

    def _hear(self, fields: Fields, blobs: list[bytes]) -> None:
        match fields.text("is"):
            case "hello":
                if fields.integer("version") != VERSION:
                    raise Malformed("its interpreter speaks another version", do="install the same on host and target")
            case "output":
                self._hear_output(fields.integer("id"), fields.text("stream", ""), fields.text("text", ""))
            case "over":
                self._hear_end(fields, blobs)
            case "completed":
                self._hear_menu(fields)
            case "dropped":
                many = whole(fields.integer("chars"))
                self._say("dropped", f"{many} characters of output were dropped: they came faster than they were read")

    def _hear_output(self, number: int, stream: str, text: str) -> None:
        if not 0 < number <= self._last:  # one of long ago may have left behind what prints
            raise Malformed("its interpreter tells of a statement that was not run")
        stream = "stderr" if stream == "stderr" else "stdout"
        lines, newline, rest = (self._parts.pop((number, stream), "") + text).rpartition("\n")
        if lines or newline:
            self._output(number, stream, lines)
        if len(rest) > _PART_CHARS:
            self._output(number, stream, rest, is_part=True)
        elif rest:
            self._parts[number, stream] = rest

    def _flush(self) -> None:
        for (number, stream), text in list(self._parts.items()):
            self._output(number, stream, text, is_part=True)
        self._parts.clear()

    def _output(self, number: int, stream: str, text: str, *, is_part: bool = False) -> None:
        """Whole lines, less the end of the last one; or a part of a line, which was printed without its end."""
        told = {"event": "output", "target": self.target.name, "statement": number, "stream": stream, "part": is_part}
        self._tell({**told, "text": clean(self._paths.text(text))})

    def _hear_end(self, fields: Fields, blobs: list[bytes]) -> None:
        self._flush()
        number = fields.integer("id")
        with self._lock:
            answer, began = self._waiting.get(number, (None, 0.0))
        if answer is None:
            return  # of a statement that was left behind
        outcome = fields.text("outcome", "")
        raised = fields.objects("raised")
        answer.outcome = outcome if outcome in OUTCOMES else "raised"
        answer.text = clean(self._paths.text(fields.text("text", "")))
        answer.cut = clean(fields.text("cut", ""))
        answer.ms = _since(began)
        if answer.outcome == "exit":
            answer.status = whole(fields.integer("status", 0)) & 0xFF
        elif answer.outcome != "done":
            answer.status = 1
            answer.why = _WHY.get(outcome) or message(raised)
            if fields.flag("holds_loop", False):
                answer.why += "; it holds the application's event loop"
        try:
            answer.traceback = story(raised, self._paths, self._sources) if raised else ""
            if "value" in fields:
                answer.value = plain.decode(fields.plain()["value"], blobs)
        except Fault as fault:
            answer.outcome, answer.why, answer.status = "raised", clean(str(fault)), 1
        with self._lock:
            self._waiting.pop(number, None)  # only now: one whose end makes no sense is lost, and waits for nothing
        answer.is_over.set()

    def _hear_menu(self, fields: Fields) -> None:
        came, found = self._menus.get(fields.integer("id"), (None, []))
        if came is not None:
            found.append(fields)
            came.set()


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 2)


_WHY = {
    "interrupted": "interrupted",
    "busy": "another statement is still running there",
    "left": "it does not hear the interruption, and was left behind: it goes on on a thread of its own until it ends",
}
