"""Random versions of a program of three modules that have things of each other, each an edit of the one before.

What is in them: definitions that move from module to module and change places, imports of both kinds wherever they may
stand, registers, decorators that keep what they are given, and statements that run at import, between all that. What
runs at import calls only what never changes: what a function of the application made then is what it was then. Nothing
recurses: every program comes to its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import indent

from hypothesis import strategies as st

MODULES = ("conf", "dev", "app")
"""Each imports those before it; ``app`` imports both, whether it needs them or not."""
BASE = '''\
"""Never changes: where the program puts what it does at import."""
import functools

NOTES = []
TABLE = {}


def note(*things):
    NOTES.extend(things)


def registered(function):
    TABLE[function.__name__] = function
    return function


def counted(function):
    @functools.wraps(function)
    def wrapper(*args, **named):
        return "counted", function(*args, **named)

    return wrapper


class Hooked:
    def __init_subclass__(cls):
        NOTES.append(cls.__name__)
'''
HEAD = """\
import abc
import contextlib
import dataclasses
import enum
import functools
from base import NOTES, TABLE, Hooked, counted, note, registered
"""
LITERALS = ("0", "7", "'text'", "None", "(1, 2)", "[1]", "{'a': 1}")
CONSTANTS, FUNCTIONS, CLASSES = ("A", "B", "C"), ("f", "g", "h", "k"), ("P", "Q", "R", "E", "S")
DERIVED = ("v", "w", "t")
EFFECTS = ("1", "2", "3")
ALWAYS = ("A", "B", "C", "f", "P")
NAMES = (*CONSTANTS, *FUNCTIONS, *CLASSES, *DERIVED)


@dataclass(frozen=True)
class Item:
    """One statement: what it binds, its source with ``{A}`` for names that are read at once and later."""

    name: str
    text: str
    reads: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Program:
    """The items of each module, in order, and how each has what is not its own."""

    items: dict[str, tuple[Item, ...]]
    by_module: frozenset[tuple[str, str]]
    """Names that a module reads as ``conf.A``."""
    late: frozenset[tuple[str, str]]
    """Imports that stand right above what reads them, and not at the top: module, what it imports."""

    def home(self, name: str) -> str:
        """The module that has a name; empty for none."""
        return next((module for module in MODULES if any(item.name == name for item in self.items[module])), "")

    def files(self) -> dict[str, str]:
        """The sources."""
        return {"base.py": BASE, **{f"{module}.py": self._source(module) for module in MODULES}}

    def _source(self, module: str) -> str:
        below = MODULES[: MODULES.index(module)]
        words, imports = {}, {}
        for name in NAMES:
            home = self.home(name)
            if home in below and (module, name) in self.by_module:
                words[name], imports[name] = f"{home}.{name}", f"import {home}"
            else:
                words[name], imports[name] = name, f"from {home} import {name}" if home in below else ""
        top = [f"import {other}" for other in below] if module == "app" and ("app", "") not in self.late else []
        body: list[str] = []
        for item in self.items[module]:
            for name in sorted(item.reads):
                line = imports[name]
                if line and line not in top and line not in body:
                    (body if (module, name) in self.late else top).append(line)
            text = item.text
            for name in item.reads:
                text = text.replace("{" + name + "}", words[name])
            body.append(text)
        if module == "app" and ("app", "") in self.late:
            body += [f"import {other}" for other in below]
        return HEAD + "\n".join([*top, "", *body]) + "\n"


def item(name: str, text: str) -> Item:
    """With what its text reads."""
    return Item(name, text, frozenset(each for each in NAMES if "{" + each + "}" in text))


constants = st.sampled_from(LITERALS)
some = st.sampled_from([f"{{{name}}}" for name in CONSTANTS])
CALLED = ("P", "Q", "f", "g")
"""What a body may call: a function only those before it. One that recurses without an end need not meet the
interpreter's limit (python/cpython#132744): it would take all memory, and never answer.
"""
values = st.one_of(constants, some, some)


@st.composite
def bodies(draw: st.DrawFn, name: str) -> str:
    """What the function ``name`` does, which is seen where it is called."""
    others = CALLED[: CALLED.index(name)] if name in CALLED else CALLED
    called = st.sampled_from([f"{{{other}}}()" for other in others])
    return draw(
        st.one_of(
            values.map(lambda value: f"return {value}"),
            called.map(lambda value: f"return {value}"),
            values.map(lambda value: f"held = {value}\nreturn lambda: held"),
            values.map(lambda value: f"def inner(x={value}):\n    return x, {{A}}\nreturn inner"),
            values.map(lambda value: f"from conf import A as late\nreturn late, {value}"),
        )
    )


@st.composite
def functions(draw: st.DrawFn, name: str, method: bool = False) -> str:
    """Plain, async, a generator, a context manager; cached, counted, registered."""
    mark = {"g": "@counted\n", "h": "@registered\n"}.get(name) or draw(
        st.sampled_from(["", "", "", "@functools.cache\n", "@contextlib.contextmanager\n"])
    )
    kind = draw(st.sampled_from(["def", "def", "async def", "yield"])) if not mark else "def"
    body = f"yield {draw(values)}" if kind == "yield" or "context" in mark else draw(bodies(name))
    if method:
        marks = ["", "", "@property\n", "@staticmethod\n", "@classmethod\n", "@abc.abstractmethod\n"]
        mark = draw(st.sampled_from(marks))
        kind = "def" if mark else kind
    first = {"@staticmethod\n": ""}.get(mark, "self") if method else ""
    default = draw(st.one_of(st.just(""), values.map(lambda value: f"x={value}"))) if mark != "@property\n" else ""
    told = ", ".join(filter(None, [first, default if name not in ("g", "h") else ""]))
    return f"{mark}{kind if kind != 'yield' else 'def'} {name}({told}):\n{indent(body, '    ')}"


@st.composite
def classes(draw: st.DrawFn, name: str) -> str:
    """P; Q, which is a P; R, a dataclass; E, an Enum; S, whose base runs code for it."""
    if name == "E":
        members = draw(st.lists(st.sampled_from(["one = 1", "two = 2"]), unique=True, min_size=1))
        method = draw(st.sampled_from(["", "def say(self):\n    return self.name, {A}"]))
        return f"class E(enum.Enum):\n{indent(chr(10).join([*members, method]), '    ')}"
    members = [f"one = {draw(values)}"] if name == "P" or draw(st.booleans()) else []
    if name == "R":
        members = [f"{each}: int = {draw(st.sampled_from(['1', '2']))}" for each in draw(st.sampled_from(["x", "xy"]))]
    elif draw(st.integers(0, 4)) == 0:
        members.append("from conf import A as taken")
    members += [draw(functions(each, method=True)) for each in draw(st.sampled_from([(), ("go",), ("go", "stop")]))]
    base = {"Q": "({P})", "S": "(Hooked)", "P": draw(st.sampled_from(["", "", "(abc.ABC)"]))}.get(name, "")
    mark = "@dataclasses.dataclass\n" if name == "R" else ""
    return f"{mark}class {name}{base}:\n{indent(chr(10).join(members) or 'pass', '    ')}"


@st.composite
def items(draw: st.DrawFn, name: str) -> Item:
    """One statement that binds ``name``, or the effect of that number."""
    if name in CONSTANTS:
        return item(name, f"{name} = {draw(constants)}")
    if name in FUNCTIONS:
        return item(name, draw(functions(name)))
    if name in CLASSES:
        return item(name, draw(classes(name)))
    if name in DERIVED:
        right = {
            "v": ["{A}", "({A}, {B})", "lambda x={A}: (x, {B})", "{f}"],
            "w": ["functools.partial({f}, {A})", "{'f': {f}, 'a': {A}}", "[{A}]", "{P}"],
            "t": ["tuple([{A}, {B}])", "str({C})", "{P}.one", "{v}"],
        }[name]
        return item(name, f"{name} = {draw(st.sampled_from(right))}")
    effects = ["note('{}', {{A}})", "note({{f}})", "note({{P}})", "TABLE['{}'] = {{B}}", "if {{A}}:\n    note('{}')"]
    effects += ["for each in ({{A}}, {{C}}):\n    note('{}', each)", "note('{}')", "{{f}}.mark = '{}'", "note({{v}})"]
    effects += ["try:\n    import nowhere\nexcept ImportError:\n    note('{}')", "{{P}}.one = '{}'", "{{A}} = ['{}']"]
    effects += ["note('{}', [{{w}}])", "note(vars().get('A'))", "registered({{f}})"]
    return item("", draw(st.sampled_from(effects)).format(name))


@st.composite
def edits(draw: st.DrawFn, before: Program | None) -> Program:
    """A program after ``before``: most of it as it was."""
    placed: list[tuple[str, Item]] = []
    gone = {name for name in NAMES if name not in ALWAYS and draw(st.integers(1, 12)) == 12}
    for module in MODULES:
        for one in before.items[module] if before else ():
            fate = draw(st.integers(1, 30))
            if one.name in gone or one.reads & gone or (not one.name and fate == 30):
                continue
            if fate == 27 or (fate in (28, 29) and one.name):
                one = draw(items(one.name or draw(st.sampled_from(EFFECTS))))
            placed.append((module if fate != 26 or one.name == "A" else draw(st.sampled_from(MODULES)), one))
    bound = {one.name for _, one in placed}
    for name in (*NAMES, *EFFECTS) if before is None else [draw(st.sampled_from((*NAMES, *EFFECTS)))]:
        if name not in bound and (name in ALWAYS or draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(placed))) if before else len(placed)
            placed.insert(at, ("conf" if name == "A" else draw(st.sampled_from(MODULES)), draw(items(name))))
    if draw(st.integers(0, 3)) == 3 and len(placed) > 1:
        taken = placed.pop(draw(st.integers(0, len(placed) - 1)))
        placed.insert(draw(st.integers(0, len(placed))), taken)
    if draw(st.integers(1, 5)) < 5:
        placed = _whole(placed)
    pairs = st.frozensets(st.tuples(st.sampled_from(MODULES), st.sampled_from(("", *NAMES))), max_size=6)
    keep = before is not None and draw(st.integers(0, 3)) > 0
    return Program(
        {module: tuple(one for at, one in placed if at == module) for module in MODULES},
        before.by_module if keep and before else draw(pairs),
        before.late if keep and before else draw(pairs),
    )


def _whole(placed: list[tuple[str, Item]]) -> list[tuple[str, Item]]:
    """The items where what they read is bound above them: few others would start."""
    homes: dict[str, int] = {}
    done: list[tuple[str, Item]] = []
    todo = list(placed)
    bound = {one.name for _, one in placed}
    while todo:
        for module, one in todo:
            first = {name for name in one.reads & bound if not one.name or NAMES.index(name) < NAMES.index(one.name)}
            if first <= homes.keys():
                lowest = max((MODULES.index(module), *(homes[name] for name in first)))
                done.append((MODULES[lowest], one))
                homes[one.name] = max(homes.get(one.name, 0), lowest)
                todo.remove((module, one))
                break
    return done


@st.composite
def programs(draw: st.DrawFn, most: int = 4) -> list[dict[str, str]]:
    """Versions of one program, each an edit of the one before it."""
    told: Program | None = None
    found = []
    for _ in range(draw(st.integers(2, most))):
        told = draw(edits(told))
        found.append(told.files())
    return found
