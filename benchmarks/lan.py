"""A device and a host at two ends of a cable of their own: network namespaces, made and removed here. Root, Linux.

What runs at either end is real: ``bootloader run`` there, ``reactor`` here, and their lines as they come, with when.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOSTS, DEVICES = ("10.78.0.1", "10.78.0.11"), ("10.78.0.2", "10.78.0.12")
"""The addresses that each end takes in turns."""

OFF = "10.78.0.10"
"""How addresses begin that nobody has."""

PORT = 7717
LONGEST_S = 30.0
_PROGRAM = """
import itertools, time

def main():
    for number in itertools.count():
        print(number, flush=True)
        time.sleep(0.005)
"""
_SETTINGS = '[project]\nname = "cable"\n[tool.reactor]\nentry = "main:main"\nsettle_s = 0.1\n'

Told = dict[str, Any]


class Running:
    """A ``reactor`` at the host's end, and when each of its lines came, on the monotonic clock."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, start_new_session=True)
        self._events: list[tuple[float, Told]] = []
        self._more = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def mark(self) -> int:
        """How many lines there are now."""
        with self._more:
            return len(self._events)

    def wait(self, since: int, fits: Callable[[Told], bool]) -> tuple[int, float]:
        """The first line past ``since`` that fits: the mark after it, and when it came."""
        deadline, at = time.monotonic() + LONGEST_S, since
        with self._more:
            while True:
                while at < len(self._events):
                    came, told = self._events[at]
                    at += 1
                    if fits(told):
                        return at, came
                if not self._more.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"it did not come; the last: {self._events[-3:]}")

    def end(self) -> None:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(LONGEST_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._more:
                self._events.append((time.monotonic(), json.loads(line)))
                self._more.notify_all()


class Cable:
    """``address``: where the device and the host are now."""

    def __init__(self, scratch: Path) -> None:
        name = f"lan-{os.getpid()}-{secrets.token_hex(2)}"
        self.host, self.device = f"{name}-host", f"{name}-device"
        self.address = {self.host: HOSTS[0], self.device: DEVICES[0]}
        self._state = scratch / "state"
        self._env = {**os.environ, "REACTOR_HOME": str(scratch / "home")}
        self._project = scratch / "app"
        self._project.mkdir(parents=True)
        (self._project / "main.py").write_text(_PROGRAM)
        (self._project / "pyproject.toml").write_text(_SETTINGS)

    def ip(self, end: str, *lines: str) -> float:
        """Commands of ``ip`` at one end; when the last one had been carried out."""
        command = ["ip", "-n", end, "-batch", "-"]
        subprocess.run(command, check=True, capture_output=True, text=True, input="\n".join(lines))
        return time.monotonic()

    def move(self, end: str) -> float:
        """That end loses its address, and gets another one; when it had."""
        before, both = self.address[end], HOSTS if end == self.host else DEVICES
        after = self.address[end] = both[before == both[0]]
        return self.ip(end, f"address del {before}/24 dev cable", f"address add {after}/24 dev cable")

    def reactor(self, *words: str) -> Running:
        """Start one at the host's end."""
        return Running(["ip", "netns", "exec", self.host, sys.executable, "-m", "reactor", *words, "--json"], self._env)

    def dev(self) -> Running:
        """A loop that ships to the device, and follows what that prints."""
        running = self.reactor("dev", str(self._project), "-t", "porch")
        running.wait(0, lambda told: told["event"] == "result")
        return running

    @contextmanager
    def laid(self) -> Iterator[None]:
        """For as long as this lasts."""
        try:
            for end in (self.host, self.device):
                subprocess.run(["ip", "netns", "add", end], check=True)
            self.ip(self.device, f"link add cable type veth peer name cable netns {self.host}")
            for end, address in self.address.items():
                up = f"address add {address}/24 dev cable"
                self.ip(end, "link set lo up", "link set cable up", up)
            yield
        finally:
            for end in (self.host, self.device):
                subprocess.run(["ip", "netns", "del", end], check=False)

    def trusted(self) -> Cable:
        """The host and the device know each other."""
        self._make(self._state, "porch", DEVICES[0])
        return self

    def knows(self, count: int) -> None:
        """The host knows so many devices more, which are off."""
        for number in range(count):
            self._make(self._state.with_name(f"off-{number}"), f"off-{number}", f"{OFF}{number}")

    def _make(self, state: Path, name: str, address: str) -> None:
        make = ["-m", "reactor", "trust", "make", str(state), "--name", name, "--address", address]
        subprocess.run([sys.executable, *make], env=self._env, check=True, capture_output=True)

    @contextmanager
    def powered(self) -> Iterator[None]:
        """The device is on, and listens."""
        run = ["-m", "bootloader", "run", "--state", str(self._state), "--listen", "0.0.0.0", "--name", "porch"]
        command = ["ip", "netns", "exec", self.device, sys.executable, *run]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=self._env, start_new_session=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
