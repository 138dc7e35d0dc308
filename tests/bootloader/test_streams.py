"""Streams: bytes between a host and a process, which no cut link loses or repeats, and nobody else reads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from bootloader import streams
from bootloader.guest.attach import Attach
from bootloader.streams import Attached, Streams
from bootloader.wire.errors import Refused
from bootloader.wire.limits import MOST_STREAMS, STREAM_BYTES
from tests.bootloader.target import SOON_S, Target, app

WAIT = "import threading\ndef main(): threading.Event().wait()\n"


class Process:
    """The other ends of streams: they come here, as an application's process has them come."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []
        self.came: SimpleQueue[socket.socket] = SimpleQueue()
        self.ended = 0
        self._attach = Attach({"bytes": self._come})

    def _come(self, end: socket.socket, _more: Mapping[str, Any]) -> None:
        self.ends.append(end)
        self.came.put(end)

    def attach(self, application: str, order: Mapping[str, Any], _within_s: float) -> Attached:
        threading.Thread(target=self._attach.attach, args=[order]).start()
        return Attached(application or "app", 7, 3, lambda: "it is over", self._end)

    def beside(self, application: str, order: Mapping[str, Any]) -> Attached:
        return self.attach(application, order, SOON_S)

    def _end(self) -> None:
        self.ended += 1


class Host:
    """A host's end of one stream over one link."""

    def __init__(self, made: Streams, process: Process, name: str = "", link: str = "link", host: str = "me") -> None:
        self.streams, self.link, self.host = made, link, host
        self.name = name or made.open(link, host, "bytes", "", {})["stream"]
        if not name:
            self.there = process.came.get(timeout=SOON_S)

    def read(self, at: int, most: int = STREAM_BYTES, wait_s: float = SOON_S) -> tuple[bytes, bool, str]:
        return self.streams.read(self.link, self.host, self.name, at, most, wait_s)

    def write(self, at: int, data: bytes) -> int:
        return self.streams.write(self.link, self.host, self.name, at, data)


@pytest.fixture
def process() -> Iterator[Process]:
    made = Process()
    yield made
    for end in made.ends:
        end.close()


@pytest.fixture
def relay(tmp_path: Path, process: Process) -> Iterator[Streams]:
    made = Streams(tmp_path / "run", process)
    yield made
    made.end()


def test_bytes_go_both_ways_and_nothing_of_the_meeting_is_left(
    relay: Streams, process: Process, tmp_path: Path
) -> None:
    host = Host(relay, process)
    assert host.write(0, b"there") == 5
    assert host.there.recv(100) == b"there"
    host.there.sendall(b"back")
    assert host.read(0) == (b"back", False, "")
    assert list((tmp_path / "run").iterdir()) == []


def test_what_a_cut_link_swallowed_comes_again_and_nothing_comes_twice(relay: Streams, process: Process) -> None:
    host = Host(relay, process)
    host.there.sendall(b"0123456789")
    assert host.read(0, 4) == (b"0123", False, "")
    again = Host(relay, process, host.name, link="another")
    assert again.read(0) == (b"0123", False, "")
    assert again.read(4) == (b"456789", False, "")
    assert again.write(0, b"abc") == again.write(0, b"abc") == 3
    assert again.write(1, b"bcd") == 4
    assert host.there.recv(100) == b"abcd"
    with pytest.raises(Refused, match="not there any more"):
        again.read(0)
    with pytest.raises(Refused, match="have not come"):
        again.write(6, b"x")


def test_its_end_comes_after_the_last_byte_and_says_why(relay: Streams, process: Process) -> None:
    host = Host(relay, process)
    host.there.sendall(b"last")
    host.there.close()
    assert host.read(0) == (b"last", False, "")
    assert host.read(4) == (b"", True, "it is over")
    assert host.read(4) == (b"", True, "it is over")
    assert host.write(0, b"x") in (0, 1)


def test_who_does_not_read_makes_its_writer_wait_and_nothing_grows(
    relay: Streams, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_ROOM_S", 0.01)
    host = Host(relay, process)
    many, taken = bytes(STREAM_BYTES), 0
    while (came := host.write(taken, many)) > taken:
        taken = came
        assert taken < 64 * STREAM_BYTES
    there = host.there.makefile("rb")
    assert len(there.read(taken)) == taken
    assert host.write(taken, b"more") == taken + 4


def test_a_waiting_read_hears_at_once_and_ends_with_the_stream(relay: Streams, process: Process) -> None:
    host = Host(relay, process)
    heard: list[object] = []
    waiting = threading.Thread(target=lambda: heard.append(host.read(0)))
    waiting.start()
    host.there.sendall(b"now")
    waiting.join(SOON_S)
    assert heard == [(b"now", False, "")]
    waiting = threading.Thread(target=lambda: heard.append(host.read(3)))
    waiting.start()
    relay.close("me", host.name)
    waiting.join(SOON_S)
    assert not waiting.is_alive()
    assert process.ended == 1


def test_a_stream_is_its_hosts_alone(relay: Streams, process: Process) -> None:
    host = Host(relay, process)
    other = Host(relay, process, host.name, host="another")
    for call in (lambda: other.read(0), lambda: other.write(0, b"x")):
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.code == "no-stream"
    relay.close("another", host.name)
    assert host.write(0, b"x") == 1


def test_it_outlives_its_link_for_a_while(relay: Streams, process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(relay, process)
    relay.left("link")
    assert Host(relay, process, host.name, link="another").write(0, b"x") == 1
    assert host.there.recv(1) == b"x"
    monkeypatch.setattr(streams, "GRACE_S", 0.01)
    relay.left("another")
    assert host.there.recv(1) == b""


class Besieged(Process):
    """Somebody else comes first, with a token of their own."""

    def attach(self, application: str, order: Mapping[str, Any], _within_s: float) -> Attached:
        threading.Thread(target=self._come_second, args=[application, order]).start()
        return Attached("app", 7, 3, str, self._end)

    def _come_second(self, application: str, order: Mapping[str, Any]) -> None:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(order["address"])
            stranger.sendall(bytes(64))
            super().attach(application, order, 0)
            assert stranger.recv(1) == b""


def test_who_does_not_know_the_token_is_let_go(tmp_path: Path) -> None:
    process = Besieged()
    relay = Streams(tmp_path, process)
    assert Host(relay, process).write(0, b"x") == 1
    relay.end()
    process.ends[0].close()


def test_there_are_so_many_at_most(relay: Streams, process: Process) -> None:
    hosts = [Host(relay, process) for _ in range(MOST_STREAMS)]
    with pytest.raises(Refused) as refused:
        Host(relay, process)
    assert refused.value.code == "too-many-streams"
    relay.close("me", hosts[0].name)
    Host(relay, process)


def test_a_place_that_is_too_deep_for_a_socket_is_no_hindrance(process: Process, tmp_path: Path) -> None:
    relay = Streams(tmp_path / ("deep" * 40), process)
    assert Host(relay, process).write(0, b"x") == 1
    relay.end()


def opened(target: Target, **fields: Any) -> str:
    """The code with which a target refuses to open a stream."""
    with pytest.raises(Refused) as refused:
        target.call("open", **{"kind": "nothing", **fields})
    return refused.value.code


def test_a_target_opens_none_where_there_is_nobody_to_talk_to(target: Target) -> None:
    assert opened(target) == "nothing-live"
    target.ship(WAIT, app(settle_s=0.0)).healthy()
    assert opened(target, application="other") == "unknown-application"
    assert opened(target) == "not-attachable"
    target.ship("def main(): pass\n").healthy()
    assert opened(target) == "not-running"
