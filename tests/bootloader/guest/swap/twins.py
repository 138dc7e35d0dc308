"""Two processes that have to be alike: one that was patched, version after version, and one that is started fresh.

``python -m tests.bootloader.guest.swap.twins`` reads one JSON line for each such pair, a list of versions of one
program, each a mapping of files, and answers with one: what each of the two says of itself, and why versions were
refused. A version that is refused is passed over, and so is one that does not start: that is how a save of it ends.
Nothing but the standard library and ``bootloader.guest``.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import re
import sys
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from bootloader.guest import swap
from tests.bootloader.guest.swap.stage import Files, Stage, apart

NAME = "app"
DEEPEST = 3
_ADDRESS = r" at 0x[0-9a-f]+|/tmp/\S*?swap-\w+"


def main() -> None:
    """Answer until there is nothing more to read."""
    for line in sys.stdin:
        number, versions = json.loads(line)
        starts = [apart(partial(started, version)) for version in versions]
        whole = [place for place, (said, _) in enumerate(starts) if said]
        said, wrong = apart(partial(patched, [versions[place] for place in whole])) if whole else ("", "")
        told: dict[str, Any] = json.loads(said) if said else {"last": 0, "patched": {}, "refused": [], "stale": []}
        fresh = json.loads(starts[whole[told["last"]]][0]) if whole else {}
        told["last"] = whole[told["last"]] if whole else 0
        wrong += "".join(also_wrong for _, also_wrong in starts)
        print(json.dumps({**told, "fresh": fresh, "whole": len(whole), "wrong": wrong, "number": number}), flush=True)


def patched(versions: list[Files], folder: Path) -> str:
    """Start with the first version, take the others one by one; the last one that was taken, and what it says."""
    stage = Stage(folder, versions[0])
    module = __import__(NAME)
    held = dict(vars(module))
    engine = swap.Swap(str(stage.live))
    last, refused = 0, []
    for number, version in enumerate(versions[1:], 1):
        before = versions[last]
        paths = sorted(path for path in {*before, *version} if before.get(path) != version.get(path))
        if not paths:
            continue
        tree = stage.stage(version)
        try:
            prepared = engine.prepare(swap.Tree(str(stage.tree)), swap.Tree(str(tree)), paths)
        except swap.Refusal as refusal:
            refused.append(refusal.reason)
            continue
        stage.switch(tree)
        try:
            prepared.commit()
        except swap.Undone as undone:
            refused.append(f"undone: {undone.reason}")
            break  # the process is restarted
        last = number
    stale = [
        name
        for name, value in vars(module).items()
        if isinstance(value, FunctionType | type) and name in held and is_stale(held[name], value)
    ]
    return json.dumps({"patched": answers(versions[last]), "last": last, "refused": refused, "stale": stale})


def started(version: Files, folder: Path) -> str:
    """What a process says that is started with ``version``; nothing where it does not start."""
    Stage(folder, version)
    try:
        __import__(NAME)
    except Exception:  # noqa: BLE001 - it is a random program
        return ""
    return json.dumps(answers(version))


def is_stale(held: Any, value: Any) -> bool:
    """Whether what somebody held on to is a function or a class as it is now, and yet another one."""
    return isinstance(held, FunctionType | type) and type(held) is type(value) and held is not value


def answers(version: Files) -> dict[str, Any]:
    """What the modules say of themselves: of their values, functions and what these return, classes."""
    loaded = [sys.modules[name] for name in sorted(path.removesuffix(".py") for path in version) if name in sys.modules]
    return {
        f"{module.__name__}.{name}": answer(value)
        for module in loaded
        for name, value in sorted(vars(module).items())
        if name[:2] != "__"
    }


def answer(value: Any, depth: int = 0) -> Any:
    """What there is to be seen of a value, as plain data."""
    if depth > DEEPEST or getattr(value, "__module__", "") in ("builtins", "enum"):
        return re.sub(_ADDRESS, "", repr(value))
    if isinstance(value, ModuleType):
        return f"module {value.__name__}"
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(answer(each, depth + 1) for each in value)]
    if isinstance(value, dict):
        return {repr(name): answer(each, depth + 1) for name, each in value.items()}
    if isinstance(value, functools.partial):
        return ["partial", answer(value.func, depth + 1), answer(value.args, depth + 1)]
    if isinstance(value, type):
        return {
            "class": [base.__name__ for base in value.__mro__] + [value.__qualname__, str(value.__doc__)],
            "module": value.__module__,
            "made": outcome(value, depth),
            **{name: answer(each, depth + 1) for name, each in sorted(vars(value).items()) if is_telling(name)},
        }
    if isinstance(value, staticmethod | classmethod):
        return [type(value).__name__, answer(value.__func__, depth)]
    if isinstance(value, property):
        return ["property", answer(value.fget, depth), answer(value.fset, depth), value.__doc__]
    if callable(value):
        inner: Any = inspect.unwrap(value)
        code = getattr(inner, "__code__", None)
        return {
            "signature": signature(value),
            "hints": str(getattr(value, "__annotations__", None)),
            "doc": value.__doc__,
            "name": f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}",
            "line": code and code.co_firstlineno,
            "mark": getattr(value, "mark", ""),
            "outcome": outcome(value, depth),
        }
    return re.sub(_ADDRESS, "", repr(value))


def signature(value: Any) -> str:
    """How it is to be called, as far as that can be told."""
    try:
        return re.sub(_ADDRESS, "", str(inspect.signature(value)))
    except ValueError:
        return ""


def is_telling(name: str) -> bool:
    """Whether an attribute of a class is the same in every process."""
    hidden = ("dict", "weakref", "module", "doc", "firstlineno", "static_attributes")
    return name != "_abc_impl" and name.strip("_") not in hidden


def outcome(called: Any, depth: int) -> Any:
    """What comes of a call: of a class, what its instance answers."""
    try:
        if not isinstance(called, type):
            return shown(called(), depth)
        made = called()
        telling = [name for name in dir(made) if name[:2] != "__" and name != "_abc_impl"]
        return {name: shown(getattr(made, name), depth) for name in telling}
    except RecursionError:
        return "RecursionError"
    except Exception as error:  # noqa: BLE001 - it is an answer like others
        return re.sub(_ADDRESS, "", f"{type(error).__name__}: {error}")


def shown(value: Any, depth: int) -> Any:
    """A value that came of a call; what can be called is, what is to be waited for is waited for."""
    if isinstance(value, tuple):
        return [shown(each, depth) for each in value]
    if inspect.iscoroutine(value):
        return shown(finished(value), depth)
    if inspect.isgenerator(value):
        return [shown(each, depth) for each in value]
    if isinstance(value, contextlib.AbstractContextManager):
        with value as given:
            return ["context", shown(given, depth)]
    if callable(value) and not isinstance(value, type) and depth < DEEPEST:
        return outcome(value, depth + 1)
    return re.sub(_ADDRESS, "", repr(value))


def finished(coroutine: Any) -> Any:
    """What comes of one that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    return coroutine.close()


if __name__ == "__main__":
    main()
