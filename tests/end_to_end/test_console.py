"""``reactor console``: real pseudo-terminals as devices, told as JSON and in pipes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootloader.wire.errors import Fault
from reactor.console import port

from .conftest import WAIT_S, Bench, Running, save, until
from .exporter import exporter
from .serial_device import Device

REACTOR = (sys.executable, "-m", "reactor")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with Device(tmp_path / "ttyTEST") as made:
        yield made


@contextmanager
def piped(bench: Bench, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """``reactor console`` between pipes, once its port is open."""
    command = [*REACTOR, "console", *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=bench.env, cwd=bench.folder) as process:
        try:
            assert process.stderr is not None
            assert b" is open" in process.stderr.readline()
            yield process
        finally:
            process.kill()


def opened(bench: Bench, *arguments: str | Path) -> Running:
    running = bench.start("console", *map(str, arguments))
    running.wait("port", state="up")
    return running


def console_texts(running: Running) -> list[str]:
    return [event["text"] for event in running.events if event["event"] == "console"]


def test_lines_come_as_events_and_a_prompt_as_far_as_it_goes(bench: Bench, device: Device) -> None:
    running = opened(bench, device.path)
    assert running.events[0] | {"at": ""} == {
        "event": "port", "target": "", "at": "", "port": str(device.path), "state": "up", "why": "115200 8N1"
    }  # fmt: skip
    device.say(b"U-Boot 2026.01\r\n\x1b[?2004l\r\x1b[31mDRAM:\x1b[0m 1 GiB\r\nraspberrypi login: ")
    running.wait("console", text="raspberrypi login: ", ended=False)
    assert console_texts(running) == ["U-Boot 2026.01", "DRAM: 1 GiB", "raspberrypi login: "]
    assert running.end() == 0


def test_what_is_unplugged_is_waited_for_and_goes_on(bench: Bench, device: Device) -> None:
    running = opened(bench, device.path)
    for turn in range(3):
        device.say(b"boot %d\n" % turn)
        running.wait("console", text=f"boot {turn}")
        mark = running.mark()
        device.unplug()
        down = running.wait("port", mark, state="down")
        assert down["why"].startswith("unplugged: ")
        device.plug()
        assert running.wait("port", mark, state="up")["why"] == "back"
    assert running.end(signal.SIGTERM) == 0
    assert [event["event"] for event in running.events] == ["port", *["console", "port", "port"] * 3]


def test_a_port_is_waited_for_from_the_start_where_that_is_asked_for(bench: Bench, device: Device) -> None:
    device.unplug()
    code, events = bench.run("console", str(device.path))
    assert code == 1
    assert [event["code"] for event in events] == ["no-port"]
    running = bench.start("console", str(device.path), "--wait")
    assert "there is no such port" in running.wait("port", state="waiting")["why"]
    device.plug()
    running.wait("port", state="up")
    device.say(b"first\n")
    running.wait("console", text="first")
    assert running.end() == 0


def test_junk_of_every_kind_becomes_harmless_lines_and_none_is_lost(bench: Bench, device: Device) -> None:
    running = opened(bench, device.path)
    device.say(bytes(range(256)) + b"\n")
    device.say(b"\x1b]0;" * 50_000 + b"\n" + b"\xc3\x28\xf0\x9f\xff" * 50_000 + b"\n")
    device.say(b"end\n")
    running.wait("console", text="end")
    texts = console_texts(running)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "".join(texts))
    assert sum(text.count("(") for text in texts) == 50_001
    assert "".join(texts[:3]).count("A") == 1


def test_a_line_of_ten_megabytes_comes_whole_and_in_parts(bench: Bench, device: Device) -> None:
    running = opened(bench, device.path)
    device.say(b"x" * 10_000_000 + b"\nend\n")
    running.wait("console", text="end", wait_s=3 * WAIT_S)
    lines = [event for event in running.events if event["event"] == "console"][:-1]
    lost = [int(event["text"].split()[0]) for event in running.events if event["event"] == "notice"]
    assert sum(len(line["text"]) for line in lines) + sum(lost) == 10_000_000
    assert max(len(line["text"]) for line in lines) <= 8192
    assert [line["ended"] for line in lines] == [False] * (len(lines) - 1) + [True]


HOLD = """
import fcntl, os, sys, termios
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
if sys.argv[2] == "alone":
    fcntl.ioctl(fd, termios.TIOCEXCL)
if sys.argv[2] == "locked":
    fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(path: Path, how: str) -> Iterator[int]:
    """Another program that has the port open; its process id."""
    command = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid
        process.kill()


@pytest.mark.parametrize("how", ["alone", "locked"])
def test_a_port_that_somebody_else_holds_is_refused_and_says_who(bench: Bench, device: Device, how: str) -> None:
    with holder(device.path, how) as pid:
        code, (problem,) = bench.run("console", str(device.path))
        assert code == 1
        assert problem["code"] == "port-held"
        assert re.search(rf"is in use by python\S* \(process {pid}\)", problem["message"])
    running = opened(bench, device.path)
    code, (problem,) = bench.run("console", str(device.path))
    assert problem["code"] == "port-held"
    assert f"(process {running.process.pid})" in problem["message"]
    assert running.end() == 0


def test_a_port_that_somebody_reads_along_is_told(bench: Bench, device: Device) -> None:
    with holder(device.path, "open") as pid:
        running = opened(bench, device.path)
        assert f"(process {pid})" in running.wait("notice", code="port-shared")["text"]


def test_what_is_no_port_is_said_to_be_none(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in (
        "file",
        str(tmp_path),
        "/dev/null",
        "spy:///dev/null",
        "socket://nowhere",
        "rfc2217://a:1?logging=debug",
    ):
        code, (problem,) = bench.run("console", name)
        assert (code, problem["code"]) == (1, "bad-port"), name
    code, (problem,) = bench.run("console", "socket://127.0.0.1:1")
    assert (code, problem["code"]) == (1, "port-failed")
    assert "refused" in problem["message"]
    code, (problem,) = bench.run("console", "--log", str(tmp_path), "x")
    assert (code, problem["code"]) == (1, "log-failed")


def test_a_port_that_this_user_may_not_open_says_which_group_may(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become a user who may not")
    with Device(tmp_path / "tty") as device:
        device.path.chmod(0o600)
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o111)
        os.seteuid(65534)
        try:
            with pytest.raises(Fault) as caught:
                port.Port(str(device.path), port.Line())
        finally:
            os.seteuid(0)
    assert caught.value.code == "port-denied"
    assert "dialout" in str(caught.value)


def test_a_pipe_gets_the_lines_alone_and_its_input_goes_to_the_port(bench: Bench, device: Device) -> None:
    with piped(bench, device.path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"uname\n\x00\xff")
        process.stdin.close()
        assert device.hear(b"\xff") == b"uname\n\x00\xff"
        device.say(b"Linux\x1b[0m\r\n")
        assert process.stdout.readline() == b"Linux\n"
        process.terminate()
        assert process.wait(WAIT_S) == 0


def test_a_paste_of_a_megabyte_arrives_whole(bench: Bench, device: Device) -> None:
    paste = b"".join(b"%07d\n" % number for number in range(300_000)) + b"end"
    with piped(bench, device.path) as process:
        assert process.stdin is not None
        writer = threading.Thread(target=process.stdin.write, args=(paste,))
        writer.start()
        assert device.hear(b"end") == paste
        writer.join(WAIT_S)


def test_the_log_holds_every_byte_as_it_came_after_what_was_there(bench: Bench, device: Device, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    junk = bytes(range(256)) * 50
    running = opened(bench, device.path, "--log", log)
    device.say(junk + b"\nend\n")
    running.wait("console", text="end")
    assert log.read_bytes() == b"before\n" + junk + b"\nend\n"
    assert running.end() == 0


def test_with_timestamps_each_line_has_its_time_in_the_pipe_and_in_the_log(
    bench: Bench, device: Device, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with piped(bench, device.path, "--timestamps", "--log", log) as process:
        assert process.stdout is not None
        device.say(b"one\r\ntwo\r\n")
        shown = process.stdout.readline() + process.stdout.readline()
        assert re.fullmatch(rb"(\[\d\d:\d\d:\d\d\.\d{3}\] )one\n\1?.*two\n", shown)
        assert re.fullmatch(rb"\[[\d:.]{12}\] one\r\n\[[\d:.]{12}\] two\r\n", log.read_bytes())


def test_the_port_and_speed_of_a_target_come_from_the_settings(bench: Bench, device: Device) -> None:
    settings = f'entry = "main"\n[tool.reactor.targets.porch]\nconsole = "{device.path}"\nbaud = 9600'
    project = bench.project({"main.py": ""}, settings)
    running = opened(bench, "-t", "porch", "--path", project)
    assert running.events[0]["why"] == "9600 8N1"
    assert running.end() == 0
    running = opened(bench, "-t", "porch", "--path", project, "--baud", "57600", "--parity", "even", "--bits", "7")
    assert running.events[0]["why"] == "57600 7E1"
    assert running.end() == 0
    code, (problem,) = bench.run("console", "-t", "attic", "--path", str(project))
    assert (code, problem["code"]) == (1, "no-port")


def test_without_a_port_on_usb_the_error_says_so(bench: Bench) -> None:
    if any(one.usb for one in port.found()):
        pytest.skip("there is a serial port on USB")
    code, (problem,) = bench.run("console")
    assert (code, problem["code"]) == (1, "no-port")


def test_dev_tells_the_console_among_everything_else_and_no_port_ends_it(bench: Bench, device: Device) -> None:
    settings = f'entry = "main"\n[tool.reactor.targets.host]\nconsole = "{device.path}"\nbaud = 9600'
    program = "import time\nprint('version 1')\nwhile True: time.sleep(0.1)\n"
    project = bench.project({"main.py": program}, settings)
    device.unplug()
    running = bench.dev(project, "--console")
    running.wait("port", state="waiting", target="local")
    device.plug()
    assert running.wait("port", state="up")["why"] == "9600 8N1"
    device.say(b"[    0.000000] Booting Linux\r\n\x1b]0;x\x07login: ")
    assert running.wait("console", text="[    0.000000] Booting Linux")["target"] == "local"
    running.wait("console", text="login: ", ended=False)
    mark = running.mark()
    device.unplug()
    running.wait("port", mark, state="down")
    save(project / "main.py", program.replace("1", "2", 1))
    running.wait("log", mark, text="version 2")
    with holder_before(device) as pid:
        assert f"(process {pid})" in running.wait("port", mark, state="waiting")["why"]
    assert running.wait("port", mark, state="up")["why"] == "back"
    device.say(b"again\n")
    running.wait("console", mark, text="again")
    assert running.end() == 0


@contextmanager
def holder_before(device: Device) -> Iterator[int]:
    """The device comes back, and another program is faster."""
    aside = device.path
    device.path = aside.with_name("aside")
    device.plug()
    with holder(device.path, "locked") as pid:
        device.path.rename(aside)
        device.path = aside
        yield pid


def test_dev_says_that_a_folder_is_no_port(bench: Bench) -> None:
    project = bench.project({"main.py": "", "src/x.py": ""})
    code, (problem,) = bench.run("dev", "--console", "src", cwd=project)
    assert (code, problem["code"]) == (1, "bad-port")
    assert "--console=PORT" in problem["message"]


# over the network


def test_a_socket_is_a_port_and_is_connected_to_again(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(WAIT_S)
        running = bench.start("console", f"socket://127.0.0.1:{server.getsockname()[1]}")
        for turn in range(2):
            connection, _ = server.accept()
            mark = running.mark()
            with connection:
                running.wait("port", max(0, mark - 1), state="up")
                connection.sendall(b"turn %d\r\n" % turn)
                running.wait("console", text=f"turn {turn}")
            running.wait("port", mark, state="down")
        assert running.end() == 0


def test_an_exported_port_is_set_read_and_written(bench: Bench, device: Device) -> None:
    with exporter(device.path) as (server, url):
        running = opened(bench, url, "--baud", "9600")
        junk = bytes(range(256)) * 20
        device.say(b"\n" + junk + b"\nend\n")
        running.wait("console", text="end")
        assert running.end() == 0
        assert server.stdout is not None
        said = list(iter(server.stdout.readline, "left\n"))
        assert "line 9600 N\n" in said


def test_bytes_go_through_an_exporter_as_they_are(bench: Bench, device: Device, tmp_path: Path) -> None:
    log = tmp_path / "log"
    junk = bytes(range(256)) * 20
    with exporter(device.path) as (_, url), piped(bench, url, "--log", log) as process:
        assert process.stdin is not None
        process.stdin.write(junk + b"end")
        process.stdin.flush()
        assert device.hear(b"end") == junk + b"end"
        device.say(junk)
        until(lambda: log.read_bytes() == junk)


@pytest.mark.parametrize("nonsense", [b"\xff\xf0", b"\xff\xfa" + b"x" * 100_000, b"\xff" * 1001, b"hello\r\n"])
def test_a_server_that_talks_nonsense_is_refused_in_one_line(bench: Bench, nonsense: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(WAIT_S)
        running = bench.start("console", f"rfc2217://127.0.0.1:{server.getsockname()[1]}")
        connection, _ = server.accept()
        with connection:
            connection.sendall(nonsense)
            assert running.finish() == 1
        assert running.noise == []
        assert [event["code"] for event in running.events] == ["port-failed"]
