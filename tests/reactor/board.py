"""What the tests of the loop share: a project to save in, a real bootloader behind a proxy, and what was told."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bootloader.wire.errors import LinkDown
from reactor import trust
from reactor.link import Link
from reactor.project import Project
from reactor.scan import Change, Scanner
from reactor.session import Save, Session
from reactor.targets import Target
from reactor.targets.embedded import Embedded, state_folder
from tests.reactor.proxy import Proxy

SOON_S = 20.0

COUNT = """\
import time

def main():
    print("version 1", flush=True)
    number = 0
    while True:
        print(number, flush=True)
        number += 1
        time.sleep(0.01)
"""


class Told:
    """What a session or a loop told. Call it with each event."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._more = threading.Condition()

    def __call__(self, event: dict[str, Any]) -> None:
        with self._more:
            self.events.append(event)
            self._more.notify_all()

    def all(self, event: str, since: int = 0, **fields: Any) -> list[dict[str, Any]]:
        """The events of that name with those fields, from the ``since``-th event on."""
        return [one for one in self.events[since:] if one["event"] == event and fields.items() <= one.items()]

    def wait(self, event: str, since: int = 0, **fields: Any) -> dict[str, Any]:
        """The first of them, when it is there."""
        with self._more:
            self._more.wait_for(lambda: self.all(event, since, **fields), SOON_S)
        found = self.all(event, since, **fields)
        assert found, f"no {event} {fields} in:\n" + "\n".join(map(str, self.events[-30:]))
        return found[0]

    def mark(self) -> int:
        """How many events there are now: for ``since``."""
        return len(self.events)


class Desk:
    """A project and its scanner. Saves are scanned when they are asked for; there is no watcher."""

    def __init__(self, folder: Path, files: dict[str, str], settings: str = "") -> None:
        self.folder = folder
        always = 'entry = "main:main"\nsettle_s = 0.1\nreload = "restart"'
        self.write("pyproject.toml", f"[tool.reactor]\n{always}\n{settings}")
        for path, text in files.items():
            self.write(path, text)
        self.project = Project.open(folder)
        self.scanner = Scanner(self.project)

    def write(self, path: str, content: str | bytes) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def first(self) -> Save:
        """Everything."""
        return _save_of(self.scanner.rescan())

    def save(self, path: str, content: str | bytes) -> Save:
        """What saving a file makes."""
        return _save_of(self.scanner.update([self.write(path, content)]))

    def remove(self, path: str) -> Save:
        """What removing a file makes."""
        (self.folder / path).unlink()
        return _save_of(self.scanner.update([self.folder / path]))


def _save_of(change: Change) -> Save:
    return Save(change.manifest, change.previous, change.edits, time.monotonic(), {})


class Board:
    """A target whose links go through ``proxy``. Its bootloader is started by a link, where it does not run."""

    def __init__(self, project: Path, name: str = "local") -> None:
        self.name = name
        self.proxy = Proxy()
        self.away = False
        """Whether it can't be reached by a new link."""
        self.state = state_folder(project)
        self._embedded = Embedded(project, attach=False)

    def connect(self, purpose: str) -> Link:
        if self.away:
            raise LinkDown("it is away", to=self.name)
        self.direct().close()  # starts it where it does not run
        self.proxy.upstream = int((self.state / "run" / "address").read_text().split()[1])
        self.proxy.purpose = purpose
        home = trust.default_home()
        certificate = self.state / "trust" / "device.crt"
        return Link.connect("127.0.0.1", self.proxy.port, trust.host_identity(home), certificate, SOON_S, purpose)

    def direct(self) -> Link:
        """A link past the proxy, as another host's."""
        return self._embedded.connect("direct")

    def root(self) -> str:
        """What it runs."""
        with self.direct() as link:
            return link.call("hello", {})[0].text("root")

    def generations(self) -> list[int]:
        """Those that it has run, newest first."""
        with self.direct() as link:
            told, _ = link.call("history", {"limit": 256})
            return [one.integer("generation") for one in told.objects("generations")]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The bootloader stands still, and with it what lies on its disk."""
        pid = self._pid()
        os.kill(pid, signal.SIGSTOP)
        until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        yield
        os.kill(pid, signal.SIGCONT)

    def _pid(self) -> int:
        with self.direct() as link:
            return link.call("hello", {})[0].integer("pid")

    def kill(self) -> None:
        """As a power cut does."""
        pid = self._pid()
        keeper = self._embedded._process
        assert keeper is not None
        keeper.kill()
        os.kill(pid, signal.SIGKILL)
        keeper.wait(SOON_S)

    def close(self) -> bool:
        ended = self._embedded.close()
        self.proxy.close()
        return ended


class Bench:
    """A project, a board, and sessions between them."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder, {"main.py": COUNT})
        self.board = Board(folder)
        self.told = Told()
        self.looked_again = 0
        self.look_again: Callable[[], None] = lambda: None
        self.sessions: list[Session] = []

    def open(self, target: Target | None = None, *, watching: bool = True) -> Session:
        """A session that runs, with the board or another target. Nothing is submitted yet."""
        session = Session(target or self.board, self.desk.scanner, self.told, self._look_again, watching=watching)
        self.sessions.append(session)
        session.start()
        return session

    def healthy(self) -> Session:
        """A session whose first save runs."""
        session = self.open()
        session.submit(self.desk.first())
        self.told.wait("result", healthy=True)
        return session

    def close(self) -> None:
        for session in self.sessions:
            session.close()
        self.board.close()

    def _look_again(self) -> None:
        self.looked_again += 1
        self.look_again()


def until(condition: Callable[[], object], wait_s: float = SOON_S) -> None:
    """Wait for something that nobody tells of."""
    deadline = time.monotonic() + wait_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.005)
