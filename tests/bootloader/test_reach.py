"""How a device is reached while something else about it takes its time."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from bootloader.journal import Journal
from bootloader.pairing import Pairing
from bootloader.reach import Reach
from bootloader.tether import Tether
from bootloader.trust import admit, begin, dismiss
from bootloader.wire.line import LINK
from reactor.trust import make_identity

SOON_S = 20.0


class Device:
    """What can be reached; that a host is obeyed no more takes until it is told to ``go`` on."""

    def __init__(self, folder: Path) -> None:
        trust = folder / "trust"
        begin(trust)
        admit(trust, "anna", make_identity("anna").cert_pem)
        self.trust = trust
        self.forgetting, self.go = threading.Event(), threading.Event()
        self._keeper, ours = socket.socketpair()
        self._keeper.sendall(json.dumps({}).encode() + b"\n")
        self._tether = Tether(ours.detach())
        pairing = Pairing(trust, "porch", folder / "pairing", lambda _code, _text: None)
        self.reach = Reach(
            ("127.0.0.1", 0),
            trust,
            lambda _host, _observes, _is_dismissed: nullcontext({"hello": lambda request: request}),
            self._forget,
            pairing,
            Journal(),
            self._tether,
            folder / "address",
            None,
        )

    def _forget(self, _host: str) -> None:
        self.forgetting.set()
        self.go.wait(SOON_S)

    def close(self) -> None:
        self.go.set()
        self.reach.close()
        for sock in (self._keeper, self._tether._line):
            sock.close()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path)
    yield made
    made.close()


def test_a_line_that_brings_somebody_does_not_wait_for_a_look_at_who_is_obeyed(device: Device) -> None:
    """The thread that asks carries the whole line, with the links that are there."""
    assert dismiss(device.trust, "anna")
    assert device.forgetting.wait(SOON_S)
    ours, theirs = socket.socketpair()
    taken: list[str] = []
    with ours:
        asking = threading.Thread(target=lambda: taken.append(device.reach.admit(LINK, theirs, "/dev/ttyGS0")))
        asking.start()
        asking.join(SOON_S / 2)
        assert taken == [""]
