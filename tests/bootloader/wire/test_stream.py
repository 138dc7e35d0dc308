"""The stream over real sockets and real TLS: what arrives, what is refused, what wakes whom."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from bootloader.wire import stream as module
from bootloader.wire.errors import Fault, LinkClosed, LinkDown, Untrusted
from bootloader.wire.stream import TlsStream, client_context, connect, fingerprint
from tests.bootloader.wire.ends import SOON_S, Door, Keys, Pair


@pytest.mark.parametrize("size", [1, 16_383, 16_384, 16_385, 131_073, 3_000_001])
def test_bytes_arrive_whole_in_both_directions_at_once(pair: Pair, pool: ThreadPoolExecutor, size: int) -> None:
    there, back = os.urandom(size), os.urandom(size)
    host, device = pair
    reads = pool.submit(device.read, size), pool.submit(host.read, size)
    writes = pool.submit(host.write, there), pool.submit(device.write, back[:1], back[1:])
    assert [read.result(SOON_S) for read in reads] == [there, back]
    assert [write.result(SOON_S) for write in writes] == [None, None]


def test_bytes_that_openssl_has_already_decrypted_are_not_waited_for(pair: Pair, pool: ThreadPoolExecutor) -> None:
    host, device = pair
    host.write(b"one record, two reads")
    assert pool.submit(device.read, 3, None).result(SOON_S) == b"one"
    assert pool.submit(device.read, 18, None).result(SOON_S) == b" record, two reads"


def test_each_end_knows_the_fingerprint_and_the_address_of_the_other(pair: Pair, keys: Keys, door: Door) -> None:
    host, device = pair
    assert host.peer_fingerprint == fingerprint(keys.pem("device"))
    assert device.peer_fingerprint == fingerprint(keys.pem("host"))
    assert host.peer == f"127.0.0.1:{door.where[1]}"


def test_the_sockets_delay_nothing_notice_half_open_links_and_keep_no_time_out(pair: Pair) -> None:
    for end in pair:
        sock = end._ssl
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.gettimeout() == 0


def test_fresh_connections_survive_writers_and_a_reader_at_once(
    keys: Keys, door: Door, pool: ThreadPoolExecutor
) -> None:
    """Where session tickets and threads met in the SSL object, one connection in 75 broke here."""
    context, pin = keys.client("host", "device"), fingerprint(keys.pem("device"))
    for _ in range(50):
        accepted = door.accept()
        host = connect(*door.where, context, pin, SOON_S)
        device = accepted.result(SOON_S)
        work: list[Future[Any]] = [pool.submit(end.read, 40_000) for end in (host, device)]
        work += [pool.submit(end.write, bytes(40_000)) for end in (host, device)]
        for each in work:
            each.result(SOON_S)
        host.close()
        device.close()


def test_closing_wakes_this_ends_reader_and_gives_the_descriptor_back(pair: Pair, pool: ThreadPoolExecutor) -> None:
    host, _ = pair
    descriptor = host._ssl.fileno()
    reading = pool.submit(host.read, 1, None)
    assert_waits(reading)
    host.close()
    with pytest.raises(LinkClosed):
        reading.result(SOON_S)
    with pytest.raises(LinkClosed):
        host.write(b"x")
    assert host.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_peer_that_goes_wakes_the_reader_and_every_later_use_says_the_same(
    pair: Pair, pool: ThreadPoolExecutor
) -> None:
    host, device = pair
    reading = pool.submit(host.read, 1, None)
    assert_waits(reading)
    device.close()
    with pytest.raises(LinkDown, match="gone"):
        reading.result(SOON_S)
    with pytest.raises(LinkDown, match="gone"):
        host.write(b"x")
    host.close()
    assert isinstance(host.fault, LinkDown), "what ended it first is why it ended"


def test_closing_wakes_a_writer_whose_peer_does_not_read(pair: Pair, pool: ThreadPoolExecutor) -> None:
    host, _ = pair
    writing = pool.submit(host.write, bytes(32_000_000))
    assert_waits(writing)
    host.close()
    with pytest.raises(LinkClosed):
        writing.result(SOON_S)


def test_closing_from_many_threads_at_once_is_closing_once(pair: Pair, pool: ThreadPoolExecutor) -> None:
    host, _ = pair
    reading = pool.submit(host.read, 1, None)
    for closing in [pool.submit(host.close) for _ in range(20)]:
        closing.result(SOON_S)
    with pytest.raises(LinkClosed):
        reading.result(SOON_S)


def test_idle_may_last_but_silence_in_mid_message_ends_the_stream(
    pair: Pair, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.05)
    host, device = pair
    reading = pool.submit(host.read, 5, None)
    assert_waits(reading)
    device.write(b"head")
    with pytest.raises(LinkDown, match="mid-message"):
        reading.result(SOON_S)
    assert host.closed


def test_a_peer_that_takes_nothing_ends_the_stream(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.05)
    host, _ = pair
    with pytest.raises(LinkDown, match="takes no more"):
        host.write(bytes(32_000_000))
    assert host.closed


def test_an_interrupted_write_ends_the_stream_as_half_a_message_is_out(pair: Pair) -> None:
    host, _ = pair
    ctrl_c = threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a script's `&` has ignored
    try:
        ctrl_c.start()
        with pytest.raises(KeyboardInterrupt):
            host.write(bytes(32_000_000))
    finally:
        signal.signal(signal.SIGINT, before)
    assert host.closed


def plain_tls(keys: Keys, certificate: str | None, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = newest
    if certificate:
        context.load_cert_chain(keys.folder / f"{certificate}.crt", keys.folder / f"{certificate}.key")
    return context


@pytest.mark.parametrize(
    ("certificate", "newest", "why"),
    [
        (None, ssl.TLSVersion.TLSv1_3, "peer did not return a certificate"),
        ("other", ssl.TLSVersion.TLSv1_3, "of no host"),
        ("twin", ssl.TLSVersion.TLSv1_3, "of no host"),
        ("device", ssl.TLSVersion.TLSv1_3, "of no host"),
        ("host", ssl.TLSVersion.TLSv1_2, "unsupported protocol"),
    ],
)
def test_a_device_shakes_hands_with_its_hosts_alone(
    keys: Keys, door: Door, certificate: str | None, newest: ssl.TLSVersion, why: str
) -> None:
    accepted = door.accept()
    with socket.create_connection(door.where, SOON_S) as sock:
        try:
            plain_tls(keys, certificate, newest).wrap_socket(sock).close()
        except OSError:
            pass  # which end notices first is TLS's affair
        with pytest.raises(Untrusted, match=why):
            accepted.result(SOON_S)


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, bytes(range(256)), b"\x16\x03\x01\x00\x04\xff\xff\xff\xff"],
    ids=["http", "zeros", "all-bytes", "bad-hello"],
)
def test_what_is_not_tls_is_refused(door: Door, garbage: bytes) -> None:
    accepted = door.accept()
    with socket.create_connection(door.where, SOON_S) as sock:
        sock.sendall(garbage)
        with pytest.raises(Untrusted, match="does not speak"):
            accepted.result(SOON_S)
    assert door.streams[0].closed


def test_a_handshake_that_trickles_ends_in_time(door: Door) -> None:
    accepted = door.accept(timeout_s=0.1)
    ended = threading.Event()
    accepted.add_done_callback(lambda _: ended.set())
    with socket.create_connection(door.where, SOON_S) as sock:
        sock.sendall(b"\x16\x03\x01\x40\x00\x01")
        while not ended.wait(0.001):
            try:
                sock.sendall(b"\0")
            except ConnectionError:
                break
        with pytest.raises(LinkDown, match="did not end in time"):
            accepted.result(SOON_S)


@pytest.mark.parametrize("act", [lambda end: end.read(1), lambda end: write_until_broken(end)], ids=["read", "write"])
def test_a_host_that_is_refused_learns_it_by_its_first_use(
    keys: Keys, door: Door, act: Callable[[TlsStream], object]
) -> None:
    accepted = door.accept()
    host = connect(*door.where, keys.client("twin", "device"), fingerprint(keys.pem("device")), SOON_S)
    assert isinstance(accepted.exception(SOON_S), Untrusted)
    with pytest.raises(Untrusted, match="does not obey this host"):
        act(host)
    assert isinstance(host.fault, Untrusted)


def write_until_broken(end: TlsStream) -> None:
    """Writes only, until the world says no."""
    while True:
        end.write(bytes(100_000))


@pytest.mark.parametrize("trusted", [("other",), ("device", "other")])
def test_a_host_talks_to_the_device_that_it_means_alone(keys: Keys, door: Door, trusted: tuple[str, ...]) -> None:
    """The second case is a context that would accept the device, so that only the comparison is left."""
    accepted = door.accept()
    with pytest.raises(Untrusted, match="pair with it again"):
        connect(*door.where, keys.client("host", *trusted), fingerprint(keys.pem("other")), SOON_S)
    accepted.exception(SOON_S)


def test_nobody_there_is_a_link_that_is_down(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        where: tuple[str, int] = free.getsockname()
    context = keys.client("host", "device")
    with pytest.raises(LinkDown, match=rf"127\.0\.0\.1:{where[1]}: no connection \(Connection refused\)"):
        connect(*where, context, "", SOON_S)
    with pytest.raises(LinkDown, match=r"nowhere\.invalid:1"):
        connect("nowhere.invalid", 1, context, "", SOON_S)


def test_a_server_that_says_nothing_is_given_up(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(LinkDown, match="in time"):
        connect("127.0.0.1", silent.getsockname()[1], keys.client("host", "device"), "", 0.05)


def test_a_server_of_another_kind_is_not_taken_for_a_device(keys: Keys, pool: ThreadPoolExecutor) -> None:
    def greet(listening: socket.socket) -> None:
        sock, _ = listening.accept()
        with sock:
            sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            sock.recv(10_000)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        greeted = pool.submit(greet, listening)
        with pytest.raises(LinkDown, match="does not speak"):
            connect("127.0.0.1", listening.getsockname()[1], keys.client("host", "device"), "", SOON_S)
        greeted.result(SOON_S)


def test_ipv6_works(keys: Keys, pool: ThreadPoolExecutor) -> None:
    try:
        door = Door(keys, pool, "::1")
    except OSError:
        pytest.skip("no IPv6 on this machine")
    try:
        accepted = door.accept()
        host = connect("::1", door.where[1], keys.client("host", "device"), fingerprint(keys.pem("device")), SOON_S)
        host.write(b"x")
        assert accepted.result(SOON_S).read(1) == b"x"
        assert host.peer == f"[::1]:{door.where[1]}"
        host.close()
    finally:
        door.close()


def test_contexts_are_of_tls_1_3_ask_for_a_certificate_and_issue_no_tickets(keys: Keys) -> None:
    for context in (keys.server("device", "host"), keys.client("host", "device")):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
    assert keys.server("device").num_tickets == 0


def test_a_key_of_another_certificate_is_refused(keys: Keys) -> None:
    with pytest.raises(Fault) as caught:
        client_context(keys.folder / "host.crt", keys.folder / "other.key", "")
    assert caught.value.code == "unusable-identity"


def test_a_key_with_a_password_is_refused_and_nothing_is_asked(keys: Keys, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    key = serialization.load_pem_private_key((keys.folder / "host.key").read_bytes(), None)
    form = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    with pytest.raises(Fault) as caught:
        client_context(keys.folder / "host.crt", locked, "")
    assert caught.value.code == "unusable-identity"


def assert_waits(future: Future[Any]) -> None:
    """That it has not ended, although it had the time."""
    with pytest.raises(NotYet):
        future.result(0.1)
