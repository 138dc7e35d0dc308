"""A target at an address: a device that this host knows the key of."""

from __future__ import annotations

from bootloader.wire.errors import Fault

from .. import trust
from ..link import Link

PORT = 7717
_CONNECT_S = 5.0


class Linked:
    """The device ``name`` at ``address`` (``host``, ``host:port`` or ``[ipv6]:port``)."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self._host, self._port = where = split(address)
        home = trust.default_home()
        devices = trust.known(home)
        device = next((one for one in devices if one.name == name), None) or next(
            (one for one in devices if split(one.address) == where), None
        )
        if device is None:
            do = f"`reactor trust DIR --name NAME --address {address}` makes its keys"
            raise Fault("unknown-device", "this host does not know its key", to=name, do=do)
        self._certificate = device.certificate
        self._identity = trust.host_identity(home)

    def connect(self, purpose: str) -> Link:
        """A link to the device."""
        name = f"{self.name} {purpose}"
        return Link.connect(self._host, self._port, self._identity, self._certificate, _CONNECT_S, name=name)

    def close(self) -> bool:
        """Nothing was started here."""
        return False


def split(address: str) -> tuple[str, int]:
    """Host and port of an address; the port is 7717 where none is given."""
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]") or (":" in host and not host.endswith("]")):
        return address.strip("[]"), PORT
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Fault("bad-address", "not HOST, HOST:PORT or [IPV6]:PORT", to=address)
    return host.strip("[]"), int(port)
