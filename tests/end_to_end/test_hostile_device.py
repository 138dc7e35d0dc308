"""A device that somebody has taken over, and each command that meets it: real processes, the device's own key.

One process of a command names all the liars: ``status``, ``history``, ``logs``, ``stack``, ``trust``, ``pair --open``,
``doctor``, ``devices``, ``repl`` and ``dev`` meet every one. ``restart``, ``rollback`` and ``push`` leave out the one
that floods, as it never tells of the end that they wait for, until the user has enough; ``push`` bears links that break
for a while, so it meets that one only with ``REACTOR_LONG``. ``upgrade`` meets three that are no bootloader any more:
with the others it waits for a minute, as for a release that does not come back. ``debug`` meets three, and all with
``REACTOR_LONG``; ``console`` what all say. Whatever it is, nothing of a device's is imported, called or written,
nothing is shown raw, time and memory are bounded, and the exit code is right.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from reactor import trust
from reactor.dap import WAITING
from tests.bootloader.target import Target, app
from tests.reactor.test_report import RAW

from .conftest import Bench, Running, benched
from .documented import breaches
from .exporter import exporter
from .hostile_debugger import ALL_TOLD
from .hostile_device import CONSOLE
from .hostile_device import RAW as BRINE
from .lies import LIES
from .test_debug import Editor

MOST_BYTES = 300 * 1024 * 1024
"""Of a command that ten liars tell as much as fits a frame, and a frame's worth of JSON is a few times its size."""

MOST_SHOWN_CHARS = 8_000_000

LONGEST_S = 60.0
TOP = Path(__file__).parents[2]
WAIT = "import threading\ndef main():\n    print('up')\n    threading.Event().wait()\n"
ALL = (*LIES, BRINE)

PEAK = """
import atexit, os
def peak():
    with open(os.environ["PEAK"], "w") as file:
        file.write(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
atexit.register(peak)
"""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    output: str
    most_bytes: int


def strings(told: object) -> Iterator[str]:
    """Every text in it."""
    match told:
        case str():
            yield told
        case dict():
            for key, value in told.items():
                yield from (key, *strings(value))
        case list():
            for value in told:
                yield from strings(value)


class House:
    """A host that knows a liar for each lie, all of them one device that somebody has taken over."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.lured = folder / "lured"
        lure = folder / "lure"
        lure.mkdir()
        (lure / "lure.py").write_text(f"open({str(self.lured)!r}, 'w').close()\nclass Lure(Exception): pass\n")
        # What a process has needed at most since it became this program: what wait4 tells is also of who started it.
        (lure / "sitecustomize.py").write_text(PEAK)
        self.peak = folder / "peak"
        self.lure = socket.create_server(("127.0.0.1", 0))
        """A port of the host's own that nobody is to be sent to."""
        env = {"HOME": str(folder / "user"), "PYTHONPATH": f"{lure}:{TOP}", "PEAK": str(self.peak)}
        self.env = {**bench.env, **env}
        self.project = bench.project({"main.py": WAIT}, 'entry = "main:main"')
        self.target = Target(folder / "device")
        self.target.ship(WAIT, app(settle_s=0.0)).healthy()
        self.target.call("lease", do="give")  # so that it is the liars' from here on
        own = trust.host_identity(bench.home).certificate.read_text()
        (self.target.state / "trust" / "hosts" / "user.crt").write_text(own)
        self.target.notice("host-added")
        place = [self.target.state, self.target.home, self.target.listening["port"], self.lure.getsockname()[1]]
        self.liar = subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.hostile_device", *map(str, place)],
            cwd=TOP,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.liar.stdout is not None
        ports = json.loads(self.liar.stdout.readline())
        self.serial = f"socket://127.0.0.1:{ports.pop(CONSOLE)}"
        pem = (self.target.state / "trust" / "device.crt").read_text()
        for name, port in ports.items():
            trust.remember(bench.home, name, pem, f"127.0.0.1:{port}")

    def files(self) -> dict[str, int]:
        """Everything that a command could write, but where a device was seen last."""
        roots = (self.bench.folder, Path(self.env["HOME"]))
        found = [path for root in roots for path in root.rglob("*") if "/device/" not in str(path)]
        return {str(path): path.stat().st_mtime_ns for path in found if path.is_file() and path.suffix != ".address"}

    def run(self, *words: str, liars: Sequence[str] = ALL, stdin: str = "") -> Done:
        """A command to its end: harmless, whatever it was told."""
        before = self.files()
        command = [sys.executable, "-m", "reactor", *words, *(word for name in liars for word in ("-t", name))]
        out = self.bench.folder / "out.txt"
        with (
            out.open("wb") as file,
            subprocess.Popen(
                command, cwd=self.bench.folder, env=self.env, stdin=subprocess.PIPE, stdout=file, stderr=file
            ) as process,
        ):
            assert process.stdin is not None
            process.stdin.write(stdin.encode())
            process.stdin.close()
            late = threading.Timer(LONGEST_S, process.kill)
            late.start()
            code = process.wait()
            late.cancel()
        assert self.peak.exists(), f"it did not end: {out.read_text('utf-8')[-3000:]}"
        done = Done(code, out.read_text("utf-8"), int(self.peak.read_text().split()[1]) * 1024)
        out.unlink()
        self.peak.unlink()
        assert f'File "{TOP}/reactor' not in done.output, done.output[-3000:]
        told = [json.loads(line) for line in done.output.splitlines()] if "--json" in words else []
        for text in (done.output, *strings(told)):
            assert not (found := RAW.search(text)), text[max(0, found.start() - 100) : found.end() + 100]
        assert not self.lured.exists()
        assert self.files() == before
        assert done.most_bytes < MOST_BYTES, f"{done.most_bytes // 2**20} MiB"
        assert [breach for event in told for breach in breaches(event)] == []
        return done

    def close(self) -> None:
        assert self.liar.stdin is not None
        self.liar.stdin.close()
        self.liar.wait(20)
        assert self.liar.stdout is not None
        self.liar.stdout.close()
        self.target.close()
        self.lure.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    (folder / "user").mkdir()
    with benched(folder / "bench") as bench:
        bench.folder.mkdir()
        made = House(bench, folder)
        yield made
        made.close()


ENDING = tuple(name for name in ALL if name != "flood")
"""Those that end what waits for a change: that one tells more without end, and never of that."""

IS_LONG = "REACTOR_LONG" in os.environ

ASKS: dict[str, tuple[tuple[str, ...], Sequence[str]]] = {
    "status": (("status",), ALL),
    "status, for programs": (("status", "--json"), ALL),
    "history": (("history",), ALL),
    "logs": (("logs", "-v"), ALL),
    "logs of an hour, for programs": (("logs", "--since", "1h", "--json"), ALL),
    "stack": (("stack",), ALL),
    "trust list": (("trust", "list"), ALL),
    "trust role": (("trust", "role", "user", "observers", "--json"), ALL),
    "trust remove": (("trust", "remove", "user"), ALL),
    "pair --open": (("pair", "--open"), ALL),
    "doctor": (("doctor",), ALL),
    "doctor, for programs": (("doctor", "--json"), ALL),
    "devices": (("devices",), ()),
    "devices, for programs": (("devices", "--json"), ()),
    "restart": (("restart",), ENDING),
    "rollback": (("rollback", "--json"), ENDING),
    "repl": (("repl", "-c", "1 / 0"), ALL),
    "upgrade": (("upgrade",), ("types", "refused", BRINE)),
    "push": (("push", "app", "--json"), ENDING if IS_LONG else ENDING[:-1]),
}


ANSWERED = ("devices", "devices, for programs")
"""Those that tell what each device is, whatever it says: nothing went wrong."""


@pytest.mark.parametrize("name", ASKS)
def test_a_command_is_told_lies_and_comes_to_no_harm(house: House, name: str) -> None:
    words, liars = ASKS[name]
    done = house.run(*words, liars=liars)
    assert done.code == (name not in ANSWERED)
    assert len(done.output) < MOST_SHOWN_CHARS


PROBLEMS = ("long", "types", "deep", "swollen", "refused")
"""Those that a session gives up at once: the others' links break, or last and make sense in part."""


def test_a_session_with_liars_is_told_of_each_and_ends_with_ctrl_c(house: House) -> None:
    before = house.files()
    words = [word for name in ALL for word in ("-t", name)]
    dev = house.bench.start("dev", "app", *words, cwd=house.bench.folder, env=house.env)
    for name in ALL:
        dev.wait("problem" if name in PROBLEMS else "link" if name == BRINE else "ready", target=name)
    assert dev.end() in (0, 130)
    assert dev.noise == []
    assert not any(RAW.search(text) for text in strings(dev.events))
    assert not house.lured.exists()
    assert house.files() == before


@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_a_console_is_told_all_of_it_as_bytes_and_comes_to_no_harm(house: House, scheme: str) -> None:
    before = house.files()
    with exporter(house.serial) if scheme == "rfc2217" else nullcontext((None, house.serial)) as (_, port):
        console = house.bench.start("console", port, cwd=house.bench.folder, env=house.env)
        first = console.wait("console", text=ALL_TOLD)
        console.wait("console", since=console.events.index(first) + 1, text=ALL_TOLD)  # so all of it came between
        assert console.end() == 0
    assert console.noise == []
    assert not any(RAW.search(text) for text in strings(console.events))
    assert house.files() == before
    assert int(house.peak.read_text().split()[1]) * 1024 < MOST_BYTES
    house.peak.unlink()


EDITED = ALL if IS_LONG else ("escapes", "swollen", BRINE)


def attached(debug: Running) -> Editor:
    """An editor that was there until all was told, or it was let go; the program is free of the one before by then."""
    port = debug.wait("debug", state="listening")["port"]
    while True:
        mark = debug.mark()
        editor = Editor(port)
        with closing(editor), suppress(AssertionError, OSError):  # it is let go, or an answer is a lie
            editor.attach()
            editor.ask("configurationDone")
            editor.until(type="event", event="output", body={"category": "console", "output": ALL_TOLD})
        if "another debugger" not in debug.wait("debug", since=mark)["why"]:
            return editor


@pytest.mark.parametrize("name", EDITED)
def test_an_editor_is_sent_nowhere_by_what_it_debugs_and_told_of_what_makes_no_sense(house: House, name: str) -> None:
    before = house.files()
    debug = house.bench.start("debug", "-t", name, "--port", "0", cwd=house.bench.folder, env=house.env)
    editor = attached(debug)
    told = [one["state"] for one in debug.events]
    assert told[1] == "attached" or name != "escapes"
    assert debug.end() == 130
    assert debug.noise == []
    assert not any(RAW.search(text) for text in strings(debug.events))
    assert not house.lured.exists()
    assert house.files() == before
    assert int(house.peak.read_text().split()[1]) * 1024 < MOST_BYTES
    house.peak.unlink()
    assert not select.select([house.lure], [], [], 0)[0], "nobody has come"
    for message in editor.came:
        assert message["type"] != "request"
        assert message.get("event") not in ("debugpyAttach", "debugpySockets", "ptvsd_subprocess", WAITING)
