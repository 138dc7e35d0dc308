"""How a target is reached: the embedded one is started, found and ended; a device is known by its key."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootloader.wire.errors import Fault, LinkClosed, LinkDown
from bootloader.wire.limits import PORT
from reactor import trust
from reactor.targets import embedded as module
from reactor.targets.embedded import Embedded, state_folder
from reactor.targets.linked import Linked, split
from tests.reactor.board import SOON_S, until


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REACTOR_HOME", str(tmp_path / "home"))
    folder = tmp_path / "app"
    folder.mkdir()
    return folder


@pytest.fixture
def target(project: Path) -> Iterator[Embedded]:
    made = Embedded(project, attach=False)
    yield made
    made.close()


def pid_of(target: Embedded) -> int:
    with target.connect("ask") as link:
        return link.call("hello", {})[0].integer("pid")


def is_there(pid: int) -> bool:
    """Whether the process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# The embedded target


def test_the_first_link_starts_it_and_the_next_ones_find_it(target: Embedded) -> None:
    assert pid_of(target) == pid_of(target)


def test_one_that_died_is_started_again_by_its_keeper(target: Embedded) -> None:
    first = pid_of(target)
    keeper = target._process
    os.kill(first, signal.SIGKILL)
    until(lambda: not is_there(first))
    assert pid_of(target) != first
    assert target._process is keeper


def test_one_that_died_with_its_keeper_is_started_again_by_this_host(target: Embedded) -> None:
    first = pid_of(target)
    assert target._process is not None
    target._process.kill()
    os.kill(first, signal.SIGKILL)
    target._process.wait(SOON_S)
    assert pid_of(target) != first


def test_closing_ends_it_and_what_it_runs(target: Embedded) -> None:
    pid = pid_of(target)
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    assert children
    target.close()
    assert not is_there(pid)
    until(lambda: not any(map(is_there, children)))
    target.close()


def test_one_that_ignores_all_requests_is_killed(target: Embedded) -> None:
    pid = pid_of(target)
    os.kill(pid, signal.SIGSTOP)
    target.close()
    until(lambda: not is_there(pid))


def test_after_closing_nothing_is_started_any_more(target: Embedded, project: Path) -> None:
    target.close()
    with pytest.raises(LinkClosed):
        target.connect("control")
    assert not state_folder(project).exists()


def test_closing_while_it_starts_leaves_nothing_behind(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_START_S", 600.0)
    monkeypatch.setattr(sys, "executable", str(slow_python(project)))
    target = Embedded(project, attach=False)
    caught: list[Fault] = []

    def connect() -> None:
        try:
            target.connect("control")
        except Fault as fault:
            caught.append(fault)

    connecting = threading.Thread(target=connect)
    connecting.start()
    started = project / "pid"
    until(lambda: started.exists() and started.read_text().endswith("\n"))
    target.close()
    connecting.join(SOON_S)
    assert [type(fault) for fault in caught] == [LinkClosed]
    until(lambda: not is_there(int(started.read_text())))


def slow_python(folder: Path) -> Path:
    """An interpreter that never gets anywhere."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {folder}/pid\nexec tail -f /dev/null\n")
    python.chmod(0o755)
    return python


@pytest.mark.parametrize("says", ["", "junk", "[]", '{"event": "listening"}', '{"event": "listening", "port": "x"}'])
def test_a_process_that_says_nothing_that_makes_sense_is_a_fault(
    project: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    python = project / "python"
    python.write_text(f"#!/bin/sh\necho '{says}'\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(Fault) as caught:
        Embedded(project, attach=False).connect("control")
    assert (caught.value.code, caught.value.what) == ("no-target", "the embedded target did not start")


def test_a_problem_that_it_tells_instead_of_starting_is_the_fault(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"event": "problem", "code": "already-running", "what": "another one runs here"}
    python = project / "python"
    python.write_text(f"#!/bin/sh\necho '{json.dumps(told)}'\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(Fault) as caught:
        Embedded(project, attach=False).connect("control")
    assert (caught.value.code, caught.value.do) == ("already-running", "end the other `reactor dev` of this project")


def test_it_ends_with_the_process_that_started_it(project: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from reactor.targets.embedded import Embedded\n"
        "target = Embedded(Path(sys.argv[1]), attach=False)\n"
        "print(target.connect('x').call('hello', {})[0].integer('pid'), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(project)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        assert is_there(pid)
        host.kill()
    until(lambda: not is_there(pid))


def test_one_that_runs_is_attached_to_and_left_running(target: Embedded, project: Path) -> None:
    pid = pid_of(target)
    other = Embedded(project, attach=True)
    assert pid_of(other) == pid
    other.close()
    assert is_there(pid)


@pytest.mark.parametrize("address", [None, "", "junk", "127.0.0.1 x", "127.0.0.1 1"])
def test_where_none_runs_to_attach_to_one_is_started(project: Path, address: str | None) -> None:
    if address is not None:
        (state_folder(project) / "run").mkdir(parents=True)
        (state_folder(project) / "run" / "address").write_text(address)
    target = Embedded(project, attach=True)
    try:
        assert is_there(pid_of(target))
    finally:
        target.close()


def test_another_process_that_got_its_port_is_not_taken_for_it(project: Path) -> None:
    first = Embedded(project, attach=False)
    first.connect("first").close()
    first.close()
    target = Embedded(project, attach=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        (state_folder(project) / "run" / "address").write_text(f"127.0.0.1 {other.getsockname()[1]}")

        def greet() -> None:
            sock, _ = other.accept()
            with sock:
                sock.sendall(b"SSH-2.0-OpenSSH\r\n")
                sock.recv(10_000)

        greeting = threading.Thread(target=greet)
        greeting.start()
        try:
            assert is_there(pid_of(target))
        finally:
            target.close()
            greeting.join()


def test_each_project_has_a_state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REACTOR_HOME", str(tmp_path / "home"))
    one, two, odd = (
        state_folder(tmp_path / "a" / "app"),
        state_folder(tmp_path / "b" / "app"),
        state_folder(Path("/ü ä")),
    )
    assert one != two
    assert one == state_folder(tmp_path / "a" / "app")
    assert {folder.parent for folder in (one, two, odd)} == {tmp_path / "home" / "embedded"}
    assert odd.name.isascii()
    monkeypatch.delenv("REACTOR_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert state_folder(tmp_path).is_relative_to(tmp_path / "state")


# A device


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("pi.local", ("pi.local", PORT)),
        ("pi.local:99", ("pi.local", 99)),
        ("192.168.1.2:7", ("192.168.1.2", 7)),
        ("[fe80::1]", ("fe80::1", PORT)),
        ("[fe80::1]:9", ("fe80::1", 9)),
        ("fe80::1", ("fe80::1", PORT)),
    ],
)
def test_an_address_is_a_host_and_perhaps_a_port(address: str, where: tuple[str, int]) -> None:
    assert split(address) == where


@pytest.mark.parametrize("address", ["pi.local:", "pi.local:x", "pi.local:0", "pi.local:70000", "[fe80::1]:-1"])
def test_an_address_with_a_port_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(Fault) as caught:
        split(address)
    assert caught.value.code == "bad-address"


def test_a_device_is_reached_by_the_key_that_this_host_knows(target: Embedded, project: Path) -> None:
    pid = pid_of(target)
    port = int((state_folder(project) / "run" / "address").read_text().split()[1])
    home = trust.default_home()
    certificate = (state_folder(project) / "trust" / "device.crt").read_text()
    trust.remember(home, "porch", certificate, f"127.0.0.1:{port}")
    for device in (Linked("porch", f"127.0.0.1:{port}"), Linked("another name", f"127.0.0.1:{port}")):
        with device.connect("ask") as link:
            assert link.call("hello", {})[0].integer("pid") == pid
        device.close()
    assert is_there(pid)
    target.close()
    with pytest.raises(LinkDown):
        Linked("porch", f"127.0.0.1:{port}").connect("ask")


def test_a_device_whose_key_is_not_known_is_a_fault_that_says_what_to_do(project: Path) -> None:
    with pytest.raises(Fault) as caught:
        Linked("porch", "pi.local")
    assert caught.value.code == "unknown-device"
    assert "reactor pair" in caught.value.do
    shutil.rmtree(trust.default_home(), ignore_errors=True)
