"""A window in which a host that knows the code on this device comes to be obeyed.

Owns the window: its code, its own small TLS listener with fixed messages (no RPyC), its attempts and its end. A share
that is taken is an attempt, whatever comes of it, so that nobody learns from breaking off. Knows nothing of who may
open one: ``service`` does, and ``reach``, for a device that obeys nobody.
"""

from __future__ import annotations

import re
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from .trust import HOSTS, OBSERVERS, SELF, admit, role_of
from .wire import pairing as exchange
from .wire.errors import Fault, Malformed, Refused
from .wire.limits import PORT
from .wire.pairing import Proof, new_code, octets, receive, send, send_refusal, spoken
from .wire.stream import TlsStream, fingerprint, pairing_context

WINDOW_S = 120.0
TRIES = 3
EXCHANGE_S = 15.0
"""How long one exchange may take, whatever the peer trickles in."""

_EVERYWHERE = ("0.0.0.0", "::")
_MOST_AT_ONCE = 8
_JOIN_S = 2.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Shown:
    """What whoever is to pair has to know."""

    code: str
    host: str
    port: int
    open_s: float
    role: str = HOSTS
    """What whoever pairs is to be."""

    @property
    def text(self) -> str:
        """As people are told."""
        host = "ADDRESS" if self.host in _EVERYWHERE else f"[{self.host}]" if ":" in self.host else self.host
        where = host if self.port == exchange.PORT else f"{host}:{self.port}"
        who = ", for one who may only look" if self.role == OBSERVERS else ""
        return f"pairing code {spoken(self.code)}{who}, for {self.open_s:.0f} s: reactor pair {where}"


class Pairing:
    """The windows of one device, one at a time."""

    def __init__(
        self,
        trust: Path,
        name: str,
        place: Path,
        notice: Callable[[str, str], None],
        *,
        window_s: float = WINDOW_S,
    ) -> None:
        """``place`` is the file that has the code while a window is open. ``notice`` is told all but the code, which
        whoever may only look must not learn.
        """
        self.trust = trust
        self.name = name
        self._place = place
        self.notice = notice
        self._window_s = window_s
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        """Held while a code is shown, or hidden."""
        self._window: _Window | None = None
        self._address: tuple[str, int] | None = None
        self.renew: Callable[[], None] = lambda: None
        """Has whom this device obeys looked at again."""
        self.display: Callable[[str, float], None] = lambda _code, _open_s: None
        """Has the application show a code, for so many seconds, or none any more."""
        self._show: Callable[[Shown], None] = lambda _shown: None
        self.forget()

    def to_console(self, show: Callable[[Shown], None]) -> None:
        """``show`` is called with each window; at once with one that is open."""
        with self._lock:
            self._show = show
            window = self._window
        if window is not None and not window.is_over:
            show(window.shown)

    def listens(self, address: tuple[str, int]) -> None:
        """The device is reached there; its windows are beside."""
        self._address = address

    def open(self, role: str = HOSTS, by: str = SELF, check: Callable[[], None] = lambda: None) -> Shown:
        """Open a window, in place of any that is open, in which to become one of ``role``. ``by``: at which host's
        word; ``check`` raises where that is not obeyed any more.

        A :class:`Fault` where this device can't pair.
        """
        if self._address is None:
            raise Refused("no-pairing", "this device can't be reached yet", do="try again when it can")
        Proof(new_code(), is_host=False, host="", device="")  # whether it can at all
        with self._lock:
            check()
            self._end("another one was opened")
            window = _Window(self, self._address[0], self._address[1], self._window_s, role, by)
            self._window = window
            shown = window.shown
            self._tell(shown)
            try:
                window.start()
            except RuntimeError as error:
                self._window = None
                window.release()
                do = "try again when less runs there"
                raise Refused("no-pairing", f"no thread is to be had for it ({error})", do=do) from error
        self.notice(
            "pairing-open", f"a host that knows the code may pair, at port {shown.port}, for {shown.open_s:.0f} s"
        )
        self.display(spoken(shown.code), shown.open_s)
        self._show(shown)
        return shown

    @property
    def port(self) -> int:
        """Where a window is open; 0 where none is."""
        window = self._window
        return 0 if window is None or window.is_over else window.shown.port

    def admit(self, sock: socket.socket, where: str) -> bool:
        """Take a connection to the window that came ``where`` no network leads; False where none is open."""
        window = self._window  # without the lock: whoever opens one holds it for seconds
        if window is None or window.is_over:
            return False
        window.admit(sock, where)
        return True

    def disinvite(self, host: str) -> None:
        """Whoever knows a code by that host's word can't pair any more: it may be that host. Waits for nothing."""
        window = self._window
        if window is not None and window.by == host:
            window.finish(f"{host}, at whose word it was open, was removed")

    def close(self) -> None:
        """End the window, if there is one."""
        with self._lock:
            self._end("the bootloader ends")

    def _end(self, why: str) -> None:
        window, self._window = self._window, None
        if window is not None:
            window.close(why)

    def _tell(self, shown: Shown) -> None:
        """The file, for this user alone."""
        with self._telling:
            try:
                self.forget()
                self._place.touch(0o600)
                self._place.write_text(f"{spoken(shown.code)} {shown.host} {shown.port}\n")
            except OSError as error:
                self.notice("pairing-not-told", f"the code is in no file: {error}")

    def hide(self, window: _Window) -> None:
        """The code of this one is told no more, unless another has taken its place before it ended, and is."""
        with self._telling:
            if self._window in (None, window):
                self.forget()
                self.display("", 0.0)

    def forget(self) -> None:
        """No file has a code any more."""
        with suppress(OSError):
            self._place.unlink(missing_ok=True)


class _Window:
    """One window: a code, from its opening to its end."""

    def __init__(self, pairing: Pairing, host: str, link_port: int, window_s: float, role: str, by: str) -> None:
        self.by = by
        self._pairing = pairing
        self._code = new_code()
        self._link_port = link_port
        trust = pairing.trust
        self._certificate = (trust / "device.crt").read_text("ascii", errors="ignore")
        self._context = pairing_context(trust / "device.crt", trust / "device.key")
        self._listening = _bind(host, link_port + exchange.PORT - PORT)
        self._listening.setblocking(False)
        self.shown = Shown(self._code, host, self._listening.getsockname()[1], window_s, role)
        self._until = monotonic() + window_s
        self._lock = threading.Lock()
        """Of what is decided: attempts, whom to obey, the end. Held while the disk is written to."""
        self._tried: list[threading.Thread] = []
        self._meeting = threading.Lock()
        """Of who is here. Never held for long: a serial line waits for it."""
        self._under_way: dict[threading.Thread, TlsStream] = {}
        self._over = ""
        self._wake, self._waker = socket.socketpair()
        self._accepting = threading.Thread(target=self._accept, name="pairing", daemon=True)

    @property
    def is_over(self) -> bool:
        return bool(self._over)

    def start(self) -> None:
        self._accepting.start()

    def close(self, why: str) -> None:
        """End it and wait; from any thread but its own."""
        self.finish(why)
        self._accepting.join(_JOIN_S)
        with self._meeting:
            threads = list(self._under_way)
        for thread in threads:
            thread.join(_JOIN_S)

    def finish(self, why: str) -> None:
        """It is over, for everybody. The first reason counts."""
        with self._lock:
            if self._over:
                return
            self._over = why
        with suppress(OSError):
            self._waker.send(b"\0")

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._listening, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not self._over:
            left_s = self._until - monotonic()
            if left_s <= 0:
                self.finish("its time is over")
                break
            poll.poll(left_s * 1000)
            try:
                sock, _ = self._listening.accept()
            except OSError:
                continue  # it was woken, or the peer went before it was let in
            self.admit(sock)
        with self._meeting:
            streams = list(self._under_way.items())
        for thread, stream in streams:
            if thread is not threading.current_thread():
                stream.close()
        self.release()
        self._pairing.notice("pairing-closed", f"nobody can pair any more: {self._over}")

    def release(self) -> None:
        """Nothing is held for it any more, and its code is shown nowhere."""
        for sock in (self._listening, self._wake, self._waker):
            sock.close()
        self._pairing.hide(self)

    def admit(self, sock: socket.socket, where: str = "") -> None:
        """Carry an exchange with whoever is at the other end of ``sock``, where there is room for one."""
        if len(self._under_way) >= _MOST_AT_ONCE:
            sock.close()
            return
        try:
            stream = TlsStream(sock, self._context, server_side=True, peer=where)
        except Fault:
            return  # it is gone
        thread = threading.Thread(target=self._carry, args=(stream,), name="pairing exchange", daemon=True)
        with self._meeting:
            self._under_way[thread] = stream
        try:
            thread.start()
        except RuntimeError:  # none is to be had; whoever it is sees that, and tries again
            with self._meeting:
                del self._under_way[thread]
            stream.close()

    def _carry(self, stream: TlsStream) -> None:
        """One connection. Its time is bounded as a whole, and what it says is no more than a few short messages."""
        late = threading.Timer(EXCHANGE_S, stream.close)
        late.daemon = True
        try:
            late.start()
            stream.handshake(EXCHANGE_S)
            self._exchange(stream)
        except Fault as fault:
            with suppress(Fault):
                send_refusal(stream, fault)
            if threading.current_thread() in self._tried:  # others may come in a flood
                self._pairing.notice("pairing-failed", f"{stream.peer}: {fault.what}")
        finally:
            late.cancel()
            stream.close()
            with self._meeting:
                del self._under_way[threading.current_thread()]
            if self._tried[TRIES - 1 :] == [threading.current_thread()]:
                self.finish(f"{TRIES} tries went wrong")

    def _exchange(self, stream: TlsStream) -> None:
        asked = receive(stream, EXCHANGE_S)
        name, certificate = asked.text("name"), asked.text("certificate")
        if not _NAME.fullmatch(name):
            raise Malformed("not a host's name", to="field 'name'")
        try:
            host = fingerprint(certificate)
        except ValueError as error:
            raise Malformed("not a certificate", to="field 'certificate'") from error
        share = octets(asked, "share")
        left = self._attempt()
        proof = Proof(self._code, is_host=False, host=host, device=fingerprint(self._certificate))
        proof.take(share)
        send(stream, {"share": proof.share.hex()})
        if not proof.confirms(octets(receive(stream, EXCHANGE_S), "confirmation"), of_host=True):
            what = "the code is not the one that the device shows, or somebody stands between"
            do = f"tries that are left: {left}" if left else "have the device open another window"
            raise Refused("wrong-code", what, to=name, do=do)
        told = {"confirmation": proof.confirmation(of_host=False).hex()}
        send(stream, {**told, "name": self._pairing.name, "port": self._link_port})
        receive(stream, EXCHANGE_S)  # the host has kept it, so it is this device's turn
        self._obey(stream, name, certificate)

    def _attempt(self) -> int:
        """Take one of the tries; how many are left."""
        with self._lock:
            if self._over or len(self._tried) >= TRIES:
                raise Refused("pairing-closed", "nobody can pair here any more", do="have the device open a window")
            self._tried.append(threading.current_thread())
            return TRIES - len(self._tried)

    def _obey(self, stream: TlsStream, name: str, certificate: str) -> None:
        with self._lock:
            if self._over:
                raise Refused("pairing-closed", "the window has closed meanwhile", do="have the device open another")
            if self.shown.role == OBSERVERS and role_of(self._pairing.trust, fingerprint(certificate)) == HOSTS:
                # Certificates are no secret, and whoever has the code to look may have brought somebody else's.
                do = "`reactor trust role NAME observers`, if it is only to look from now on"
                raise Refused("obeyed-already", "this host may do everything here already", to=name, do=do)
            try:
                name = admit(self._pairing.trust, name, certificate, self.shown.role)
            except (OSError, ValueError) as error:
                raise Refused("not-written", f"the device can't keep this host ({error})", to=name) from error
        self._pairing.renew()
        send(stream, {"name": name, "role": self.shown.role})
        self.finish(f"{name} has paired")


def _bind(host: str, port: int) -> socket.socket:
    """Beside the link's own port, else at any."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for one in (port, 0):
        with suppress(OSError, OverflowError):
            return socket.create_server((host, one), family=family, backlog=_MOST_AT_ONCE)
    raise Refused("no-pairing", "no port can be had for it", to=host)
