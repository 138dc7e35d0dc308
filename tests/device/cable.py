"""The other end of a machine's own cable: this project's host, in a network namespace of that machine.

What the kernel's pretended USB port shows there is what any Linux shows of a board on its USB: /sys, the interface, the
serial port. So the real commands find it there, with the keys of a bench.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from shlex import join
from typing import Any

from reactor.platforms import Platform
from reactor.provision.payload import Payload, extras, python_files, requirements
from reactor.wheels import fetch
from tests.end_to_end.conftest import Bench

from .machine import Machine

TOP = Path(__file__).parents[2]
WAIT_S = 600.0
IMAGE = Platform("x86_64", "glibc", (2, 36), (3, 11, 2))
"""What `build` makes."""

PLUG = """
ip netns add host 2>/dev/null || true
ip -n host link set lo up
for link in $(ls /sys/bus/usb/devices/1-1/*:*/net 2>/dev/null); do ip link set $link netns host; done
link=$(ip netns exec host sh -c 'ls /sys/bus/usb/devices/1-1/*:*/net')
ip -n host link set $link up
echo $link
"""
"""Has the host's interface be there and up, wherever it was, and names it."""


class Cable:
    """What is there, with the keys of ``bench``, which are copied; the gadget is up."""

    def __init__(self, machine: Machine, bench: Bench, *projects: Path) -> None:
        self._machine = machine
        wanted = [one for one in extras("host")["host"] if not one.startswith("debugpy")]
        code = Payload.of(fetch([*requirements(), *wanted], IMAGE)).contents | python_files(TOP / "reactor")
        self._put("/tmp/host", Payload(code, ()).tar)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path in (bench.home, *projects):
                tar.add(path, path.name, filter=lambda one: None if "/cache" in one.name else one)
        self._put("/tmp/bench", packed.getvalue())
        self.interface = ""

    def run(self, *words: str, most_s: float = WAIT_S) -> tuple[int, list[dict[str, Any]]]:
        """Run ``reactor`` with ``--json`` at the host's end, to its end or for so long: exit code and events."""
        env = f"REACTOR_HOME=/tmp/bench/home PYTHONPATH=/tmp/host timeout {most_s}"
        command = f"cd /tmp/bench; {env} ip netns exec host python3 -m reactor {join(words)} --json; echo $?"
        *lines, code = self._machine.ssh(command, wait_s=2 * WAIT_S).splitlines()
        return int(code), [json.loads(line) for line in lines]

    def plug(self) -> str:
        """Have its interface be there and up; its name, empty while there is none."""
        self.interface = self._machine.ssh(f"({PLUG}) || true").strip()
        return self.interface

    def cut_network(self) -> None:
        """Leave of the cable its serial port alone."""
        self._machine.ssh(f"ip -n host link set {self.interface} down")

    def _put(self, folder: str, tar: bytes) -> None:
        unpack = f"mkdir -p {folder} && tar xf - --no-same-owner -p -C {folder}"
        self._machine.ssh(unpack, stdin=tar, wait_s=WAIT_S)
