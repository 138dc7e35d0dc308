"""Values that are moved by value: plain data and numpy arrays, as JSON and raw blobs. Nothing is run to make them.

``None``, truth values, whole numbers, floats, texts and lists are themselves; bytes, tuples, dicts, sets and all else
are an object of one key that says what they are. An array is its kind, its shape and its bytes. Only these very types
are taken: what inherits from one would arrive as something else. Reading is strict.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from .errors import Fault, Malformed
from .limits import VALUE_BYTES

ITEMS = 200_000
DEPTH = 40
DIMENSIONS = 16
_INT_BITS = 53
_BIG_BITS = 1_000_000
_DTYPE = re.compile(r"[<>|=]?(?:b1|i[1248]|u[1248]|f[248]|c(?:8|16))")


class _Writer:
    def __init__(self) -> None:
        self.blobs: list[bytes] = []
        self._left = VALUE_BYTES
        self._items = ITEMS

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise Fault("unfit-value", f"it is larger than {VALUE_BYTES // 2**20} MiB")

    def _blob(self, data: bytes) -> int:
        self._take(len(data))
        self.blobs.append(data)
        return len(self.blobs) - 1

    def write(self, value: Any, place: str, depth: int = 0) -> Any:
        self._items -= 1
        if self._items < 0:
            raise Fault("unfit-value", f"it has more than {ITEMS} items")
        if depth > DEPTH:
            raise Fault("unfit-value", f"it is nested deeper than {DEPTH}", to=place[:100])
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            self._take(len(value))
            return value
        if kind is int:
            return self._whole(value)
        if kind is float:
            return value if math.isfinite(value) else {"f": repr(value)}
        if kind in (bytes, bytearray):
            return {"b": self._blob(bytes(value))}
        if kind is complex:
            return {"c": [repr(value.real), repr(value.imag)]}
        if kind in _SEQUENCES:
            items = [self.write(one, f"{place}[{number}]", depth + 1) for number, one in enumerate(tuple(value))]
            return items if kind is list else {_SEQUENCES[kind]: items}
        if kind is dict:
            return {"d": [self._row(key, one, place, depth + 1) for key, one in list(value.items())]}
        if kind.__module__ == "numpy" and hasattr(kind, "dtype"):
            return self._array(value, place)
        raise Fault("unfit-value", f"'{kind.__qualname__}' is neither plain data nor an array", to=place[:100])

    def _row(self, key: Any, value: Any, place: str, depth: int) -> list[Any]:
        name = repr(key)[:40] if type(key) in (str, int) else "…"
        return [self.write(key, place, depth), self.write(value, f"{place}[{name}]", depth)]

    def _whole(self, value: int) -> Any:
        if value.bit_length() <= _INT_BITS:
            return value
        if value.bit_length() > _BIG_BITS:
            raise Fault("unfit-value", f"a number of {value.bit_length()} bits is too large")
        self._take(value.bit_length() // 4)
        return {"i": f"{value:x}"}

    def _array(self, value: Any, place: str) -> Any:
        import numpy

        array = numpy.asarray(value)
        if type(value) is not numpy.ndarray and not isinstance(value, numpy.generic):
            raise Fault("unfit-value", f"'{type(value).__qualname__}' is no plain array", to=place[:100])
        if not _DTYPE.fullmatch(array.dtype.str) or array.ndim > DIMENSIONS:
            raise Fault("unfit-value", f"an array of '{array.dtype}' is not moved", to=place[:100])
        self._take(array.nbytes)
        self._left += array.nbytes
        told = {"dtype": array.dtype.str, "shape": list(array.shape), "blob": self._blob(array.tobytes())}
        return {"n" if isinstance(value, numpy.generic) else "a": told}


class _Reader:
    def __init__(self, blobs: Sequence[bytes]) -> None:
        self._blobs = blobs
        self._items = ITEMS

    def read(self, told: Any, depth: int = 0) -> Any:
        self._items -= 1
        if self._items < 0 or depth > DEPTH:
            raise Malformed("a value has too many items, or is nested too deep")
        if told is None or isinstance(told, bool | int | float | str):
            return told
        if isinstance(told, list):
            return [self.read(one, depth + 1) for one in told]
        if not isinstance(told, dict) or len(told) != 1:
            raise Malformed("a value is of no kind that is known")
        match next(iter(told.items())):
            case ("d", list(rows)):
                return self._dict(rows, depth)
            case ("t" | "s" | "z" as kind, list(items)):
                read = (self.read(one, depth + 1) for one in items)
                return tuple(read) if kind == "t" else _SETS[kind](map(_hashable, read))
            case ("f", "inf" | "-inf" | "nan" as text):
                return float(text)
            case ("i", str(text)) if re.fullmatch(r"-?[0-9a-f]{1,250001}", text):
                return int(text, 16)
            case ("c", [str(real), str(imag)]):
                return complex(_float(real), _float(imag))
            case ("b", int(number)):
                return self._blob(number)
            case ("a" | "n" as kind, {"dtype": str(dtype), "shape": list(shape), "blob": int(number)}):
                array = self._array(dtype, shape, self._blob(number))
                return array if kind == "a" else array[()]
        raise Malformed("a value is of no kind that is known")

    def _blob(self, number: int) -> bytes:
        if isinstance(number, bool) or not 0 <= number < len(self._blobs):
            raise Malformed("a value has bytes that did not come")
        return self._blobs[number]

    def _dict(self, rows: list[Any], depth: int) -> dict[Any, Any]:
        made = {}
        for row in rows:
            if not isinstance(row, list) or len(row) != 2:
                raise Malformed("a value's rows are not pairs")
            key = self.read(row[0], depth + 1)
            made[_hashable(key)] = self.read(row[1], depth + 1)
        return made

    def _array(self, dtype: str, shape: list[Any], data: bytes) -> Any:
        if not _DTYPE.fullmatch(dtype) or len(shape) > DIMENSIONS:
            raise Malformed("an array is of no kind that is known")
        if not all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each <= VALUE_BYTES for each in shape):
            raise Malformed("an array's shape can't be")
        try:
            import numpy
        except ImportError as error:
            raise Fault("no-numpy", f"it is an array, and numpy is not here: {error}", do="install numpy") from error
        kind = numpy.dtype(dtype)
        if math.prod(shape) * kind.itemsize != len(data):
            raise Malformed("an array's bytes are not as many as its shape says")
        return numpy.frombuffer(bytearray(data), kind).reshape(shape)


def _hashable(key: Any) -> Any:
    try:
        hash(key)
    except TypeError as error:
        raise Malformed("a value's key can't be one") from error
    return key


def _float(text: str) -> float:
    if len(text) > 40:
        raise Malformed("a number is longer than any")
    try:
        return float(text)
    except ValueError as error:
        raise Malformed("a number is none") from error


_SETS: dict[str, Callable[..., Any]] = {"s": set, "z": frozenset}
_SEQUENCES: dict[type, str] = {list: "l", tuple: "t", set: "s", frozenset: "z"}


def encode(value: object) -> tuple[Any, list[bytes]]:
    """``value`` as JSON and blobs; a :class:`Fault` where it is not such a value."""
    writer = _Writer()
    try:
        return writer.write(value, ""), writer.blobs
    except RecursionError as error:
        raise Fault("unfit-value", f"it is nested deeper than {DEPTH}") from error


def decode(told: object, blobs: Sequence[bytes]) -> Any:
    """The value that :func:`encode` made this of; :class:`Malformed` where nothing can have been."""
    if sum(map(len, blobs)) > VALUE_BYTES:
        raise Malformed("a value is larger than any")
    try:
        return _Reader(blobs).read(told)
    except RecursionError as error:
        raise Malformed("a value is nested too deep") from error
