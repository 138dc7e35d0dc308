"""Two processes that have to be alike: one that was patched, version after version, and one that is started fresh.

``python -m tests.bootloader.guest.swap.twins`` reads one JSON line for each such pair, a list of versions of one
module, and answers with one: what each of the two says of itself, and why versions were refused. A version that is
refused is passed over. Nothing but the standard library and ``bootloader.guest``.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from bootloader.guest import swap
from tests.bootloader.guest.swap.stage import Stage, apart

NAME = "app"
PATH = f"{NAME}.py"
DEEPEST = 3


def main() -> None:
    """Answer until there is nothing more to read."""
    for line in sys.stdin:
        versions = json.loads(line)
        said, wrong = apart(partial(patched, versions))
        told = json.loads(said) if said else {"last": 0}
        fresh, also_wrong = apart(partial(started, versions[told["last"]]))
        print(json.dumps({**told, "fresh": json.loads(fresh or "{}"), "wrong": wrong + also_wrong}), flush=True)


def patched(versions: list[str], folder: Path) -> str:
    """Start with the first version, take the others one by one; the last one that was taken, and what it says."""
    stage = Stage(folder, {PATH: versions[0]})
    module = __import__(NAME)
    held = dict(vars(module))
    engine = swap.Swap(str(stage.live))
    last, refused = 0, []
    for number, version in enumerate(versions[1:], 1):
        if version == versions[last]:
            continue
        tree = stage.stage({PATH: version})
        try:
            prepared = engine.prepare(str(stage.tree), str(tree), [PATH])
        except swap.Refusal as refusal:
            refused.append(refusal.reason)
            continue
        stage.switch(tree)
        prepared.commit()
        last = number
    stale = [
        name
        for name, value in vars(module).items()
        if isinstance(value, FunctionType | type) and name in held and is_stale(held[name], value)
    ]
    return json.dumps({"patched": answers(module), "last": last, "refused": refused, "stale": stale})


def started(version: str, folder: Path) -> str:
    """What a process says that is started with ``version``."""
    Stage(folder, {PATH: version})
    return json.dumps(answers(__import__(NAME)))


def is_stale(held: Any, value: Any) -> bool:
    """Whether what somebody held on to is a function or a class as it is now, and yet another one."""
    return isinstance(held, FunctionType | type) and type(held) is type(value) and held is not value


def answers(module: ModuleType) -> dict[str, Any]:
    """What a module says of itself: of its values, its functions and what they return, its classes."""
    return {name: answer(value) for name, value in sorted(vars(module).items()) if name[:2] != "__"}


def answer(value: Any, depth: int = 0) -> Any:
    """What there is to be seen of a value, as plain data."""
    if inspect.ismodule(value):
        return f"module {value.__name__}"
    if isinstance(value, type):
        return {
            "class": [base.__name__ for base in value.__mro__] + [value.__qualname__, str(value.__doc__)],
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
            "signature": str(inspect.signature(value)),
            "hints": str(getattr(value, "__annotations__", None)),
            "doc": value.__doc__,
            "name": f"{value.__module__}.{value.__qualname__}",
            "line": code and code.co_firstlineno,
            "outcome": outcome(value, depth),
        }
    return repr(value)


def is_telling(name: str) -> bool:
    """Whether an attribute of a class is the same in every process."""
    return name not in ("__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__")


def outcome(called: Any, depth: int) -> Any:
    """What comes of a call: of a class, what its instance answers."""
    try:
        if not isinstance(called, type):
            return shown(called(), depth)
        made = called()
        telling = [name for name in dir(made) if name[:2] != "__"]
        return {name: shown(getattr(made, name), depth) for name in telling}
    except Exception as error:  # noqa: BLE001 - it is an answer like others
        return f"{type(error).__name__}: {error}"


def shown(value: Any, depth: int) -> Any:
    """A value that came of a call; what can be called is, what is to be waited for is waited for."""
    if isinstance(value, tuple):
        return [shown(each, depth) for each in value]
    if inspect.iscoroutine(value):
        return shown(asyncio.run(value), depth)
    if inspect.isgenerator(value):
        return [shown(each, depth) for each in value]
    if callable(value) and not isinstance(value, type) and depth < DEEPEST:
        return outcome(value, depth + 1)
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


if __name__ == "__main__":
    main()
