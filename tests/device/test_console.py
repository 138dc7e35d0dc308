"""A whole machine that is provisioned at its serial console, as a board without a network is, and as a USB gadget.

    REACTOR_DEVICE=1 ./bootstrap pytest -n0 -s tests/device/test_console.py

The way there is `socket://`, as of an exporter of serial ports. The gadget is on the kernel's own pretended USB port.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Bench, benched, until

from .machine import Machine, Unavailable
from .test_board import FILES, program

pytestmark = pytest.mark.timeout(3600)

WAIT_S = 1200.0
PASSWORD = "sesame & co"
STEPS = ["code", "trust", "service", "gadget", "start"]


@contextmanager
def exporter(console: Path) -> Iterator[str]:
    """Where who calls gets that console: a TCP port, for one caller at a time."""
    ended, wake = os.pipe()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while ended not in select.select([ended, server.fileno()], [], [])[0]:
            with server.accept()[0] as caller, socket.socket(socket.AF_UNIX) as line, suppress(ConnectionError):
                line.connect(str(console))
                ways = {caller.fileno(): (caller, line), line.fileno(): (line, caller)}
                while ended not in (ready := select.select([ended, *ways], [], [])[0]):
                    for source, sink in map(ways.__getitem__, ready):
                        if not (data := source.recv(4096)):
                            raise ConnectionResetError
                        sink.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"
    finally:
        os.write(wake, b"\0")
        thread.join()
        server.close()
        os.close(ended)
        os.close(wake)


class Porch:
    """The machine, with a password for ``pi``, for which sudo asks, and a USB port that can be a device's."""

    def __init__(self, machine: Machine, bench: Bench, port: str) -> None:
        self.machine, self.bench = machine, bench
        self._board = f"pi@serial:{port}"
        self._secret = bench.folder / "password"
        self._secret.touch(0o600)
        self._secret.write_text(PASSWORD)
        machine.ssh(f"echo 'pi:{PASSWORD}' | chpasswd; echo 'pi ALL=(ALL) ALL' >/etc/sudoers.d/pi")

    def run(self, command: str, *more: str, code: int = 0) -> list[dict[str, Any]]:
        """Run ``reactor provision`` or ``unprovision``; its events."""
        words = [self._board, "--password-file", str(self._secret), *more]
        got, events = self.bench.run(command, *words, wait_s=WAIT_S)
        assert got == code, events
        return events


@pytest.fixture(scope="module")
def porch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Porch]:
    if not os.environ.get("REACTOR_DEVICE"):
        pytest.skip("a whole machine takes minutes: REACTOR_DEVICE=1 runs it")
    try:
        with (
            Machine.booted(tmp_path_factory.mktemp("machine")) as machine,
            benched(tmp_path_factory.mktemp("bench")) as bench,
            exporter(machine.console) as port,
        ):
            yield Porch(machine, bench, port)
    except Unavailable as error:
        pytest.skip(str(error))


def planned(events: list[dict[str, Any]]) -> list[str]:
    return [one["step"] for one in events if one.get("state") == "planned"]


def test_a_board_without_such_a_usb_port_is_refused_and_nothing_is_changed(porch: Porch) -> None:
    porch.machine.ssh("modprobe -r dummy_hcd 2>/dev/null || true")
    before = porch.machine.ssh(FILES)
    assert porch.run("provision", "--gadget", code=1)[-1]["code"] == "no-udc"
    assert porch.machine.ssh(FILES) == before


def test_its_serial_console_and_one_command_make_it_a_target_and_a_gadget_and_another_as_it_was(porch: Porch) -> None:
    machine, bench = porch.machine, porch.bench
    machine.ssh("modprobe dummy_hcd")
    before = machine.ssh(FILES)
    done = porch.run("provision", "--name", "porch", "--gadget", "--address", f"127.0.0.1:{machine.port}")
    assert planned(done) == STEPS
    assert any("the password and the keys" in one.get("text", "") for one in done if one["event"] == "notice")
    print(f"provisioned over its console in {done[-1]['took_s']:.0f} s, {done[-1]['sent_bytes']} bytes before packing")
    assert machine.ssh("systemctl is-active bootloader bootloader-gadget").split() == ["active", "active"]
    assert machine.ssh("cat /sys/kernel/config/usb_gadget/live-reactor/UDC") == "dummy_udc.0\n"
    until(lambda: machine.ssh("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c ttyGS0 || true").strip() != "0", WAIT_S)
    assert machine.ssh("ps -C bootloader -o user= || ps -eo user=,args= | grep '[b]ootloader run'").split()[0] == "pi"
    project = bench.project({"main.py": program(1)})
    code, events = bench.run("push", str(project), "-t", "porch", wait_s=WAIT_S)
    assert (code, events[-1]["healthy"]) == (0, True)
    assert planned(porch.run("provision")) == ["none"]  # and it stays a gadget, though that was not said again
    assert planned(porch.run("unprovision")) == ["stop", "gadget", "code", "state"]
    assert machine.ssh(FILES).splitlines() == before.splitlines()
    assert machine.ssh("ls /sys/kernel/config/usb_gadget") == ""
    assert machine.ssh("systemctl list-unit-files 'bootloader*' --no-legend; true") == ""
