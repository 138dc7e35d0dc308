"""The addresses of serial lines."""

from __future__ import annotations

import pytest

from bootloader.wire.errors import Fault
from reactor.targets.wired import split


@pytest.mark.parametrize(
    ("address", "port", "baud"),
    [
        ("serial:ttyUSB0", "/dev/ttyUSB0", 115200),
        ("serial:/dev/ttyUSB0:9600", "/dev/ttyUSB0", 9600),
        ("serial:/dev/serial/by-id/usb-1:1", "/dev/serial/by-id/usb-1", 1),
        ("serial:socket://exporter:4000", "socket://exporter:4000", 115200),
        ("serial:socket://exporter:4000:9600", "socket://exporter:4000", 9600),
        ("serial:rfc2217://[::1]:4000", "rfc2217://[::1]:4000", 115200),
        ("serial:rfc2217://[::1]:4000:9600", "rfc2217://[::1]:4000", 9600),
    ],
)
def test_a_port_is_told_from_its_baud_rate(address: str, port: str, baud: int) -> None:
    assert split(address) == (port, baud)


@pytest.mark.parametrize("address", ["serial:", "serial::9600", "serial:ttyUSB0:0"])
def test_what_names_no_port_is_refused(address: str) -> None:
    with pytest.raises(Fault) as raised:
        split(address)
    assert raised.value.code == "bad-address"
