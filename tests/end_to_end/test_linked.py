"""Targets at an address: a bootloader started by hand, named in every way, lost, found again, and not believed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .conftest import NO_ENV, WAIT_S, Bench, save, until

SETTINGS = 'entry = "main:main"\nsettle_s = 0.1\ngrace_s = 0.5'
LOOP = """\
import os, time

def main():
    print("version 1", os.environ.get("WHERE", "nowhere"), os.getpid(), flush=True)
    while True:
        time.sleep(0.05)
"""


class Board:
    """A device: a state folder, a port of its own, and, where it is on, a bootloader."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.name = name
        self.state = bench.folder / f"{name} state"
        self._bench = bench
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.process: subprocess.Popen[str] | None = None

    def trust(self, env: Mapping[str, str] = NO_ENV) -> None:
        """Have this host make its keys, and know it by name."""
        words = ("--name", self.name, "--address", self.address)
        code, (event, *_) = self._bench.run("trust", "make", str(self.state), *words, env=env)
        assert (code, event["code"]) == (0, "trusted")

    def on(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bootloader", "run", "--state", str(self.state), "--listen", self.address, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._bench.env,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert self.address.rpartition(":")[2] in first, first

    def off(self, number: int = signal.SIGKILL) -> int:
        """Its bootloader ends: by default as if the power were cut."""
        assert self.process is not None
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)  # the keeper and the bootloader, at one moment
        else:
            self.process.send_signal(number)
        code = self.process.wait(WAIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code


@pytest.fixture
def board(bench: Bench) -> Iterator[Callable[[str], Board]]:
    """Makes boards, which are trusted and on."""
    boards: list[Board] = []

    def make(name: str) -> Board:
        boards.append(Board(bench, name))
        boards[-1].trust()
        boards[-1].on()
        return boards[-1]

    yield make
    for one in boards:
        if one.process is not None:
            one.off(signal.SIGTERM)


Make = Callable[[str], Board]


def test_a_target_is_named_by_its_name_its_address_or_the_environment(bench: Bench, board: Make) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    device = board("porch")
    code, told = bench.run("push", str(project), "-t", "porch")
    assert code == 0
    assert told[-1]["target"] == "porch"
    assert told[0]["target"] == "porch"

    for words, env in ((["-t", device.address], {}), ([], {"REACTOR_TARGET": "porch"})):
        code, (status,) = bench.run("status", *words, cwd=project, env=env)
        assert code == 0
        assert status["target"] == (words[1] if words else "porch")
        assert status["running"]
        assert status["applications"][0]["state"] == "healthy"
    assert bench.run("status", "-t", "local", cwd=project, env={"REACTOR_TARGET": "porch"})[1][0]["generation"] is None


def test_a_name_counts_more_than_an_address_that_another_device_had_before(bench: Bench, board: Make) -> None:
    device = board("porch")
    assert bench.run("trust", "make", "old", "--name", "attic", "--address", device.address)[0] == 0
    assert bench.run("status", "-t", "porch")[0] == 0
    code, (problem,) = bench.run("status", "-t", "attic")
    assert (code, problem["code"]) == (1, "untrusted")


def test_a_device_is_asked_from_any_folder_and_a_project_from_its_own(bench: Bench, board: Make) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    board("porch")
    assert bench.run("push", str(project), "-t", "porch")[0] == 0
    for command in ("status", "history", "logs"):
        code, told = bench.run(command, "-t", "porch")
        assert code == 0
        assert told
        code, (problem,) = bench.run(command)
        assert (code, problem["code"]) == (1, "not-a-project")


def test_the_settings_give_a_target_its_address_its_entry_and_its_environment(bench: Bench, board: Make) -> None:
    porch, shed = board("porch"), board("shed")
    settings = f"""{SETTINGS}
[tool.reactor.targets.local]
entry = "main:fake"
[tool.reactor.targets.porch]
address = "{porch.address}"
env = {{ WHERE = "porch" }}
[tool.reactor.targets.shed]
env = {{ WHERE = "shed" }}
"""
    fake = '\ndef fake():\n    print("faked", flush=True)\n'
    project = bench.project({"main.py": LOOP + fake}, settings)
    code, told = bench.run("push", str(project), "-t", "all")
    assert code == 0
    texts = {one["target"]: one["text"] for one in told if one["event"] == "log"}
    assert {name: text.split()[2] for name, text in texts.items()} == {"porch": "porch", "shed": "shed"}
    assert shed.process is not None

    code, told = bench.run("push", str(project))
    assert code == 0
    assert [one["text"] for one in told if one["event"] == "log"] == ["faked"]


def test_a_save_reaches_two_targets_and_each_line_says_which(bench: Bench, board: Make) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    board("porch")
    board("shed")
    dev = bench.start("dev", str(project), "-t", "porch", "-t", "shed")
    for name in ("porch", "shed"):
        dev.wait("result", target=name, healthy=True)
    mark = dev.mark()
    save(project / "main.py", LOOP.replace("version 1", "version 2"))
    for name in ("porch", "shed"):
        assert dev.wait("result", since=mark, target=name)["files"] == ["main.py"]
    assert dev.end() == 0

    people = bench.plain("status", "-t", "porch", "-t", "shed").stdout
    assert people.startswith("porch: generation 2 (healthy)")
    assert "\nshed: generation 2 (healthy)" in people
    people = bench.plain("push", str(project), env={"REACTOR_TARGET": "porch,shed"}).stdout
    lines = [line for line in people.splitlines() if line.strip()]
    assert lines
    assert all(line.startswith(("porch ", "shed ")) for line in lines), people


def test_a_lost_target_holds_up_nobody_and_gets_the_newest_save_when_it_is_back(bench: Bench, board: Make) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    board("porch")
    shed = board("shed")
    dev = bench.start("dev", str(project), "-t", "porch", "-t", "shed")
    for name in ("porch", "shed"):
        dev.wait("result", target=name, healthy=True)
    shed.off()
    dev.wait("link", target="shed", state="down")
    mark = dev.mark()
    for number in (2, 3):
        save(project / "main.py", LOOP.replace("version 1", f"version {number}"))
        assert dev.wait("result", since=mark, target="porch", generation=number)["healthy"]
    assert not [one for one in dev.events[mark:] if one["target"] == "shed" and one["event"] == "result"]

    shed.on()
    dev.wait("link", since=mark, target="shed", state="up")
    result = dev.wait("result", since=mark, target="shed")
    assert (result["healthy"], result["generation"]) == (True, 2)
    texts = [one["text"] for one in dev.events[mark:] if one["event"] == "log" and one["target"] == "shed"]
    assert "version 3" in texts[-1]
    assert not any("version 2" in text for text in texts)


def test_a_push_fails_where_one_of_its_targets_is_down_and_reaches_the_other(bench: Bench, board: Make) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    board("porch")
    board("shed").off()
    push = bench.start("push", str(project), "-t", "porch", "-t", "shed")
    assert push.wait("result", target="porch")["healthy"]
    down = push.wait("link", target="shed", state="down")
    assert "check the address, and that the bootloader runs there" in down["why"]
    assert push.finish(wait_s=60) == 1
    assert push.events[-1]["code"] == "link-down"
    assert push.events[-1]["target"] == "shed"


def test_a_bootloader_that_starts_again_runs_the_application_once_and_gets_the_save_of_meanwhile(
    bench: Bench, board: Make
) -> None:
    count = bench.folder / "starts"
    counting = LOOP.replace("    while", f'    open({str(count)!r}, "a").write("x")\n    while')
    project = bench.project({"main.py": counting}, SETTINGS)
    device = board("porch")
    dev = bench.dev(project, "-t", "porch")
    dev.wait("result", healthy=True)
    assert count.read_text() == "x"

    mark = dev.mark()
    device.off()
    dev.wait("link", since=mark, state="down")
    mark = dev.mark()
    device.on()
    dev.wait("link", since=mark, state="up")
    result = dev.wait("result", since=mark)
    assert (result["healthy"], result["rung"]) == (True, "none")
    assert count.read_text() == "xx"

    mark = dev.mark()
    device.off(signal.SIGTERM)
    save(project / "main.py", counting.replace("version 1", "version 2"))
    dev.wait("link", since=mark, state="down")
    device.on()
    dev.wait("link", since=mark, state="up")
    dev.wait("result", since=mark, healthy=True, files=["main.py"])
    dev.wait("log", since=mark, application="app")
    assert "version 2" in dev.texts()[-1]
    assert len([one for one in bench.processes() if "bootloader run" in one]) == 2, "one, and its keeper"


def test_a_bootloader_without_keys_makes_its_own_and_keeps_them(bench: Bench, board: Make) -> None:
    device = Board(bench, "new")
    device.on()
    own = (device.state / "trust" / "device.crt").read_bytes()
    assert {path.stat().st_mode & 0o777 for path in (device.state / "trust").glob("device.*")} == {0o600}
    device.trust()  # which makes none, as there is one
    until(lambda: bench.run("status", "-t", "new")[0] == 0)
    device.off(signal.SIGTERM)
    device.on()
    assert bench.run("status", "-t", "new")[0] == 0
    assert (device.state / "trust" / "device.crt").read_bytes() == own
    device.off(signal.SIGTERM)


def test_a_device_whose_key_changed_is_not_believed(bench: Bench, board: Make) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    device = board("porch")
    assert bench.run("push", str(project), "-t", "porch")[0] == 0
    device.off(signal.SIGTERM)
    other = Board(bench, "other")
    other.trust()
    shutil.rmtree(device.state / "trust")
    shutil.copytree(other.state / "trust", device.state / "trust")
    device.on()
    for command in (["push", str(project)], ["dev", str(project)], ["status"]):
        code, told = bench.run(*command, "-t", "porch")
        assert code == 1
        assert [one["code"] for one in told] == ["untrusted"]
        assert "its certificate is not the one that this host knows the device by" in told[0]["message"]
        assert "reactor pair" in told[0]["message"]


def test_a_host_that_the_device_does_not_obey_is_told_so_and_a_second_one_that_it_does_is_served(
    bench: Bench, board: Make
) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    device = board("porch")
    other = {"REACTOR_HOME": str(bench.home / "second"), "LOGNAME": "second"}
    code, (problem,) = bench.run("status", "-t", "porch", env=other)
    assert (code, problem["code"]) == (1, "unknown-target")
    code, (problem,) = bench.run("status", "-t", device.address, env=other)
    assert (code, problem["code"]) == (1, "unknown-device")

    (bench.home / "second").mkdir()
    shutil.copytree(bench.home / "devices", bench.home / "second" / "devices")
    code, (problem,) = bench.run("push", str(project), "-t", "porch", env=other)
    assert (code, problem["code"]) == (1, "untrusted")
    assert "does not obey this host" in problem["message"]
    assert "reactor pair" in problem["message"]

    device.off(signal.SIGTERM)
    hosts = {path.name for path in (device.state / "trust" / "hosts").iterdir()}
    device.trust(other)
    assert {path.name for path in (device.state / "trust" / "hosts").iterdir()} > hosts
    device.on()
    first = bench.dev(project, "-t", "porch")
    first.wait("result", healthy=True)
    mark = first.mark()
    save(project / "main.py", LOOP.replace("version 1", "version 2"))
    first.wait("result", since=mark, healthy=True)
    mark = first.mark()
    copy = bench.project({"main.py": LOOP.replace("version 1", "from the second host")}, SETTINGS, name="app2")
    code, (problem,) = bench.run("push", str(copy), "-t", "porch", env=other)
    assert (code, problem["code"]) == (1, "leased")
    assert bench.run("push", str(copy), "-t", "porch", "--take", env=other)[0] == 0
    assert "from the second host" in first.wait("log", since=mark)["text"]
    assert first.wait("notice", since=mark, code="changed-elsewhere")
    assert first.end() == 0
    until(lambda: not [one for one in bench.processes() if "-m reactor" in one])


def test_status_tells_what_a_start_has_lost(bench: Bench, board: Make) -> None:
    device = board("porch")
    assert bench.run("status", "-t", "porch")[1][0]["lost"] == []
    device.off(signal.SIGTERM)
    (device.state / "ledger.jsonl").write_text("{junk\n")
    device.on()
    (status,) = bench.run("status", "-t", "porch")[1]
    (loss,) = status["lost"]
    assert loss.keys() == {"code", "text"}
    assert loss["code"] == "ledger-damaged"
    people = bench.plain("status", "-t", "porch").stdout.splitlines()
    assert f"  ledger-damaged: {loss['text']}" in people


def test_a_name_that_is_no_targets_says_which_there_are(bench: Bench, board: Make) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS + "\n[tool.reactor.targets.attic]\n")
    Board(bench, "porch").trust()
    code, (problem,) = bench.run("push", str(project), "-t", "cellar")
    assert (code, problem["code"]) == (1, "unknown-target")
    assert "local, attic, porch" in problem["message"]
    code, (problem,) = bench.run("push", str(project), "-t", "attic")
    assert (code, problem["code"]) == (1, "no-address")
    code, (problem,) = bench.run("push", str(project), "-t", "all")
    assert (code, problem["code"]) == (1, "no-targets")
    code, (problem,) = bench.run("trust", "make", "x", "--name", "all", "--address", "x")
    assert (code, problem["code"]) == (1, "bad-name")
    assert not Path(bench.folder / "x").exists()


def test_a_device_gets_this_hosts_bootloader_and_a_broken_one_gives_way_to_it(bench: Bench, board: Make) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    board("porch")
    assert bench.run("push", str(project), "-t", "porch")[0] == 0
    code, (told,) = bench.run("upgrade", "-t", "porch")
    assert (code, told["changed"], told["before"]) == (0, True, "")
    release = told["release"]
    code, (told,) = bench.run("upgrade", "-t", "porch")
    assert (code, told["changed"], told["release"]) == (0, False, release)
    assert "runs it already" in bench.plain("upgrade", "-t", "porch").stdout

    package = bench.folder / "package"
    for name in ("reactor", "bootloader"):
        shutil.copytree(Path(__file__).parents[2] / name, package / name)
    with (package / "bootloader" / "boot.py").open("a") as boot:
        boot.write("raise ImportError\n")
    (package / "bootloader" / "requirements.txt").write_text("rpyc==0.1")  # so its own comes along
    code, (problem,) = bench.run("upgrade", "-t", "porch", env={"PYTHONPATH": str(package)}, wait_s=60)
    assert (code, problem["code"]) == (1, "upgrade-undone")
    assert "exited with status 1; the one of before is back" in problem["message"]
    (status,) = bench.run("status", "-t", "porch")[1]
    assert status["applications"][0]["state"] in ("running", "healthy")
    assert status["keeper"]["release"] == release
    assert f"release {release[:12]}" in bench.plain("status", "-t", "porch").stdout


def test_the_embedded_target_has_no_bootloader_of_its_own_to_upgrade(bench: Bench) -> None:
    dev = bench.dev(bench.project({"main.py": LOOP}, SETTINGS))
    code, (problem,) = bench.run("upgrade", cwd=bench.folder / "app")
    assert (code, problem["code"]) == (1, "no-upgrade")
    assert dev.end() == 0


TALK = """
import logging, sys, threading
def main():
    logging.basicConfig(level=logging.DEBUG, format="%(message)s")
    print("tick 1")
    print("to stderr", file=sys.stderr)
    logging.warning("too hot")
    logging.debug("a detail")
    print("tick 2", flush=True)
    threading.Event().wait()
"""


def texts(told: list[dict[str, Any]]) -> list[str]:
    return [one["text"] for one in told if one["event"] == "log"]


def test_logs_shows_the_lines_that_are_asked_for(bench: Bench, board: Make) -> None:
    project = bench.project({"main.py": TALK}, SETTINGS)
    board("porch")
    assert bench.run("push", str(project), "-t", "porch")[0] == 0
    rows: list[tuple[list[str], list[str]]] = [
        ([], ["tick 1", "to stderr", "too hot", "a detail", "tick 2"]),
        (["--level", "warning"], ["to stderr", "too hot"]),
        (["--grep", "tick"], ["tick 1", "tick 2"]),
        (["--grep", "/^tick [2-9]$/"], ["tick 2"]),
        (["--grep", "TOO hot", "-a", "app"], ["too hot"]),
        (["-a", "net"], []),
        (["-n", "2"], ["a detail", "tick 2"]),
        (["--since", "1h"], ["tick 1", "to stderr", "too hot", "a detail", "tick 2"]),
        (["--since", "2100-01-01T00:00"], []),
    ]
    for words, expected in rows:
        code, told = bench.run("logs", "-t", "porch", *words)
        assert (code, texts(told)) == (0, expected), words
    code, (problem,) = bench.run("logs", "-t", "porch", "--grep", "/(/")
    assert (code, problem["code"]) == (1, "bad-filter")
    line = next(line for line in bench.plain("logs", "-t", "porch").stdout.splitlines() if "too hot" in line)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} appW│ too hot", line)


def test_logs_follows_several_devices_and_waits_for_one_that_was_killed(bench: Bench, board: Make) -> None:
    project = bench.project({"main.py": TALK}, SETTINGS)
    porch, _ = board("porch"), board("shed")
    assert bench.run("push", str(project), "-t", "porch", "-t", "shed")[0] == 0
    following = bench.start("logs", "-f", "-t", "porch", "-t", "shed")
    first = following.wait("log", target="porch", text="tick 2")
    following.wait("log", target="shed", text="tick 2")
    mark = following.mark()
    kept = porch.state / "logs"
    until(lambda: any("tick 2" in path.read_text("utf-8") for path in kept.iterdir()))
    porch.off()
    porch.on()
    following.wait("link", since=mark, target="porch", state="down")
    following.wait("link", since=mark, target="porch", state="up")
    again = following.wait("log", since=mark, target="porch", text="tick 2")
    assert again["boot"] != first["boot"]
    assert following.end() == 0
    code, told = bench.run("logs", "-t", "porch")
    assert code == 0
    assert texts(told) == 2 * ["tick 1", "to stderr", "too hot", "a detail", "tick 2"]
    boots = [one["boot"] for one in told if one["event"] == "log"]
    assert boots == 5 * [first["boot"]] + 5 * [again["boot"]]
    assert [one["boot"] for one in told if one["event"] == "start"] == [again["boot"]]
