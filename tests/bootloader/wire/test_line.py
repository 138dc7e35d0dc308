"""A serial line between two ends in memory, which loses, garbles and adds what it likes: streams arrive whole."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootloader.wire.carrier import PACKET_BYTES, WINDOW, Carrier
from bootloader.wire.channels import CREDIT_BYTES, MOST_CHANNELS, Came, Channels, Ended, Opened
from bootloader.wire.errors import Fault
from bootloader.wire.framing import BODY_BYTES, Deframer, framed, harmless
from bootloader.wire.line import SILENT_S, Cut, Line

BAUD = 115200
LOGIN = b"\r\nDebian GNU/Linux 12 porch ttyGS0\r\n\r\nporch login: "
KERNEL = b"[   12.345678] usb 1-1: new high-speed USB device number 2 using dwc2\r\n"

Spoil = Callable[[bytes], bytes]


class Pair:
    """A host and a device, and time, which goes as fast as the line is."""

    def __init__(self, random: Random, spoil: Spoil = lambda data: data) -> None:
        self.now = 0.0
        self.random = random
        self.spoil = spoil
        self.host = self.new(is_host=True)
        self.device = self.new(is_host=False)
        self.got: dict[Line, defaultdict[int, bytes]] = {}
        self.events: dict[Line, list[object]] = {self.host: [], self.device: []}
        self.sent_bytes = 0
        self.owed: dict[tuple[Line, int], bytes] = {}

    def new(self, *, is_host: bool) -> Line:
        return Line(is_host=is_host, baud=BAUD, now=self.now, draw=self.random.randbytes)

    def send(self, end: Line, channel: int, data: bytes) -> None:
        """Have all of it sent, as fast as the other end takes it."""
        self.owed[end, channel] = self.owed.get((end, channel), b"") + data

    def turn(self) -> None:
        """What the ends have to say now, over the line; and time goes on."""
        quiet = True
        for end, other in ((self.host, self.device), (self.device, self.host)):
            said = b""
            while self.fill(end) or not said:
                more = end.out(self.now)
                said += more
                if not more:
                    break
            self.hear(end)
            if said:
                quiet = False
                self.sent_bytes += len(said)
                assert len(said) <= 2 * WINDOW * BODY_BYTES + 2 * BODY_BYTES
                other.take(self.spoil(said), self.now + len(said) * 10 / BAUD)
                self.hear(other)
                self.now += len(said) * 10 / BAUD
        if quiet:
            wakes = [end.wake_at for end in (self.host, self.device) if end.wake_at is not None]
            self.now = max(self.now + 0.001, min(wakes, default=self.now + 1))

    def fill(self, end: Line) -> bool:
        """Give an end some of what it is to send; whether it took any."""
        took = False
        for (owing, channel), data in self.owed.items():
            if owing is end and (room := min(end.channels.room(channel), len(data))):
                end.channels.write(channel, data[:room])
                self.owed[owing, channel] = data[room:]
                took = True
        return took

    def hear(self, end: Line) -> None:
        for event in end.events():
            self.events.setdefault(end, []).append(event)
            if isinstance(event, Came):
                self.got.setdefault(end, defaultdict(bytes))[event.channel] += event.data
                end.channels.spend(event.channel, len(event.data))

    def until(self, condition: Callable[[], object], turns: int = 20_000) -> None:
        for _ in range(turns):
            if condition():
                return
            self.turn()
        raise AssertionError(f"not after {self.now:.0f} s: {self.events}")

    def came(self, end: Line, channel: int) -> bytes:
        return self.got.get(end, defaultdict(bytes))[channel]


def noisy(random: Random, rate: float) -> Spoil:
    """A line on which each byte may be lost, changed, doubled or have others put beside it."""

    def spoil(data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            dice = random.random() / rate if rate else 9.0
            if dice >= 1:
                out.append(byte)
            elif dice < 0.3:
                out.append(byte ^ 1 << random.randrange(8))
            elif dice < 0.4:
                out += random.choice((LOGIN, KERNEL, b"~", b"}~}", random.randbytes(40), bytes([byte, byte])))
        return bytes(out)

    return spoil


@given(st.lists(st.binary(min_size=1, max_size=BODY_BYTES), max_size=8), st.randoms(use_true_random=False))
def test_frames_come_out_as_they_went_in_whatever_the_pieces(bodies: list[bytes], random: Random) -> None:
    data, deframer, came = b"".join(map(framed, bodies)), Deframer(), []
    while data:
        size = random.randint(1, 40)
        came += deframer.feed(data[:size])
        data = data[size:]
    assert came == bodies


@given(st.binary(max_size=3000), st.binary(min_size=1, max_size=BODY_BYTES))
def test_a_frame_comes_out_whatever_was_before_it(before: bytes, body: bytes) -> None:
    deframer = Deframer()
    for byte in before:
        deframer.feed(bytes([byte]))
        assert len(deframer._piece) <= 2 * (BODY_BYTES + 4)
    assert deframer.feed(framed(body))[-1] == body


@given(st.binary(min_size=1, max_size=BODY_BYTES), st.data())
def test_no_frame_with_a_wrong_bit_comes_out(body: bytes, data: st.DataObject) -> None:
    frame = bytearray(framed(body))
    frame[data.draw(st.integers(1, len(frame) - 2))] ^= 1 << data.draw(st.integers(0, 7))
    assert body not in Deframer().feed(bytes(frame))


@given(st.binary(min_size=8, max_size=8))
def test_a_call_has_nothing_that_a_shell_or_a_login_acts_upon(call: bytes) -> None:
    said = Line(is_host=True, baud=BAUD, now=0.0, draw=lambda _: call).out(0.0)
    assert re.fullmatch(rb"~live1x[0-9a-f]{16} \d+[A-Za-z0-9]{4}~", said)
    assert Deframer().feed(said)[0].startswith(b"live1x")
    assert set(framed(harmless(b"abc"))) <= set(b"~ abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


@settings(max_examples=40)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.0005, 0.002]),
    st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.integers(1, 3000)), max_size=6),
)
def test_streams_arrive_whole_and_in_order_over_a_line_that_loses_and_garbles(
    seed: int, rate: float, sends: list[tuple[bool, int, int]]
) -> None:
    random = Random(seed)
    pair = Pair(random, noisy(random, rate))
    pair.until(lambda: pair.host.is_up)
    channels = [pair.host.channels.open(f"service{one}") for one in range(3)]
    pair.until(lambda: sum(isinstance(one, Opened) for one in pair.events[pair.device]) == 3)
    owed: defaultdict[tuple[Line, int], bytes] = defaultdict(bytes)
    for is_host, at, size in sends:
        data = random.randbytes(size)
        end, other = (pair.host, pair.device) if is_host else (pair.device, pair.host)
        pair.send(end, channels[at], data)
        owed[other, channels[at]] += data
    pair.until(lambda: all(pair.came(*where) == data for where, data in owed.items()))
    for channel in channels:
        pair.host.channels.end(channel, "done")
    pair.until(lambda: pair.events[pair.device].count(Ended(channels[0], "done")) == 1)
    assert not [one for one in pair.events[pair.host] if isinstance(one, Cut)]


def test_what_was_lost_is_sent_again_at_once_where_something_behind_it_arrived() -> None:
    drop = iter([True])
    pair = Pair(Random(1))
    pair.until(lambda: pair.host.is_up)
    channel = pair.host.channels.open("link")
    pair.until(lambda: pair.events[pair.device])

    def lose_the_first(said: bytes) -> bytes:
        frames = re.findall(rb"~[^~]*~", said)
        return b"".join(frames[1:]) if len(frames) > 4 and next(drop, False) else said

    pair.spoil = lose_the_first
    began = pair.now
    pair.send(pair.host, channel, bytes(1500))
    pair.until(lambda: len(pair.came(pair.device, channel)) == 1500)
    assert next(drop, None) is None
    assert pair.now - began < 0.4  # of the line's own time: 0.15 s for the bytes, and no timer of 0.6 s


def test_a_bulk_of_one_channel_keeps_what_is_small_waiting_for_a_window_at_most() -> None:
    pair = Pair(Random(2))
    pair.until(lambda: pair.host.is_up)
    bulk, small = pair.host.channels.open("link"), pair.host.channels.open("link")
    pair.send(pair.host, bulk, bytes(200_000))
    pair.until(lambda: len(pair.came(pair.device, bulk)) > 20_000)
    began = pair.now
    pair.send(pair.host, small, b"now")
    pair.until(lambda: pair.came(pair.device, small) == b"now")
    assert pair.now - began < 0.5


def test_a_reader_that_takes_nothing_holds_up_its_own_channel_alone_and_a_bounded_amount_is_kept_for_it() -> None:
    host, device = Channels(), Channels()
    slow, quick = host.open("link"), host.open("link")
    waiting = 0
    for _ in range(200):
        for channel in (slow, quick):
            if room := host.room(channel):
                host.write(channel, bytes(room))
        while (packet := host.next()) is not None:
            event = device.take(packet)
            if isinstance(event, Came) and event.channel == slow:
                waiting += len(event.data)
            elif isinstance(event, Came):
                device.spend(event.channel, len(event.data))
        while (packet := device.next()) is not None:
            host.take(packet)
    assert waiting == CREDIT_BYTES
    assert host.room(quick)


def test_a_device_that_was_started_again_says_so_and_a_host_that_was_begins_anew() -> None:
    pair = Pair(Random(3))
    pair.until(lambda: pair.host.is_up)
    channel = pair.host.channels.open("link")
    pair.send(pair.host, channel, bytes(5000))
    pair.turn()
    pair.device = pair.new(is_host=False)
    pair.device.take(b"half a frame ~d" + LOGIN, pair.now)
    pair.until(lambda: not pair.host.is_up)
    assert pair.events[pair.host][-1] == Cut("the other end has ended the session")
    pair.owed.clear()
    pair.host = pair.new(is_host=True)
    pair.until(lambda: pair.host.is_up)
    again = pair.host.channels.open("link")
    pair.until(lambda: Opened(again, "link") in pair.events.get(pair.device, []))
    pair.host = pair.new(is_host=True)  # this one was killed
    pair.until(lambda: pair.host.is_up)
    assert Cut("the host has begun anew") in pair.events[pair.device]


def test_a_line_that_falls_silent_ends_the_session_at_both_ends_and_an_idle_one_does_not() -> None:
    pair = Pair(Random(4))
    pair.until(lambda: pair.host.is_up)
    pair.until(lambda: pair.now > 60)
    assert pair.host.is_up
    assert pair.device.is_up
    assert pair.sent_bytes < 60 * 30
    pair.spoil = lambda _: b""
    silent = pair.now
    pair.until(lambda: not pair.host.is_up and not pair.device.is_up)
    assert pair.now - silent < SILENT_S + 4


def test_an_echo_is_no_answer() -> None:
    host = Line(is_host=True, baud=BAUD, now=0.0, draw=Random(5).randbytes)
    now = 0.0
    for _ in range(20):
        said = host.out(now)
        host.take(said, now)
        now = host.wake_at or now
    assert not host.is_up
    pair = Pair(Random(5))
    pair.until(lambda: pair.host.is_up)
    channel = pair.host.channels.open("link")
    pair.host.channels.write(channel, b"mine")
    said = pair.host.out(pair.now)
    pair.host.take(said, pair.now)
    assert pair.host.events() == []


@pytest.mark.parametrize("version", [0, 2, 255])
def test_ends_of_other_versions_say_so(version: int) -> None:
    host = Line(is_host=True, baud=BAUD, now=0.0, draw=Random(6).randbytes)
    call = Deframer().feed(host.out(0.0))[0].split(b" ")[0].partition(b"x")[2]
    host.take(framed(b"reactor%dx%bx0000" % (version, call)), 0.1)
    assert f"version {version}" in host.over
    device = Line(is_host=False, baud=BAUD, now=0.0, draw=Random(7).randbytes)
    device.take(framed(b"live%dx%b 0" % (version, call)), 0.0)
    assert not device.is_up
    assert Deframer().feed(device.out(0.0)) == [b"reactor1x%bx0000" % call]


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.lists(st.binary(max_size=200), max_size=30))
def test_a_peer_may_say_anything_and_takes_a_bounded_amount_of_memory_and_answers(
    seed: int, bodies: list[bytes]
) -> None:
    random = Random(seed)
    pair = Pair(random)
    pair.until(lambda: pair.host.is_up and pair.device.is_up)
    epoch = pair.device._epoch
    opened = 0
    for body in bodies:
        known = random.random() < 0.7
        turn = random.choice((0, 1, random.randrange(65536)))
        head = bytes((random.randrange(3), random.randrange(256))) + turn.to_bytes(2, "big")
        packet = random.choice((b"o", b"d", b"g", b"e", b"")) + bytes([random.randrange(3)]) + body
        number = bytes([pair.device._carrier._expected]) + random.randbytes(2)
        said = b"h" + epoch + head + number + packet if known else body
        pair.device.take(framed(said[:BODY_BYTES]) if random.random() < 0.9 else body, pair.now)
        opened += sum(isinstance(one, Opened) for one in pair.device.events())
        assert len(pair.device.out(pair.now)) < 4 * WINDOW * BODY_BYTES
        assert len(pair.device._carrier._early) <= WINDOW
        assert len(pair.device.channels._open) <= MOST_CHANNELS


def test_calls_that_nobody_hears_the_answers_to_take_a_bounded_amount_of_memory() -> None:
    device = Pair(Random(1)).device
    for number in range(10_000):
        device.take(framed(b"live1x%016x 0" % number), 0.0)
        device.events()
    assert len(device.out(0.0)) < BODY_BYTES * WINDOW


def test_a_device_opens_nothing_at_its_host() -> None:
    pair = Pair(Random(8))
    pair.until(lambda: pair.host.is_up)
    pair.device.channels.open("link")
    pair.until(lambda: not pair.host.is_up)
    assert "broke the protocol" in pair.host.over


def test_a_host_opens_no_more_channels_than_a_device_lets_in() -> None:
    channels = Channels()
    for _ in range(MOST_CHANNELS):
        channels.open("link")
    with pytest.raises(Fault, match="connections over this line"):
        channels.open("link")


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_numbers_go_round(seed: int) -> None:
    sender, receiver, random, count = Carrier(1.0), Carrier(1.0), Random(seed), 600
    came: list[bytes] = []
    sent = [index.to_bytes(2, "big") for index in range(count)]
    rest, now = list(sent), 0.0
    while len(came) < count:
        while rest and sender.has_room:
            sender.send(rest.pop(0))
        for body in sender.out(now):
            if random.random() > 0.2:
                came += receiver.take(body)
        for body in receiver.out(now):
            if random.random() > 0.2:
                assert sender.take(body) == []
        now = max(now + 0.01, sender.wake_at or 0.0)
    assert came == sent
    assert PACKET_BYTES >= 2
