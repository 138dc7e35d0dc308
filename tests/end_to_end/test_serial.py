"""A device that is reached over a serial line alone: the real commands and bootloader, two pseudo-terminals between.

What passes is TLS from end to end, so what is proved here is that it passes, and that nothing else does.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from benchmarks.cable import Cable, Way
from bootloader.wire.framing import Deframer, framed, harmless
from tests.bootloader.wire.test_line import KERNEL, LOGIN

from .conftest import WAIT_S, Bench, benched, save, until
from .test_linked import LOOP, SETTINGS, Board
from .test_pairing import window

NET = SETTINGS + '\n[tool.reactor.applications.net]\nentry = "net:main"\ninit = true\nsettle_s = 0.1\ngrace_s = 0.5\n'


class Wired(Board):
    """A device whose serial port is at the other end of a cable."""

    def __init__(self, bench: Bench, cable: Cable) -> None:
        super().__init__(bench, "porch")
        self.cable = cable
        self.serial = f"serial:{cable.host}"

    def on(self, *options: str) -> None:
        super().on("--rescue", self.cable.device, "--name", "porch", *options)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with benched(tmp_path_factory.mktemp("serial")) as made:
        yield made


@pytest.fixture(scope="module")
def device(bench: Bench) -> Iterator[Wired]:
    """A device that is new, and was paired with over the line."""
    with Cable() as cable:
        made = Wired(bench, cable)
        made.on()
        code, _ = window(made)
        status, (paired,) = bench.run("pair", made.serial, "--code", code)
        assert (status, paired["target"], paired["address"]) == (0, "porch", made.serial)
        yield made
        if made.process is not None:
            made.off(signal.SIGTERM)


@pytest.fixture(scope="module")
def project(bench: Bench) -> Path:
    return bench.project({"main.py": LOOP, "net.py": LOOP.replace("version", "network")}, NET)


def test_who_has_paired_over_the_line_sees_pushes_reads_restarts_and_rolls_back(
    bench: Bench, device: Wired, project: Path
) -> None:
    target = ("-t", device.serial)
    status, (seen,) = bench.run("status", *target)
    assert (status, seen["target"], seen["running"], seen["generation"]) == (0, device.serial, True, None)
    assert bench.run("push", str(project), *target)[0] == 0
    save(project / "main.py", LOOP.replace("version 1", "version 2"))
    status, told = bench.run("push", str(project), *target)
    assert (status, told[-1]["files"], told[-1]["healthy"]) == (0, ["main.py"], True)

    def pids() -> dict[str, int]:
        _, (seen,) = bench.run("status", "-t", "porch")  # by its name: its address is the line's
        return {one["application"]: one["pid"] for one in seen["applications"]}

    before = pids()
    assert bench.run("restart", *target)[0] == 0
    assert not set(before.items()) & set(pids().items())
    assert set(before) == {"app", "net"}
    status, told = bench.run("rollback", *target)
    assert (status, told[-1]["healthy"]) == (0, True)
    status, told = bench.run("logs", "-n", "50", *target)
    assert [one["text"].split()[1] for one in told if "version" in one.get("text", "")][-1] == "1"
    assert device.cable.count_bytes["back"] > 1000


def test_an_edit_arrives_through_what_others_say_on_the_line_and_the_session_outlives_the_bootloader(
    bench: Bench, device: Wired, project: Path
) -> None:
    random = Random(7)

    def noisy(way: Way, data: bytes) -> bytes:
        if random.random() < 0.05:
            return data + (KERNEL if way == "back" else b"\r\n")
        return data[1:] if random.random() < 0.02 else data

    device.cable.spoil = noisy
    dev = bench.dev(project, "-t", "porch")
    dev.wait("result", healthy=True)
    for edit in range(3):
        mark = dev.mark()
        save(project / "main.py", LOOP.replace("version 1", f"edit {edit}"))
        dev.wait("result", since=mark, files=["main.py"], healthy=True)
    device.cable.spoil = lambda _, data: data
    mark = dev.mark()
    device.off(signal.SIGKILL)
    device.on()
    save(project / "main.py", LOOP.replace("version 1", "edit 3"))
    dev.wait("link", since=mark, state="up")
    assert dev.wait("result", since=mark, files=["main.py"])["healthy"]

    code, (problem,) = bench.run("status", "-t", device.serial)
    assert (code, problem["code"]) == (1, "port-held")
    assert f"(process {dev.process.pid})" in problem["message"]
    dev.process.kill()  # nobody says goodbye
    dev.finish()
    device.cable.let_go()
    assert bench.run("status", "-t", device.serial)[0] == 0
    assert dev.texts()[-1].startswith("edit 3")


def test_a_host_that_is_not_obeyed_gets_nothing_over_the_line(bench: Bench, device: Wired) -> None:
    stranger = {"REACTOR_HOME": str(bench.folder / "stranger"), "LOGNAME": "stranger"}
    status, (problem,) = bench.run("status", "-t", device.serial, env=stranger)
    assert (status, problem["code"]) == (1, "unknown-device")
    folder = Path(stranger["REACTOR_HOME"]) / "devices"
    folder.mkdir(parents=True)
    for file in (bench.home / "devices").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    for words in (("status",), ("rollback",), ("pair", "--open")):
        status, (problem,) = bench.run(*words, "-t", device.serial, env=stranger)
        assert (status, problem["code"]) == (1, "untrusted")
    status, (problem,) = bench.run("pair", device.serial, "--code", "1234-5678", env=stranger)
    assert (status, problem["code"]) == (1, "link-down")
    assert "no window to pair in is open" in problem["message"]


def test_whoever_speaks_the_line_without_a_key_hears_of_the_line_and_of_tls_and_no_more(device: Wired) -> None:
    port = os.open(device.cable.host, os.O_RDWR | os.O_NOCTTY)
    deframer = Deframer()
    bodies: list[bytes] = []

    def say(*bodies: bytes) -> None:
        os.write(port, b"".join(map(framed, bodies)))

    def heard(of: bytes) -> bytes:
        while not (found := [body for body in bodies if of in body]):
            assert select.select([port], [], [], WAIT_S)[0]
            bodies.extend(deframer.feed(os.read(port, 4096)))
        return found[0]

    try:
        os.write(port, LOGIN + os.urandom(3000) + b"~" + framed(harmless(b"live1x0123456789abcdef")))
        epoch = bytes.fromhex(heard(b"reactor1x0123456789abcdef")[-4:].decode())
        state = b"h" + epoch + bytes(4)
        say(state + b"\0\0\1" + b"o\0shell", state + b"\1\0\2" + b"o\1link", state + b"\2\0\3" + b"d\1" + bytes(200))
        assert heard(b"e\0").endswith(b"this device has no such service")
        assert heard(b"e\1")  # those zeros were no handshake
        say(state + b"\3\0\4" + b"d\7of a channel that is not open")
        while b"d" + epoch not in bodies:  # that is the end of the session
            heard(b"d" + epoch)
            bodies.extend(deframer.feed(os.read(port, 4096)))
    finally:
        os.close(port)


def test_a_login_on_the_line_is_told_from_a_bootloader_and_from_nothing(bench: Bench, device: Wired) -> None:
    with Cable() as cable:
        status, (problem,) = bench.run("status", "-t", f"serial:{cable.host}")
        assert (status, problem["code"]) == (1, "link-down")
        assert "nothing answers there" in problem["message"]
        port = os.open(cable.device, os.O_RDWR | os.O_NOCTTY)
        modes = termios.tcgetattr(port)
        modes[3] |= termios.ECHO | termios.ICANON
        termios.tcsetattr(port, termios.TCSANOW, modes)
        status, (problem,) = bench.run("status", "-t", f"serial:{cable.host}")
        assert "a login answers there" in problem["message"]
        os.close(port)
    status, (problem,) = bench.run("status", "-t", "serial:/dev/nothing")
    assert (status, problem["code"]) == (1, "link-down")
    assert "there is no such port" in problem["message"]
    status, (problem,) = bench.run("status", "-t", "serial:")
    assert (status, problem["code"]) == (1, "bad-address")


def test_a_port_that_comes_later_is_opened_then_and_one_that_goes_is_waited_for(
    bench: Bench, device: Wired, tmp_path: Path
) -> None:
    path = tmp_path / "ttyGS0"
    device.off(signal.SIGTERM)
    Board.on(device, "--rescue", str(path), "--name", "porch")
    for _ in range(2):
        with Cable() as cable:
            path.symlink_to(cable.device)
            ask = ("status", "-t", f"serial:{cable.host}")
            until(lambda ask=ask: bench.run(*ask)[0] == 0)  # type: ignore[misc]
        path.unlink()
    device.off(signal.SIGTERM)
    device.on()


def test_a_network_port_that_is_taken_keeps_nobody_out_who_comes_over_the_line(bench: Bench, device: Wired) -> None:
    device.off(signal.SIGTERM)
    host, _, port = device.address.partition(":")
    command = [sys.executable, "-m", "bootloader", "run", "--state", str(device.state), "--listen", device.address]
    command += ["--rescue", device.cable.device]
    with socket.create_server((host, int(port))), subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        until(lambda: bench.run("status", "-t", device.serial)[0] == 0)
        hosts = device.state / "trust" / "hosts"
        (mine,) = hosts.iterdir()
        mine.rename(device.state / "mine")
        until(lambda: bench.run("status", "-t", device.serial)[1][0].get("code") == "untrusted")
        (device.state / "mine").rename(mine)
        until(lambda: bench.run("status", "-t", device.serial)[0] == 0)
        process.terminate()
    device.on()


def test_a_device_without_a_network_is_found_by_its_serial_line(bench: Bench, device: Wired, project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        gone = f"127.0.0.1:{nobody.getsockname()[1]}"
    file = bench.home / "devices" / "porch.address"
    before = file.read_text()
    file.write_text(f"{gone}\n{device.serial}\n")
    assert bench.run("status", "-t", "porch")[0] == 0
    file.write_text(f"{device.serial}\n{device.address}\n")
    count = dict(device.cable.count_bytes)
    assert bench.run("status", "-t", "porch")[0] == 0
    assert device.cable.count_bytes == count  # the network is there, and comes first
    file.write_text(before)
