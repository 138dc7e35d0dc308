"""Two people, one device: real sessions of two hosts that save at once never ship over each other."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reactor import trust
from reactor.link import Link

from .conftest import WAIT_S, Bench, Running, benched, save

SETTINGS = 'entry = "main:main"\nsettle_s = 0.05\ngrace_s = 0.5'
SOURCE = """\
import threading

SAVE = 0

def main():
    print("of PERSON", flush=True)
    threading.Event().wait()
"""
SAVES = 8


class Desk:
    """A device on loopback that obeys two people, each with a home and a project of their own."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.state = bench.folder / "porch state"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        address = f"127.0.0.1:{self.port}"
        self.homes = {name: bench.home / name for name in ("anna", "bob")}
        self.projects: dict[str, Path] = {}
        for name in self.homes:
            words = ("trust", "make", str(self.state), "--name", "porch", "--address", address)
            assert bench.run(*words, env=self.env(name))[0] == 0
            self.projects[name] = bench.project({"main.py": source(name, 0)}, SETTINGS, name=f"of {name}")
        run = ["-m", "bootloader", "run", "--state", str(self.state), "--listen", address]
        out = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, *run], stdin=subprocess.DEVNULL, stdout=out, env=bench.env, start_new_session=True
        )
        assert self.process.stdout is not None
        assert str(self.port).encode() in self.process.stdout.readline()

    def env(self, name: str) -> dict[str, str]:
        return {"REACTOR_HOME": str(self.homes[name]), "LOGNAME": name}

    def start(self, name: str, *words: str) -> Running:
        return self.bench.start(*words, "-t", "porch", cwd=self.projects[name], env=self.env(name))

    def run(self, name: str, *words: str) -> tuple[int, list[dict[str, Any]]]:
        return self.bench.run(*words, "-t", "porch", cwd=self.projects[name], env=self.env(name))

    def save(self, name: str, *numbers: int) -> None:
        for number in numbers:
            save(self.projects[name] / "main.py", source(name, number))

    def told(self) -> list[dict[str, Any]]:
        """Everything that has happened on the device."""
        identity = trust.host_identity(self.homes["anna"])
        with Link.connect("127.0.0.1", self.port, identity, self.state / "trust" / "device.crt", WAIT_S) as link:
            _, (lines,) = link.call("events", {"cursor": 0})
        return [json.loads(line) for line in lines.splitlines()]

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=WAIT_S)


def source(name: str, number: int) -> str:
    return SOURCE.replace("PERSON", name).replace("0", str(number))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with benched(tmp_path_factory.mktemp("lease")) as bench:
        made = Desk(bench)
        yield made
        made.close()


def test_sessions_that_save_at_once_never_ship_over_each_other_and_who_lost_the_lease_looks_on(desk: Desk) -> None:
    anna = desk.start("anna", "dev")
    anna.wait("ready")
    code, (problem,) = desk.run("bob", "push")
    assert (code, problem["code"]) == (1, "leased")
    assert "anna@" in problem["message"]
    assert " (dev) since " in problem["message"]
    assert "--take" in problem["message"]

    storm = [threading.Thread(target=desk.save, args=(who, *range(1, SAVES))) for who in desk.homes]
    mark = anna.mark()
    bob = desk.start("bob", "dev", "--take")
    for one in storm:
        one.start()
    taken = anna.wait("lease", since=mark, state="other")
    assert (taken["holder"].partition("@")[0], taken["doing"]) == ("bob", "dev")
    assert "has taken the lease" in taken["text"]
    for one in storm:
        one.join(WAIT_S)
    bob.wait("ready")
    mark = anna.mark()
    desk.save("anna", 100)
    held = anna.wait("result", since=mark, rung="hold")
    assert (held["healthy"], held["files"]) == (False, ["main.py"])

    code, told = desk.run("anna", "push", "--take")
    assert (code, told[-1]["healthy"]) == (0, True)
    bob.wait("lease", state="free")
    mark = bob.mark()
    desk.save("bob", 200)
    assert bob.wait("result", since=mark)["healthy"]

    whose = {one["generation"]: one["who"] for one in desk.run("anna", "history", "-n", "256")[1]}
    has = ""
    for event in desk.told():
        if event["event"] == "lease":
            has = event["holder"] if event["state"] == "held" else ""
        elif event["event"] == "state" and event["state"] == "starting":
            assert whose[event["generation"]] == has, event
    assert {who.partition("@")[0] for who in whose.values()} == {"anna", "bob"}
    root = desk.run("bob", "status")[1][0]["root"]
    mark = anna.mark()
    assert bob.end() == 0
    anna.wait("lease", since=mark, state="free")
    assert desk.run("bob", "status")[1][0]["root"] == root, "nothing is taken back but by a person"
    assert anna.end() == 0


def test_status_says_whose_it_is_and_a_repl_goes_with_its_own_host_s_session(desk: Desk) -> None:
    assert desk.run("anna", "status")[1][0]["lease"] is None
    anna = desk.start("anna", "dev")
    anna.wait("ready")
    for who in desk.homes:
        lease = desk.run(who, "status")[1][0]["lease"]
        assert (lease["holder"].partition("@")[0], lease["doing"], lease["yours"]) == ("anna", "dev", who == "anna")
    people = desk.bench.plain("status", "-t", "porch", cwd=desk.projects["bob"], env=desk.env("bob")).stdout
    assert "  leased to anna@" in people
    assert desk.run("anna", "repl", "-c", "1")[0] == 0
    code, told = desk.run("bob", "repl", "-c", "1")
    assert (code, told[-1]["code"]) == (1, "leased")
    second = desk.start("anna", "dev")
    assert second.wait("lease")["state"] == "other", "another terminal of the same laptop"
    assert second.end() == 0

    code, told = desk.run("bob", "repl", "--take", "-c", "1")
    assert code == 0, told
    assert anna.wait("lease", state="other")["doing"] == "repl"
    mark = anna.mark()
    desk.save("anna", 300)
    assert anna.wait("result", since=mark)["healthy"], "the other one has ended"
    assert anna.end() == 0
    assert desk.run("anna", "status")[1][0]["lease"] is None
