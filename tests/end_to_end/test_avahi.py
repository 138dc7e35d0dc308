"""Beside avahi, which has the same port for the same words: a real avahi-daemon at both ends of the cable."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Bench, until
from .network import DEVICE, MOVED, PORT, Network, Plugged, networked

pytestmark = pytest.mark.skipif(shutil.which("avahi-daemon") is None, reason="avahi-daemon is not installed")

CONFIGURATION = """\
[server]
host-name=NAME
enable-dbus=no
[publish]
publish-workstation=no
"""


class Avahi:
    """One in a namespace, with a folder ``/run`` of its own, and everything that it has said."""

    def __init__(self, namespace: str, folder: Path, name: str) -> None:
        self.name = name
        configuration = folder / f"{name}.conf"
        configuration.write_text(CONFIGURATION.replace("NAME", name))
        run = f"avahi-daemon --no-drop-root --no-chroot --no-rlimits --file {configuration}"
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, "sh", "-c", f"mount -t tmpfs none /run && exec {run}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: any("startup complete" in line for line in self.said))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)

    def knows(self, words: str) -> bool:
        """Whether it has heard that, and keeps it: which it tells when it is asked to."""
        mark = len(self.said)
        self.process.send_signal(signal.SIGUSR1)
        until(lambda: any("CACHE DUMP" in line for line in self.said[mark:]) or self.process.poll() is not None)
        return any(words in line for line in self.said)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self._reader.join(20)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def network(bench: Bench) -> Iterator[Network]:
    with networked() as made:
        bench.inside = ("ip", "netns", "exec", made.host)
        yield made


def test_a_device_is_announced_found_and_followed_with_an_avahi_on_its_own_host_and_on_this_one(
    bench: Bench, network: Network
) -> None:
    avahis = [Avahi(network.device, bench.folder, "board"), Avahi(network.host, bench.folder, "laptop")]
    porch = Plugged(bench, network, "porch", DEVICE)
    try:
        porch.trust(env={"REACTOR_HOME": str(bench.folder / "another home")})  # so that nobody knows its address
        porch.on()
        for address in (DEVICE, MOVED):
            until(lambda address=address: f"{address}:{PORT}" in listed(bench))  # type: ignore[misc]
            network.moved() if address is DEVICE else None
        for one in avahis:
            until(lambda one=one: one.knows("_live-reactor._tcp"))  # type: ignore[misc]
        until(lambda: avahis[1].knows("board.local"))
    finally:
        porch.off()
        for one in avahis:
            one.close()


def listed(bench: Bench) -> list[str]:
    """Where devices are said to be."""
    return [address for row in bench.run("devices")[1] if row["announced"] for address in row["addresses"]]
