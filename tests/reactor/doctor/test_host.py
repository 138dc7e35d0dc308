"""What the system's files tell of this host, from the file to the finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor.doctor import checks, host
from reactor.doctor.checks import Interface

LINKS = [
    Interface("eth0", True, True, ("192.168.1.5/24", "fd77::1/64")),
    Interface("tun0", True, True, ("10.8.0.2/24",), is_tunnel=True),
]
ROUTE = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0101A8C0	0003	0	0	100	00000000	0	0	0
eth0	0001A8C0	00000000	0001	0	0	100	00FFFFFF	0	0	0
tun0	0901A8C0	00000000	0005	0	0	0	FFFFFFFF	0	0	0
tun0	0A01A8C0	00000000	0004	0	0	0	FFFFFFFF	0	0	0
"""
"""The last one is down."""

ROUTE6 = """\
fd770000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
fd770000000000000000000000000009 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00000001     tun0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
"""  # noqa: E501 - as the kernel writes it


@pytest.mark.parametrize(
    ("address", "is_taken"),
    [("192.168.1.9", True), ("192.168.1.10", False), ("192.168.1.5", False), ("fd77::9", True), ("fd77::5", False)],
)
def test_a_vpn_that_takes_what_is_for_a_board_is_found_in_the_kernels_routes(
    address: str, is_taken: bool, tmp_path: Path
) -> None:
    (tmp_path / "route").write_text(ROUTE)
    (tmp_path / "ipv6_route").write_text(ROUTE6)
    found = [(one.what, one.do) for one in checks.routes(host.routes(tmp_path), LINKS, [address])]
    do = f"end the VPN, exclude local networks from it, or: sudo ip route add {address} dev eth0"
    assert found == [(f"tun0 (a VPN) takes what is for {address}", do)] * is_taken
