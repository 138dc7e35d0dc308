"""``reactor debug``, attached to by an editor: the test speaks the Debug Adapter Protocol to a real application."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reactor.dap import Messages, encode
from tests.bootloader.target import descendants
from tests.end_to_end.conftest import Bench, save

SOON_S = 60.0

COUNTS = """import time

def step(number):
    square = number * number
    return square

def main():
    number = 0
    while True:
        number += 1
        step(number)
        if number % 50 == 0:
            print("at", number)
        time.sleep(0.01)
"""
LINE = 5
DOCUMENTS = Path(__file__).parents[2] / "docs"
(CONFIGURATION,) = re.findall(r"^```json\n(.*?)^```$", (DOCUMENTS / "debug.md").read_text(), re.MULTILINE | re.DOTALL)
(DOCUMENTED,) = json.loads(CONFIGURATION)["configurations"]


class Editor:
    """An editor's end of the protocol."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SOON_S)
        self._messages = Messages()
        self._came: list[dict[str, Any]] = []
        self.came: list[dict[str, Any]] = []
        """Everything that ever did."""
        self._number = 0

    def send(self, command: str, **arguments: Any) -> int:
        self._number += 1
        request = {"seq": self._number, "type": "request", "command": command, "arguments": arguments}
        self._socket.sendall(encode(request))
        return self._number

    def until(self, **fields: Any) -> dict[str, Any]:
        """The next message with those fields; those before it are left for others."""
        while True:
            for message in self._came:
                if fields.items() <= message.items():
                    self._came.remove(message)
                    return message
            data = self._socket.recv(65536)
            assert data, f"the debugger is gone before {fields}; there were {self._came[-5:]}"
            more = list(self._messages.feed(data))
            self._came += more
            self.came += more

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The body of the answer to a request."""
        answer = self.until(type="response", request_seq=self.send(command, **arguments))
        assert answer["success"], answer
        body: dict[str, Any] = answer.get("body", {})
        return body

    def attach(self, **more: Any) -> None:
        """As VS Code does with ``connect`` and a port; up to where breakpoints can be set."""
        self.ask("initialize", adapterID="python", clientID="test", pathFormat="path", linesStartAt1=True)
        self._attach = self.send("attach", **DOCUMENTED, **more)
        self.until(type="event", event="initialized")

    def begin(self, file: Path, *lines: int) -> None:
        """Set breakpoints in this host's file, and go on."""
        self.breakpoints(file, *lines)
        self.ask("configurationDone")
        assert self.until(type="response", request_seq=self._attach)["success"]

    def breakpoints(self, file: Path, *lines: int) -> None:
        told = self.ask("setBreakpoints", source={"path": str(file)}, breakpoints=[{"line": line} for line in lines])
        assert [one["verified"] for one in told["breakpoints"]] == [True] * len(lines)

    def stopped(self) -> tuple[int, Mapping[str, Any]]:
        """The thread that stopped at a breakpoint, and its innermost frame."""
        thread = self.until(type="event", event="stopped")["body"]["threadId"]
        frame: dict[str, Any] = self.ask("stackTrace", threadId=thread)["stackFrames"][0]
        return thread, frame

    def variables(self, frame: Mapping[str, Any]) -> dict[str, str]:
        scope = self.ask("scopes", frameId=frame["id"])["scopes"][0]
        told = self.ask("variables", variablesReference=scope["variablesReference"])["variables"]
        return {one["name"]: one["value"] for one in told}

    def detach(self) -> None:
        self.ask("disconnect")
        self.close()

    def close(self) -> None:
        self._socket.close()


class Debugged:
    """A project under ``reactor dev``, and a ``reactor debug`` beside it."""

    def __init__(self, bench: Bench, source: str = COUNTS, settings: str = 'entry = "main:main"') -> None:
        self.project = bench.project({"main.py": source}, settings)
        self.main = self.project / "main.py"
        self.dev = bench.dev(self.project)
        self.debug = bench.start("debug", "--path", str(self.project), "--port", "0")
        self.port: int = self.debug.wait("debug", state="listening", wait_s=SOON_S)["port"]

    def goes_on(self) -> None:
        """The application says something that it has not said yet."""
        self.dev.wait("log", since=self.dev.mark(), stream="stdout", wait_s=SOON_S)

    def told(self, state: str, since: int = 0) -> dict[str, Any]:
        return self.debug.wait("debug", since, SOON_S, state=state)

    @property
    def pid(self) -> int:
        """The application's process."""
        return int(self.told("attached")["why"].removeprefix("pid "))


@pytest.fixture
def debugged(bench: Bench) -> Debugged:
    return Debugged(bench)


def test_a_breakpoint_in_the_host_s_file_stops_the_live_application_which_goes_on_and_can_be_attached_to_again(
    debugged: Debugged,
) -> None:
    in_a_hurry = Editor(debugged.port)
    in_a_hurry.attach()
    in_a_hurry.close()  # it was attached, and has not said what it wants
    for _ in range(2):
        debugged.told("detached", debugged.debug.mark() - 1)
        since = debugged.debug.mark()
        editor = Editor(debugged.port)
        editor.attach()
        editor.begin(debugged.main, LINE)
        thread, frame = editor.stopped()
        assert (frame["source"]["path"], frame["line"], frame["name"]) == (str(debugged.main), LINE, "step")
        told = editor.variables(frame)
        assert int(told["square"]) == int(told["number"]) ** 2
        editor.ask("continue", threadId=thread)
        editor.stopped()
        editor.detach()
        debugged.told("detached", since)
        debugged.goes_on()
    states = [event["state"] for event in debugged.dev.events if event["event"] == "state"]
    assert states.count("starting") == 1, "it was never restarted"
    assert debugged.dev.end() == 0


def test_while_a_debugger_is_attached_nothing_listens_but_the_port_where_the_editor_comes(debugged: Debugged) -> None:
    """Neither on the target nor here, where another user would be taken for an editor, or for the application."""
    editor = Editor(debugged.port)
    editor.attach()
    editor.begin(debugged.main, LINE)
    editor.stopped()
    links = [str(path.readlink()) for path in Path(f"/proc/{debugged.pid}/fd").iterdir()]
    sockets = {link for link in links if link.startswith("socket:")}
    assert sockets, "it has its end of the stream"
    listening = set()
    for name, state, inode, waits in (("tcp", 3, 9, "0A"), ("tcp6", 3, 9, "0A"), ("unix", 3, 6, "00010000")):
        for line in Path(f"/proc/{debugged.pid}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[state] == waits:
                listening.add(f"socket:[{fields[inode]}]")
    assert not sockets & listening
    pid = debugged.debug.process.pid
    adapters = list(descendants(pid))
    assert adapters
    own = {str(file.readlink()) for each in (pid, *adapters) for file in Path(f"/proc/{each}/fd").iterdir()}
    ports = set()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in own and fields[3] in ("0A", "07"):
                ports.add(int(fields[1].rpartition(":")[2], 16))
    assert ports == {debugged.port}
    editor.detach()


def test_an_application_without_debugpy_gets_the_host_s_which_is_not_imported_ahead_later(bench: Bench) -> None:
    lacks = "import sys\nsys.path[:] = [path for path in sys.path if 'site-packages' not in path]\n"
    debugged = Debugged(bench, lacks + COUNTS)
    for _ in range(2):
        editor = Editor(debugged.port)
        editor.attach()
        editor.begin(debugged.main, LINE + 2)
        _, frame = editor.stopped()
        assert frame["name"] == "step"
        editor.detach()
        debugged.told("detached")
    assert len(list(bench.folder.rglob("debugger/*/debugpy/__init__.py"))) == 1, "sent once"
    assert not [path for path in bench.folder.rglob("debugpy") if "debugger" not in path.parts]
    since = debugged.dev.mark()
    save(debugged.main, lacks + COUNTS + "# again\n")
    assert debugged.dev.wait("result", since)["healthy"]
    assert debugged.dev.end() == 0
    assert not [path for path in bench.folder.rglob("warm.json") if "debugpy" in path.read_text()]


def test_the_end_of_the_command_lets_an_application_go_on_that_is_stopped(debugged: Debugged) -> None:
    editor = Editor(debugged.port)
    editor.attach()
    editor.begin(debugged.main, LINE)
    editor.stopped()
    assert debugged.debug.end() == 130
    editor.close()
    debugged.goes_on()


def test_code_that_is_replaced_while_a_debugger_is_attached_stops_where_it_is_told_to(bench: Bench) -> None:
    debugged = Debugged(bench, settings='entry = "main:main"\nreload = "auto"')
    editor = Editor(debugged.port)
    editor.attach()
    editor.begin(debugged.main)
    since = debugged.dev.mark()
    save(debugged.main, COUNTS.replace("    return square", "    square += 1\n    return square"))
    result = debugged.dev.wait("result", since)
    assert (result["rung"], result["healthy"]) == ("patch", True), result
    editor.breakpoints(debugged.main, LINE + 1)
    _, frame = editor.stopped()
    told = editor.variables(frame)
    assert int(told["square"]) == int(told["number"]) ** 2 + 1
    editor.detach()
    debugged.goes_on()


def test_a_restart_ends_the_session_and_the_new_process_can_be_attached_to(debugged: Debugged) -> None:
    editor = Editor(debugged.port)
    editor.attach()
    editor.begin(debugged.main)
    since = debugged.debug.mark()
    save(debugged.main, COUNTS + "# another\n")
    debugged.told("detached", since)
    editor.until(type="event", event="terminated")
    editor.close()
    debugged.dev.wait("state", debugged.dev.mark() - 1, SOON_S, state="healthy")
    editor = Editor(debugged.port)
    editor.attach()
    editor.begin(debugged.main, LINE)
    editor.stopped()
    editor.detach()


def test_an_application_that_does_not_run_is_told_to_the_editor(bench: Bench) -> None:
    debugged = Debugged(bench, "def main(): ...\n")
    debugged.dev.wait("state", state="finished")
    editor = Editor(debugged.port)
    editor.ask("initialize", adapterID="python")
    answer = editor.until(type="response", request_seq=editor.send("attach", connect={"port": 1}))
    assert not answer["success"]
    assert "is finished" in answer["message"]
    assert "is finished" in debugged.told("refused")["why"]
    editor.close()


def test_an_editor_that_would_launch_is_told_to_attach(debugged: Debugged) -> None:
    editor = Editor(debugged.port)
    editor.ask("initialize", adapterID="python")
    answer = editor.until(type="response", request_seq=editor.send("launch", program="x.py"))
    assert '"request": "attach"' in answer["message"]
    editor.close()


def test_who_speaks_something_else_is_let_go_and_the_next_is_served(debugged: Debugged) -> None:
    with socket.create_connection(("127.0.0.1", debugged.port), timeout=SOON_S) as other:
        other.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert other.recv(100) == b""
    editor = Editor(debugged.port)
    assert editor.ask("initialize", adapterID="python")
    editor.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user at hand")
def test_another_user_of_this_machine_is_not_served(debugged: Debugged) -> None:
    os.seteuid(65534)
    try:
        other = socket.socket()  # whose it is, is who made it
    finally:
        os.seteuid(0)
    with other:
        other.settimeout(SOON_S)
        other.connect(("127.0.0.1", debugged.port))
        assert other.recv(1) == b""
    assert "another user" in debugged.told("refused")["why"]


def test_a_port_that_is_taken_is_told(bench: Bench) -> None:
    project = bench.project({"main.py": COUNTS})
    bench.dev(project)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, told = bench.run("debug", "--path", str(project), "--port", str(taken.getsockname()[1]))
    assert (code, told[-1]["code"]) == (1, "port-in-use")


def test_a_second_debugger_is_told_of_the_first(debugged: Debugged, bench: Bench) -> None:
    first = Editor(debugged.port)
    first.attach()
    first.begin(debugged.main, LINE)
    first.stopped()
    other = bench.start("debug", "--path", str(debugged.project), "--port", "0")
    second = Editor(other.wait("debug", state="listening", wait_s=SOON_S)["port"])
    second.ask("initialize", adapterID="python")
    answer = second.until(type="response", request_seq=second.send("attach", **DOCUMENTED))
    assert "another debugger is attached" in answer["message"]
    second.close()
    first.detach()
    debugged.goes_on()
