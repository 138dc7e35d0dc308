"""Two network namespaces with a cable between them, a device's and a host's: own addresses, own multicast."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import NO_ENV, WAIT_S, Bench

HOST, DEVICE, MOVED = "10.77.0.1", "10.77.0.2", "10.77.0.3"
OTHER_HOST, OTHER_DEVICE = "10.77.1.1", "10.77.1.2"
PORT = 7717


class Network:
    """The cable's ends are interfaces called ``cable``, the host's and the device's."""

    def __init__(self, name: str) -> None:
        self.host, self.device = f"{name}-host", f"{name}-device"

    def is_tentative(self, at: str) -> bool:
        """Whether an address there is not to be used yet: the system asks for a second whether somebody has it."""
        command = ["ip", "-n", at, "-6", "address", "show", "tentative"]
        return bool(subprocess.run(command, check=True, capture_output=True, timeout=WAIT_S).stdout)

    def ip(self, *words: str, at: str = "") -> None:
        """Run ``ip``, in the device's namespace by default."""
        command = ["ip", "-n", at or self.device, *words]
        subprocess.run(command, check=True, capture_output=True, timeout=WAIT_S)

    def at_once(self, *lines: str) -> None:
        """Several commands of ``ip``, so close that nobody sees what is between them."""
        command = ["ip", "-n", self.device, "-batch", "-"]
        subprocess.run(command, check=True, capture_output=True, text=True, input="\n".join(lines), timeout=WAIT_S)

    def isolated(self) -> None:
        """From now on there is an access point between, which keeps its clients' multicast from each other."""
        self.at_once(
            "link add mine type veth peer name port",
            "link add point type bridge",
            "address flush dev cable",
            *(f"link set dev {one} addrgenmode none" for one in ("cable", "port", "point")),
            *(f"link set dev {one} master point" for one in ("cable", "port")),
            *(f"link set dev {one} type bridge_slave mcast_flood off" for one in ("cable", "port")),
            *(f"link set dev {one} up" for one in ("point", "port", "mine")),
            f"address add {DEVICE}/24 dev mine",
        )

    def replugged(self) -> None:
        """The cable goes, and another one comes, with the same address: as a USB gadget's interface does."""
        make = f"link add cable type veth peer name cable netns {self.host}"
        self.at_once("link del cable", make, "link set cable up", f"address add {DEVICE}/24 dev cable")
        self.ip("link", "set", "cable", "up", at=self.host)
        self.ip("address", "add", f"{HOST}/24", "dev", "cable", at=self.host)

    def addressed(self, address: str, *more: str) -> None:
        """Give the device's end an address."""
        self.ip("address", "add", f"{address}/24", "dev", "cable", *more)

    def moved(self) -> None:
        """The device loses its address, and gets another one."""
        self.ip("address", "del", f"{DEVICE}/24", "dev", "cable")
        self.addressed(MOVED)

    def moved_back(self) -> None:
        """And that one, for the first."""
        self.ip("address", "del", f"{MOVED}/24", "dev", "cable")
        self.addressed(DEVICE)

    def another(self) -> None:
        """One more cable, of another network, beside the first: as where Wi-Fi gives way to one."""
        self.ip("link", "add", "other", "type", "veth", "peer", "name", "other", "netns", self.host)
        for at, address in ((self.host, OTHER_HOST), (self.device, OTHER_DEVICE)):
            self.ip("link", "set", "other", "up", at=at)
            self.ip("address", "add", f"{address}/24", "dev", "other", at=at)


@contextmanager
def networked(*, ipv4: bool = True) -> Iterator[Network]:
    """The two, for as long as this lasts."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("making network namespaces needs root, and iproute2")
    network = Network(f"reactor-{os.getpid()}-{secrets.token_hex(2)}")
    made = []
    try:
        for name in (network.host, network.device):
            done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, timeout=WAIT_S)
            if done.returncode:
                pytest.skip(f"no network namespace can be made here: {done.stderr.strip()}")
            made.append(name)
        peer = ("type", "veth", "peer", "name", "cable", "netns", network.host)
        network.ip("link", "add", "cable", *peer)
        for at in made:
            network.ip("link", "set", "lo", "up", at=at)
            network.ip("link", "set", "cable", "up", at=at)
        if ipv4:
            network.ip("address", "add", f"{HOST}/24", "dev", "cable", at=network.host)
            network.addressed(DEVICE)
        yield network
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=True, timeout=WAIT_S)


class Plugged:
    """A bootloader in the device's namespace."""

    def __init__(self, bench: Bench, network: Network, name: str, address: str) -> None:
        self.name, self.state = name, bench.folder / f"{name} state"
        self._bench, self._network, self._address = bench, network, address
        self.process: subprocess.Popen[bytes] | None = None

    def trust(self, env: Mapping[str, str] = NO_ENV) -> None:
        """Make its keys, and have the host know it."""
        words = ("--name", self.name, "--address", self._address)
        assert self._bench.run("trust", "make", str(self.state), *words, env=env)[0] == 0

    def on(self, *more: str, listen: str = "[::]", called: str = "", env: Mapping[str, str] = NO_ENV) -> None:
        """Start it, and wait until it listens."""
        run = ["-m", "bootloader", "run", "--state", str(self.state), "--listen", listen, "--name", called or self.name]
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self._network.device, sys.executable, *run, *more],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**self._bench.env, **env},
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert b" port " in self.process.stdout.readline()

    def off(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.communicate(timeout=WAIT_S)
            self.process = None


def address_file(bench: Bench, name: str) -> Path:
    """Where the host keeps where it last found a device."""
    return bench.home / "devices" / f"{name}.address"
