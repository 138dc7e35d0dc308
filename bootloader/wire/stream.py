"""A duplex byte stream over mutual TLS 1.3, for one reading and one writing thread, closed from any.

Owns the socket, the SSL object and the reason for which the stream ended. Knows nothing of frames or calls.

The rule that everything here follows: the SSL object is touched under one lock, by operations that never block; whoever
has to wait waits for the descriptor outside of the lock. Each operation is tried before it is waited for, so bytes
that OpenSSL has already decrypted (``pending()``) are never slept upon. Idle is legal for ever; silence in the
middle of something is not.
"""

from __future__ import annotations

import hashlib
import select
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TypeVar

from .errors import Fault, LinkClosed, LinkDown, Untrusted

STALL_S = 20.0
"""Longest silence in the middle of a read or a write. Progress, however slow, is not silence."""

_CHUNK_BYTES = 128 * 1024
"""Most bytes that one operation encrypts, and so roughly how long a reader may wait for the lock."""

_JOIN_BYTES = 16 * 1024
"""Parts up to this are one TLS record, and one packet where it fits; above, copying them costs more."""

_KEEPALIVE_IDLE_S = 15
_KEEPALIVE_INTERVAL_S = 5
_KEEPALIVE_PROBES = 3

T = TypeVar("T")


def fingerprint(pem: str) -> str:
    """The SHA-256 of the DER form of the first certificate in ``pem``, in lower-case hexadecimal.

    ``ValueError`` where there is none.
    """
    start = pem.index(ssl.PEM_HEADER)
    end = pem.index(ssl.PEM_FOOTER, start) + len(ssl.PEM_FOOTER)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[start:end])).hexdigest()


def only_certificate(text: str) -> str:
    """The certificate in ``text`` and nothing else; ``ValueError`` where that is not one which OpenSSL can read.

    What is around it could be a second one to OpenSSL, or cost those that are read after it.
    """
    if text.count(ssl.PEM_HEADER) != 1:
        raise ValueError("not one certificate")
    begin, end = text.index(ssl.PEM_HEADER), text.find(ssl.PEM_FOOTER)
    pem = ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(text[begin : end + len(ssl.PEM_FOOTER)]))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem)
    except OSError as error:
        raise ValueError(_reason(error)) from error
    return pem


def server_context(cert_pem_path: Path, key_path: Path, trusted_pem: str) -> ssl.SSLContext:
    """What a target accepts links with: its own certificate, and those of the hosts that it obeys (may be none)."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, cert_pem_path, key_path, trusted_pem)
    # A ticket is written by the first read, beside whatever thread is writing: fresh connections broke of it. And a
    # resumed session would skip the comparison of certificates.
    context.num_tickets = 0
    return context


def client_context(cert_pem_path: Path, key_path: Path, trusted_pem: str) -> ssl.SSLContext:
    """What a host makes links with: its own certificate, and that of the one target it means to reach."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, cert_pem_path, key_path, trusted_pem)


def pairing_context(cert_pem_path: Path, key_path: Path) -> ssl.SSLContext:
    """What a device meets hosts with that it does not know yet: it shows its certificate, and asks for none."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, cert_pem_path, key_path, "")
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_NONE
    return context


def pairing_host_context() -> ssl.SSLContext:
    """What a host meets a device with that it does not know yet: it has the key to what it shows, no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(protocol: int, cert_pem_path: Path, key_path: Path, trusted_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # devices move between addresses; the certificate itself is compared
    context.verify_mode = ssl.CERT_REQUIRED
    # A peer's certificate is looked for by content. Without this, by its name, and of several only one would be found.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        # The password is there because OpenSSL would otherwise ask for one at the terminal.
        context.load_cert_chain(cert_pem_path, key_path, password="")
        if trusted_pem:
            context.load_verify_locations(cadata=trusted_pem)
    except (OSError, ValueError) as error:
        raise Fault(
            "unusable-identity",
            f"the certificate or its key can't be used ({error})",
            to=str(cert_pem_path),
            do="remove both files to have new ones made",
        ) from error
    return context


class TlsStream:
    """One TLS connection. Make it with :func:`connect`, or around an accepted socket and then :meth:`handshake`.

    Every method raises :class:`LinkClosed` after :meth:`close`, and :class:`LinkDown` (or :class:`Untrusted`, on a
    host that the target refused) once the world has broken the connection; the stream is then closed by itself.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool, peer: str = "") -> None:
        """Takes ``sock`` over. No byte is sent or read yet. ``peer``: what is at its other end, for people."""
        self._server_side = server_side
        self._lock = threading.Lock()
        self._waiting = 0
        self._why: Callable[[], Fault] | None = None
        self._heard = False
        self._refused = False
        self._moved_bytes = 0
        self.peer = peer or "a peer that is gone"
        """The other end's address, for people."""
        self.peer_fingerprint = ""
        """The SHA-256 of the other end's certificate, in lower-case hexadecimal; empty before the handshake."""
        self.peer_pem = ""
        """That certificate; empty before the handshake, and where the other end has shown none."""
        try:
            self.peer = peer or shown(sock.getpeername())
            _tune(sock)
            self._ssl = context.wrap_socket(sock, server_side=server_side, do_handshake_on_connect=False)
        except OSError as error:
            sock.close()
            raise LinkDown(_reason(error), to=self.peer) from error

    def handshake(self, timeout_s: float) -> None:
        """The whole handshake, in ``timeout_s`` at most, whatever the peer trickles in."""
        self._run(self._ssl.do_handshake, monotonic() + timeout_s, "the handshake did not end in time")
        certificate = self._ssl.getpeercert(binary_form=True)
        self.peer_fingerprint = hashlib.sha256(certificate or b"").hexdigest()
        self.peer_pem = ssl.DER_cert_to_PEM_cert(certificate) if certificate else ""

    def read(self, size: int, idle_s: float | None = STALL_S) -> bytearray:
        """Exactly ``size`` bytes. The first may take ``idle_s`` (None: for ever), each next one ``STALL_S``."""
        data = bytearray(size)
        at = 0
        with memoryview(data) as view:
            while at < size:
                deadline = None if idle_s is None else monotonic() + idle_s
                count = self._run(partial(self._ssl.recv_into, view[at:]), deadline, "it stopped in mid-message")
                if not count:
                    raise self._end(partial(LinkDown, "the other end is gone", to=self.peer))
                self._heard = True
                self._moved_bytes += count
                idle_s = STALL_S
                at += count
        return data

    def write(self, *parts: bytes) -> None:
        """All of ``parts``, as fast as the peer takes them; ``STALL_S`` without a byte taken ends the stream."""
        if sum(map(len, parts)) <= _JOIN_BYTES:
            parts = (b"".join(parts),)
        try:
            for part in parts:
                self._write(memoryview(part))
        except BaseException:
            self.close()  # half a message is out, so nothing that follows could be understood
            raise

    def _write(self, view: memoryview) -> None:
        while view:
            # A write that has to be tried again is tried with the same bytes: OpenSSL insists.
            send = partial(self._ssl.send, view[:_CHUNK_BYTES])
            count = self._run(send, monotonic() + STALL_S, "it takes no more bytes")
            self._moved_bytes += count
            view = view[count:]

    def close(self, why: Callable[[], Fault] | None = None) -> None:
        """End the stream and wake whoever waits in it. The first call's ``why`` makes everybody's fault."""
        with self._lock:
            if self._why is not None:
                return
            self._why = why or partial(LinkClosed, to=self.peer)
            try:
                # Wakes the waiting. Not SSLSocket's own shutdown: that one goes on as plain text.
                socket.socket.shutdown(self._ssl, socket.SHUT_RDWR)
            except OSError:
                pass  # the peer was faster, and that woke them as well
            self._release()

    @property
    def unacknowledged_bytes(self) -> int:
        """What was written, and has not come to the other end's system; 0 where this system does not tell."""
        with self._lock:
            if self._why is not None:
                return 0
            try:
                from fcntl import ioctl
                from termios import TIOCOUTQ

                return int.from_bytes(ioctl(self._ssl, TIOCOUTQ, bytes(4)), sys.byteorder)
            except (ImportError, OSError):
                return 0

    @property
    def moved_bytes(self) -> int:
        """How much has come, and gone over, by now. What grows is no link that is silent."""
        return max(0, self._moved_bytes - self.unacknowledged_bytes)

    def distrust(self) -> Fault:
        """End the stream, as its peer is not the one that was expected; the fault says so."""
        return self._end(self._untrusted())

    @property
    def closed(self) -> bool:
        """Whether the stream has ended, by whichever end."""
        return self._why is not None

    @property
    def fault(self) -> Fault:
        """Why the stream ended: a new fault for each that asks, since each raises it in a thread of its own."""
        return self._why() if self._why is not None else LinkClosed(to=self.peer)

    def _run(self, operation: Callable[[], T], deadline: float | None, late: str) -> T:
        """One SSL operation to its end."""
        while True:
            with self._lock:
                if self._why is not None:
                    raise self._why()
                try:
                    return operation()
                except ssl.SSLWantReadError:
                    event = select.POLLIN
                except ssl.SSLWantWriteError:
                    event = select.POLLOUT
                except OSError as error:
                    broken, why = error, self._diagnose(error)
                    break
                self._waiting += 1
            try:
                ready = self._wait(event, deadline)
            finally:
                with self._lock:
                    self._waiting -= 1
                    self._release()
            if not ready:
                raise self._end(partial(LinkDown, late, to=self.peer))
        raise self._end(why) from broken

    def _wait(self, event: int, deadline: float | None) -> bool:
        """Whether the descriptor was ready before ``deadline``."""
        poll = select.poll()
        poll.register(self._ssl, event)
        if deadline is None:
            return bool(poll.poll())
        left_s = deadline - monotonic()  # never the last look at a ready descriptor: a trickle would have no end
        return left_s > 0 and bool(poll.poll(left_s * 1000))

    def _release(self) -> None:
        """Give the descriptor back once nobody waits for it; sooner, and its number could be another file's."""
        if self._why is not None and not self._waiting:
            self._ssl.close()

    def _end(self, why: Callable[[], Fault]) -> Fault:
        self.close(why)
        return self.fault

    def _diagnose(self, error: OSError) -> Callable[[], Fault]:
        """What an error of the SSL object means to this end. Under the lock."""
        why = f"the link broke ({_reason(error)})"
        shaken = bool(self.peer_fingerprint)
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._untrusted()
        if not shaken and isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            why = f"it does not speak this link's TLS 1.3 ({_reason(error)})"
            if self._server_side:
                return partial(Untrusted, why, to=self.peer)
        if shaken and not self._server_side and not self._heard and self._is_refused(error):
            what = "the device does not obey this host"
            return partial(Untrusted, what, to=self.peer, do="have it open a window, and pair with it: `reactor pair`")
        return partial(LinkDown, why, to=self.peer)

    def _untrusted(self) -> Callable[[], Fault]:
        if self._server_side:
            return partial(Untrusted, "its certificate is of no host that this device obeys", to=self.peer)
        what = "its certificate is not the one that this host knows the device by"
        do = "if the device was set up anew, pair with it again (`reactor pair`); if not, do not trust this network"
        return partial(Untrusted, what, to=self.peer, do=do)

    def _is_refused(self, error: OSError) -> bool:
        """Whether the target's alert is here, which says that it does not take this host's certificate.

        A TLS 1.3 client has shaken hands before the server has looked at its certificate. It learns of a refusal from
        its first read, and if its first write came sooner and failed, from the read that is done here.
        """
        if not (self._refused or _is_alert(error)):
            try:
                self._ssl.recv(1)
            except OSError as found:
                error = found
        self._refused = self._refused or _is_alert(error)
        return self._refused


def connect(host: str, port: int, context: ssl.SSLContext, pin: str | None, timeout_s: float) -> TlsStream:
    """A stream to the target at ``host`` whose certificate's SHA-256 is ``pin``; None to pair with a device.

    ``timeout_s`` bounds each address that the name has, and the handshake. :class:`LinkDown` where nobody answers,
    :class:`Untrusted` where somebody else does. A target that refuses this host says so at the first read.
    """
    where = shown((host, port))
    try:
        sock = socket.create_connection((host, port), timeout_s)
    except (OSError, UnicodeError) as error:
        raise LinkDown(
            f"no connection ({_reason(error)})", to=where, do="check the address, and that the bootloader runs there"
        ) from error
    return secured(sock, context, pin, timeout_s)


def secured(
    sock: socket.socket, context: ssl.SSLContext, pin: str | None, timeout_s: float, peer: str = ""
) -> TlsStream:
    """The same, over a socket that is connected already; ``peer`` is who is at its other end, for people."""
    stream = TlsStream(sock, context, server_side=False, peer=peer)
    try:
        stream.handshake(timeout_s)
    except BaseException:
        stream.close()
        raise
    if pin is not None and stream.peer_fingerprint != pin:
        raise stream.distrust()
    return stream


def shown(address: tuple[object, ...]) -> str:
    """A socket's address for people: ``host:port``, IPv6 in brackets."""
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tune(sock: socket.socket) -> None:
    """Non-blocking, no waiting for acknowledgements, and half-open connections noticed within half a minute."""
    sock.setblocking(False)
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probing_s = _KEEPALIVE_INTERVAL_S * _KEEPALIVE_PROBES
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPALIVE", _KEEPALIVE_IDLE_S),  # macOS's name of the same
        ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", (_KEEPALIVE_IDLE_S + probing_s) * 1000),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _is_alert(error: OSError) -> bool:
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


def _reason(error: Exception) -> str:
    """The shortest text that tells ``error`` apart."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
