"""The listener over real sockets and TLS: who is let in, who is not, and that nobody holds up the others."""

from __future__ import annotations

import os
import queue
import resource
import shutil
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest

from bootloader import listener as module
from bootloader.listener import MOST_CONNECTIONS, MOST_LOOKING, MOST_PER_ADDRESS, Listener
from bootloader.trust import SELF, Trust
from bootloader.wire.errors import Fault, LinkDown, Untrusted
from bootloader.wire.stream import client_context, fingerprint, secured, server_context
from bootloader.wire.strict import Caller, Method
from reactor.trust import Identity, make_identity

SOON_S = 10.0

Event = tuple[str, Mapping[str, str | int]]


def write(folder: Path, name: str, identity: Identity) -> None:
    (folder / f"{name}.crt").write_text(identity.cert_pem)
    (folder / f"{name}.key").write_text(identity.key_pem)
    (folder / f"{name}.key").chmod(0o600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trust folder of a device that obeys the host alice, and besides it the keys of alice and of others."""
    made = tmp_path_factory.mktemp("trust")
    alice = make_identity("alice")
    write(made, "device", make_identity("device"))
    write(made, "alice", alice)
    write(made, "twin", make_identity("alice"))
    write(made, "other", make_identity("other"))
    (made / "hosts").mkdir()
    (made / "hosts/alice.crt").write_text(alice.cert_pem)
    return made


class Target:
    """A listener with what it told and what was asked of it."""

    def __init__(self, folder: Path, trust: Trust, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.events: queue.Queue[Event] = queue.Queue()
        self.asked: list[tuple[str, bytes]] = []
        self.called = threading.Event()
        self.release = threading.Event()
        self.listener = Listener(
            (host, 0),
            trust,
            lambda name, _observes, _is_dismissed: nullcontext(self.methods_for(name)),
            lambda kind, fields: self.events.put((kind, fields)),
            lambda error: self.events.put(("fault", {"why": repr(error)})),
        )
        self.listener.start()

    def methods_for(self, host: str) -> Mapping[str, Method]:
        def echo(request: bytes) -> bytes:
            self.asked.append((host, request))
            return request

        def wait(request: bytes) -> bytes:
            self.called.set()
            self.release.wait(SOON_S)
            return request

        return {"echo": echo, "wait": wait}

    def caller(self, name: str = "alice", source: str = "") -> Caller:
        pem = (self.folder / "device.crt").read_text()
        context = client_context(self.folder / f"{name}.crt", self.folder / f"{name}.key", pem)
        stream = secured(self.knock(source), context, fingerprint(pem), SOON_S)
        return Caller(stream)

    def knock(self, source: str = "") -> socket.socket:
        """A TCP connection that says nothing."""
        return socket.create_connection(self.listener.address, SOON_S, (source, 0) if source else None)

    def event(self, kind: str) -> Mapping[str, str | int]:
        """The next event of ``kind``."""
        while True:
            got, fields = self.events.get(timeout=SOON_S)
            if got == kind:
                return fields


@pytest.fixture
def target(folder: Path) -> Iterator[Target]:
    made = Target(folder, Trust.load(folder))
    yield made
    made.release.set()
    made.listener.close()


def is_over(sock: socket.socket) -> bool:
    """Whether the other end has closed, however it puts it."""
    sock.settimeout(SOON_S)
    try:
        while sock.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def test_an_obeyed_host_is_let_in_under_its_name(target: Target) -> None:
    caller = target.caller()
    assert caller.call("echo", b"x", SOON_S) == b"x"
    assert target.asked == [("alice", b"x")]
    up = target.event("link-up")
    caller.close()
    down = target.event("link-down")
    assert up["host"] == down["host"] == "alice"
    assert up["address"] == down["address"]
    assert down["why"] == "the other end is gone"


def test_the_device_itself_is_let_in_under_no_name_and_nothing_is_told(target: Target) -> None:
    caller = target.caller("device")
    assert caller.call("echo", b"x", SOON_S) == b"x"
    assert target.asked == [(SELF, b"x")]
    caller.close()
    target.caller("twin").close()
    assert target.events.get(timeout=SOON_S)[0] == "link-refused", "the first that is told of is the next one"


def test_a_socket_that_is_handed_over_is_listened_on(folder: Path) -> None:
    before = socket.create_server(("127.0.0.1", 0))
    waiting = socket.create_connection(before.getsockname(), SOON_S)
    listener = Listener(
        ("127.0.0.1", 1), Trust.load(folder), lambda *_: nullcontext({}), lambda *_: None, lambda _: None, before
    )
    assert listener.address == waiting.getpeername()
    listener.start()
    waiting.sendall(b"no TLS")
    assert is_over(waiting), "it was there before the listener was, and is served"
    waiting.close()
    listener.close()


@pytest.mark.parametrize("name", ["twin", "other"])
def test_an_unknown_key_is_refused_whatever_its_name_and_nothing_of_it_is_read(target: Target, name: str) -> None:
    caller = target.caller(name)
    with pytest.raises(Untrusted):
        caller.call("echo", b"x", SOON_S)
    caller.close()
    refused = target.event("link-refused")
    assert refused["reason"] == "untrusted"
    assert str(refused["address"]).startswith("127.0.0.1:")
    assert not target.asked


def test_hosts_whose_certificates_have_one_name_are_all_let_in(folder: Path) -> None:
    pems = [(folder / f"{name}.crt").read_text() for name in ("alice", "twin")]
    context = server_context(folder / "device.crt", folder / "device.key", "".join(pems))
    own = Trust.load(folder).own
    target = Target(folder, Trust(context, own, {fingerprint(pem): name for pem, name in zip(pems, "ab", strict=True)}))
    for name in ("alice", "twin"):
        caller = target.caller(name)
        assert caller.call("echo", b"x", SOON_S) == b"x"
        caller.close()
    assert target.asked == [("a", b"x"), ("b", b"x")]
    target.listener.close()


def test_a_certificate_of_tls_that_is_no_host_s_is_refused_after_the_handshake(folder: Path) -> None:
    """As one would be that an obeyed certificate had signed: TLS takes it, the comparison does not."""
    trust = Trust.load(folder)
    target = Target(folder, Trust(trust.context, trust.own, {}))
    caller = target.caller()
    with pytest.raises(LinkDown):
        caller.call("echo", b"x", SOON_S)
    caller.close()
    assert target.event("link-refused")["reason"] == "untrusted"
    assert not target.asked
    target.listener.close()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=["no-certificate", "tls-1.2"])
def test_tls_of_another_kind_is_refused(target: Target, folder: Path, newest: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode, context.maximum_version = False, ssl.CERT_NONE, newest
    if newest is ssl.TLSVersion.TLSv1_2:
        context.load_cert_chain(folder / "alice.crt", folder / "alice.key")
    with target.knock() as sock, pytest.raises(OSError, match=r"(?i)alert"), context.wrap_socket(sock) as tls:
        tls.recv(1)
    assert target.event("link-refused")["reason"] == "untrusted"


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, struct.pack("!LB", 3, 0) + b"\x01\x11\x50\n"]
)
def test_plain_tcp_is_refused_and_nothing_of_it_is_read(target: Target, garbage: bytes) -> None:
    with target.knock() as sock:
        sock.sendall(garbage)
        assert is_over(sock)
    assert target.event("link-refused")["reason"] == "untrusted"
    assert not target.asked


def test_garbage_after_the_handshake_ends_that_link_alone(target: Target) -> None:
    good, bad = target.caller(), target.caller()
    assert good.call("echo", b"1", SOON_S) == b"1"
    bad._stream.write(b"garbage that is long enough for a header")
    with pytest.raises(LinkDown):
        bad.call("echo", b"2", SOON_S)
    assert "frame" in str(target.event("link-down")["why"])
    assert good.call("echo", b"3", SOON_S) == b"3"
    good.close()
    bad.close()


def test_silent_peers_do_not_hold_up_the_others(target: Target) -> None:
    with ExitStack() as stack:
        for _ in range(MOST_PER_ADDRESS - 1):
            stack.enter_context(target.knock()).send(b"\x16")
        caller = target.caller()
        assert caller.call("echo", b"x", SOON_S) == b"x"
        caller.close()


def test_a_handshake_that_does_not_end_is_ended(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_S", 0.05)
    with target.knock() as sock:
        sock.send(b"\x16\x03\x01\x40\x00")
        assert is_over(sock)
    refused = target.event("link-refused")
    assert refused["reason"] == "link-down"
    assert refused["why"] == "the handshake did not end in time"


def test_one_address_has_a_bound_that_counts_those_still_shaking_hands(target: Target) -> None:
    with ExitStack() as stack:
        callers = [target.caller() for _ in range(MOST_PER_ADDRESS - 1)]
        stack.enter_context(target.knock())
        assert is_over(stack.enter_context(target.knock()))
        assert target.event("link-refused")["reason"] == "too-many"
        assert all(caller.call("echo", b"x", SOON_S) == b"x" for caller in callers)
        with target.knock("127.0.0.2") as elsewhere:
            elsewhere.settimeout(0.05)
            with pytest.raises(TimeoutError):
                elsewhere.recv(1)
        for caller in callers:
            caller.close()
        for _ in callers:
            target.event("link-down")
    again = target.caller()
    assert again.call("echo", b"room again", SOON_S) == b"room again"
    again.close()


def test_all_addresses_together_have_a_bound(target: Target) -> None:
    with ExitStack() as stack:
        for number in range(MOST_CONNECTIONS):
            stack.enter_context(target.knock(f"127.0.0.{1 + number // MOST_PER_ADDRESS}"))
        assert is_over(stack.enter_context(target.knock("127.0.1.1")))
        assert target.event("link-refused")["reason"] == "too-many"


def test_who_is_late_with_shaking_hands_gives_way_and_keeps_no_host_out(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        linked = target.caller()
        silent = [stack.enter_context(target.knock()) for _ in range(MOST_PER_ADDRESS - 1)]
        assert is_over(stack.enter_context(target.knock())), "none of them is late yet"
        monkeypatch.setattr(module, "SHAKEN_S", 0.0)
        callers = [target.caller() for _ in silent]
        assert all(caller.call("echo", b"x", SOON_S) == b"x" for caller in (linked, *callers)), "no link gives way"
        assert all(map(is_over, silent))
        assert is_over(stack.enter_context(target.knock())), "whoever has shaken hands stays"
        for caller in (linked, *callers):
            caller.close()


def test_a_flood_of_refusals_is_one_event_a_second_and_a_count(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])

    def refused() -> None:
        with target.knock() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert is_over(sock)

    for _ in range(20):
        refused()
    assert target.event("link-refused")["suppressed"] == 0
    wait_for_quiet(target)
    now[0] += 1.0
    refused()
    assert target.event("link-refused")["suppressed"] == 19
    assert target.events.empty()


def test_what_goes_on_is_told_ever_less_often(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is kept on the disk, and pushes out what is there: a day of a neighbour must not cost its logs."""
    now = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    told = 0
    for _ in range(86_400):
        target.listener._refuse("untrusted", "who is it", "10.0.0.1:1")
        now[0] += 1.0
    while not target.events.empty():
        target.events.get()
        told += 1
    assert told < 1.1 * 24 * 60
    now[0] += 120.0
    for expected in (1, 0, 1):
        target.listener._refuse("untrusted", "who is it", "10.0.0.1:1")
        assert target.events.qsize() == expected, "at once, where it was quiet in between"
        now[0] += 0.6
        while not target.events.empty():
            target.events.get()


@pytest.fixture
def watched(folder: Path, tmp_path: Path) -> Iterator[Target]:
    """A target at which alice may do everything, and the other may look."""
    shutil.copytree(folder, tmp_path / "trust")
    (tmp_path / "trust" / "observers").mkdir(mode=0o700)
    shutil.copy(folder / "other.crt", tmp_path / "trust" / "observers")
    made = Target(folder, Trust.load(tmp_path / "trust"))
    yield made
    made.release.set()
    made.listener.close()


def test_hosts_that_may_only_look_keep_out_none_that_may_do_everything(watched: Target) -> None:
    """From as many addresses as they like: who has shaken hands gives way to nobody."""
    callers = [watched.caller("other", f"127.0.0.{2 + at // MOST_PER_ADDRESS}") for at in range(MOST_LOOKING)]
    assert all(caller.call("echo", b"x", SOON_S) == b"x" for caller in callers)
    one_more = watched.caller("other", "127.0.0.9")
    with pytest.raises(LinkDown):
        one_more.call("echo", b"x", SOON_S)
    own = watched.caller("alice")
    assert own.call("echo", b"x", SOON_S) == b"x"
    for caller in (*callers, one_more, own):
        caller.close()


def test_the_links_of_a_host_that_may_only_look_are_told_of_now_and_then(watched: Target) -> None:
    """Else it could push out all that is kept, which is a change."""
    for _ in range(20):
        caller = watched.caller("other")
        caller.call("echo", b"x", SOON_S)
        caller.close()
    wait_for_quiet(watched)
    own = watched.caller("alice")
    own.call("echo", b"x", SOON_S)
    own.close()
    wait_for_quiet(watched)
    told = [(kind, fields["host"]) for kind, fields in iter(lambda: next_of(watched), None)]
    assert told.count(("link-up", "other")) == told.count(("link-down", "other")) < 10
    assert told.count(("link-up", "alice")) == told.count(("link-down", "alice")) == 1


def next_of(target: Target) -> Event | None:
    return None if target.events.empty() else target.events.get()


def wait_for_quiet(target: Target) -> None:
    """Until each connection's thread is at its end, the telling of its refusal included."""
    for thread in threading.enumerate():
        if thread.name.startswith("link "):
            thread.join(SOON_S)


def test_a_process_without_descriptors_goes_on_accepting_later(target: Target) -> None:
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    sock = socket.socket()
    try:
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        sock.connect(target.listener.address)
        starved = target.event("link-refused")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        sock.close()
    assert starved["reason"] == "starved"
    caller = target.caller()
    assert caller.call("echo", b"x", SOON_S) == b"x"
    caller.close()


def test_closing_ends_every_connection_and_thread_and_frees_the_port(target: Target) -> None:
    caller = target.caller()
    caller.call("echo", b"x", SOON_S)
    silent = target.knock()
    target.listener.close()
    assert is_over(silent)
    silent.close()
    with pytest.raises(LinkDown):
        caller.call("echo", b"x", SOON_S)
    caller.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("link ", "listener"))]
    with socket.create_server(target.listener.address):
        pass
    target.listener.close()


def test_closing_names_the_threads_that_it_could_not_wait_for(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLOSE_S", 0.05)
    caller = target.caller()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(caller.call, "wait", b"", SOON_S)
        assert target.called.wait(SOON_S)
        target.listener.close()
        assert isinstance(call.exception(SOON_S), LinkDown)
    assert str(target.event("link-stuck")["threads"]).startswith("link 127.0.0.1:")
    caller.close()
    target.release.set()
    wait_for_quiet(target)


def test_a_busy_port_is_a_fault_that_names_it(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        where = busy.getsockname()
        with pytest.raises(Fault) as caught:
            Listener(where, Trust.load(folder), lambda *_: nullcontext({}), lambda *_: None, lambda _: None)
    assert caught.value.code == "listen-failed"
    assert caught.value.to == f"127.0.0.1:{where[1]}"


def test_ipv6_works(folder: Path) -> None:
    try:
        target = Target(folder, Trust.load(folder), "::1")
    except Fault:
        pytest.skip("no IPv6 on this machine")
    caller = target.caller()
    assert caller.call("echo", b"x", SOON_S) == b"x"
    assert str(target.event("link-up")["address"]).startswith("[::1]:")
    caller.close()
    target.listener.close()
