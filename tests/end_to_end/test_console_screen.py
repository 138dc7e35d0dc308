"""``reactor console`` in a user's terminal: keys, the screen, and what is left of both."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Bench
from .exporter import exporter
from .serial_device import Device
from .test_screen import MAIN, PROMPT, SETTINGS, Screen
from .test_screen import pytestmark as needs_tmux
from .user_terminal import UserTerminal

REACTOR = (sys.executable, "-m", "reactor")
LEAVE = b"\x1d."


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with Device(tmp_path / "tty") as made:
        yield made


@contextmanager
def console(bench: Bench, *arguments: str | Path, screen: bool = True) -> Iterator[UserTerminal]:
    with UserTerminal([*REACTOR, "console", *arguments], bench.env, bench.folder, screen=screen) as terminal:
        terminal.wait(lambda it: b"is open" in it.shown)
        yield terminal


def test_a_shell_on_the_device_is_worked_with_as_in_a_terminal(bench: Bench, device: Device) -> None:
    with console(bench, device.path) as terminal:
        assert terminal.lines() == ["Ctrl-] ? for help, Ctrl-] . to leave", f"{device.path} is open: 115200 8N1"]
        terminal.press(b"\x03\x04\x1a\x11\x13\x1b[A\t\r")
        assert device.hear(b"\r") == b"\x03\x04\x1a\x11\x13\x1b[A\t\r"
        device.say(b"\x1b[1;32mroot@pi\x1b[0m:~# lz\b\x1b[Ks\r\nboot  home\r\n# ")
        terminal.wait_line("root@pi:~# ls")
        row = terminal.lines().index("root@pi:~# ls")
        assert terminal.screen.buffer[row][0].fg == "green"
        assert terminal.screen.buffer[row][8].fg == "default"
        terminal.press(LEAVE)
        assert terminal.finish() == 0
        assert terminal.lines()[-4:] == ["root@pi:~# ls", "boot  home", "#", "(end)"]
        assert terminal.current_mode() == terminal.mode


def test_the_escape_key_has_help_times_and_another_key(bench: Bench, device: Device) -> None:
    with console(bench, device.path, "--escape", "^T") as terminal:
        terminal.press(b"\x14?")
        terminal.wait_line("  b  send a break")
        terminal.press(b"\x14t\x1d\x14\x14x")
        assert device.hear(b"x") == b"\x1d\x14x"
        device.say(b"now\r\n")
        terminal.wait(lambda it: re.fullmatch(r"\[\d\d:\d\d:\d\d\.\d{3}\] now", it.lines()[-1]) is not None)
        terminal.press(b"\x14q")
        assert terminal.finish() == 0


def test_a_break_is_sent_where_the_port_can(bench: Bench, device: Device) -> None:
    with exporter(device.path) as (server, url), console(bench, url) as terminal:
        terminal.press(b"a\x1dbc")
        assert device.hear(b"c") == b"ac"
        terminal.wait(lambda it: any(line.endswith("a break was sent") for line in it.lines()))
        terminal.press(LEAVE)
        assert terminal.finish() == 0
        assert server.stdout is not None
        said = list(iter(server.stdout.readline, "left\n"))
        assert [line for line in said if line.startswith("break")] == ["break True\n", "break False\n"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_terminal_is_given_back_also_where_it_is_killed_by_signal(
    bench: Bench, device: Device, number: signal.Signals
) -> None:
    with console(bench, device.path) as terminal:
        assert terminal.current_mode() != terminal.mode
        device.say(b"\x1b[?1049h\x1b[?25l\x1b[31m\x1b(0junk")
        terminal.wait(lambda it: it.screen.cursor.hidden)
        terminal.process.send_signal(number)
        assert terminal.finish() == 0
        assert terminal.current_mode() == terminal.mode
        assert not terminal.screen.cursor.hidden
        assert b"\x1b[?1049l" in terminal.shown
        assert terminal.screen.buffer[terminal.screen.cursor.y][0].fg == "default"
        assert terminal.lines()[-1] == "(end)"


def test_junk_does_not_wreck_the_terminal(bench: Bench, device: Device) -> None:
    with console(bench, device.path) as terminal:
        device.say(bytes(range(256)))
        device.say(b"\x1b]0;owned\x07\x1b]52;c;cm0=\x07\x1b[6;5H\x1b[c\x1bP$qm\x1b\\\x1b[?1000h\x1b[3J\x1bc\x1b[21t")
        device.say(b"\x1b" * 20_000 + b"\x1b]" * 5_000 + b"\xc3\x28\xff" * 5_000)
        device.say(b"\x1b[0m\x1b[H\x1b[2Jend\r\n")
        terminal.wait(lambda it: it.lines()[0] == "end")
        assert terminal.screen.title == ""
        for stopped in (b"\x1b]", b"\x1bP", b"\x1b[c", b"\x1b[?1000h", b"\x1b[3J", b"\x1bc", b"\x1b[21t", b"\x9b\x9b"):
            assert stopped not in terminal.shown
        terminal.press(LEAVE)
        assert terminal.finish() == 0
        assert terminal.lines() == ["end", "(end)"]
        assert terminal.current_mode() == terminal.mode


def test_ten_megabytes_without_a_line_end_are_shown_and_the_escape_key_works(bench: Bench, device: Device) -> None:
    with console(bench, device.path, screen=False) as terminal:
        device.say(b"x" * 10_000_000 + b"end")
        terminal.wait(lambda it: b"end" in it.shown[-1000:])
        lost = sum(map(int, re.findall(rb"(\d+) bytes of", bytes(terminal.shown))))
        assert terminal.shown.count(b"x") + lost >= 10_000_000
        terminal.press(LEAVE)
        assert terminal.finish() == 0


def test_unplugged_and_back_is_said_on_lines_of_their_own(bench: Bench, device: Device) -> None:
    with console(bench, device.path) as terminal:
        device.say(b"\x1b[?25lhalf a li")
        terminal.wait_line("half a li")
        device.unplug()
        terminal.wait(
            lambda it: f"half a li{device.path} is gone: unplugged" in "".join(it.lines())
        )  # it may be wrapped
        assert not terminal.screen.cursor.hidden
        terminal.press(b"lost")
        terminal.wait_line("keys are not sent: the port is not there, or takes no more")
        device.plug()
        terminal.wait_line(f"{device.path} is open: back")
        terminal.press(b"kept\r")
        assert device.hear(b"\r") == b"kept\r"
        terminal.press(LEAVE)
        assert terminal.finish() == 0


def test_the_screen_says_why_a_port_can_not_be_had(bench: Bench, device: Device) -> None:
    command = [*REACTOR, "console", str(device.path)]
    with console(bench, device.path), UserTerminal(command, bench.env, bench.folder) as second:
        assert second.finish() == 1
        assert "is in use by" in " ".join(second.lines())
        assert second.current_mode() == second.mode


@needs_tmux
def test_orders_at_the_prompt_of_dev_type_on_the_port(bench: Bench, device: Device) -> None:
    bench.project({"main.py": MAIN}, SETTINGS)
    with Screen(bench, [*REACTOR, "dev", "app", f"--console={device.path}"]) as screen:
        screen.wait(f"● {device.path} is open: 115200 8N1")
        screen.wait(PROMPT)
        device.say(b"\x1b[1mU-Boot\x1b[0m 2026.01\r\nHit any key: ")
        screen.wait("tty │ U-Boot 2026.01$")
        screen.wait("tty │ Hit any key:$")
        screen.type("%console printenv bootcmd")
        screen.press("Enter")
        assert device.hear(b"\r") == b"printenv bootcmd\r"
        screen.type("%break")
        screen.press("Enter")
        screen.wait("! .* a break was sent")
        device.unplug()
        screen.wait(f"● {device.path} is gone: unplugged")
        screen.type("%console x")
        screen.press("Enter")
        screen.wait("✗ .* nothing was sent")
        screen.press("C-c")
        screen.wait("^ended with 0$")
