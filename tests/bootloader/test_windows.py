"""Windows to pair in that come, go and meet: two at once, one that closes in the middle of an exchange, their code."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from socket import socketpair
from typing import Any

import pytest

from bootloader import pairing as module
from bootloader.pairing import TRIES, Pairing, Shown
from bootloader.trust import HOSTS, OBSERVERS, Trust, admit, begin
from bootloader.wire import pairing as exchange
from bootloader.wire.errors import Fault, Refused
from bootloader.wire.pairing import receive, send
from reactor.pairing import pair
from reactor.trust import make_identity
from tests.bootloader.test_pairing import Device, Hand, is_closed, wrong

SOON_S = 20.0


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path)
    yield made
    made.pairing.close()


def test_of_windows_that_open_at_once_one_is_left_and_it_is_the_one_that_is_shown(
    device: Device, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(6) as pool:
        windows = list(pool.map(lambda _: device.pairing.open(), range(6)))
    assert len({shown.code for shown in windows}) == len(windows)
    code, _, port = device.file.read_text().split()
    (left,) = [shown for shown in windows if exchange.spoken(shown.code) == code]
    assert (int(port), device.pairing.port) == (left.port, left.port)
    for shown in windows:
        if shown.port != left.port:
            is_closed(shown)
    pair("127.0.0.1", left.port, left.code, tmp_path / "home")
    assert len(device.hosts()) == 1


def test_an_exchange_that_has_proven_the_code_is_nothing_once_its_window_is_over(device: Device) -> None:
    shown = device.pairing.open()
    hand = Hand(shown)
    hand.confirm(hand.ask())
    device.pairing.open()
    with suppress(Fault):
        send(hand.stream, {"kept": True})
    with pytest.raises(Fault):
        receive(hand.stream, SOON_S)
    assert device.hosts() == []


def test_a_window_that_is_over_tells_no_code_and_takes_none_away(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end may come late: here, the disk takes as long as it likes to remove the file."""
    monkeypatch.setattr(module, "_JOIN_S", 0.0)
    removing, removed = threading.Event(), threading.Event()

    class Slow(type(Path())):  # type: ignore[misc]
        def unlink(self, missing_ok: bool = False) -> None:
            if threading.current_thread().name == "pairing":
                removing.set()
                assert removed.wait(SOON_S)
            super().unlink(missing_ok)

    told: list[tuple[str, float]] = []
    pairing = Pairing(device.trust, "porch", Slow(device.file), lambda _code, _text: None)
    pairing.display = lambda code, open_s: told.append((code, open_s))
    pairing.listens(("127.0.0.1", 7717))
    first = pairing.open()
    pairing._window.finish("it is over")  # type: ignore[union-attr]
    assert removing.wait(SOON_S)
    opened: list[Shown] = []
    opening = threading.Thread(target=lambda: opened.append(pairing.open()))
    opening.start()
    removed.set()
    opening.join(SOON_S)
    ending = [thread for thread in threading.enumerate() if thread.name == "pairing"]
    try:
        assert device.file.read_text().split()[0] == exchange.spoken(opened[0].code) != exchange.spoken(first.code)
        assert told[-1][0] == exchange.spoken(opened[0].code)
    finally:
        pairing.close()
        for thread in ending:
            thread.join(SOON_S)
    assert not device.file.exists()


def test_tries_that_are_made_at_once_are_as_many_as_those_that_are_made_one_by_one(device: Device) -> None:
    """From whichever address: they are the window's."""
    shown = device.pairing.open()
    hands = [Hand(shown, wrong(shown.code)) for _ in range(2 * TRIES)]

    def is_answered(hand: Hand) -> bool:
        try:
            hand.ask()
        except Fault:
            return False
        return True

    with ThreadPoolExecutor(len(hands)) as pool:
        assert sum(pool.map(is_answered, hands)) == TRIES
    for hand in hands:
        hand.stream.close()
    assert "went wrong" in device.notice("pairing-closed")


def test_a_window_is_over_when_the_host_is_removed_at_whose_word_it_was_open(device: Device, tmp_path: Path) -> None:
    """It knows the code, and would be back."""
    shown = device.pairing.open(by="anna")
    device.pairing.disinvite("bob")
    assert device.pairing.port == shown.port
    device.pairing.disinvite("anna")
    with pytest.raises(Fault):
        pair("127.0.0.1", shown.port, shown.code, tmp_path / "home")
    assert "anna" in device.notice("pairing-closed")
    assert device.hosts() == []


def test_who_was_removed_while_it_waited_opens_none_and_ends_none(device: Device) -> None:
    shown = device.pairing.open()

    def check() -> None:
        raise Refused("dismissed", "what this host may do here was changed")

    with pytest.raises(Refused):
        device.pairing.open(HOSTS, "anna", check)
    assert device.pairing.port == shown.port


def test_a_line_that_brings_somebody_does_not_wait_for_who_opens_a_window(device: Device) -> None:
    device.pairing.open()
    ours, theirs = socketpair()
    taken: list[Any] = []
    with ours, device.pairing._lock, device.pairing._window._lock:  # type: ignore[union-attr]  # as while another ends
        asking = threading.Thread(target=lambda: taken.append(device.pairing.admit(theirs, "serial")))
        asking.start()
        asking.join(SOON_S)
        assert taken == [True]


def test_a_code_to_look_by_takes_nothing_from_a_host_that_may_do_everything(device: Device) -> None:
    """Whoever has it may have brought that one's certificate, which is no secret."""
    hand = Hand(device.pairing.open(OBSERVERS))
    admit(device.trust, "anna", hand.identity.cert_pem)
    hand.confirm(hand.ask())
    send(hand.stream, {"kept": True})
    with pytest.raises(Refused) as caught:
        receive(hand.stream, SOON_S)
    assert caught.value.code == "obeyed-already"
    assert [(name, role) for name, _, role in Trust.load(device.trust).rows()] == [("anna", HOSTS)]


X509 = "BEGIN X509 CERTIFICATE", "END X509 CERTIFICATE"


def renamed(pem: str) -> str:
    """As OpenSSL reads it as well."""
    return pem.replace("BEGIN CERTIFICATE", X509[0]).replace("END CERTIFICATE", X509[1])


@pytest.mark.parametrize("tail", [renamed(make_identity("second").cert_pem), "-----BEGIN FOO-----\nAAAA\n"])
def test_what_is_around_a_certificate_is_not_kept_and_costs_nobody_else(tmp_path: Path, tail: str) -> None:
    folder = tmp_path / "trust"
    begin(folder)
    anna, zoe = make_identity("anna"), make_identity("zoe")
    admit(folder, "anna", anna.cert_pem + tail, OBSERVERS)
    admit(folder, "zoe", zoe.cert_pem)
    trust = Trust.load(folder)
    assert {which for _, which, _ in trust.rows()} == {anna.fingerprint, zoe.fingerprint}
    assert trust.context.cert_store_stats()["x509"] == 3, "the device's own, and these"
    (folder / OBSERVERS / "anna.crt").write_text(anna.cert_pem + tail)  # by hand
    assert Trust.load(folder).context.cert_store_stats()["x509"] == 3
