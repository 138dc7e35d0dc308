"""What to run from a tree: the host writes it into the tree, the target reads it there.

It is a file like any other, so the root covers it: the same code with another entry point is another root, and a
rollback brings the settings of its time back with the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from graphlib import CycleError, TopologicalSorter

from .errors import Malformed
from .layer import Wheel, read_wheels
from .messages import Fields

PATH = ".reactor/launch.json"
"""Where in a tree the launch file lies."""

DEPENDS = ".reactor/depends"
"""Where in a tree sibling projects lie, a folder each."""

VERSION = 1
ENTRY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)?")
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_ENV_NAME = re.compile(r"[^=\0\ud800-\udfff]+")
_ENV_VALUE = re.compile(r"[^\0\ud800-\udfff]*")

RELOADS = ("auto", "patch", "restart")
FAILURES = ("hold", "rollback")
READIES = ("settle", "notify")
ASSETS = ("restart", "keep")

LIMITS: Mapping[str, tuple[float, float]] = {
    "settle_s": (0, 3600),
    "grace_s": (0, 60),
    "ready_s": (0.1, 3600),
    "safe_s": (0.1, 60),
    "handover_s": (0.1, 60),
    "assets_s": (0.1, 30),
    "memory_mb": (0, 2**20),
    "processes": (0, 2**15),
    "handler_s": (0.1, 60),
    "deaths": (1, 1000),
    "window_s": (1, 86400),
}
"""The least and the most that each number may be."""


@dataclass(frozen=True, slots=True)
class Application:
    """One application: ``entry`` is ``module`` or ``module:callable``; times are in seconds.

    ``after``: the applications that are ready before it starts. ``ready``: by having been up for ``settle_s``, or by
    saying so within ``ready_s``. ``safe``: the callable that puts its outputs in their safe state where it could not do
    so itself. ``memory_mb`` and ``processes`` are 0 for the target's own bounds. ``give``: the callable that is asked
    for its state when it has ended; ``take``: the one that gets it before the next start; each has ``handover_s``.
    ``assets``: what it does about a changed file that is no code: one of :data:`ASSETS`, or the callable that is told.
    """

    name: str
    entry: str
    init: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    settle_s: float = 0.5
    grace_s: float = 3.0
    after: tuple[str, ...] = ()
    ready: str = "settle"
    ready_s: float = 10.0
    safe: str = ""
    safe_s: float = 5.0
    memory_mb: int = 0
    processes: int = 0
    give: str = ""
    take: str = ""
    handover_s: float = 1.0
    assets: str = "restart"
    assets_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run from one tree. ``path``: folders of the tree that go to the front of ``sys.path``, in order.

    ``handler``: the callable that is asked what to do when an application died. ``deaths`` within ``window_s`` are a
    crash loop. ``requirements`` are what the applications need besides, in words; ``wheels`` are what that comes to on
    this target; ``system_packages``: what is installed there can be imported as well. ``display``: the callable that
    shows the code of a window to pair in.
    """

    applications: tuple[Application, ...]
    path: tuple[str, ...] = (".",)
    reload: str = "auto"
    on_failure: str = "hold"
    handler: str = ""
    handler_s: float = 5.0
    deaths: int = 5
    window_s: float = 60.0
    requirements: tuple[str, ...] = ()
    system_packages: bool = True
    wheels: tuple[Wheel, ...] = ()
    display: str = ""

    def encode(self) -> bytes:
        """The launch file's text: JSON, the same for the same launch."""
        body = {"version": VERSION, **asdict(self), "wheels": [wheel.row for wheel in self.wheels]}
        return json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def decode(cls, text: bytes) -> Launch:
        """The launch that ``text`` tells, checked; anything odd is :class:`Malformed`."""
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Malformed("not JSON", to=PATH) from error
        if not isinstance(body, dict):
            raise Malformed("not an object", to=PATH)
        fields = Fields(body)
        if fields.integer("version") != VERSION:
            raise Malformed(f"version {fields.integer('version')}, this bootloader reads {VERSION}", to=PATH)
        applications = tuple(_application(item) for item in fields.objects("applications"))
        if len({app.name for app in applications}) != len(applications) or len(applications) > 32:
            raise Malformed("two applications of one name, or more than 32", to=PATH)
        if disorder := order_problem(applications):
            raise Malformed(disorder[1], to=disorder[0])
        path = tuple(fields.texts("path"))
        if any(part.startswith("/") or ".." in part.split("/") or "\0" in part for part in path):
            raise Malformed("a folder of 'path' leaves the tree", to=PATH)
        return cls(
            applications,
            path,
            _one_of(RELOADS, fields, "reload"),
            _one_of(FAILURES, fields, "on_failure"),
            _callable(fields, "handler"),
            _number(fields, "handler_s", 5.0),
            _whole(fields, "deaths", 5),
            _number(fields, "window_s", 60.0),
            tuple(fields.texts("requirements")),
            fields.flag("system_packages", True),
            read_wheels(fields),
            _callable(fields, "display"),
        )


def prerequisites(applications: Sequence[Application]) -> dict[str, frozenset[str]]:
    """Which applications each one waits for: its ``after``, and, where it is none itself, all init ones."""
    init = frozenset(app.name for app in applications if app.init)
    return {app.name: frozenset(app.after) | (frozenset() if app.init else init) for app in applications}


def order_problem(applications: Sequence[Application]) -> tuple[str, str] | None:
    """An application that could never start, and why; None where there is an order in which all can."""
    waits = prerequisites(applications)
    for name, others in waits.items():
        if unknown := sorted(others - waits.keys()):
            return name, f"is to start after '{unknown[0][:40]}', which is no application"
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        said = next(app for app in applications if app.name in circle and not set(circle).isdisjoint(app.after))
        return said.name, f"would wait for itself: {' before '.join(circle)}"
    return None


def _application(fields: Fields) -> Application:
    name, entry = fields.text("name"), fields.text("entry")
    if not NAME.fullmatch(name):
        raise Malformed("not an application's name", to=repr(name[:40]))
    if not ENTRY.fullmatch(entry):
        raise Malformed("not 'module' or 'module:callable'", to=repr(entry[:80]))
    env = fields.child("env").plain()
    for key, value in env.items():
        if not (isinstance(value, str) and _ENV_NAME.fullmatch(key) and _ENV_VALUE.fullmatch(value)):
            raise Malformed("'env' maps names to strings that a process can have", to=name)
    return Application(
        name,
        entry,
        fields.flag("init"),
        env,
        _number(fields, "settle_s", 0.5),
        _number(fields, "grace_s", 3.0),
        tuple(fields.texts("after")),
        _one_of(READIES, fields, "ready"),
        _number(fields, "ready_s", 10.0),
        _callable(fields, "safe"),
        _number(fields, "safe_s", 5.0),
        _whole(fields, "memory_mb", 0),
        _whole(fields, "processes", 0),
        _callable(fields, "give"),
        _callable(fields, "take"),
        _number(fields, "handover_s", 1.0),
        _assets(fields),
        _number(fields, "assets_s", 2.0),
    )


def _one_of(values: tuple[str, ...], fields: Fields, key: str) -> str:
    """One of ``values``; the first where it is absent, as in a launch file that is older than the key."""
    value = fields.text(key, values[0])
    if value not in values:
        raise Malformed(f"'{key}' is none of {', '.join(values)}", to=PATH)
    return value


def _assets(fields: Fields) -> str:
    value = fields.text("assets", ASSETS[0])
    return value if value in ASSETS else _callable(fields, "assets")


def _callable(fields: Fields, key: str) -> str:
    value = fields.text(key, "")
    if value and not (":" in value and ENTRY.fullmatch(value)):
        raise Malformed(f"'{key}' is not 'module:callable'", to=repr(value[:80]))
    return value


def _number(fields: Fields, key: str, default: float) -> float:
    return _within(key, fields.number(key, default))


def _whole(fields: Fields, key: str, default: int) -> int:
    return int(_within(key, fields.integer(key, default)))


def _within(key: str, value: float) -> float:
    least, most = LIMITS[key]
    if not least <= value <= most:
        raise Malformed(f"'{key}' is {least:g} to {most:g}", to=PATH)
    return value
