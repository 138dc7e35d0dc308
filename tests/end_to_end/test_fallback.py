"""The network goes under a `reactor dev`, by an edit of what keeps it: the loop goes on over the serial line.

A device and a host in network namespaces, with a cable between them, and a serial line of two pseudo-terminals.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from benchmarks.cable import Cable

from .conftest import Bench, save, until
from .network import DEVICE, PORT, Network, Plugged, address_file, networked
from .test_linked import LOOP
from .test_serial import NET

KEEPER = """\
import subprocess, time

def main():
    subprocess.run(["{ip}", "link", "set", "cable", "{way}"], check=True)
    print("cable {way}", flush=True)
    time.sleep(10_000)
"""


@pytest.fixture
def network(bench: Bench) -> Iterator[Network]:
    """A cable, and commands at the host's end of it."""
    with networked() as made:
        bench.inside = ("ip", "netns", "exec", made.host)
        yield made


def keeper(way: str) -> str:
    return KEEPER.format(ip=shutil.which("ip"), way=way)


def test_an_edit_that_takes_the_network_down_is_mended_over_the_serial_line(bench: Bench, network: Network) -> None:
    project = bench.project({"main.py": LOOP, "net.py": keeper("up")}, NET)
    porch = Plugged(bench, network, "porch", DEVICE)
    porch.trust()
    with Cable() as cable:
        address_file(bench, "porch").write_text(f"{DEVICE}:{PORT}\nserial:{cable.host}\n")
        porch.on("--rescue", cable.device, "--no-announce")
        try:
            dev = bench.dev(project, "-t", "porch")
            assert sum(cable.count_bytes.values()) == 0  # all of that went over the network

            mark = dev.mark()
            save(project / "net.py", keeper("down"))
            dev.wait("log", since=mark, text="cable down")
            assert dev.wait("result", since=mark, files=["net.py"])["healthy"]
            dev.wait("link", since=mark, state="up")
            by_wire = cable.count_bytes
            assert min(by_wire.values()) > 0

            mark = dev.mark()
            save(project / "main.py", LOOP.replace("version 1", "version 2"))
            assert dev.wait("result", since=mark, files=["main.py"])["healthy"]
            assert cable.count_bytes["there"] > by_wire["there"]

            mark = dev.mark()
            save(project / "net.py", keeper("up"))
            assert dev.wait("result", since=mark, files=["net.py"])["healthy"]
            until(lambda: bench.run("status", "-t", f"{DEVICE}:{PORT}")[0] == 0)  # as everybody else again
            assert dev.end() == 0
        finally:
            porch.off()
