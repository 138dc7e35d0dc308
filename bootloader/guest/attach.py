"""What is ordered of a running application when a host opens a stream to it: to come to where that begins.

Owns the way there: the Unix socket, and the token that proves who comes. What the stream is for is its kind's, which
gets the socket. Nothing of it is there before a host asks.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from .descriptors import apart

_CONNECT_S = 3.0

Kind = Callable[[socket.socket, Mapping[str, Any]], None]
"""Gets the connected socket, which it owns from then on, and what the host said besides; must not wait."""


class Attach:
    """``kinds``: what streams can be for. Their callables are called on the thread that takes orders."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds

    def attach(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """Open the stream; ``refused`` says why there is none."""
        kind = self._kinds.get(order["kind"])
        if kind is None:
            return {"refused": f"it has no streams of the kind '{order['kind'][:32]}'"}
        try:
            ours = _connected(order["address"], order["token"])
        except OSError as error:
            return {"refused": f"its process can't come to the stream: {error}"}
        kind(ours, order["more"])
        return {}


def _connected(address: str, token: str) -> socket.socket:
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        ours.settimeout(_CONNECT_S)
        ours.connect(address)
        ours.sendall(token.encode())
        ours.settimeout(None)
        return socket.socket(fileno=apart(ours.detach()))
    except BaseException:
        ours.close()
        raise
