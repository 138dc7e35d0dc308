"""Boards that lie: what their shells say, over ssh and at a console, and what that makes of this host."""

from __future__ import annotations

import argparse
import io
import os
import re
import socket
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bootloader.wire.errors import Fault, Malformed
from reactor import trust
from reactor.cli import doctor, provision, unprovision
from reactor.provision import console as module
from reactor.provision.board import Board
from reactor.provision.console import Console
from reactor.provision.exchange import sum_of
from reactor.provision.facts import read
from reactor.provision.login import ANSWER, QUESTION
from reactor.provision.payload import extras, requirements
from reactor.provision.ssh import Ssh
from reactor.terminal import Terminal
from tests.reactor.test_report import HOSTILE, RAW

PYTHON = "\t".join(["/usr/bin/python3", "CPython", "3.11.2", "", "aarch64", "glibc 2.36", ""])
SOON_S = 20.0
HONEST = {
    "kernel": "Linux",
    "name": "board",
    "user": "pi",
    "uid": "1000",
    "root": "sudo",
    "init": "systemd",
    "address": "192.0.2.1",
    "mount": "/dev/mmcblk0p2 rw",
    "state": "/home/pi/.local/state/bootloader",
    "clock": "1700000000",
    "free_kb": "1000000",
    "state_free_kb": "1000000",
    "writable": "yes",
    "tar": "yes",
    "python": PYTHON,
    "looked": "yes",
}


def told(**more: str) -> str:
    """What ``look.sh`` says, with what is other than on an honest board."""
    facts = HONEST | {key: value.replace("\n", "|") for key, value in more.items()}
    return "".join(f"fact {key}={value}\n" for key, value in facts.items())


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of what a target needs, with nothing in them."""
    folder = tmp_path_factory.mktemp("index")
    for wanted in [*requirements(), *(one for some in extras("announce", "pairing").values() for one in some)]:
        name, version = re.split(r"\W", wanted)[0], re.split(r"=([\d.]+)", wanted)[1]
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            place = f"{name}-{version}.dist-info"
            wheel.writestr(f"{place}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{place}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{place}/RECORD", "")
    return folder


class Host:
    """This one, which knows a device: ``porch``."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder = folder / "home", folder
        self.porch = trust.make_identity("porch").cert_pem
        trust.remember(self.home, "porch", self.porch, "192.0.2.7:7717")

    def board(self, look: str, answer: str = "", script: str = "") -> str:
        """An ssh at whose other end is a board that says ``look``, and ``answer`` to all else, after ``script``."""
        for name, text in (("look", look), ("answer", answer)):
            (self.folder / name).write_text(text, "utf-8", "replace")
        ssh = self.folder / "ssh"
        ssh.write_text(
            f"case $* in *-G*) echo hostname 127.0.0.1 ;; *home_of_code=*) {script} cat '{self.folder}/look' ;;\n"
            f"*) cat >/dev/null; cat '{self.folder}/answer' ;; esac\n"
        )
        return f"sh {ssh}"

    def run(self, command: Any, *words: str) -> tuple[int, str]:
        """A command: its exit code, and what it shows, of which nothing is raw."""
        parser = argparse.ArgumentParser()
        command.add(parser)
        screen = io.StringIO()
        with Terminal(as_json=False, output=screen) as terminal:
            try:
                code = command.run(parser.parse_args(words), terminal)
            except Fault as fault:
                terminal.fault(fault)
                code = 1
        shown = screen.getvalue()
        assert not (found := RAW.search(shown)), shown[max(0, found.start() - 100) : found.end() + 100]
        return code, shown

    def devices(self) -> Mapping[str, tuple[str, ...]]:
        """Those that it knows: by name and key, where they were."""
        return {f"{one.name} {one.fingerprint}": one.addresses for one in trust.known(self.home)}


@pytest.fixture
def host(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(index), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("REACTOR_HOME", str(tmp_path / "home"))
    return Host(tmp_path)


def test_a_board_that_says_to_be_another_device_does_not_get_its_name(host: Host) -> None:
    before, own = host.devices(), trust.make_identity("board").cert_pem
    steps = "step code\nstep trust\nstep service\nstep start\nstep done\n"
    ssh = host.board(told(device=host.porch), f"{steps}fact device={own.replace(chr(10), '|')}\n")
    code, shown = host.run(provision, "root@board", "--ssh", ssh)
    assert (code, "reactor trust remove porch" in shown) == (1, True)
    assert host.devices() == before


@pytest.mark.parametrize(
    "name", ["usb", "all", "local", "host", "../porch", "", "porch", "192.0.2.7", "board.local", HOSTILE]
)
def test_what_a_board_calls_itself_is_no_address_no_path_and_nothing_that_is_somebody_else_s(
    host: Host, name: str
) -> None:
    before = host.devices()
    code, shown = host.run(provision, "root@board", "--ssh", host.board(told(called=name, name=name)))
    assert (code, "--name" in shown or "use letters" in shown) == (1, True)
    assert host.devices() == before


@pytest.mark.parametrize(
    "place",
    [
        "serial:/dev/watchdog",
        "serial:socket://192.0.2.9:22",
        "192.0.2.9:22/x",
        "127.0.0.1",
        "::1",
        "169.254.10.10",
        "fe80::1%eth0",
        "0.0.0.0",
        "224.0.0.1",
        "porch.local",
        HOSTILE,
    ],
)
def test_where_a_board_says_to_be_is_an_address_that_others_can_be_at(place: str) -> None:
    assert read(told(address=place)).address == ""
    assert read(told(name=place.replace(".", "-"))).name in ("", place.replace(".", "-"))


@pytest.mark.parametrize("place", ["192.168.1.9", "2001:db8::1"])
def test_an_address_that_others_can_be_at_is_kept(place: str) -> None:
    assert read(told(address=place)).address == place


def test_who_a_board_says_to_be_in_a_question_for_a_password_is_a_name_and_no_more() -> None:
    for name in ("pi on this host, for", "✓ code", HOSTILE, "x" * 65):
        with pytest.raises(Malformed, match="nobody has"):
            read(told(user=name))
        assert read(told(runs_as=name)).runs_as == "?"
    assert read(told(user="DOMAIN\\ada.l-1$")).user == "DOMAIN\\ada.l-1$"


def test_what_is_no_certificate_or_more_than_one_is_none(host: Host) -> None:
    garbage = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
    for text in (garbage, host.porch * 2, host.porch + garbage, host.porch[:100], "x" * 100_000, HOSTILE):
        assert read(told(device=text)).device == ""
    assert read(told(device=f"ours\n{host.porch}")).device == host.porch


@pytest.mark.parametrize("command", [provision, unprovision, doctor], ids=lambda one: str(one.__name__))
@pytest.mark.parametrize("errors", ["", "cat '{look}' >&2; exit 3;", "cat '{look}' >&2; exit 255;"])
def test_a_board_that_says_all_that_a_terminal_acts_upon_shows_nothing_raw_and_changes_nothing(
    host: Host, command: Any, errors: str
) -> None:
    before = host.devices()
    ssh = host.board(
        told(**dict.fromkeys(HONEST.keys() - {"user", "looked"}, HOSTILE)),
        script=errors.format(look=host.folder / "look"),
    )
    code, _ = host.run(command, "root@board", "--ssh", ssh)
    assert code == 1
    assert host.devices() == before


def test_numbers_that_no_board_has_are_read(host: Host) -> None:
    huge = dict.fromkeys(("uid", "clock", "free_kb", "state_free_kb", "kept"), "9" * 18)
    assert host.run(doctor, "root@board", "--ssh", host.board(told(**huge)))[0] == 1
    python = PYTHON.replace("3.11.2", "999.999.999").replace("2.36", "999.999")
    assert host.run(provision, "root@board", "--ssh", host.board(told(**huge, python=python)))[0] == 1


def test_what_a_board_complains_of_without_an_end_of_a_line_takes_a_bounded_amount_of_memory(host: Host) -> None:
    ssh = host.board("", script="head -c 100000000 /dev/zero >&2; exit 3;")
    tracemalloc.start()
    try:
        with pytest.raises(Fault, match="\ufffd"):
            Board(Ssh("root@board", ssh), 7717)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


_ORDER = re.compile(rb"@\n@\n(.*?)@(\d+) ([0-9a-f]{16})\n", re.DOTALL)


class Liar:
    """A board at the end of a line that takes orders, and answers each with what ``lie`` makes of it."""

    def __init__(self, lie: Callable[[str], str]) -> None:
        self._lie = lie
        self._door = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        port = self._door.getsockname()[1]
        self.console = Console(f"serial:socket://127.0.0.1:{port}", "", lambda: "secret")

    def _run(self) -> None:
        line, _ = self._door.accept()
        with line, suppress(OSError):
            heard = b""
            while data := line.recv(65536):
                heard += data
                if QUESTION.encode() in heard:
                    line.sendall(f"{ANSWER}\n".encode())
                elif b"while :; do" in heard:
                    line.sendall(f"@0 {sum_of('0 ready')} ready\n".encode())
                elif (found := _ORDER.search(heard)) is None:
                    if b"@\n@\n" in heard:
                        continue
                    line.sendall(b"$ ")
                else:
                    number, answer = int(found[2]), self._lie(found[1].decode())
                    line.sendall(f"@{number} {sum_of(f'{number} {answer}')} {answer}\n".encode())
                heard = b""

    def __enter__(self) -> Console:
        return self.console

    def __exit__(self, *_: object) -> None:
        self._door.close()
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()


def test_a_board_at_a_console_names_no_command_and_is_given_up_where_it_takes_what_is_sent_byte_by_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PUT_S", 0.2)
    monkeypatch.setattr(module, "_SLACK", 0)
    orders: list[str] = []
    taken = count(1)

    def lie(text: str) -> str:
        orders.append(text)
        if "command -v" in text:
            return "rm -rf ."
        return str(next(taken)) if "base64 -d" in text else ""

    with Liar(lie) as console, console, pytest.raises(Fault) as raised:
        console.run("true", os.urandom(100_000))
    assert raised.value.code == "line-lost"
    assert not any("rm -rf ." in one for one in orders)
