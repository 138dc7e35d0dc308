"""The real commands, driven as a user drives them: processes, files, and the lines of ``--json``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from .documented import breaches

WAIT_S = 20.0
NO_ENV: Mapping[str, str] = {}
EXAMPLES = Path(__file__).parents[2] / "examples"


class Running:
    """A command that runs, with the events that it has told so far."""

    def __init__(self, arguments: Sequence[str], env: dict[str, str], cwd: Path, inside: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-m", "reactor", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=env,
            cwd=cwd,
            text=True,
            start_new_session=True,
        )
        self.events: list[dict[str, Any]] = []
        self.noise: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                try:
                    self.events.append(json.loads(line))
                except ValueError:
                    self.noise.append(line)
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def wait(self, event: str, since: int = 0, wait_s: float = WAIT_S, **fields: Any) -> dict[str, Any]:
        """The first event of that name with those fields, from the ``since``-th event on."""

        def found() -> dict[str, Any] | None:
            return next(
                (one for one in self.events[since:] if one["event"] == event and fields.items() <= one.items()), None
            )

        with self._more:
            self._more.wait_for(lambda: found() is not None or self.process.poll() is not None, wait_s)
            one = found()
        assert one is not None, f"no {event} {fields} in:\n" + "\n".join(map(str, [*self.events[-40:], *self.noise]))
        return one

    def mark(self) -> int:
        """How many events there are now: for ``since``."""
        with self._more:
            return len(self.events)

    def texts(self, stream: str | None = None) -> list[str]:
        """What the applications have said."""
        with self._more:
            return [one["text"] for one in self.events if one["event"] == "log" and stream in (None, one["stream"])]

    def end(self, number: int = signal.SIGINT, wait_s: float = WAIT_S) -> int:
        """Interrupt it, as Ctrl-C does, and wait; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.finish(wait_s)

    def finish(self, wait_s: float = WAIT_S) -> int:
        """Wait for its end; its exit code. Everything that it told is in ``events`` then."""
        code = self.process.wait(wait_s)
        self._reader.join(wait_s)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Bench:
    """A home and projects of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.env = {**os.environ, "REACTOR_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}
        self.env.pop("REACTOR_TARGET", None)
        self.running: list[Running] = []
        self.inside: Sequence[str] = ()
        """A command that starts all others, somewhere else."""

    def project(self, files: dict[str, str], settings: str = 'entry = "main:main"', name: str = "app") -> Path:
        """A project of ``files``, which each save restarts, where its settings do not say otherwise."""
        folder = self.folder / name
        folder.mkdir()
        reload = "" if "reload" in settings else 'reload = "restart"'
        (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n[tool.reactor]\n{reload}\n{settings}\n')
        for path, text in files.items():
            save(folder / path, text)
        return folder

    def example(self, *names: str) -> Path:
        """A copy of an example, with its siblings; the first one's folder."""
        for name in names:
            shutil.copytree(EXAMPLES / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        return self.folder / names[0]

    def start(self, *arguments: str, cwd: Path | None = None, env: Mapping[str, str] = NO_ENV) -> Running:
        """Start ``reactor`` with ``--json``."""
        running = Running([*arguments, "--json"], {**self.env, **env}, cwd or self.folder, self.inside)
        self.running.append(running)
        return running

    def dev(self, project: Path, *more: str) -> Running:
        """Start ``reactor dev`` and wait until it watches and the application is healthy."""
        running = self.start("dev", str(project), *more)
        running.wait("ready")
        return running

    def run(
        self, *arguments: str, wait_s: float = WAIT_S, cwd: Path | None = None, env: Mapping[str, str] = NO_ENV
    ) -> tuple[int, list[dict[str, Any]]]:
        """Run ``reactor`` with ``--json`` to its end: exit code and events. ``env`` is added to the bench's."""
        running = self.start(*arguments, cwd=cwd, env=env)
        code = running.finish(wait_s)
        assert not running.noise, running.noise
        return code, running.events

    def plain(
        self, *arguments: str, cwd: Path | None = None, env: Mapping[str, str] = NO_ENV
    ) -> subprocess.CompletedProcess[str]:
        """Run ``reactor`` in a pipe, for people, to its end."""
        return subprocess.run(
            [*self.inside, sys.executable, "-m", "reactor", *arguments],
            env={**self.env, **env},
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    def processes(self) -> list[str]:
        """The command lines of the processes that run for this test: they have its folder in their environment."""
        found = []
        needle = str(self.home).encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            try:
                environment, command = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if needle in environment and command:
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
        return found

    def bootloader(self) -> int:
        """The process id of the embedded target's bootloader, which its keeper has started."""
        found = {pid: parent for pid, parent, words in self._commands() if b"bootloader" in words}
        return next(pid for pid, parent in found.items() if parent in found)

    def _commands(self) -> Iterator[tuple[int, int, list[bytes]]]:
        """The processes that run with this bench's home as an argument: id, parent, command line."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if any(word.startswith(bytes(self.home)) for word in words):
                    yield int(entry.name), parent, words


def save(path: Path, text: str | bytes) -> None:
    """Save as editors do: write beside, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".tmp~")
    aside.write_bytes(text.encode() if isinstance(text, str) else text)
    if path.exists():
        aside.chmod(path.stat().st_mode)
    aside.replace(path)


def until(condition: Callable[[], bool], wait_s: float = WAIT_S) -> None:
    """Wait for something that no event tells, such as the end of a process that is not ours."""
    deadline = time.monotonic() + wait_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.02)


@contextmanager
def benched(folder: Path) -> Iterator[Bench]:
    """A home of its own; then, the end of everything that was started, and a look at all that was told."""
    made = Bench(folder)
    try:
        yield made
    finally:
        for running in made.running:
            if running.process.poll() is None:
                running.process.kill()
            running.finish()
    until(lambda: not made.processes())
    told = [event for running in made.running for event in running.events]
    assert [breach for event in told for breach in breaches(event)] == []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench of one test."""
    with benched(tmp_path) as made:
        yield made
