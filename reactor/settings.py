"""``[tool.reactor]`` of a project: read, checked, and turned into what a target runs.

Owns which keys there are, what each may be, and the one line that says what is wrong with one. Pure: text in,
:class:`Settings` out. Knows nothing of folders; whether a path of ``depends`` exists is :mod:`reactor.project`'s.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from bootloader.wire.errors import Fault
from bootloader.wire.launch import (
    ASSETS,
    FAILURES,
    NAME,
    READIES,
    RELOADS,
    Application,
    Launch,
    order_problem,
)
from bootloader.wire.layer import plain

from . import values

EMBEDDED = ("local", "host")
"""The embedded target's names: the one that is typed, and the one that a profile may also have."""

ALL, USB = "all", "usb"
"""What means every target of the settings, and what is on this host's USB."""

RESERVED = (ALL, USB, *EMBEDDED)
"""What means something of its own where a target is named, and so is no device's name."""

NO_ENTRY = '''write:  [tool.reactor]  and below it  entry = "package.module:callable"'''

_T = TypeVar("_T")


class BadSettings(Fault):
    """The settings are wrong: which file and key, on which line, and what was expected."""

    def __init__(self, what: str, *, file: str, line: int = 0, do: str = "") -> None:
        at: dict[str, str | int] = {"file": file, "line": line} if line else {"file": file}
        what = re.sub(r"[\x00-\x1f\x7f]", "?", what)
        super().__init__("bad-settings", what, to=f"{file}:{line}" if line else file, do=do, **at)


@dataclass(frozen=True, slots=True)
class Package:
    """What a pyproject.toml says of a project for others: its name, and what it depends on."""

    name: str
    dependencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A profile: where a target is, and what differs there. ``console`` and ``baud``: its serial port, on this host."""

    address: str | None = None
    entry: str | None = None
    safe: str | None = None
    give: str | None = None
    take: str | None = None
    assets: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    system_packages: bool | None = None
    console: str | None = None
    baud: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """A project's settings, checked. ``main`` is the project's own application, ``others`` are those beside it.

    ``include`` is None for the default, and so is ``requirements``: then the project's own ``dependencies`` are
    required, and those of the siblings. The rest is as in :class:`~bootloader.wire.launch.Launch`.
    """

    main: Application
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    reload: str = "auto"
    on_failure: str = "hold"
    handler: str = ""
    handler_s: float = 5.0
    deaths: int = 5
    window_s: float = 60.0
    others: tuple[Application, ...] = ()
    targets: Mapping[str, Target] = field(default_factory=dict)
    display: str = ""
    requirements: tuple[str, ...] | None = None
    system_packages: bool | None = None
    package: Package = field(default_factory=lambda: Package("", ()))

    def required(self, target: str, siblings: Sequence[Package]) -> tuple[str, ...]:
        """What ``target`` needs besides the code of this project and its ``siblings``, which may require each other."""
        base = self.requirements
        if base is None:
            base = tuple(each for package in (self.package, *siblings) for each in package.dependencies)
        code = {plain(package.name) for package in siblings}
        wanted = (*base, *self.profile(target).requirements)
        return tuple(dict.fromkeys(each for each in wanted if plain(values.distribution(each)) not in code))

    def profile(self, target: str) -> Target:
        """What differs on ``target``; nothing where the settings don't name it."""
        names = EMBEDDED if target in EMBEDDED else (target,)
        return next((self.targets[name] for name in names if name in self.targets), Target())

    def launch(self, target: str, python_path: tuple[str, ...], siblings: Sequence[Package] = ()) -> Launch:
        """What ``target`` runs. Its profile's ``env`` is for each application, the rest for the main one."""
        profile, required = self.profile(target), self.required(target, siblings)
        asked = self.system_packages if profile.system_packages is None else profile.system_packages
        own = {key: value for key in _OF_A_PROFILE if (value := getattr(profile, key)) is not None}
        main = replace(self.main, **own)
        apps = [replace(app, env={**app.env, **profile.env}) for app in (main, *self.others)]
        return Launch(
            tuple(sorted(apps, key=lambda app: not app.init)),
            python_path,
            self.reload,
            self.on_failure,
            self.handler,
            self.handler_s,
            self.deaths,
            self.window_s,
            required,
            not required if asked is None else asked,
            display=self.display,
        )


def package_of(text: str, file: str, folder_name: str) -> Package:
    """What a pyproject.toml says of its project to others. Anything wrong is :class:`BadSettings`."""
    document = _document(text, file)
    return _package(_Table(document, (), text, file), folder_name)


def parse(text: str, file: str, folder_name: str = "app") -> Settings:
    """The settings in ``text``, the content of a pyproject.toml that is called ``file`` in messages.

    ``folder_name`` names the application where ``[project]`` has no name. Anything wrong is :class:`BadSettings`.
    """
    document = _document(text, file)
    body = document.get("tool", {})
    body = body.get("reactor") if isinstance(body, dict) else None
    if body is None:
        raise BadSettings("has no [tool.reactor]", file=file, do=NO_ENTRY)
    if not isinstance(body, dict):
        raise BadSettings("'tool.reactor' is not a table", file=file, do=NO_ENTRY)
    package = _package(_Table(document, (), text, file), folder_name)
    return _settings(_Table(body, ("tool", "reactor"), text, file), package)


def _document(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its message ends in "(at line 3, column 7)" or "(at end of document)".
        at = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        reason = str(error)[: at.start()] if at else str(error)
        raise BadSettings(f"not TOML: {reason}", file=file, line=line) from error


def _package(document: _Table, folder_name: str) -> Package:
    project = document.child("project")
    name = project.body.get("name")
    return Package(name if isinstance(name, str) else folder_name, project.get("dependencies", values.requirements, ()))


def _name(text: str) -> str:
    """``text`` as an application's legal name."""
    name = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")
    if not re.match(r"[a-z]", name):
        name = f"app-{name}" if name else "app"
    return name[:32].rstrip("-_")


_APPLICATION = ("entry", "env", "settle_s", "grace_s", "after", "ready", "ready_s", "safe", "safe_s", "memory_mb",
                "processes", "give", "take", "handover_s", "assets", "assets_s")  # fmt: skip


_OF_A_PROFILE = ("entry", "safe", "give", "take", "assets")
"""What a profile says in place of the main application's own."""


def _settings(table: _Table, package: Package) -> Settings:
    name = _name(package.name)
    table.known(*_APPLICATION, "include", "exclude", "depends", "reload", "on_failure", "handler", "handler_s",
                "deaths", "window_s", "display", "requirements", "system_packages", "applications",
                "targets")  # fmt: skip
    main = _application(table, name, NO_ENTRY)
    tables = {name: table}
    others = []
    for key, child in table.children("applications"):
        if not NAME.fullmatch(key):
            raise child.wrong(
                None, "is not an application's name", "use a-z, 0-9, '_' and '-', a letter first, at most 32"
            )
        if key == name:
            raise child.wrong(None, f"has the name of the project itself, '{name}'", "give it another name")
        child.known(*_APPLICATION, "init")
        others.append(_application(child, key, 'write:  entry = "package.module:callable"'))
        tables[key] = child
    if len(others) > 31:
        raise table.wrong("applications", f"holds {len(others)} applications", "at most 31 besides the main one")
    if disorder := order_problem((main, *others)):
        raise tables[disorder[0]].wrong("after", f"application '{disorder[0]}' {disorder[1]}", "mend its 'after'")
    return Settings(
        main,
        table.get("include", values.patterns, None),
        table.get("exclude", values.patterns, ()),
        table.get("depends", values.texts, ()),
        table.get("reload", values.one_of(RELOADS), "auto"),
        table.get("on_failure", values.one_of(FAILURES), "hold"),
        table.get("handler", values.callable_of, ""),
        table.get("handler_s", values.seconds("handler_s"), 5.0),
        table.get("deaths", values.count("deaths"), 5),
        table.get("window_s", values.seconds("window_s"), 60.0),
        tuple(others),
        {key: _target(child, key) for key, child in table.children("targets")},
        table.get("display", values.callable_of, ""),
        table.get("requirements", values.requirements, None),
        table.get("system_packages", values.flag, None),
        package,
    )


def _application(table: _Table, name: str, no_entry: str) -> Application:
    if "entry" not in table.body:
        raise table.wrong(None, "has no 'entry'", no_entry)
    _not_of_a_script(table, table.body["entry"])
    return Application(
        name,
        table.get("entry", values.entry, ""),
        table.get("init", values.flag, False),
        table.get("env", values.env, {}),
        table.get("settle_s", values.seconds("settle_s"), 0.5),
        table.get("grace_s", values.seconds("grace_s"), 3.0),
        table.get("after", values.texts, ()),
        table.get("ready", values.one_of(READIES), "settle"),
        table.get("ready_s", values.seconds("ready_s"), 10.0),
        table.get("safe", values.callable_of, ""),
        table.get("safe_s", values.seconds("safe_s"), 5.0),
        table.get("memory_mb", values.count("memory_mb"), 0),
        table.get("processes", values.count("processes"), 0),
        table.get("give", values.callable_of, ""),
        table.get("take", values.callable_of, ""),
        table.get("handover_s", values.seconds("handover_s"), 1.0),
        table.get("assets", values.assets, ASSETS[0]),
        table.get("assets_s", values.seconds("assets_s"), 2.0),
    )


def _not_of_a_script(table: _Table, entry: object) -> None:
    """A module that is run as a script is ``__main__``: what is imported by its name would run it once more."""
    for key in ("give", "take", "assets"):
        if key in table.body and str(table.body[key]).partition(":")[0] == entry:
            what = f"'{key}' is in the module that is run as a script, '{entry}'"
            raise table.wrong(key, what, f"have a function as 'entry', or '{key}' in another module")


def _target(table: _Table, name: str) -> Target:
    table.known("address", *_OF_A_PROFILE, "env", "requirements", "system_packages", "console", "baud")
    if name in EMBEDDED and "address" in table.body:
        raise table.wrong("address", "the embedded target has no address", "give this target another name")
    return Target(
        table.get("address", values.address, None),
        table.get("entry", values.entry, None),
        table.get("safe", values.callable_of, None),
        table.get("give", values.callable_of, None),
        table.get("take", values.callable_of, None),
        table.get("assets", values.assets, None),
        table.get("env", values.env, {}),
        table.get("requirements", values.requirements, ()),
        table.get("system_packages", values.flag, None),
        table.get("console", values.port, None),
        table.get("baud", values.baud, None),
    )


class _Table:
    """One table of the settings, which can say where in the text it and its keys are."""

    def __init__(self, body: Mapping[str, Any], path: tuple[str, ...], text: str, file: str) -> None:
        self.body = body
        self._path = path
        self._text = text
        self._file = file

    def known(self, *keys: str) -> None:
        """Refuse any other key."""
        for key in self.body:
            if key not in keys:
                near = get_close_matches(key, keys, 1, 0.5)
                do = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(keys)}"
                raise self.wrong(key, f"unknown key '{key}' in [{'.'.join(self._path)}]", do)

    def get(self, key: str, read: Callable[[Any], _T], default: _T) -> _T:
        """The value of ``key``, read by ``read``, or ``default`` where the key is absent."""
        if key not in self.body:
            return default
        value = self.body[key]
        try:
            return read(value)
        except values.Unfit as unfit:
            what = f"'{key}' in [{'.'.join(self._path)}] is {_shown(value)}, expected {unfit}"
            raise self.wrong(key, what) from None

    def child(self, key: str) -> _Table:
        """The table ``key``; an empty one where it is absent."""
        none: Mapping[str, Any] = {}
        return _Table(self.get(key, values.table, none), (*self._path, key), self._text, self._file)

    def children(self, key: str) -> list[tuple[str, _Table]]:
        """The tables in the table ``key``; none where it is absent."""
        this = self.child(key)
        return [(name, this.child(name)) for name in this.body]

    def wrong(self, key: str | None, what: str, do: str = "") -> BadSettings:
        """The error for ``key``, or for the whole table."""
        if key is None:
            what = f"[{'.'.join(self._path)}] {what}"
        return BadSettings(what, file=self._file, line=_line(self._text, self._path, key), do=do)


_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?")
_ASSIGNED = re.compile(r"\s*([\w\"'.\s-]+?)\s*=")


def _line(text: str, path: tuple[str, ...], key: str | None) -> int:
    """The line of ``key`` in the table ``path``, or the nearest to it that is plain to see; 0 where nothing is.

    The standard library's toml parser tells no lines, so this looks for ``[a.b]`` and ``c.d =`` as people write them.
    """
    wanted = (*path, key) if key is not None else path
    table: tuple[str, ...] = ()
    best = depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            found = table = _keys(header[1])
        elif assigned := _ASSIGNED.match(line):
            found = (*table, *_keys(assigned[1]))
        else:
            continue
        common = found[: len(wanted)]
        if wanted[: len(common)] == common and len(common) > depth and len(table) <= len(wanted):
            best, depth = number, len(common)
    return best


def _keys(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
