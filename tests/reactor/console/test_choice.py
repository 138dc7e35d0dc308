"""Which port is meant, by what systems really tell of serial ports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.errors import Fault
from reactor.console.choice import CABLES, GADGETS, Found, again, candidates, only

PI = Found("/dev/ttyACM0", (0x0525, 0xA4A7), "", "1-1.4", "Gadget Serial v2.4")
PI_COMPOSITE = Found("/dev/ttyACM1", (0x1D6B, 0x0104), "100000002b1e7a9c", "3-2:1.2", "Raspberry Pi USB gadget")
CABLE = Found("/dev/ttyUSB0", (0x0403, 0x6001), "A50285BI", "1-1.2", "FT232R USB UART")
CLONE = Found("/dev/ttyUSB1", (0x1A86, 0x7523), "", "1-1.3", "USB2.0-Ser!")
ODD = Found("/dev/ttyACM7", (0xCAFE, 0x4001), "", "2-1", "")
SOLDERED = Found("/dev/ttyS0")


@pytest.mark.parametrize(
    ("there", "meant"),
    [
        ([], []),
        ([SOLDERED], []),
        ([CABLE, SOLDERED], [CABLE]),
        ([CABLE, CLONE, ODD], [ODD, CABLE, CLONE]),
        ([CABLE, PI, SOLDERED, CLONE], [PI]),
        ([PI_COMPOSITE, PI, CABLE], [PI, PI_COMPOSITE]),
    ],
)
def test_gadgets_come_before_cables_and_what_is_soldered_is_never_meant(there: list[Found], meant: list[Found]) -> None:
    assert candidates(there) == meant
    if len(meant) == 1:
        assert only(there) == meant[0]
    else:
        with pytest.raises(Fault) as caught:
            only(there)
        assert caught.value.code == ("several-ports" if meant else "no-port")
        assert all(str(port) in str(caught.value) for port in meant or there)


def test_a_port_is_shown_with_what_tells_it_from_others() -> None:
    assert str(PI) == "/dev/ttyACM0 (Linux USB gadget, serial (CDC ACM), at 1-1.4)"
    assert str(CABLE) == "/dev/ttyUSB0 (FTDI FT232, serial number A50285BI, at 1-1.2)"
    assert str(ODD) == "/dev/ttyACM7 (USB, at 2-1)"
    assert str(SOLDERED) == "/dev/ttyS0"


def moved(port: Found, path: str, location: str) -> Found:
    return Found(path, port.usb, port.serial, location, port.product)


OTHER = Found("/dev/ttyUSB0", (0x0403, 0x6001), "B7000001", "1-1.2", "FT232R USB UART")
TWIN = moved(CABLE, "/dev/ttyUSB5", "2-2")
SECOND_PORT = Found("/dev/ttyACM2", PI_COMPOSITE.usb, PI_COMPOSITE.serial, "3-2:1.4", PI_COMPOSITE.product)


@pytest.mark.parametrize(
    ("before", "there", "now"),
    [
        pytest.param(CABLE, [], None, id="nothing is there"),
        pytest.param(CABLE, [CLONE, CABLE], CABLE, id="as it was"),
        pytest.param(CABLE, [moved(CABLE, "/dev/ttyUSB3", "1-4")], moved(CABLE, "/dev/ttyUSB3", "1-4"), id="moved"),
        pytest.param(CABLE, [OTHER], OTHER, id="another one in its socket"),
        pytest.param(CABLE, [TWIN, CABLE], CABLE, id="two of one serial number: the one in its socket"),
        pytest.param(CABLE, [OTHER, TWIN], TWIN, id="its serial number is worth more than its socket"),
        pytest.param(PI, [moved(PI, "/dev/ttyACM3", "1-1.4")], moved(PI, "/dev/ttyACM3", "1-1.4"), id="no number"),
        pytest.param(PI, [moved(PI, "/dev/ttyACM0", "1-1.1")], None, id="no number, and another socket"),
        pytest.param(PI_COMPOSITE, [SECOND_PORT, PI_COMPOSITE], PI_COMPOSITE, id="one of several ports of a device"),
        pytest.param(PI_COMPOSITE, [SECOND_PORT], None, id="only its other port"),
        pytest.param(SOLDERED, [CABLE, SOLDERED], SOLDERED, id="not on USB"),
        pytest.param(SOLDERED, [CABLE], None, id="not on USB, and gone"),
    ],
)
def test_what_comes_back_is_known_by_its_number_else_by_its_socket(
    before: Found, there: list[Found], now: Found | None
) -> None:
    assert again(before, there) == now


USB = st.sampled_from([*GADGETS, *CABLES])
PORTS = st.builds(Found, st.from_regex("/dev/tty[AB][0-9]", fullmatch=True), USB, st.sampled_from(["", "1", "2"]),
                  st.sampled_from(["1-1", "1-2", "1-1:1.0", "1-1:1.2"]))  # fmt: skip


@given(PORTS, st.lists(PORTS, max_size=6))
def test_a_port_that_is_there_as_it_was_is_found(before: Found, others: list[Found]) -> None:
    found = again(before, [*others, before])
    assert found is not None
    assert (found.serial, found.location) == (before.serial, before.location) or found.location == before.location
