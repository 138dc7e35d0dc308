"""RPyC without its object protocol: a call is a name and ``bytes``, an answer is ``bytes``.

RPyC gives the frames, brine (its encoding of plain values) and the matching of answers to requests. Everything else of
it is switched off by overriding private methods, which is why the version is pinned: no attribute access, no
references in either direction, no exceptions across the link, no compression. Whatever the peer sends that an end of
ours would not have sent ends the link.

The host calls (:class:`Caller`), the target answers (:func:`serve`). Neither does the other's part.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from typing import NoReturn

from rpyc.core import brine, consts
from rpyc.core.channel import Channel
from rpyc.core.protocol import Connection
from rpyc.core.service import VoidService

from .errors import CallTimeout, Fault, LinkClosed, LinkDown, Malformed
from .limits import FRAME_BYTES
from .messages import refusal
from .stream import TlsStream

Method = Callable[[bytes], bytes]

_ENVELOPE_BYTES = 512
"""Most bytes of a frame that are not the request or the answer: kind, sequence number, method name."""

_NAME_CHARS = 64
_VALUES = 16
"""Most values in one frame; the longest that an end of ours makes has 10."""

_JOIN_CLOSE_S = 2.0

_SLOWEST_BYTES = 1024
"""What a link has to carry a second, at least, not to be silent."""

_SETTINGS: dict[str, object] = {
    "allow_safe_attrs": False,
    "allow_exposed_attrs": False,
    "allow_public_attrs": False,
    "allow_all_attrs": False,
    "allow_getattr": False,
    "allow_setattr": False,
    "allow_delattr": False,
    "allow_pickle": False,
    "safe_attrs": frozenset(),
    "include_local_traceback": False,
    "include_local_version": False,
    "instantiate_custom_exceptions": False,
    "import_custom_exceptions": False,
    "instantiate_oldstyle_exceptions": False,
    "log_exceptions": False,
    "close_catchall": True,
    "bind_threads": False,  # else an environment variable could switch it on
}


_BYTES = {brine.TAG_EMPTY_STR: 0, brine.TAG_STR1: 1, brine.TAG_STR2: 2, brine.TAG_STR3: 3, brine.TAG_STR4: 4}
_LONG_BYTES = {brine.TAG_STR_L1: 1, brine.TAG_STR_L4: 4}
_TUPLES = {brine.TAG_EMPTY_TUPLE: 0, brine.TAG_TUP1: 1, brine.TAG_TUP2: 2, brine.TAG_TUP3: 3, brine.TAG_TUP4: 4}


def read_frame(frame: memoryview) -> tuple[int, object]:
    """A frame's kind and its value: a few whole numbers, texts, bytes and short tuples, to the frame's last byte.

    RPyC's own reader makes a gigabyte of sets from a frame within the cap, recurses as deep as the frame says, and
    copies a long answer twice.
    """
    values = _Values(frame)
    try:
        kind, value = values.take(1)[0], values.next()
    except ValueError as error:
        raise Malformed("a frame of the link can't be read") from error
    if values.rest:
        raise Malformed("a frame of the link is longer than what it says")
    return kind, value


class _Values:
    """As much of brine as is used here."""

    def __init__(self, frame: memoryview) -> None:
        self.rest = frame
        self._left = _VALUES

    def take(self, size: int) -> memoryview:
        part, self.rest = self.rest[:size], self.rest[size:]
        if len(part) != size:
            raise Malformed("a frame of the link is shorter than what it says")
        return part

    def _size(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def next(self) -> object:
        self._left -= 1
        tag = bytes(self.take(1))
        if self._left < 0:
            raise Malformed(f"a frame of the link has more than {_VALUES} values")
        if tag in brine.IMM_INTS_LOADER:
            return brine.IMM_INTS_LOADER[tag]
        if tag in _BYTES:
            return bytes(self.take(_BYTES[tag]))
        if tag in _LONG_BYTES:
            return bytes(self.take(self._size(_LONG_BYTES[tag])))
        if tag in _TUPLES:
            return tuple(self.next() for _ in range(_TUPLES[tag]))
        if tag == brine.TAG_INT_L1:
            return int(bytes(self.take(self._size(1))))
        if tag == brine.TAG_UNICODE and isinstance(text := self.next(), bytes):
            return text.decode()
        raise Malformed("a frame of the link holds something else than numbers, texts, bytes and tuples")


class _Frames(Channel):  # type: ignore[misc]  # rpyc has no types
    """RPyC's frames, within the cap, never compressed, and with deadlines."""

    __slots__ = ("_most_bytes",)

    stream: TlsStream

    def __init__(self, stream: TlsStream, most_bytes: int) -> None:
        super().__init__(stream, compress=False)
        self._most_bytes = most_bytes

    def recv(self) -> memoryview:
        header = self.stream.read(self.FRAME_HEADER.size, idle_s=None)
        size, compressed = self.FRAME_HEADER.unpack(header)
        if compressed:
            raise Malformed("a frame of the link is compressed")
        if size > self._most_bytes:
            raise Malformed(f"a frame of the link claims {size} bytes, the most is {self._most_bytes}")
        body = self.stream.read(size + len(self.FLUSHER))
        if body[size:] != self.FLUSHER:
            raise Malformed("a frame of the link does not end where it says")
        return memoryview(body)[:size]

    def send(self, data: bytes, kind: bytes = b"") -> None:
        header = self.FRAME_HEADER.pack(len(kind) + len(data), 0)
        self.stream.write(header + kind, data, self.FLUSHER)


class _Strict(Connection):  # type: ignore[misc]  # rpyc has no types
    """What both ends have in common: values cross, and nothing else."""

    def __init__(self, stream: TlsStream, most_bytes: int = FRAME_BYTES) -> None:
        self._stream = stream
        super().__init__(VoidService(), _Frames(stream, most_bytes), _SETTINGS)

    def close(self) -> None:
        """End the stream; the peer sees its end, and needs no message that says so."""
        self._closed = True
        self._stream.close()

    def receive(self) -> None:
        """One frame, read and acted upon. A frame that this end has no use for is :class:`Malformed`."""
        kind, message = read_frame(self._channel.recv())
        match message:
            case (int(seq), body):
                self._act(kind, seq, body)
            case _:
                raise Malformed("a frame of the link has no sequence number")

    def _act(self, kind: int, seq: int, body: object) -> None:
        raise NotImplementedError

    def _send(self, msg: int, seq: int, args: object) -> None:
        self._channel.send(brine.dump((seq, args)), brine.I1.pack(msg))

    def _box(self, obj: object) -> tuple[int, object]:
        if not brine.dumpable(obj):
            raise TypeError(f"{type(obj).__name__} does not cross the link by value, and nothing does by reference")
        return consts.LABEL_VALUE, obj

    def _refuse(self, *_args: object, **_more: object) -> NoReturn:
        raise NotImplementedError("this part of RPyC is switched off")

    serve = poll = sync_request = async_request = _async_request = _refuse
    _netref_factory = _unbox = _box_exc = _unbox_exc = _dispatch = _dispatch_request = _cleanup = _refuse

    @classmethod
    def _request_handlers(cls) -> dict[int, Callable[..., object]]:
        return {}


class _Calling(_Strict):
    """The host's end: sends requests, takes answers."""

    def _act(self, kind: int, seq: int, body: object) -> None:
        match body:
            case (consts.LABEL_VALUE, bytes(answer)) if kind == consts.MSG_REPLY:
                self._seq_request_callback(kind, seq, False, answer)
            case _:
                raise Malformed("the target sent something else than an answer in bytes")

    def call(self, method: str, request: bytes, timeout_s: float) -> bytes:
        if len(request) + _ENVELOPE_BYTES > FRAME_BYTES:
            raise Malformed(f"the request is {len(request)} bytes, a frame holds {FRAME_BYTES}", to=method)
        answers: SimpleQueue[bytes | None] = SimpleQueue()
        seq = self._get_seq_id()
        package = (consts.HANDLE_CALL, self._box((method, request)))
        self._request_callbacks[seq] = lambda _is_exc, answer: answers.put(answer)
        try:
            if not self._sendlock.acquire(timeout=timeout_s):
                raise CallTimeout(f"not sent in {timeout_s:g} s, as other calls were still being sent", to=method)
            try:
                self._send(consts.MSG_REQUEST, seq, package)
            finally:
                self._sendlock.release()
            answer = self._wait(answers, method, timeout_s)
        finally:
            self._request_callbacks.pop(seq, None)
        if answer is None:
            raise self._stream.fault
        return answer

    def _wait(self, answers: SimpleQueue[bytes | None], method: str, timeout_s: float) -> bytes | None:
        """The answer, which may take so long again where as much as a slow link carries in that time has moved."""
        moved = self._stream.moved_bytes
        while True:
            try:
                return answers.get(timeout=timeout_s)
            except Empty:
                before, moved = moved, self._stream.moved_bytes
                if moved - before <= timeout_s * _SLOWEST_BYTES:
                    do = "it may still be carried out; look before you repeat it"
                    raise CallTimeout(f"no answer in {timeout_s:g} s", to=method, do=do) from None

    def read_answers(self) -> None:
        """Until the link ends; then wake every call that still waits."""
        try:
            while True:
                self.receive()
        except Malformed as error:
            self._stream.close(partial(LinkDown, f"the target broke the protocol ({error.what})", to=self._stream.peer))
        except Fault:
            pass  # the stream keeps the reason, and each waiting call raises it
        finally:
            # Closed before they are woken: a call that is not among these finds the stream closed when it sends.
            self.close()
            for wake in self._request_callbacks.copy().values():
                wake(False, None)


class _Answering(_Strict):
    """The target's end: takes requests, one at a time, and answers each."""

    def __init__(
        self, stream: TlsStream, methods: Mapping[str, Method], on_fault: Callable[[Exception], None], most_bytes: int
    ) -> None:
        super().__init__(stream, most_bytes)
        self._methods = methods
        self._on_fault = on_fault

    def _act(self, kind: int, seq: int, body: object) -> None:
        answer: object
        match body:
            case _ if kind != consts.MSG_REQUEST:
                raise Malformed("the host sent something else than a request")
            case (consts.HANDLE_CALL, (consts.LABEL_VALUE, (str(name), bytes(request)))) if len(name) <= _NAME_CHARS:
                answer = self._answer(name, request)
            case (consts.HANDLE_PING, (consts.LABEL_VALUE, (answer,))):
                pass
            case (consts.HANDLE_CLOSE, (consts.LABEL_VALUE, ())):
                self.close()
                return
            case _:
                raise Malformed("the host asked for something else than a method by name")
        self._send(consts.MSG_REPLY, seq, self._box(answer))

    def _answer(self, name: str, request: bytes) -> bytes:
        method = self._methods.get(name)
        if method is None:
            return refusal(Fault("unknown-method", "the bootloader has no such method", to=name, do="update it"))
        try:
            answer = method(request)
            if not isinstance(answer, bytes) or len(answer) + _ENVELOPE_BYTES > FRAME_BYTES:
                raise TypeError(f"the answer of '{name}' is not bytes that fit a frame")
        except Fault as fault:
            return refusal(fault)
        except Exception as error:  # noqa: BLE001  # the boundary: whatever a method does, the link stays up
            self._on_fault(error)
            what = f"the bootloader failed inside ({type(error).__name__})"
            return refusal(Fault("internal-error", what, to=name, do="look into its events"))
        return answer


class Caller:
    """The host's end of one link. Several threads may call at once; one named thread of its own reads."""

    def __init__(self, stream: TlsStream, name: str = "link") -> None:
        """Takes ``stream`` over; ``name`` names the reader's thread."""
        self._stream = stream
        self._connection = _Calling(stream)
        self._reader = threading.Thread(target=self._connection.read_answers, name=f"{name}-reader", daemon=True)
        self._reader.start()

    def call(self, method: str, request: bytes, timeout_s: float) -> bytes:
        """What the target's ``method`` answers to ``request``.

        ``timeout_s`` is how long the link may be silent once the request is sent: a slow one needs no longer, be it
        slow with the request or with the answer. :class:`CallTimeout` when that is over, :class:`LinkDown` or
        :class:`Untrusted` when the link ends first, :class:`LinkClosed` when this end closed it.
        """
        return self._connection.call(method, request, timeout_s)

    @property
    def unacknowledged_bytes(self) -> int:
        """What was sent, and has not come to the target's system; 0 where this system does not tell."""
        return self._stream.unacknowledged_bytes

    @property
    def closed(self) -> bool:
        """Whether the link has ended, by whichever end."""
        return self._stream.closed

    def close(self) -> None:
        """End the link; every waiting call raises :class:`LinkClosed`."""
        self._connection.close()
        if threading.current_thread() is not self._reader:
            self._reader.join(_JOIN_CLOSE_S)


def serve(
    stream: TlsStream,
    methods: Mapping[str, Method],
    on_fault: Callable[[Exception], None],
    most_bytes: int = FRAME_BYTES,
) -> None:
    """Answer requests, one at a time, until the host goes or ``stream`` is closed. The stream is closed then.

    ``most_bytes``: of one request, with its frame.

    A :class:`Fault` that a method raises is its answer; any other exception is handed to ``on_fault``, and the host is
    told only that there was one. :class:`Malformed` where the host broke the protocol.
    """
    connection = _Answering(stream, methods, on_fault, most_bytes)
    try:
        while True:
            connection.receive()
    except (LinkDown, LinkClosed):
        return  # the stream keeps the reason
    finally:
        connection.close()
