"""A call of this device to itself: over its own listener, over TLS, with its own key, as a host would reach it.

Only who can read the device's key can make one. Knows nothing of why it is made.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from .trust import SELF, Trust
from .wire.messages import Fields, answer, pack
from .wire.stream import TlsStream, shown
from .wire.strict import Caller

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def ask(
    address: tuple[str, int],
    trust: Trust,
    method: str,
    wait_s: float,
    coming: Callable[[str], None] = lambda _where: None,
    **body: str,
) -> Fields:
    """What this device answers to ``method`` with ``body``; ``coming`` is told where from it is asked, before that."""
    host, port = address
    where = (_ANYWHERE.get(host, host), port)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.settimeout(wait_s)
        sock.bind((where[0], 0))
        coming(shown(sock.getsockname()))
        sock.connect(where)
        stream = TlsStream(sock.dup(), trust.own, server_side=False)
    try:
        stream.handshake(wait_s)
        if trust.host_of(stream.peer_fingerprint) != SELF:
            raise stream.distrust()
        fields, _ = answer(Caller(stream, "itself").call(method, pack(body), wait_s))
        return fields
    finally:
        stream.close()
