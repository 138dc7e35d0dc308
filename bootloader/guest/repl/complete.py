"""What may follow at a place in a statement: names, attributes, keys, modules, keyword arguments; and a signature.

Decides by the text before the place alone, and by what lies in the objects that it names (``statics``): nothing of the
application's is run for it. Bounded in what it looks at.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import keyword
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from . import statics
from .names import Names

ITEMS = 300
_SOURCE_CHARS = 20_000
_FILES = 3000
_TEXT_CHARS = 200

_CHAIN = r"[^\W\d]\w*(?:\s*\.\s*[^\W\d]\w*|\[\s*(?:'[^'\\]*'|\"[^\"\\]*\"|-?\d+)\s*\])*"
_ATTRIBUTE = re.compile(rf"(?<![\w.\])'\"])({_CHAIN})\s*\.\s*(\w*)$")
_KEY = re.compile(rf"(?<![\w.\])'\"])({_CHAIN})\[\s*(?:(['\"])([^'\"\\]*)|(\w*))$")
_NAME = re.compile(r"(?<![\w.\])'\"])([^\W\d]\w*)?$")
_IMPORT = re.compile(r"(?:^|[;:\n])\s*import\s+(?:[\w.]+(?:\s+as\s+\w+)?\s*,\s*)*([\w.]*)$")
_FROM = re.compile(r"(?:^|[;:\n])\s*from\s+([\w.]*)$")
_FROM_NAMES = re.compile(r"(?:^|[;:\n])\s*from\s+([\w.]+)\s+import\s+\(?\s*(?:[\w]+(?:\s+as\s+\w+)?\s*,\s*)*(\w*)$")
_CALLEE = re.compile(rf"({_CHAIN})\s*$")

Found = Iterator[tuple[str, str]]


def complete(source: str, at: int, names: Names) -> dict[str, Any]:
    """``items``: ``[text, kind]``, each to stand from ``start`` to ``at``; ``signature``: of the call that it is in."""
    before = source[max(0, at - _SOURCE_CHARS) : at]
    word, found = _found(before, names)
    shown = sorted({item for item in islice(found, 50 * ITEMS) if _fits(item[0], word)}, key=_rank)[:ITEMS]
    told: dict[str, Any] = {"items": [list(item) for item in shown], "start": at - len(word)}
    signature = _signature(before, names)
    return {**told, "signature": signature} if signature else told


def _fits(text: str, word: str) -> bool:
    return text.lower().startswith(word.lower()) and (
        word[:1] == "_" or text[:1] != "_" or (not word.isidentifier() and text[:2] != "__")
    )


def _rank(item: tuple[str, str]) -> tuple[bool, bool, str, str]:
    return item[0].startswith("__"), item[0].startswith("_"), item[0].lower(), item[0]


def _found(before: str, names: Names) -> tuple[str, Found]:
    if match := _FROM_NAMES.search(before):
        return match[2], _of_module(match[1])
    if match := _IMPORT.search(before) or _FROM.search(before):
        return match[1], _modules(match[1])
    if _in_text(before) and not _KEY.search(before):
        return "", iter(())
    if match := _KEY.search(before):
        return _keys(match, names)
    if match := _ATTRIBUTE.search(before):
        thing = value(match[1], names)
        return match[2], iter(() if thing is statics.UNKNOWN else statics.attributes(thing).items())
    if match := _NAME.search(before):
        return match[1] or "", _names(before, match[1] or "", names)
    return "", iter(())


def _in_text(before: str) -> bool:
    """Whether the place is inside a text or a comment of the last line, as far as that line tells."""
    line, quote = before.rpartition("\n")[2], ""
    skip = False
    for char in line:
        if skip:
            skip = False
        elif char == "\\" and quote:
            skip = True
        elif char == quote:
            quote = ""
        elif char in "'\"" and not quote:
            quote = char
        elif char == "#" and not quote:
            return True
    return bool(quote)


def value(chain: str, names: Mapping[str, Any]) -> Any:
    """What a chain of names, attributes and constant keys stands for; ``statics.UNKNOWN`` where that is not known."""
    try:
        node: ast.expr = ast.parse(chain.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return statics.UNKNOWN
    steps: list[ast.expr] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        steps.append(node)
        node = node.value
    if not isinstance(node, ast.Name):
        return statics.UNKNOWN
    try:
        found = names[node.id]
    except KeyError:
        found = vars(builtins).get(node.id, statics.UNKNOWN)
    for step in reversed(steps):
        if found is statics.UNKNOWN:
            break
        if isinstance(step, ast.Attribute):
            found = statics.attribute(found, step.attr)
        elif isinstance(step, ast.Subscript):
            with suppress(ValueError):
                found = statics.item(found, ast.literal_eval(step.slice))
    return found


def _keys(match: re.Match[str], names: Names) -> tuple[str, Found]:
    quote, inside, bare = match[2], match[3], match[4]
    thing = value(match[1], names)
    keys = [key for key in statics.keys(thing) if type(key) in (str, int) and len(str(key)) < _TEXT_CHARS]
    if quote:
        texts = [key for key in keys if isinstance(key, str) and quote not in key and key.isprintable()]
        return inside, ((f"{key}{quote}]", "key") for key in texts)
    found = ((f"{key!r}]", "key") for key in keys)
    return bare or "", found if not bare else _names("", bare, names)


def _names(before: str, word: str, names: Names) -> Found:
    for parameter in _call(before[: len(before) - len(word)], names):
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            yield f"{parameter.name}=", "argument"
    if not word:
        return
    seen: set[str] = set()
    for found in (names, *names.behind(), vars(builtins)):
        for name, thing in list(found.items()):
            if name not in seen and not (name.startswith("__") and found is names):
                seen.add(name)
                yield name, statics.kind(thing)
    for name in keyword.kwlist:
        yield name, "keyword"


# calls


def _call(before: str, names: Names) -> list[inspect.Parameter]:
    """The parameters of the call that the place is in; none where it is in none, or they are not known."""
    callee = _callee(before)
    thing = value(callee, names) if callee else statics.UNKNOWN
    return (statics.parameters(thing) or []) if thing is not statics.UNKNOWN else []


def _callee(before: str) -> str:
    """What is called where the innermost bracket that is open is a call's."""
    depth, quote = 0, ""
    for index in range(len(before) - 1, max(-1, len(before) - 2000), -1):
        char = before[index]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in ")]}":
            depth += 1
        elif char in "([{":
            depth -= 1
            if depth < 0:
                match = _CALLEE.search(before[:index]) if char == "(" else None
                return match[1] if match else ""
    return ""


def _signature(before: str, names: Names) -> str:
    found = _call(before, names)
    if not found:
        return ""
    plain = [each.replace(annotation=_plain(each.annotation), default=_default(each.default)) for each in found]
    with suppress(ValueError):
        return f"{_callee(before)}{inspect.Signature(plain)}"[:_TEXT_CHARS]
    return ""


class _As:
    """Something whose text is known."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _plain(annotation: Any) -> Any:
    if annotation is inspect.Parameter.empty:
        return annotation
    if type(annotation) is str:
        return _As(annotation[:60])
    return _As(annotation.__qualname__) if type(annotation) is type else inspect.Parameter.empty


def _default(default: Any) -> Any:
    if default is inspect.Parameter.empty or default is None or type(default) in (bool, int, float):
        return default
    return _As(repr(default)) if type(default) is str and len(default) < 30 else _As("…")


# modules


def _of_module(name: str) -> Found:
    module = sys.modules.get(name)
    if module is not None:
        yield from statics.attributes(module).items()
    yield from _modules(f"{name}.", bare=True)


def _modules(word: str, *, bare: bool = False) -> Found:
    """The modules that could be imported, as far as folders tell. ``bare``: by their last name."""
    package, _, _ = word.rpartition(".")
    seen = 0
    if not package:
        for name in sys.stdlib_module_names:
            yield name, "module"
    places = _places(package)
    for place in places:
        with suppress(OSError), os.scandir(place) as files:
            for file in files:
                seen += 1
                if seen > _FILES:
                    return
                name = file.name.partition(".")[0]
                is_module = file.name.endswith((".py", ".so")) or ("." not in file.name and file.is_dir())
                if is_module and name.isidentifier() and not name.startswith("__"):
                    yield (name if bare or not package else f"{package}.{name}"), "module"


def _places(package: str) -> list[str]:
    if not package:
        return [place or "." for place in sys.path if type(place) is str]
    module = sys.modules.get(package)
    path = vars(module).get("__path__") if module is not None else None
    if path is None:
        return [os.path.join(place or ".", *package.split(".")) for place in sys.path if type(place) is str]
    return [place for place in list(path) if type(place) is str]
