"""A shell at the end of a line that drops bytes, stands still, and has others talk into it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from threading import Event

import pytest

from benchmarks.cable import Cable, Way
from bootloader.wire.errors import Fault
from reactor.provision.console import Console
from tests.bootloader.wire.test_line import KERNEL
from tests.end_to_end.exporter import exporter

SHELLS = [words for words in ("bash", "busybox sh") if shutil.which(words.split()[0])]


def nobody() -> str:
    raise AssertionError("no password is asked for where a shell is")


@contextmanager
def board(words: str) -> Iterator[Cable]:
    """One where this shell is logged in already, as a person's own, and stays so."""
    with Cable() as cable:
        env = {**os.environ, "PS1": "$ ", "HISTFILE": "", "ENV": ""}
        command = f"exec <{cable.device} >{cable.device} 2>&1; stty sane; exec setsid --ctty --wait {words} -i"
        with subprocess.Popen(["sh", "-c", command], env=env, start_new_session=True) as process:
            try:
                yield cable
                assert process.poll() is None
            finally:
                process.kill()


def reached(cable: Cable) -> Console:
    """The console of a board on which a host was killed that had begun there."""
    Console(f"serial:{cable.host}", "", nobody).__enter__()._port.close()
    return Console(f"serial:{cable.host}", "", nobody)


@pytest.fixture(scope="module")
def dash() -> Iterator[tuple[Cable, Console]]:
    with board("dash") as cable, reached(cable) as console:
        yield cable, console


def ran(script: str, content: bytes) -> str:
    """What ``script`` prints here."""
    return subprocess.run(["sh", "-c", script], input=content, capture_output=True, check=True).stdout.decode()


def speaks(console: Console) -> None:
    """It says what a shell over ssh would."""
    content, heard = os.urandom(20_000), list[str]()
    script = "echo begun; printf '%s|' \"$HOME\" 'a  b' 'ü\t~@\\'; echo; cksum"
    assert console.run(script, content, on_line=heard.append) == (expected := ran(script, content))
    assert heard == expected.splitlines()
    with pytest.raises(Fault) as raised:
        console.run("echo '\x1b[31mno space left' >&2; exit 3")
    assert (raised.value.code, raised.value.what) == ("step-failed", "no space left")
    assert console.run("cat", b"typed", root="env A=1", password="o'brien; exit") == "o'brien; exit\ntyped"


def test_a_script_says_what_it_says_over_ssh_and_what_is_left_of_a_host_that_was_killed_does_no_harm(
    dash: tuple[Cable, Console],
) -> None:
    speaks(dash[1])


whole = pytest.mark.skipif(not os.environ.get("REACTOR_DEVICE"), reason="one shell is enough: REACTOR_DEVICE=1")


@whole
@pytest.mark.parametrize("scheme", ["rfc2217", "socket"])
def test_it_says_the_same_over_the_network(scheme: str) -> None:
    with (
        board("dash") as cable,
        exporter(cable.host, scheme) as (_, port),
        Console(f"serial:{port}", "", nobody) as console,
    ):
        speaks(console)


@whole
@pytest.mark.parametrize("words", SHELLS)
def test_other_shells_say_the_same(words: str) -> None:
    with board(words) as cable, reached(cable) as console:
        speaks(console)


def test_a_line_that_drops_bytes_and_others_talk_into_costs_time_and_nothing_else(dash: tuple[Cable, Console]) -> None:
    cable, console = dash
    random = Random(7)

    def spoil(way: Way, data: bytes) -> bytes:
        if way == "back" and random.random() < 0.05:
            return KERNEL + data
        return bytes(byte for byte in data if random.random() > 1 / 3000)

    content = os.urandom(3_000)
    cable.spoil = spoil
    said = console.run("sha256sum; seq 500", content)
    cable.spoil = lambda _way, data: data
    assert said == ran("sha256sum; seq 500", content)


def test_a_line_that_stands_still_is_waited_for_and_what_was_said_meanwhile_is_done_once(
    dash: tuple[Cable, Console],
) -> None:
    cable, console = dash
    stalls = iter([False, True])

    def spoil(_way: Way, data: bytes) -> bytes:
        if len(data) > 500 and next(stalls, False):
            Event().wait(1.2)  # longer than an answer may take
        return data

    content = os.urandom(9_000)
    cable.spoil = spoil
    said = console.run("od -An -tx1 | tr -d ' \n'", content)
    cable.spoil = lambda _way, data: data
    assert said == content.hex()
