"""A link from the host's folder to a listener's, over real sockets and TLS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from bootloader.listener import Listener
from bootloader.trust import Trust
from bootloader.wire.errors import Fault, LinkClosed, LinkDown, Malformed, OtherProtocol, Refused, Untrusted
from bootloader.wire.limits import PROTOCOL
from bootloader.wire.messages import pack, unpack
from reactor.link import Link
from reactor.trust import host_identity, issue

SOON_S = 10.0


class Device:
    """A target's state folder and its listener."""

    def __init__(self, state: Path, home: Path) -> None:
        issue(state, home, "device")
        self.certificate = state / "trust" / "device.crt"
        methods = {"echo": self.echo, "stale": self.stale, "junk": lambda _: b"junk"}
        methods |= {"older": lambda _: _of(PROTOCOL - 1), "newer": lambda _: _of(PROTOCOL + 1)}
        trust = Trust.load(state / "trust")
        self.listener = Listener(
            ("127.0.0.1", 0), trust, lambda *_: nullcontext(methods), lambda *_: None, lambda _: None
        )
        self.listener.start()
        self.address = self.listener.address

    def echo(self, request: bytes) -> bytes:
        fields, blobs = unpack(request)
        return pack({"said": fields.text("say")}, blobs)

    def stale(self, _request: bytes) -> bytes:
        raise Refused("stale-root", "it starts elsewhere", root="ab")


def _of(version: int) -> bytes:
    """The head of a message, as another version of this software would write it."""
    return b"RL" + bytes([version]) + bytes(4)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def device(tmp_path: Path, home: Path) -> Iterator[Device]:
    made = Device(tmp_path / "state", home)
    yield made
    made.listener.close()


@pytest.fixture
def link(device: Device, home: Path) -> Iterator[Link]:
    with Link.connect(*device.address, host_identity(home), device.certificate, SOON_S) as made:
        yield made


def test_a_call_takes_fields_and_blobs_there_and_back(link: Link) -> None:
    fields, blobs = link.call("echo", {"say": "hallo"}, [b"", b"\0" * 100_000, b"x"])
    assert fields.text("said") == "hallo"
    assert blobs == [b"", b"\0" * 100_000, b"x"]


def test_a_refusal_is_raised_with_its_fields_and_the_link_goes_on(link: Link) -> None:
    with pytest.raises(Refused) as caught:
        link.call("stale", {})
    assert (caught.value.code, caught.value.fields["root"]) == ("stale-root", "ab")
    assert link.call("echo", {"say": "still here"})[0].text("said") == "still here"


def test_an_answer_that_makes_no_sense_is_malformed(link: Link) -> None:
    with pytest.raises(Malformed):
        link.call("junk", {})


@pytest.mark.parametrize(("method", "do"), [("older", "reactor provision"), ("newer", "in a newer clone")])
def test_a_device_of_another_version_names_the_command_that_mends_it(link: Link, method: str, do: str) -> None:
    with pytest.raises(OtherProtocol, match="this end speaks") as apart:
        link.call(method, {})
    assert apart.value.code == "other-protocol"
    assert apart.value.do.startswith(do)


def test_two_links_do_not_share_an_end(link: Link, device: Device, home: Path) -> None:
    other = Link.connect(*device.address, host_identity(home), device.certificate, SOON_S, "events")
    other.close()
    assert other.closed
    with pytest.raises(LinkClosed):
        other.call("echo", {"say": ""})
    assert not link.closed
    assert link.call("echo", {"say": "still here"})[0].text("said") == "still here"


def test_a_device_that_ends_takes_the_link_down(link: Link, device: Device) -> None:
    device.listener.close()
    with pytest.raises(LinkDown):
        link.call("echo", {"say": ""})
    assert link.closed


def test_another_device_at_the_address_is_not_trusted(device: Device, home: Path, tmp_path: Path) -> None:
    issue(tmp_path / "elsewhere", home, "device")
    with pytest.raises(Untrusted):
        Link.connect(*device.address, host_identity(home), tmp_path / "elsewhere/trust/device.crt", SOON_S)


def test_a_host_that_the_device_does_not_obey_is_told_so(device: Device, home: Path) -> None:
    shutil.rmtree(home)
    with (
        Link.connect(*device.address, host_identity(home), device.certificate, SOON_S) as link,
        pytest.raises(Untrusted, match="does not obey this host"),
    ):
        link.call("echo", {"say": ""})


@pytest.mark.parametrize("content", [None, "garbage"])
def test_a_device_certificate_that_can_not_be_read_is_a_fault_that_names_it(
    device: Device, home: Path, tmp_path: Path, content: str | None
) -> None:
    broken = tmp_path / "broken.crt"
    if content:
        broken.write_text(content)
    with pytest.raises(Fault) as caught:
        Link.connect(*device.address, host_identity(home), broken, SOON_S)
    assert (caught.value.code, caught.value.to) == ("unusable-identity", str(broken))
