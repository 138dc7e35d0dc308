"""A hostile neighbour: every line of what somebody on the network can try at a device that does not obey him.

The tables are the list. Each attack is made at a real bootloader, over real sockets, while a host that it obeys goes on
asking. Afterwards that host has had its answers, on the link that it had before; the bootloader is the process that it
was, and has not grown; nothing was run, imported or changed; and the attacker has not got one byte of an answer.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rpyc.core import consts, vinegar

from bootloader.wire.errors import Fault, LinkDown, Refused
from bootloader.wire.messages import pack
from bootloader.wire.pairing import receive
from bootloader.wire.stream import connect, pairing_host_context
from reactor.link import Link
from reactor.pairing import pair
from tests.bootloader.target import SOON_S, Target, app
from tests.bootloader.test_obeyed import CHANGES, LOOKS, Guest
from tests.bootloader.wire.test_strict_frames import TO_THE_DEVICE, frame, message, request

MOST_GROWTH_BYTES = 48 * 1024 * 1024
"""What a bootloader may grow by under attack: its threads' stacks and TLS, never what somebody claims or sends."""

TEN_THOUSAND = 10_000
AT_ONCE = 128

WAIT = "import threading\ndef main():\n    print('up')\n    threading.Event().wait()\n"


class Street:
    """A device, the host that it obeys, and what a neighbour has at hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lured = folder / "lured"
        (folder / "lure").mkdir()
        # Whatever imports it, or unpickles what names it, leaves a trace.
        (folder / "lure" / "lure.py").write_text(
            f"open({str(self.lured)!r}, 'w').close()\nclass Lure(Exception): pass\n"
        )
        self.target = _Lured(folder)
        self.target.ship(WAIT, app(settle_s=0.0)).healthy()
        self.where = ("127.0.0.1", int(self.target.listening["port"]))
        self.pid = self.target.pid
        assert f"PYTHONPATH={folder / 'lure'}" in Path(f"/proc/{self.pid}/environ").read_text()
        self.before = self.state()
        self.names = iter(range(TEN_THOUSAND))

    def state(self) -> tuple[object, ...]:
        """What nobody but the obeyed host may change."""
        trusted = [row[1:] for row in self.target.call("trust").rows("hosts") if row[2] == "hosts"]
        return self.target.history(), self.target.standing(), trusted, self.target.live()

    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def client(self, *, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
        """Of a neighbour that believes whatever it is shown."""
        context = pairing_host_context()
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        return context

    def guest(self) -> Guest:
        """Somebody with a key of its own, under the name of the host that is obeyed."""
        return Guest(self.target, self.folder, f"host{next(self.names)}")

    def sock(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(self.where, SOON_S, (source, 0))

    def hears_nothing(self, sock: socket.socket) -> None:
        """Until the device ends it: alerts of TLS are all that it says."""
        sock.settimeout(SOON_S)
        with suppress(ConnectionError):
            while data := sock.recv(4096):
                assert data[0] == 0x15, "an alert"

    def let_in(self) -> Link:
        """Another link of the host that is obeyed, which tries again as a host does, until others give way."""
        deadline = time.monotonic() + SOON_S
        while True:
            try:
                return self.target.link("again")
            except LinkDown:
                if time.monotonic() > deadline:
                    raise

    def says(self, context: ssl.SSLContext, data: bytes = b"") -> None:
        """Whatever is said in TLS, no byte of an answer comes."""
        with suppress(OSError), context.wrap_socket(self.sock()) as tls:
            with suppress(OSError):
                tls.sendall(data)
            assert tls.recv(1) == b""

    @contextmanager
    def besieged(self) -> Iterator[None]:
        """The host that is obeyed asks all the time: each answer comes, and on the same link."""
        over, answers, failed = threading.Event(), threading.Semaphore(0), list[Fault]()

        def ask() -> None:
            while not over.is_set():
                try:
                    self.target.call("status")
                except Fault as fault:
                    failed.append(fault)
                    break
                answers.release()
                over.wait(0.02)

        asking = threading.Thread(target=ask, name="the obeyed host")
        asking.start()
        before = self.rss_bytes()
        try:
            assert answers.acquire(timeout=SOON_S)
            yield
            for _ in range(3):
                assert answers.acquire(timeout=SOON_S)
        finally:
            over.set()
            asking.join()
        assert failed == []
        assert self.rss_bytes() - before < MOST_GROWTH_BYTES
        assert self.target.pid == self.pid
        assert self.state() == self.before
        assert not self.lured.exists()
        assert not [event for event in self.target.events if event.get("code") == "internal-error"]


class _Lured(Target):
    """A bootloader that could import what leaves a trace."""

    def spawn(self, *options: str) -> subprocess.Popen[bytes]:
        place = self.state.parent / "lure"
        self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(place), os.environ.get("PYTHONPATH"))))
        return super().spawn(*options)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    made = Street(tmp_path_factory.mktemp("street"))
    yield made
    made.target.close()


class Evil:
    """Pickled, it has whoever loads it import what leaves a trace."""

    def __reduce__(self) -> tuple[object, ...]:
        return __import__, ("lure",)


GARBAGE = (b"\x16\x03\x01\xff\xff" + bytes(600), b"\x80\x2e\x01\x00\x02", os.urandom(4096), b"\x16\x03\x01\x00\x01\x01")
CLAIM = struct.pack("!LB", 0xFFFF_FFFF, 0)
NETREF = ("lure.Lure", 1, 2)
LURES = {
    "pickled data": request(consts.HANDLE_PICKLE, 0, pickle.dumps(Evil())),
    "pickled data for a request": request(consts.HANDLE_CALL, "hello", pickle.dumps(Evil())),
    "pickled data for a name": request(consts.HANDLE_CALL, pickle.dumps(Evil(), 0).decode(), b""),
    "an underscored name": request(consts.HANDLE_CALL, "__class__", pack({})),
    "an underscored attribute": request(consts.HANDLE_GETATTR, 0, "__globals__"),
    "getattr of a netref": request(consts.HANDLE_GETATTR, NETREF, "__init__"),
    "a class to look up": request(consts.HANDLE_INSPECT, NETREF),
    "a callback": request(consts.HANDLE_CALL, (consts.LABEL_REMOTE_REF, NETREF), NETREF, label=consts.LABEL_TUPLE),
    "an exception that names a class": frame(
        message(consts.MSG_EXCEPTION, 0, (("lure", "Lure"), ("x",), (("__cause__", "lure"),), "Traceback"))
    ),
    "an exception of the library's own form": frame(
        message(consts.MSG_EXCEPTION, 0, vinegar.dump(ValueError, ValueError("x"), None, False, False))
    ),
}  # fmt: skip
BY_HAND = {**TO_THE_DEVICE, **LURES}


# before anybody is known


def minted(street: Street, name: str, *, key: Path | None, days: tuple[int, int], issuer: str = "") -> Path:
    """A certificate: of ``key``, or a new one; signed by the obeyed host's key, if ``issuer`` is its name."""
    own = ec.generate_private_key(ec.SECP256R1())
    if key is not None:
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        own = loaded
    signer = own
    if issuer:
        loaded = serialization.load_pem_private_key((street.target.home / "identity" / "host.key").read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer = loaded
    begins, ends = (datetime.now(UTC) + timedelta(days=day) for day in days)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer or name)]))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(signer, hashes.SHA256())
    )
    path = street.folder / f"minted{next(street.names)}.pem"
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


def obeyed_name(street: Street) -> str:
    own = x509.load_pem_x509_certificate((street.target.home / "identity" / "host.crt").read_bytes())
    return str(own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def unknown_certificate(street: Street) -> None:
    guest = street.guest()
    street.says(street.client(certificate=guest.identity.certificate, key=guest.identity.key), TO_THE_DEVICE["getroot"])


def no_certificate(street: Street) -> None:
    street.says(street.client(), TO_THE_DEVICE["getroot"])


def expired_certificate(street: Street) -> None:
    key = street.target.home / "identity" / "host.key"
    street.says(street.client(certificate=minted(street, obeyed_name(street), key=key, days=(-9, -1))))


def another_certificate_of_the_obeyed_key(street: Street) -> None:
    """What is pinned is the certificate, so that there is one name and one fingerprint for a host."""
    key = street.target.home / "identity" / "host.key"
    street.says(street.client(certificate=minted(street, obeyed_name(street), key=key, days=(-9, 9))))


def another_key_under_the_obeyed_name(street: Street) -> None:
    street.says(street.client(certificate=minted(street, obeyed_name(street), key=None, days=(-9, 9))))


def signed_by_the_obeyed_key(street: Street) -> None:
    name = obeyed_name(street)
    street.says(street.client(certificate=minted(street, "another", key=None, days=(-9, 9), issuer=name)))


def the_devices_own_certificate_without_its_key(street: Street) -> None:
    with pytest.raises(ssl.SSLError):
        street.client(certificate=street.target.state / "trust" / "device.crt", key=street.guest().identity.key)
    street.says(street.client())


def plain_tcp(street: Street) -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", TO_THE_DEVICE["getroot"], LURES["pickled data for a request"]):
        with street.sock() as sock:
            sock.sendall(data)
            street.hears_nothing(sock)


def tls_1_2(street: Street) -> None:
    identity = street.target.home / "identity"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(identity / "host.crt", identity / "host.key")  # the right key helps nothing
    with street.sock() as sock, pytest.raises(ssl.SSLError), context.wrap_socket(sock):
        pass


def slow_loris(street: Street) -> None:
    """As many as are let in, from each of many addresses, and a byte now and then."""
    with ExitStack() as stack:
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
        held = [stack.enter_context(street.sock(f"127.0.1.{number // 16 + 1}")) for number in range(80)]
        for byte in hello:
            for sock in held:
                with suppress(OSError):
                    sock.send(bytes([byte]))
        with street.let_in() as link:  # one more of the obeyed host's, whoever is silent
            link.call("hello", {}, timeout_s=SOON_S)
        for sock in held:
            street.hears_nothing(sock)


def ten_thousand_connections(street: Street) -> None:
    flood(street.where, TEN_THOUSAND)


def flood(where: tuple[str, int], count: int) -> None:
    """So many connections, from as many addresses, that say half of something and stay until they are ended."""
    under_way: dict[int, socket.socket] = {}
    made = 0
    with select.epoll() as ends:
        while made < count:
            while made < count and len(under_way) < AT_ONCE:
                sock = socket.socket()
                sock.setblocking(False)
                sock.bind((f"127.1.{made % 250}.{made // 250 % 250 + 1}", 0))
                sock.connect_ex(where)
                with suppress(OSError):
                    sock.send(b"\x16\x03\x01\x02")
                under_way[sock.fileno()] = sock
                ends.register(sock, select.EPOLLIN)
                made += 1
            over = ends.poll(SOON_S)
            assert over, "nobody is ended"
            for number, _ in over:
                ends.unregister(number)
                under_way.pop(number).close()
    for sock in under_way.values():
        sock.close()


def garbage_before_the_handshake(street: Street) -> None:
    for data in GARBAGE:
        with street.sock() as sock:
            with suppress(OSError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            street.hears_nothing(sock)


def garbage_after_the_handshake(street: Street) -> None:
    guest = street.guest()
    context = street.client(certificate=guest.identity.certificate, key=guest.identity.key)
    for data in (*GARBAGE, bytes(100_000)):
        street.says(context, data)


def a_frame_of_4_gib(street: Street) -> None:
    guest = street.guest()
    street.says(street.client(certificate=guest.identity.certificate, key=guest.identity.key), CLAIM + bytes(1000))


def rpyc_by_hand(street: Street) -> None:
    guest = street.guest()
    context = street.client(certificate=guest.identity.certificate, key=guest.identity.key)
    for data in LURES.values():
        street.says(context, data)


NEIGHBOUR: dict[str, Callable[[Street], None]] = {
    "unknown certificate": unknown_certificate,
    "no certificate": no_certificate,
    "expired certificate": expired_certificate,
    "another certificate of the obeyed key": another_certificate_of_the_obeyed_key,
    "another key under the obeyed name": another_key_under_the_obeyed_name,
    "signed by the obeyed key": signed_by_the_obeyed_key,
    "the device's own certificate without its key": the_devices_own_certificate_without_its_key,
    "plain TCP": plain_tcp,
    "TLS 1.2": tls_1_2,
    "slow-loris handshake": slow_loris,
    "ten thousand connections": ten_thousand_connections,
    "garbage before the handshake": garbage_before_the_handshake,
    "garbage after the handshake": garbage_after_the_handshake,
    "a frame of 4 GiB": a_frame_of_4_gib,
    "RPyC by hand": rpyc_by_hand,
}


@pytest.mark.parametrize("attack", NEIGHBOUR)
def test_a_neighbour_gets_nothing_and_the_obeyed_host_keeps_its_answers(street: Street, attack: str) -> None:
    with street.besieged():
        NEIGHBOUR[attack](street)


# with a key that is obeyed, or that may look: what goes past the handshake


@pytest.mark.parametrize("role", ["hosts", "observers"])
def test_what_is_made_by_hand_ends_its_own_link_and_nothing_is_run(street: Street, role: str) -> None:
    guest = street.guest()
    street.target.call("invite")  # there is a window meanwhile; whoever has a link gets nothing by that
    guest.put(role)
    street.target.event("notice", code="host-added", text=f"{guest.name} is of the {role} of this device now")
    context = guest_context(street, guest)
    street.before = street.state()
    try:
        with street.besieged():
            for name, data in {**BY_HAND, "a frame of 4 GiB": CLAIM, "garbage": GARBAGE[2]}.items():
                ended_with_nothing(street, context, name, data)
    finally:
        guest.take(role)
    street.target.event("notice", code="host-removed", text=f"{guest.name} is of the {role} of this device no more")
    street.before = street.state()


def guest_context(street: Street, guest: Guest) -> ssl.SSLContext:
    return street.client(certificate=guest.identity.certificate, key=guest.identity.key)


def ended_with_nothing(street: Street, context: ssl.SSLContext, name: str, data: bytes) -> None:
    """The link ends, or what comes is a refusal in our own words: a method of that name is not there."""
    stream = connect(*street.where, context, None, SOON_S)
    try:
        with suppress(LinkDown):
            stream.write(data)
        try:
            size, _ = struct.unpack("!LB", stream.read(5, SOON_S))
        except LinkDown:
            return
        said = bytes(stream.read(size + 1, SOON_S))
        assert b'"refused"' in said, (name, said)
        assert b"unknown-method" in said or b"malformed" in said, (name, said)
    finally:
        stream.close()


def test_an_observer_that_tries_all_that_a_host_may_is_refused_each_time(street: Street) -> None:
    guest = street.guest()
    guest.put("observers")
    street.target.event("notice", code="host-added", text=f"{guest.name} is of the observers of this device now")
    street.before = street.state()
    files = {"app.py": f"open({str(street.lured)!r}, 'w').close()\n"}
    body, blobs = street.target.overlay(files, app(settle_s=0.0)).message()
    asks: dict[str, tuple[dict[str, object], list[bytes]]] = {
        "apply": (dict(body), list(blobs)),
        "upgrade": (dict(body), list(blobs)),
        "upload": ({"parts": [["0" * 64, 0, 3]]}, [b"abc"]),
        "missing": ({"names": [["0" * 64, 3]]}, []),
        "manifest": ({"root": street.target.tree.root}, []),
        "rollback": ({"generation": 1}, []),
        "stack": ({"application": "app"}, []),
        "open": ({"kind": "repl", "more": {"width": 80}}, []),
        "write": ({"stream": "x", "at": 0}, [b"import lure"]),
        "read": ({"stream": "x", "at": 0}, []),
        "close": ({"stream": "x"}, []),
        "confirm": ({"release": "0" * 64}, []),
        "role": ({"name": guest.name, "role": "hosts"}, []),
        "distrust": ({"name": guest.name}, []),
        "invite": ({"role": "hosts"}, []),
    }
    with street.besieged(), guest.link() as link:
        for method in CHANGES:
            fields, parts = asks.get(method, ({}, []))
            with pytest.raises(Refused) as caught:
                link.call(method, fields, parts, SOON_S)
            assert caught.value.code == "observer", method
        with pytest.raises(Refused):
            link.call("events", {"attached": True}, timeout_s=SOON_S)
        for method in LOOKS:
            link.call(method, {}, timeout_s=SOON_S)
        with pytest.raises(LinkDown):  # nor is it let to send much
            link.call("hello", {"x": "y" * 100_000}, timeout_s=SOON_S)
    guest.take("observers")
    street.target.event("notice", code="host-removed", text=f"{guest.name} is of the observers of this device no more")
    street.before = street.state()


# the window to pair in, where nobody is known yet: no RPyC at all


def at_the_window(where: tuple[str, int], data: bytes, *, is_said: bool = True) -> None:
    """Whatever is said there, what comes is nothing, or a refusal of the pairing's own."""
    with suppress(LinkDown):
        stream = connect(*where, pairing_host_context(), None, SOON_S)
        try:
            stream.write(data)
            if not is_said:
                return
            with pytest.raises(Refused):
                receive(stream, SOON_S)
        finally:
            stream.close()


def window_plain_tcp(where: tuple[str, int]) -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", *GARBAGE, TO_THE_DEVICE["getroot"], CLAIM):
        with socket.create_connection(where, SOON_S) as sock:
            with suppress(OSError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            sock.settimeout(SOON_S)
            with suppress(ConnectionError):
                while said := sock.recv(4096):
                    assert said[0] == 0x15


def window_tls_1_2(where: tuple[str, int]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(where, SOON_S) as sock,
        pytest.raises(ssl.SSLError),
        context.wrap_socket(sock),
    ):
        pass


def window_by_hand(where: tuple[str, int]) -> None:
    for data in (*LURES.values(), *GARBAGE, CLAIM, b"\xff\xff\xff\xff" + bytes(1000), bytes(100_000)):
        at_the_window(where, data, is_said=len(data) < 10_000)


WINDOW: dict[str, Callable[[tuple[str, int]], None]] = {
    "plain TCP, and garbage": window_plain_tcp,
    "TLS 1.2": window_tls_1_2,
    "a thousand connections": lambda where: flood(where, 1000),
    "RPyC by hand, frames of 4 GiB, garbage": window_by_hand,
}


def test_a_window_to_pair_in_bears_the_same_and_then_pairs_with_who_knows_the_code(street: Street) -> None:
    shown = street.target.call("invite")
    where = ("127.0.0.1", shown.integer("port"))
    for attack in WINDOW.values():
        with street.besieged():
            attack(where)
    assert not [event for event in street.target.events if event.get("code") == "pairing-failed"], "none cost a try"
    home = street.folder / "a new host"
    paired = pair(*where, shown.text("code"), home)
    assert [row[0] for row in street.target.call("trust").rows("hosts")].count(paired.known_as) == 1
    street.target.call("distrust", name=paired.known_as)
