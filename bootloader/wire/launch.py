"""What to run from a tree: the host writes it into the tree, the target reads it there.

It is a file like any other, so the root covers it: the same code with another entry point is another root, and a
rollback brings the settings of its time back with the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import Malformed
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


@dataclass(frozen=True, slots=True)
class Application:
    """One application: ``entry`` is ``module`` or ``module:callable``; times are in seconds."""

    name: str
    entry: str
    init: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    settle_s: float = 0.5
    grace_s: float = 3.0


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run from one tree. ``path``: folders of the tree that go to the front of ``sys.path``, in order."""

    applications: tuple[Application, ...]
    path: tuple[str, ...] = (".",)
    reload: str = "auto"
    on_failure: str = "hold"

    def encode(self) -> bytes:
        """The launch file's text: JSON, the same for the same launch."""
        body = {
            "version": VERSION,
            "path": list(self.path),
            "reload": self.reload,
            "on_failure": self.on_failure,
            "applications": [
                {
                    "name": app.name,
                    "entry": app.entry,
                    "init": app.init,
                    "env": dict(app.env),
                    "settle_s": app.settle_s,
                    "grace_s": app.grace_s,
                }
                for app in self.applications
            ],
        }
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
        reload, on_failure = fields.text("reload"), fields.text("on_failure")
        if reload not in RELOADS or on_failure not in FAILURES:
            raise Malformed("'reload' or 'on_failure' is none of its values", to=PATH)
        path = tuple(fields.texts("path"))
        if any(part.startswith("/") or ".." in part.split("/") or "\0" in part for part in path):
            raise Malformed("a folder of 'path' leaves the tree", to=PATH)
        return cls(applications, path, reload, on_failure)


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
    settle_s, grace_s = fields.number("settle_s"), fields.number("grace_s")
    if not (0 <= settle_s <= 3600 and 0 <= grace_s <= 60):
        raise Malformed("'settle_s' is 0 to 3600, 'grace_s' is 0 to 60", to=name)
    return Application(name, entry, fields.flag("init"), env, settle_s, grace_s)
