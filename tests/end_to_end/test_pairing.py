"""Pairing, and who is trusted, with the real commands on both ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .conftest import WAIT_S, Bench, save, until
from .test_linked import LOOP, SETTINGS, Board


@pytest.fixture
def device(bench: Bench) -> Iterator[Board]:
    """A device that is new: nobody has given it anything."""
    made = Board(bench, "porch")
    made.on("--name", "porch")
    yield made
    if made.process is not None:
        made.off(signal.SIGTERM)


def window(device: Board) -> tuple[str, str]:
    """The code that is shown, in the file that only the device's user reads, and where to type it."""
    file = device.state / "run" / "pairing"
    until(lambda: file.exists() and len(file.read_text().split()) == 3)
    assert file.stat().st_mode & 0o777 == 0o600
    code, host, port = file.read_text().split()
    return code, f"{host}:{port}"


def is_shut(device: Board) -> bool:
    return not (device.state / "run" / "pairing").exists()


def second(bench: Bench) -> Mapping[str, str]:
    return {"REACTOR_HOME": str(bench.folder / "second home"), "LOGNAME": "second"}


def at_the_console(device: Board, bench: Bench, *words: str) -> tuple[int, list[dict[str, Any]]]:
    command = [sys.executable, "-m", "bootloader", *words, "--state", str(device.state), "--json"]
    done = subprocess.run(command, env=bench.env, capture_output=True, text=True, timeout=WAIT_S)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_new_device_shows_a_code_and_the_host_that_types_it_pushes_to_it(bench: Bench, device: Board) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    code, address = window(device)
    assert device.process is not None
    assert device.process.stdout is not None
    assert f"pairing code {code}, for 120 s: reactor pair {address}" in device.process.stdout.readline()
    status, (paired,) = bench.run("pair", address, "--code", code)
    assert (status, paired["event"], paired["target"]) == (0, "paired", "porch")
    until(lambda: is_shut(device))
    assert bench.run("push", str(project), "-t", "porch")[0] == 0
    status, (known,) = bench.run("trust", "list")
    assert (known["target"], known["address"]) == ("porch", device.address)
    assert known["fingerprint"] == paired["fingerprint"]
    status, (host,) = bench.run("trust", "list", "-t", "porch")
    assert (host["name"], host["role"], host["you"]) == (paired["known_as"], "hosts", True)


def test_who_names_the_port_for_links_is_told_of_the_other_one(bench: Bench, device: Board) -> None:
    code, _ = window(device)
    status, (problem,) = bench.run("pair", device.address, "--code", code)
    assert (status, problem["code"]) == (1, "untrusted")
    assert "the port that the device shows" in problem["message"]
    assert not is_shut(device)


def test_a_wrong_code_three_times_shuts_the_window_for_the_right_one_too(bench: Bench, device: Board) -> None:
    code, address = window(device)
    wrong = "0000-0000" if code != "0000-0000" else "1111-1111"
    for _ in range(3):
        status, (problem,) = bench.run("pair", address, "--code", wrong)
        assert (status, problem["code"]) == (1, "wrong-code")
    until(lambda: is_shut(device))
    status, (problem,) = bench.run("pair", address, "--code", code)
    assert (status, problem["code"]) == (1, "link-down")
    assert bench.run("trust", "list") == (0, [])

    status, (shown,) = at_the_console(device, bench, "pair")
    assert (status, shown["event"]) == (0, "pairing")
    assert bench.run("pair", f"127.0.0.1:{shown['port']}", "--code", shown["code"])[0] == 0


def test_a_device_that_obeys_somebody_opens_a_window_at_that_host_s_word_alone(bench: Bench, device: Board) -> None:
    code, address = window(device)
    assert bench.run("pair", address, "--code", code)[0] == 0
    device.off(signal.SIGTERM)
    device.on()
    assert bench.run("status", "-t", "porch")[0] == 0
    assert is_shut(device)
    other = second(bench)
    stranger = Path(other["REACTOR_HOME"]) / "devices"
    stranger.mkdir(parents=True)
    for file in (bench.home / "devices").iterdir():
        (stranger / file.name).write_bytes(file.read_bytes())
    status, (problem,) = bench.run("pair", "--open", "-t", "porch", env=other)
    assert (status, problem["code"]) == (1, "untrusted")
    assert is_shut(device)

    status, (shown,) = bench.run("pair", "--open", "-t", "porch")
    assert (status, shown["event"]) == (0, "pairing")
    status, (paired,) = bench.run("pair", f"127.0.0.1:{shown['port']}", "--code", shown["code"], env=other)
    assert status == 0
    assert bench.run("status", "-t", "porch", env=other)[0] == bench.run("status", "-t", "porch")[0] == 0
    assert len(bench.run("trust", "list", "-t", "porch")[1]) == 2
    assert paired["known_as"].startswith("second@")


@pytest.mark.parametrize("where", ["host", "console"])
def test_a_host_that_is_removed_loses_the_session_that_it_has(bench: Bench, device: Board, where: str) -> None:
    code, address = window(device)
    assert bench.run("pair", address, "--code", code)[0] == 0
    other = second(bench)
    _, (shown,) = bench.run("pair", "--open", "-t", "porch")
    _, (paired,) = bench.run("pair", f"127.0.0.1:{shown['port']}", "--code", shown["code"], env=other)
    project = bench.project({"main.py": LOOP}, SETTINGS)
    dev = bench.start("dev", str(project), "-t", "porch", env=other)
    dev.wait("result", healthy=True)
    mark = dev.mark()
    if where == "host":
        status, (told,) = bench.run("trust", "remove", paired["known_as"], "-t", "porch")
        assert (status, told["code"]) == (0, "trusted")
    else:
        assert at_the_console(device, bench, "trust", "remove", paired["known_as"]) == (0, [])
    dev.wait("problem", since=mark, code="untrusted")
    assert dev.finish() == 1
    assert bench.run("status", "-t", "porch")[0] == 0
    status, hosts = at_the_console(device, bench, "trust", "list")
    assert (status, len(hosts)) == (0, 1)
    for words in (("remove", "nobody@nowhere", "-t", "porch"), ("remove", "nobody")):
        assert bench.run("trust", *words)[0] == 1
    assert at_the_console(device, bench, "trust", "remove", "nobody")[1][0]["code"] == "unknown-host"


def test_a_host_removes_itself_and_forgets_the_device(bench: Bench, device: Board) -> None:
    code, address = window(device)
    _, (paired,) = bench.run("pair", address, "--code", code)
    assert bench.run("trust", "remove", paired["known_as"], "-t", "porch")[0] == 0
    until(lambda: bench.run("status", "-t", "porch")[0] == 1)
    assert bench.run("trust", "remove", "porch")[0] == 0
    assert bench.run("trust", "list") == (0, [])


def test_an_observer_looks_and_can_t_push(bench: Bench, device: Board) -> None:
    code, address = window(device)
    _, (paired,) = bench.run("pair", address, "--code", code)
    project = bench.project({"main.py": LOOP}, SETTINGS)
    assert bench.run("push", str(project), "-t", "porch")[0] == 0
    status, told = bench.run("trust", "role", paired["known_as"], "observers", "-t", "porch")
    assert (status, told[0]["code"]) == (0, "trusted")
    until(lambda: bench.run("restart", "-t", "porch")[1][-1].get("code") == "observer")
    for command in ("status", "history", "logs"):
        assert bench.run(command, "-t", "porch")[0] == 0, command
    save(project / "main.py", LOOP.replace("version 1", "version 2"))
    status, told = bench.run("push", str(project), "-t", "porch")
    assert status == 1
    assert "this host may look, and change nothing" in json.dumps(told)
    (after,) = bench.run("status", "-t", "porch")[1]
    assert after["generation"]["generation"] == 1
    assert bench.run("trust", "role", paired["known_as"], "hosts", "-t", "porch")[1][-1]["code"] == "observer"
    for name, fate in (("nobody", (1, "unknown-host")), (paired["known_as"], (0, ""))):
        status, told = at_the_console(device, bench, "trust", "role", name, "hosts")
        assert (status, "".join(one["code"] for one in told)) == fate
    until(lambda: bench.run("push", str(project), "-t", "porch")[0] == 0)


@pytest.mark.parametrize("where", ["host", "console"])
def test_a_window_may_be_for_one_who_only_looks(bench: Bench, device: Board, where: str) -> None:
    code, address = window(device)
    assert bench.run("pair", address, "--code", code)[1][0]["role"] == "hosts"
    if where == "host":
        status, (shown,) = bench.run("pair", "--open", "--observe", "-t", "porch")
    else:
        status, (shown,) = at_the_console(device, bench, "pair", "--observe")
    assert (status, shown["role"]) == (0, "observers")
    other = second(bench)
    said = bench.plain("pair", f"127.0.0.1:{shown['port']}", "--code", shown["code"], env=other).stdout
    assert "porch lets this host look, as second@" in said
    assert bench.run("status", "-t", "porch", env=other)[0] == 0
    assert bench.run("pair", "--open", "-t", "porch", env=other)[1][0]["code"] == "observer"
    roles = {one["role"]: one["you"] for one in bench.run("trust", "list", "-t", "porch")[1]}
    assert roles == {"hosts": True, "observers": False}
    assert bench.run("pair", "--observe", address)[1][0]["code"] == "not-open"


def test_a_code_is_asked_for_where_there_is_a_terminal_and_else_is_a_problem(bench: Bench, device: Board) -> None:
    _, address = window(device)
    status, (problem,) = bench.run("pair", address)
    assert (status, problem["code"]) == (1, "no-code")
    status, (problem,) = bench.run("pair", address, "--code", "12")
    assert (status, problem["code"]) == (1, "bad-code")
    status, (problem,) = bench.run("pair")
    assert (status, problem["code"]) == (1, "no-device")
    status, (problem,) = bench.run("pair", address, "--code", "12345678", "--name", "local")
    assert (status, problem["code"]) == (1, "bad-name")
    assert not is_shut(device)


def test_without_the_package_a_device_boots_and_says_so(bench: Bench) -> None:
    (bench.folder / "broken").mkdir()
    (bench.folder / "broken" / "spake2.py").write_text("raise ImportError('not here')\n")
    device = Board(bench, "porch")
    bench.env["PYTHONPATH"] = f"{bench.folder / 'broken'}{os.pathsep}{bench.env.get('PYTHONPATH', '')}"
    device.on()
    try:
        device.trust()
        until(lambda: bench.run("status", "-t", "porch")[0] == 0)
        status, (problem,) = bench.run("pair", "--open", "-t", "porch")
        assert (status, problem["code"]) == (1, "no-pairing")
        assert "spake2" in problem["message"]
    finally:
        device.off(signal.SIGTERM)


def test_a_console_without_a_bootloader_says_so(bench: Bench) -> None:
    device = Board(bench, "porch")
    status, (problem,) = at_the_console(device, bench, "pair")
    assert (status, problem["code"]) == (1, "not-running")
    status, (problem,) = at_the_console(device, bench, "trust", "list")
    assert (status, problem["code"]) == (1, "no-identity")
