"""Places in files that a terminal makes clickable (OSC 8): whether it can, and where a click leads. Pure.

``REACTOR_LINKS`` decides: ``off``, ``on``, or the form of the address, such as ``vscode://file{path}:{line}:{column}``.
Without it, only terminals that are known for it get any. Nothing but the project's own files is ever linked: what a
place is read from may be a target's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from posixpath import join, normpath
from urllib.parse import quote

VARIABLE = "REACTOR_LINKS"
PLAIN = "file://{host}{path}"
_WITH_LINE = f"{PLAIN}#{{line}}"

_PLACE = re.compile(r'(?P<path>.+?)(?:(?:", line |:)(?P<line>\d+)(?::(?P<column>\d+))?)?', re.DOTALL)
_PROGRAMS = frozenset(
    ("iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "Tabby", "rio", "mintty", "WarpTerminal", "zed")
)
_TERMS = ("foot", "alacritty", "contour", "xterm-ghostty", "wezterm")
_VTE = 5000
_KONSOLE = 201200
_TMUX = (3, 4)


def form(environ: Mapping[str, str]) -> str:
    """The form of the addresses for the terminal that ``environ`` tells of; empty where it gets none."""
    asked = environ.get(VARIABLE, "").strip()
    if "{path}" in asked:
        return asked
    term = environ.get("TERM", "")
    best = _WITH_LINE if "KITTY_WINDOW_ID" in environ or term == "xterm-kitty" else PLAIN
    if asked in ("on", "1"):
        return best
    return best if not asked and _is_able(environ, term) else ""


def _is_able(environ: Mapping[str, str], term: str) -> bool:
    program = environ.get("TERM_PROGRAM", "")
    if program == "tmux":  # whatever it was started in: it keeps what that one can't show to itself
        version = [int(part) for part in re.findall(r"\d+", environ.get("TERM_PROGRAM_VERSION", ""))[:2]]
        return tuple(version) >= _TMUX
    if term.startswith(("screen", "tmux")):
        return False
    return (
        program in _PROGRAMS
        or term == "xterm-kitty"
        or term.startswith(_TERMS)
        or "WT_SESSION" in environ
        or _number(environ, "VTE_VERSION") >= _VTE
        or _number(environ, "KONSOLE_VERSION") >= _KONSOLE
    )


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def address(place: str, folders: Sequence[str], host: str, form: str) -> str:
    """Where a click on ``place`` leads, ``path[:line[:column]]`` or as tracebacks write it; empty where nowhere.

    A path is relative to the first of ``folders``, and has to lie in one of them.
    """
    found = _PLACE.fullmatch(place)
    if not form or not folders or found is None:
        return ""
    path = normpath(join(folders[0], found["path"]))
    if not any(path.startswith(f"{folder}/") for folder in folders):
        return ""
    values = {"host": host, "path": quote(path), "line": found["line"] or "1", "column": found["column"] or "1"}
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), form)
