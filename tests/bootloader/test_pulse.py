"""The heart beats while the service can be reached by a link, and only then."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bootloader import pulse as module
from bootloader.listener import MOST_CONNECTIONS, MOST_PER_ADDRESS, Listener
from bootloader.pulse import Pulse
from bootloader.trust import SELF, Trust
from bootloader.wire.messages import pack
from bootloader.wire.strict import Method
from reactor.trust import issue

SOON_S = 20.0


class Device:
    """A listener that answers ``hello``, unless it is ``stuck``, and the pulse of it."""

    def __init__(self, folder: Path, where: str = "127.0.0.1") -> None:
        self.beats: queue.Queue[None] = queue.Queue()
        self.notices: queue.Queue[str] = queue.Queue()
        self.well = threading.Event()
        self.well.set()
        trust = Trust.load(folder / "state" / "trust")
        self.listener = Listener((where, 0), trust, self.link, lambda *_: None, lambda _: None)
        self.listener.start()
        self.pulse = Pulse(self.listener, lambda: self.beats.put(None), lambda code, _: self.notices.put(code))

    @contextmanager
    def link(self, host: str, _observes: bool, _is_dismissed: Callable[[], bool]) -> Iterator[Mapping[str, Method]]:
        def hello(_request: bytes) -> bytes:
            self.well.wait(SOON_S)
            return pack({})

        yield {"hello": hello} if host == SELF else {}

    def close(self) -> None:
        self.well.set()
        self.pulse.close()
        self.listener.close()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    monkeypatch.setattr(module, "_AGAIN_S", 0.01)
    issue(tmp_path / "state", tmp_path / "home", "device")
    return tmp_path


@pytest.fixture
def device(trusted: Path) -> Iterator[Device]:
    made = Device(trusted)
    yield made
    made.close()


@pytest.mark.parametrize("where", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_it_beats_wherever_the_device_listens(trusted: Path, where: str) -> None:
    if ":" in where and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    device = Device(trusted, where)
    device.pulse.start()
    for _ in range(3):
        device.beats.get(timeout=SOON_S)
    device.close()
    assert device.notices.empty()


def test_it_does_not_beat_while_the_service_does_not_answer_and_says_so_once(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.05)
    device.well.clear()
    device.pulse.start()
    assert device.notices.get(timeout=SOON_S) == "unwell"
    with pytest.raises(queue.Empty):
        device.notices.get(timeout=0.5)
    assert device.beats.empty()
    monkeypatch.setattr(module, "_LOOK_S", SOON_S)
    device.well.set()
    device.beats.get(timeout=SOON_S)


def test_it_does_not_beat_where_nobody_accepts(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.05)
    device.listener.close()
    device.pulse.start()
    assert device.notices.get(timeout=SOON_S) == "unwell"
    assert device.beats.empty()


def test_a_crowd_at_the_door_does_not_stop_it(device: Device) -> None:
    """Or whoever can connect could have the device restarted."""
    with ExitStack() as crowd:
        for number in range(MOST_CONNECTIONS):
            source = (f"127.0.1.{1 + number // MOST_PER_ADDRESS}", 0)
            crowd.enter_context(socket.create_connection(device.listener.address, SOON_S, source))
        for _ in range(MOST_PER_ADDRESS):
            crowd.enter_context(socket.create_connection(device.listener.address, SOON_S))
        device.pulse.start()
        device.beats.get(timeout=SOON_S)
    assert device.notices.empty()
