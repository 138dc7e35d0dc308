"""One host's session: what it asks, and what it is told, over one socket, on a thread of its own.

Owns the socket, the session's names and its workers. Statements run on a worker; completion on this thread, which no
statement holds up. What the application forks has none of it.
"""

from __future__ import annotations

import linecache
import os
import select
import socket
import sys
from _thread import get_ident, start_new_thread
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from bootloader.wire import plain
from bootloader.wire.errors import Fault, Malformed
from bootloader.wire.messages import Fields
from bootloader.wire.session import VERSION, Messages, framed

from ..descriptors import apart, identity
from . import complete, raised, sink
from .names import Names
from .outbox import Outbox
from .shown import Shown
from .worker import Task, Worker

_CHUNK_BYTES = 64 * 1024
_SOURCES = 64
"""So many of the last statements Python can show the source of."""

_EXIT_CHARS = 1000
_MOST_COLUMNS = 1000


class Repl:
    """Sessions in this process. ``entry``: the module that statements see the names of; ``tree``: its own code.

    ``say`` gets what went wrong with a session, in words.
    """

    def __init__(self, entry: str, tree: str, say: Callable[[str], None]) -> None:
        self._entry = entry
        self._say = say
        self._tree = tree
        self._sessions: set[Session] = set()
        self._is_watching = False
        """Whether what is forked is seen to: once a process, as Python forgets no such watcher."""

    def open(self, ours: socket.socket, _more: Mapping[str, Any]) -> None:
        """Begin a session on a connected socket, which is the session's from now on."""
        if not self._is_watching:
            self._is_watching = True
            os.register_at_fork(after_in_child=self._abandon)
        session = Session(ours, Names(self._entry, self._tree), self._tree)
        self._sessions.add(session)
        session.start(partial(self._ended, session))

    def _ended(self, session: Session, why: str) -> None:
        self._sessions.discard(session)
        if why:
            self._say(f"a session of the REPL has ended: {why}")

    def close(self) -> None:
        """End them: the application ends."""
        for session in list(self._sessions):
            session.close()

    def wait(self) -> None:
        """Until they have ended."""
        for session in list(self._sessions):
            session.ended.acquire()

    def _abandon(self) -> None:
        for session in self._sessions:
            session.abandon()
        self._sessions.clear()


class Session:
    """One host's, from the first message to its end."""

    def __init__(self, ours: socket.socket, names: Names, tree: str) -> None:
        from _thread import allocate_lock

        self._socket = ours
        self._names = names
        self._tree = tree
        bell, ring = os.pipe()
        self._bell, self._ring = apart(bell), apart(ring)
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ring, False)
        ours.setblocking(False)
        self._own = {each: identity(each) for each in (ours.fileno(), self._bell, self._ring)}
        self._out = Outbox(self._wake, lambda: get_ident() in self._idents)
        self._idents: set[int] = set()
        self._worker: Worker | None = None
        self._messages = Messages()
        self._sources: list[str] = []
        self.ended = allocate_lock()
        self.ended.acquire()

    def start(self, on_end: Callable[[str], None]) -> None:
        """Begin. ``on_end`` gets what was wrong, or nothing."""
        sink.route()
        self._say({"is": "hello", "version": VERSION, "python": list(sys.version_info[:3]), "pid": os.getpid()})
        start_new_thread(self._run, (on_end,))

    def close(self) -> None:
        """End: nothing more is run, and what runs is interrupted."""
        self._out.is_closed = True
        if self._worker is not None:
            self._worker.close()
        self._names.clear()
        if self._is_intact():
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """In what the application has forked: it is not for us, and prints go where they always do."""
        self._out.is_closed = True
        if self._is_intact():
            self._socket.close()
            os.close(self._bell)
            os.close(self._ring)

    def _is_intact(self) -> bool:
        """Whether our descriptors are ours: an application may have closed them, and opened others."""
        try:
            return all(identity(each) == was for each, was in self._own.items())
        except OSError:
            return False

    def _wake(self) -> None:
        with suppress(OSError):  # rung already
            os.write(self._ring, b"\0")

    def _say(self, body: Mapping[str, Any], blobs: list[bytes] | None = None) -> None:
        self._out.post(framed(body, blobs or []))

    # the thread

    def _run(self, on_end: Callable[[str], None]) -> None:
        why = ""
        try:
            self._serve()
        except (OSError, Fault) as error:
            why = str(error)
        finally:
            self.close()
            sink.unroute()
            if self._is_intact():
                self._socket.close()
                os.close(self._bell)
                os.close(self._ring)
            on_end(why)
            self.ended.release()

    def _serve(self) -> None:
        waiting = select.poll()
        waiting.register(self._bell, select.POLLIN)
        unsent = memoryview(b"")
        while True:
            unsent = unsent or memoryview(self._out.take())
            wanted = (select.POLLOUT if unsent else 0) | (0 if self._out.is_full else select.POLLIN)
            waiting.register(self._socket, wanted)
            ready = dict(waiting.poll(self._look_again_ms()))
            if not self._is_intact():
                return
            if self._bell in ready:
                with suppress(BlockingIOError):
                    os.read(self._bell, 4096)
            events = ready.get(self._socket.fileno(), 0)
            if events & select.POLLOUT and unsent:
                unsent = unsent[self._socket.send(unsent[:_CHUNK_BYTES]) :]
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                data = self._socket.recv(_CHUNK_BYTES)
                if not data:
                    return
                for fields, blobs in self._messages.feed(data):
                    self._hear(fields, blobs)

    def _look_again_ms(self) -> float | None:
        """When to go on though nothing has happened; None: not before something does."""
        waits = (self._worker.hurry() if self._worker is not None else None, self._out.due_s())
        due = [wait for wait in waits if wait is not None]
        return min(due) * 1000 + 1 if due else None

    def _hear(self, fields: Fields, blobs: list[bytes]) -> None:
        number, do = fields.integer("id"), fields.text("do")
        if do == "run":
            width = max(0, min(_MOST_COLUMNS, fields.integer("width", 0)))
            show = partial(self._result, quiet=fields.flag("quiet", False), width=width)
            self._submit(number, fields.text("source"), show)
        elif do == "get":
            self._submit(number, fields.text("source"), self._value)
        elif do == "put":
            name, value = fields.text("name"), fields.plain().get("value")
            self._submit(number, partial(self._put, name, value, blobs), lambda _: {})
        elif do == "interrupt":
            self._interrupt(number)
        elif do == "complete":
            source, at = fields.text("source"), fields.integer("at")
            self._say({"is": "completed", "id": number, **complete.complete(source, at, self._names)})
        else:
            raise Malformed(f"the host asks for '{do[:32]}', which this session does not know")

    # statements

    def _submit(
        self, number: int, source: str | Callable[[], object], show: Callable[[object], dict[str, Any]]
    ) -> None:
        if self._worker is None or self._worker.is_left:
            self._worker = Worker(self._names, self._over, self._wake)
            self._idents.add(self._worker.ident)
        if self._worker.task is not None:
            self._say({"is": "over", "id": number, "outcome": "busy"})
            return
        filename = f"<repl {number}>"
        if isinstance(source, str):
            self._remember(filename, source)
        output = partial(self._out.print, number)
        self._worker.submit(Task(number, source, filename, output, show, self._fail))

    def _remember(self, filename: str, source: str) -> None:
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        self._sources.append(filename)
        if len(self._sources) > _SOURCES:
            linecache.cache.pop(self._sources.pop(0), None)

    def _over(self, task: Task) -> None:
        answer = task.answer or {}
        blobs = answer.pop("blobs", [])
        self._say({"is": "over", "id": task.number, **answer}, blobs)

    def _interrupt(self, number: int) -> None:
        worker = self._worker
        task = worker.task if worker is not None else None
        how = worker.interrupt(number) if worker is not None else ""
        if how == "left":
            holds = task is not None and task.statement is not None and task.statement.holds_loop
            self._say({"is": "over", "id": number, "outcome": "left", "holds_loop": holds})

    def _result(self, value: object, *, quiet: bool, width: int) -> dict[str, Any]:
        """``width``: of the host's lines now; 0 where a result is to be one line."""
        if value is None:
            return {}
        self._names["_"] = value
        if quiet:
            return {}
        shown = Shown(value, width)
        return {"text": shown.text, "cut": shown.cut, "kind": type(value).__name__}

    def _value(self, value: object) -> dict[str, Any]:
        told, blobs = plain.encode(value)
        return {"value": told, "blobs": blobs}

    def _put(self, name: str, value: object, blobs: list[bytes]) -> None:
        self._names[name] = plain.decode(value, blobs)

    def _fail(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, KeyboardInterrupt):
            outcome = "interrupted"
        elif isinstance(error, SystemExit):
            code = error.code
            status = code if isinstance(code, int) and not isinstance(code, bool) else int(code is not None)
            text = "" if code is None or isinstance(code, int) else Shown(code).text[:_EXIT_CHARS]
            return {"outcome": "exit", "status": status & 0xFF, "text": text}
        else:
            outcome = "raised"
        return {"outcome": outcome, "raised": raised.told(error, self._tree)}
