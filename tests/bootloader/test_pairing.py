"""A pairing window over real sockets and TLS: what opens, counts, ends it, and what whoever stands outside can do."""

from __future__ import annotations

import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import pytest

from bootloader import trust
from bootloader.pairing import TRIES, Pairing, Shown
from bootloader.wire import pairing as exchange
from bootloader.wire.errors import Fault, LinkDown, Malformed, Refused, Untrusted
from bootloader.wire.messages import Fields
from bootloader.wire.pairing import Proof, octets, receive, send
from bootloader.wire.stream import TlsStream, connect, fingerprint, pairing_context, pairing_host_context
from reactor.pairing import pair
from reactor.trust import known, make_identity, remember

SOON_S = 10.0
AT_ONCE = 8


class Device:
    """What pairs, with what it told."""

    def __init__(self, folder: Path, window_s: float = 60.0) -> None:
        self.trust = folder / "device" / "trust"
        trust.begin(self.trust)
        self.file = folder / "pairing"
        self.notices: queue.Queue[tuple[str, str]] = queue.Queue()
        self.renewed = 0
        self.pairing = Pairing(self.trust, "porch", self.file, lambda *told: self.notices.put(told), window_s=window_s)
        self.pairing.renew = self._renew
        self.pairing.listens(("127.0.0.1", 7717))

    def _renew(self) -> None:
        self.renewed += 1

    def hosts(self) -> list[str]:
        return [name for name, _, _ in trust.Trust.load(self.trust).rows()]

    def notice(self, code: str) -> str:
        while True:
            told, text = self.notices.get(timeout=SOON_S)
            if told == code:
                return text


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path)
    yield made
    made.pairing.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10**exchange.CODE_DIGITS:0{exchange.CODE_DIGITS}}"


class Hand:
    """A host's part made by hand, a step at a time."""

    made: ClassVar[list[TlsStream]] = []

    def __init__(self, shown: Shown, code: str = "") -> None:
        self.identity = make_identity("hand")
        self.stream = connect("127.0.0.1", shown.port, pairing_host_context(), None, SOON_S)
        self.made.append(self.stream)
        device = self.stream.peer_fingerprint
        self.proof = Proof(code or shown.code, is_host=True, host=self.identity.fingerprint, device=device)

    def ask(self, share: bytes = b"", **more: object) -> Fields:
        body = {"name": "hand", "certificate": self.identity.cert_pem, "share": (share or self.proof.share).hex()}
        send(self.stream, {**body, **more})
        return receive(self.stream, SOON_S)

    def confirm(self, told: Fields) -> Fields:
        self.proof.take(octets(told, "share"))
        send(self.stream, {"confirmation": self.proof.confirmation(of_host=True).hex()})
        return receive(self.stream, SOON_S)


@pytest.fixture(autouse=True)
def _hands_are_empty() -> Iterator[None]:
    yield
    while Hand.made:
        Hand.made.pop().close()


def is_closed(shown: Shown) -> None:
    with pytest.raises(LinkDown):
        connect("127.0.0.1", shown.port, pairing_host_context(), None, SOON_S)


def test_whoever_types_the_code_is_obeyed_and_knows_the_device_and_the_window_closes(
    device: Device, home: Path
) -> None:
    shown = device.pairing.open()
    assert device.file.stat().st_mode & 0o777 == 0o600
    assert device.file.read_text() == f"{exchange.spoken(shown.code)} 127.0.0.1 {shown.port}\n"
    paired = pair("127.0.0.1", shown.port, exchange.spoken(shown.code), home)
    assert device.hosts() == [paired.known_as]
    assert device.renewed == 1, "before the host is told: its next link is of a host that is obeyed"
    (one,) = known(home)
    assert (one.name, one.address) == ("porch", "127.0.0.1:7717")
    assert one.fingerprint == fingerprint((device.trust / "device.crt").read_text())
    assert "has paired" in device.notice("pairing-closed")
    assert not device.file.exists()
    is_closed(shown)


def test_a_window_closes_by_itself(tmp_path: Path, home: Path) -> None:
    device = Device(tmp_path, window_s=0.2)
    shown = device.pairing.open()
    assert "its time is over" in device.notice("pairing-closed")
    assert not device.file.exists()
    is_closed(shown)


def test_a_window_that_is_opened_takes_the_place_of_the_one_before(device: Device, home: Path) -> None:
    before, after = device.pairing.open(), device.pairing.open()
    assert before.code != after.code
    with pytest.raises(Refused) as caught:
        pair("127.0.0.1", after.port, before.code, home)
    assert caught.value.code == "wrong-code"
    assert (device.hosts(), known(home)) == ([], [])
    pair("127.0.0.1", after.port, after.code, home)
    assert len(device.hosts()) == 1


def test_a_wrong_code_costs_an_attempt_and_three_close_the_window(device: Device, home: Path) -> None:
    shown = device.pairing.open()
    for left in reversed(range(TRIES)):
        with pytest.raises(Refused) as caught:
            pair("127.0.0.1", shown.port, wrong(shown.code), home)
        assert caught.value.code == "wrong-code"
        assert (str(left) in caught.value.do) == bool(left)
    assert "went wrong" in device.notice("pairing-closed")
    is_closed(shown)
    assert (device.hosts(), known(home)) == ([], [])


def test_who_breaks_off_has_tried(device: Device) -> None:
    """Else a wrong guess, which its share shows, would be free."""
    shown = device.pairing.open()
    for _ in range(TRIES):
        hand = Hand(shown, wrong(shown.code))
        hand.ask()
        hand.stream.close()
    device.notice("pairing-closed")
    is_closed(shown)


def test_what_was_heard_is_of_no_use_again(device: Device) -> None:
    shown = device.pairing.open()
    first = Hand(shown)
    told = first.ask()
    first.proof.take(octets(told, "share"))
    heard = first.proof.confirmation(of_host=True)
    first.stream.close()
    second = Hand(shown)
    second.identity = first.identity
    second.ask(first.proof.share)
    send(second.stream, {"confirmation": heard.hex()})
    with pytest.raises(Refused) as caught:
        receive(second.stream, SOON_S)
    assert caught.value.code == "wrong-code"
    assert not device.hosts()


def test_another_certificate_than_the_one_that_was_proven_for_is_not_obeyed(device: Device) -> None:
    shown = device.pairing.open()
    hand = Hand(shown)
    told = hand.ask(certificate=make_identity("mallory").cert_pem)
    with pytest.raises(Refused) as caught:
        hand.confirm(told)
    assert caught.value.code == "wrong-code"
    assert not device.hosts()


def test_a_host_that_never_says_that_it_has_kept_the_device_is_not_kept(device: Device) -> None:
    shown = device.pairing.open()
    hand = Hand(shown)
    hand.confirm(hand.ask())
    hand.stream.close()
    assert device.notice("pairing-failed")
    assert not device.hosts()


NONSENSE: dict[str, Callable[[TlsStream, Proof], None]] = {
    "nothing": lambda stream, _: stream.write(b"\0\0\0\0"),
    "too long": lambda stream, _: stream.write(b"\x7f\xff\xff\xff"),
    "garbage": lambda stream, _: stream.write(b"\0\0\0\x08garbage!"),
    "another shape": lambda stream, _: send(stream, {"name": 7}),
    "no certificate": lambda stream, proof: send(stream, {"name": "x", "certificate": "x", "share": proof.share.hex()}),
    "a path": lambda stream, proof: send(
        stream, {"name": "../device", "certificate": make_identity("x").cert_pem, "share": proof.share.hex()}
    ),
    "a share without end": lambda stream, _: send(
        stream, {"name": "x", "certificate": make_identity("x").cert_pem, "share": "00" * 2000}
    ),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_refused_and_costs_no_attempt(device: Device, home: Path, what: str) -> None:
    shown = device.pairing.open()
    for _ in range(TRIES):
        hand = Hand(shown)
        NONSENSE[what](hand.stream, hand.proof)
        with pytest.raises(Refused):
            receive(hand.stream, SOON_S)
        hand.stream.close()
    pair("127.0.0.1", shown.port, shown.code, home)
    assert len(device.hosts()) == 1


@pytest.mark.parametrize("share", [b"A" + bytes(32), b"A" + b"\xff" * 32, b"B" + bytes(32), b"A", b"A" + bytes(60)])
def test_a_share_that_is_no_point_is_an_attempt_and_no_more(device: Device, share: bytes) -> None:
    shown = device.pairing.open()
    hand = Hand(shown)
    with pytest.raises(Refused):
        hand.ask(share)
    assert device.notice("pairing-failed")
    assert not device.hosts()


def test_plain_tcp_and_silence_hold_up_nobody(device: Device, home: Path) -> None:
    shown = device.pairing.open()
    silent = [socket.create_connection(("127.0.0.1", shown.port), SOON_S) for _ in range(3)]
    silent[0].sendall(b"GET / HTTP/1.1\r\n\r\n")
    pair("127.0.0.1", shown.port, shown.code, home)
    assert len(device.hosts()) == 1
    for sock in silent:
        sock.settimeout(SOON_S)
        with suppress(ConnectionError):
            while sock.recv(100):
                pass
        sock.close()


def test_what_whoever_pairs_may_do_is_said_by_who_opens_the_window_whatever_it_was_before(
    device: Device, home: Path
) -> None:
    for role in ("observers", "hosts", "hosts"):
        shown = device.pairing.open(role)
        paired = pair("127.0.0.1", shown.port, shown.code, home)
        assert paired.role == role
        assert ("look" in shown.text) == (role == "observers")
        assert [(name, kind) for name, _, kind in trust.Trust.load(device.trust).rows()] == [(paired.known_as, role)]


@contextmanager
def no_threads() -> Iterator[None]:
    """None can be had: each would need more memory than there is."""
    before = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(before)


def test_a_window_lives_on_where_no_thread_is_to_be_had_for_a_while(device: Device, home: Path) -> None:
    shown = device.pairing.open()
    with no_threads():
        for _ in range(AT_ONCE + 1):
            with socket.create_connection(("127.0.0.1", shown.port), SOON_S) as sock, suppress(ConnectionResetError):
                assert sock.recv(1) == b""
    pair("127.0.0.1", shown.port, shown.code, home)
    assert len(device.hosts()) == 1


def test_without_a_thread_no_window_opens_and_a_later_one_does(device: Device, home: Path) -> None:
    with no_threads(), pytest.raises(Refused, match="no thread"):
        device.pairing.open()
    assert (device.pairing.port, device.file.exists()) == (0, False)
    shown = device.pairing.open()
    pair("127.0.0.1", shown.port, shown.code, home)
    assert len(device.hosts()) == 1


# who stands between, and who only says that it is the device


class Middle:
    """Ends the TLS of a host with a certificate of its own, and makes another one to the device."""

    def __init__(self, folder: Path, port: int) -> None:
        own = make_identity("porch")
        for name, text in (("middle.crt", own.cert_pem), ("middle.key", own.key_pem)):
            (folder / name).write_text(text)
        self._context = pairing_context(folder / "middle.crt", folder / "middle.key")
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        sock, _ = self._listening.accept()
        host = TlsStream(sock, self._context, server_side=True)
        host.handshake(SOON_S)
        device = connect("127.0.0.1", self._to, pairing_host_context(), None, SOON_S)
        back = threading.Thread(target=self._pass, args=(device, host), daemon=True)
        back.start()
        self._pass(host, device)
        back.join(SOON_S)

    def _pass(self, one: TlsStream, other: TlsStream) -> None:
        with suppress(Fault):
            while True:
                other.write(bytes(one.read(1, SOON_S)))
        one.close()
        other.close()

    def close(self) -> None:
        self._listening.close()


def test_who_stands_between_gets_nothing_and_neither_end_keeps_anything(
    device: Device, home: Path, tmp_path: Path
) -> None:
    shown = device.pairing.open()
    middle = Middle(tmp_path, shown.port)
    with pytest.raises(Refused) as caught:
        pair("127.0.0.1", middle.port, shown.code, home)
    middle.close()
    assert caught.value.code == "wrong-code"
    assert "stands between" in caught.value.what
    assert (device.hosts(), known(home)) == ([], [])


class Impostor:
    """Says that it is the device, and has a code of its own."""

    def __init__(self, folder: Path, code: str, name: str = "porch", *, proves: bool) -> None:
        own = make_identity("porch")
        for each, text in (("impostor.crt", own.cert_pem), ("impostor.key", own.key_pem)):
            (folder / each).write_text(text)
        self._own, self._code, self._name, self._proves = own.fingerprint, code, name, proves
        self._context = pairing_context(folder / "impostor.crt", folder / "impostor.key")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.kept = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(Fault):
            sock, _ = self._listening.accept()
            stream = TlsStream(sock, self._context, server_side=True)
            self._stream = stream
            stream.handshake(SOON_S)
            asked = receive(stream, SOON_S)
            host = fingerprint(asked.text("certificate"))
            proof = Proof(self._code, is_host=False, host=host, device=self._own)
            proof.take(octets(asked, "share"))
            send(stream, {"share": proof.share.hex()})
            told = octets(receive(stream, SOON_S), "confirmation")
            mine = proof.confirmation(of_host=False) if self._proves else told
            send(stream, {"confirmation": mine.hex(), "name": self._name, "port": 7717})
            receive(stream, SOON_S)
            self.kept = True
            send(stream, {"name": "you\x1b[31m"})

    def close(self) -> None:
        self._listening.close()
        self._thread.join(SOON_S)
        self._stream.close()


@pytest.mark.parametrize("code", ["12345678", "87654321"])
def test_who_does_not_prove_the_code_is_not_believed(tmp_path: Path, home: Path, code: str) -> None:
    """Neither with a wrong code, nor by saying what it has heard, though the code be right."""
    impostor = Impostor(tmp_path, code, proves=False)
    with pytest.raises(Untrusted):
        pair("127.0.0.1", impostor.port, "12345678", home)
    impostor.close()
    assert known(home) == []
    assert not impostor.kept


def test_a_device_does_not_take_the_name_of_another_one(tmp_path: Path, home: Path) -> None:
    porch = make_identity("porch")
    remember(home, "porch", porch.cert_pem, "10.0.0.1")
    impostor = Impostor(tmp_path, "12345678", proves=True)
    with pytest.raises(Fault) as caught:
        pair("127.0.0.1", impostor.port, "12345678", home)
    impostor.close()
    assert caught.value.code == "name-taken"
    assert [(one.fingerprint, one.address) for one in known(home)] == [(porch.fingerprint, "10.0.0.1")]
    assert not impostor.kept


def test_what_a_device_calls_itself_is_a_name_and_no_escape_code_or_path(tmp_path: Path, home: Path) -> None:
    impostor = Impostor(tmp_path, "12345678", "../\x1b[31mporch/../x", proves=True)
    paired = pair("127.0.0.1", impostor.port, "12345678", home)
    impostor.close()
    assert "\x1b" not in paired.name + paired.known_as
    assert not {"/", "\x1b"} & set(paired.name)
    assert [one.name for one in known(home)] == [paired.name]


# the proof


@pytest.mark.parametrize("typed", ["1234-5678", "12345678", " 1234 5678\n", "12-34-56-78"])
def test_a_code_is_typed_in_many_ways(typed: str) -> None:
    assert exchange.digits(typed) == "12345678"


@pytest.mark.parametrize("typed", ["", "1234567", "123456789", "1234567x", "١٢٣٤٥٦٧٨"])
def test_what_is_no_code_is_not_tried(typed: str, home: Path) -> None:
    with pytest.raises(Fault) as caught:
        pair("127.0.0.1", 1, typed, home)
    assert caught.value.code == "bad-code"


def test_codes_are_drawn_anew_and_are_all_digits() -> None:
    codes = {exchange.new_code() for _ in range(100)}
    assert len(codes) > 90
    assert all(exchange.digits(exchange.spoken(code)) == code for code in codes)


def test_a_proof_is_of_one_use_and_not_of_its_own_share() -> None:
    proof = Proof("12345678", is_host=True, host="a", device="b")
    with pytest.raises(Malformed):
        proof.take(proof.share)
    assert not proof.confirms(b"", of_host=True)


def test_without_the_package_a_device_says_so(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spake2", None)
    with pytest.raises(Fault) as caught:
        device.pairing.open()
    assert caught.value.code == "no-pairing"
    assert not device.file.exists()
