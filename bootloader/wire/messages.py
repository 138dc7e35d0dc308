"""Structured values as one versioned ``bytes``: a JSON object, then raw blobs.

Layout: ``b"RL"``, the protocol version (1 byte), the length of the JSON text (4 bytes, big-endian), the JSON text,
the blobs one after the other. The JSON object's key ``blobs`` lists the blobs' lengths. Brine would carry lists and
dicts by reference, a round trip an item; one ``bytes`` costs one.

Reading is strict: a shape that is not expected is :class:`~bootloader.wire.errors.Malformed`, never a guess.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from .errors import Fault, Malformed, OtherProtocol, Refused
from .limits import ANSWER_VALUES, PROTOCOL

_HEAD = struct.Struct(">2sBI")
_MAGIC = b"RL"

Body = Mapping[str, Any]


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_write = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_read = json.JSONDecoder(parse_constant=_no_number).decode


def pack(body: Body, blobs: Sequence[bytes | memoryview] = ()) -> bytes:
    """One message of a JSON object and raw blobs."""
    text = _write({**body, "blobs": [len(blob) for blob in blobs]}).encode()
    return b"".join((_HEAD.pack(_MAGIC, PROTOCOL, len(text)), text, *blobs))


def unpack(data: object, most_values: int | None = None) -> tuple[Fields, list[bytes]]:
    """The JSON object and the blobs of a message. ``most_values``: read, they are many times larger."""
    if not isinstance(data, bytes) or len(data) < _HEAD.size:
        raise Malformed("the message is cut")
    magic, version, length = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise Malformed("not a message of this protocol")
    if version != PROTOCOL:
        raise OtherProtocol(version, PROTOCOL)
    at = _HEAD.size + length
    header = data[_HEAD.size : at]
    if most_values is not None and sum(map(header.count, (b"{", b"[", b","))) > most_values:
        raise Malformed(f"the message holds more than {most_values} values")
    try:
        body = _read(header.decode())
    except (ValueError, RecursionError) as error:
        raise Malformed("the message's header is not JSON") from error
    if not isinstance(body, dict):
        raise Malformed("the message's header is not an object")
    fields = Fields(body)
    blobs = []
    for size in fields.integers("blobs"):
        if size < 0 or at + size > len(data):
            raise Malformed("the message's blobs are cut")
        blobs.append(data[at : at + size])
        at += size
    if at != len(data):
        raise Malformed("the message is too long")
    return fields, blobs


class Fields:
    """A JSON object from the other end, read field by field with the type that is expected."""

    __slots__ = ("_body",)

    def __init__(self, body: Body) -> None:
        self._body = body

    def _get(self, key: str, kind: type, default: Any) -> Any:
        value = self._body.get(key, default)
        if value is None or not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise Malformed(f"expected {kind.__name__}, got {type(value).__name__}", to=f"field '{key}'")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value: str = self._get(key, str, default)
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number."""
        value: int = self._get(key, int, default)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._body.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Malformed(f"expected a number, got {type(value).__name__}", to=f"field '{key}'")
        try:
            number = float(value)
        except OverflowError:  # a whole number of hundreds of digits
            number = math.inf
        if not math.isfinite(number):
            raise Malformed("expected a finite number", to=f"field '{key}'")
        return number

    def flag(self, key: str, default: bool | None = None) -> bool:
        """A truth value."""
        value: bool = self._get(key, bool, default)
        return value

    def texts(self, key: str) -> list[str]:
        """A list of strings; empty where absent."""
        return self._items(key, str)

    def integers(self, key: str) -> list[int]:
        """A list of whole numbers; empty where absent."""
        return self._items(key, int)

    def rows(self, key: str) -> list[list[Any]]:
        """A list of lists; empty where absent."""
        return self._items(key, list)

    def objects(self, key: str) -> list[Fields]:
        """A list of objects; empty where absent."""
        return [Fields(item) for item in self._items(key, dict)]

    def child(self, key: str) -> Fields:
        """An object; empty where absent."""
        return Fields(self._get(key, dict, {}))

    def _items(self, key: str, kind: type) -> list[Any]:
        items: list[Any] = self._get(key, list, [])
        if not all(isinstance(item, kind) and not isinstance(item, bool) for item in items):
            raise Malformed(f"expected a list of {kind.__name__}", to=f"field '{key}'")
        return items

    def plain(self) -> dict[str, Any]:
        """The object as it came: JSON values, of no particular shape."""
        return dict(self._body)

    def __contains__(self, key: object) -> bool:
        return key in self._body


def refusal(fault: Fault) -> bytes:
    """The answer that says no: a refusal is a value on the wire."""
    return pack({"refused": fault.as_fields()})


def answer(data: object) -> tuple[Fields, list[bytes]]:
    """What the other end answered; :class:`~bootloader.wire.errors.Refused` where it said no."""
    fields, blobs = unpack(data, ANSWER_VALUES)
    if "refused" in fields:
        raise Refused.from_fields(fields.child("refused").plain())
    return fields, blobs


def lines(events: Iterable[Body]) -> bytes:
    """Objects as JSON lines."""
    return b"".join(_write(event).encode() + b"\n" for event in events)
