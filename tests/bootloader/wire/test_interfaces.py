"""Address changes are noticed, with netlink and without it, in network namespaces of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from bootloader.announce import Announcement, reachable
from tests.end_to_end.network import DEVICE, MOVED, Network, networked

WATCH = """
import socket, sys
if sys.argv[1] == "polling":
    del socket.AF_NETLINK
from bootloader.wire.interfaces import Interfaces, addresses
interfaces = Interfaces()
print("begun", flush=True)
while True:
    change = interfaces.wait(60)
    if change.any:
        print(change.removed, *[one for one in addresses() if ":" not in one], flush=True)
"""


@pytest.fixture
def network() -> Iterator[Network]:
    with networked() as made:
        yield made


@pytest.mark.parametrize("how", ["netlink", "polling"])
def test_an_address_that_comes_or_goes_is_noticed(network: Network, how: str) -> None:
    command = ["ip", "netns", "exec", network.device, sys.executable, "-c", WATCH, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        try:
            assert watch.stdout is not None
            assert watch.stdout.readline() == "begun\n"

            def until(words: list[str]) -> None:
                """Other changes may come before, such as an address of IPv6 that is found to be free."""
                assert any(line.split() == words for line in iter(watch.stdout.readline, "")), words  # type: ignore[union-attr]

            network.addressed(MOVED, "noprefixroute")
            until(["False", DEVICE, MOVED])
            network.ip("address", "del", f"{MOVED}/24", "dev", "cable")
            until(["True", DEVICE])
        finally:
            watch.kill()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1"])
def test_a_listener_on_loopback_is_not_announced(host: str) -> None:
    announcement = Announcement("porch", lambda: "", lambda _code, text: pytest.fail(text))
    announcement.start((host, 7717), "f" * 64)
    assert announcement._thread is None
    announcement.close()


def test_what_listens_on_one_address_is_announced_at_that_one() -> None:
    assert reachable("192.0.2.7") == ["192.0.2.7"]
    assert all(":" not in address for address in reachable("0.0.0.0"))
    assert set(reachable("0.0.0.0")) <= set(reachable("::"))
