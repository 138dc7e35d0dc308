"""Who starts when, and who may say that an application is ready."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.bootloader.target import Change, Target, app

WAIT = "import threading\ndef main():\n    print('up')\n    threading.Event().wait()\n"

NOTIFIES = """
import os, pathlib, socket, subprocess, sys, threading
def say(message=b"STATUS=all is well\\nREADY=1"):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\\0" + os.environ["NOTIFY_SOCKET"][1:])
        notify.send(message)
def main():
    print(os.environ["NOTIFY_SOCKET"])
    {action}
    threading.Event().wait()
"""
ASKED = "open(os.environ['GATE']).read(); say()"
"""Is ready when the test opens the gate."""

NET = app("net", "net:main", init=True, ready="notify", ready_s=600.0)
STEADY = app(settle_s=0.0)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A pipe: one that reads from it goes on when it has been written."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def order(target: Target, change: Change, *states: str) -> list[tuple[str, str]]:
    """The states of all applications in the order in which they were told, of one start of a generation."""
    return [
        (event["application"], event["state"])
        for event in target.events
        if event["event"] == "state" and event["generation"] == change.generation and event["state"] in states
    ]


def gated(gate: Path) -> dict[str, str]:
    return {"GATE": str(gate)}


def test_an_application_starts_when_the_init_one_has_said_that_it_is_ready(target: Target, gate: Path) -> None:
    files = {"net.py": NOTIFIES.format(action=ASKED), "app.py": WAIT}
    net = app("net", "net:main", init=True, ready="notify", ready_s=600.0, env=gated(gate))
    change = target.ship(files, net, STEADY)
    change.state("running", application="net")
    told = target.status()
    assert (told["state"], told["waits_for"], told["after"]) == ("stopped", ["net"], ["net"])
    gate.write_text("go")
    change.healthy()
    states = order(target, change, "starting", "healthy")
    assert states[:3] == [("net", "starting"), ("net", "healthy"), ("app", "starting")]
    net_told, app_told = target.call("status").objects("applications")
    assert net_told.number("ready_ms") > 0
    assert app_told.number("waited_ms") >= net_told.number("ready_ms")
    assert app_told.texts("waits_for") == []


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("say()", id="itself"),
        pytest.param("threading.Thread(target=say).start()", id="a thread of it"),
        pytest.param("if not os.fork(): say(); threading.Event().wait()", id="a child of it"),
    ],
)
def test_whoever_is_of_its_group_may_say_it(target: Target, said: str) -> None:
    change = target.ship({"net.py": NOTIFIES.format(action=said)}, NET).healthy()
    assert change.state("healthy", application="net")["why"] == "it said that it is ready"


@pytest.mark.parametrize(
    "action",
    [
        pytest.param("pass", id="says nothing"),
        pytest.param("say(b'READY=10')", id="says something else"),
        pytest.param("say(b'')", id="says nothing in a message"),
        pytest.param("if not os.fork(): os.setsid(); say(); threading.Event().wait()", id="left its group"),
    ],
)
def test_one_that_is_late_fails_the_generation_and_holds_nobody_up(target: Target, action: str) -> None:
    net = app("net", "net:main", init=True, ready="notify", ready_s=0.5)
    change = target.ship({"net.py": NOTIFIES.format(action=action), "app.py": WAIT}, net, STEADY)
    fate = change.fate()
    assert (fate["state"], fate["why"]) == ("failed", "net did not say within 0.5 s that it is ready")
    assert target.notice("not-ready")["application"] == "net"
    change.state("healthy", application="app")
    told = target.status("net")
    assert (told["state"], told["late"], told["ready_ms"]) == ("running", True, None)


def test_what_is_said_by_somebody_else_does_not_count(target: Target) -> None:
    change = target.ship({"net.py": NOTIFIES.format(action="pass")}, NET)
    change.state("running", application="net")
    address = target.event("log", application="net")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.connect("\0" + address["text"][1:])
        reader, writer = os.pipe()
        for _ in range(100):
            socket.send_fds(stranger, [b"READY=1"], [reader, writer])
    assert target.status("net")["state"] == "running"
    open_ones = list(Path(f"/proc/{target.pid}/fd").iterdir())
    assert len(open_ones) < 100, "what was sent along is kept"


def test_one_that_is_late_may_still_come_to_be_ready(target: Target, gate: Path) -> None:
    net = app("net", "net:main", init=True, ready="notify", ready_s=0.1, env=gated(gate))
    change = target.ship({"net.py": NOTIFIES.format(action=ASKED)}, net)
    assert change.fate()["state"] == "failed"
    gate.write_text("go")
    target.event("generation", change=change.number, state="healthy")


def test_an_init_application_that_fails_stops_no_other(target: Target) -> None:
    files = {"net.py": "def main(): raise OSError('no such device')\n", "app.py": WAIT}
    change = target.ship(files, app("net", "net:main", init=True), STEADY)
    change.state("failed", application="net")
    change.state("healthy", application="app")
    assert change.fate()["state"] == "failed"


def test_each_starts_after_those_that_it_names_also_when_the_bootloader_starts_again(target: Target) -> None:
    names = ("net", "dns", "logger", "app")
    net, dns, logger, main = (
        app("net", "net:main", init=True, settle_s=0.05),
        app("dns", "dns:main", init=True, settle_s=0.05, after=("net",)),
        app("logger", "logger:main", settle_s=0.05),
        app("app", "app:main", settle_s=0.05, after=("logger",)),
    )
    change = target.ship({f"{name}.py": WAIT for name in names}, main, logger, dns, net).healthy()
    expected = [(name, state) for name in names for state in ("starting", "healthy")]
    assert order(target, change, "starting", "healthy") == expected
    assert [one.text("application") for one in target.call("status").objects("applications")] == list(names)
    target.end()
    target.start()
    target.event("generation", state="healthy")
    assert order(target, change, "starting", "healthy") == expected


def test_a_save_of_the_application_does_not_wait_for_an_init_one_that_is_up(target: Target) -> None:
    files = {"net.py": NOTIFIES.format(action="say()"), "app.py": WAIT}
    target.ship(files, NET, STEADY).healthy()
    change = target.ship({**files, "app.py": WAIT + "# changed\n"}, NET, STEADY).healthy()
    assert order(target, change, "starting") == [("app", "starting")]


def test_the_bootloaders_own_socket_is_not_for_applications(tmp_path: Path) -> None:
    source = "import os\ndef main(): print(os.environ.get('NOTIFY_SOCKET'))\n"
    os.environ["NOTIFY_SOCKET"] = "/run/systemd/notify"
    try:
        target = Target(tmp_path)
    finally:
        del os.environ["NOTIFY_SOCKET"]
    try:
        assert target.logs(target.ship(source)) == ["None"]
    finally:
        target.close()
