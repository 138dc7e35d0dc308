"""Random versions of a module, each an edit of the one before, out of a grammar of definitions."""

from __future__ import annotations

from textwrap import indent

from hypothesis import strategies as st

HEAD = """\
import functools


def counted(function):
    calls = 0

    @functools.wraps(function)
    def wrapper(*args, **named):
        nonlocal calls
        calls += 1
        return "counted", function(*args, **named)

    return wrapper

"""
Definition = tuple[str, str]
"""The name that it binds, and its source."""

LITERALS = ["0", "7", "-1.5", "'text'", "None", "(1, 2)", "[1, [2]]", "{'a': 1}"]
CONSTANTS = ["A", "B", "C"]
FUNCTIONS = ["f", "g", "h"]
CLASSES = ["P", "Q", "R"]
ALWAYS = ["A", "P", "f", "g"]
COUNTED = ["g", "kept"]
"""They have a decorator of the application's own, always: one that comes or goes is refused, and so is what it could
have read: parameters, docstrings."""

values = st.sampled_from([*LITERALS, *CONSTANTS, *(f"{name}.__name__" for name in FUNCTIONS)])
lines = st.integers(0, 2).map(lambda count: "# a comment\n" * count)
docs = st.sampled_from(["", '"""Says it."""\n', '"""Says something else."""\n'])


@st.composite
def parameters(draw: st.DrawFn, first: str = "") -> str:
    """Parameters that all have a default, most of them a literal."""
    plain = draw(st.lists(st.sampled_from(["a", "b"]), unique=True))
    named = draw(st.lists(st.sampled_from(["x", "y"]), unique=True))
    defaults = st.sampled_from([*LITERALS * 2, "A"])
    hints = st.sampled_from(["", ": int", ": 'str'"])
    told = [f"{name}{draw(hints)}={draw(defaults)}" for name in plain]
    told += ["*", *(f"{name}={draw(defaults)}" for name in named)] if named else []
    return ", ".join([first, *told] if first else told)


@st.composite
def bodies(draw: st.DrawFn, kind: str, method: bool, documented: bool) -> str:
    """What a function does: always something that can be told."""
    own = ["type(self).__name__", "self.__class__.__mro__[1].__name__", "getattr(self, 'one', 'none')"]
    result = draw(values if not method else st.one_of(values, st.sampled_from(own)))
    doc = draw(docs) if documented else ""
    if kind == "generator":
        return f"{doc}yield {result}\nyield 2\n"
    if draw(st.integers(0, 3)) == 0:
        inner = draw(st.sampled_from(["lambda: held", "lambda: (held, 1)", "lambda: 3"]))
        return f"{doc}held = {result}\nreturn {inner}\n"
    return f"{doc}{draw(lines)}return {draw(st.integers(0, 2))}, {result}\n"


@st.composite
def functions(draw: st.DrawFn, name: str, method: bool = False) -> str:
    """A function, or a method: plain, async, a generator; with a decorator, as a property, static."""
    kind = draw(st.sampled_from(["def", "def", "async", "generator"]))
    marks = ["", "", "@functools.cache\n"] + ["@property\n", "@staticmethod\n", "@classmethod\n"] * method
    mark = "@counted\n" if name in COUNTED else draw(st.sampled_from(marks))
    if mark in ("@functools.cache\n", "@property\n", "@counted\n"):  # below them, it is not to become another kind
        kind = "def"
    first = {"@staticmethod\n": "", "@classmethod\n": "cls"}.get(mark, "self") if method else ""
    told = first if mark in ("@property\n", "@counted\n") else draw(parameters(first))
    body = draw(bodies(kind, method=first == "self", documented=mark != "@counted\n"))
    opening = "async def" if kind == "async" else "def"
    return f"{mark}{opening} {name}({told}):\n{indent(body, '    ')}"


@st.composite
def classes(draw: st.DrawFn, name: str) -> str:
    """A class of attributes and methods; R is a P, so that what comes from above is seen."""
    members = [draw(docs)]
    for attribute in draw(st.lists(st.sampled_from(["one", "two"]), unique=True)):
        members.append(f"{attribute} = {draw(st.sampled_from(LITERALS))}\n")
    for method in draw(st.lists(st.sampled_from(["go", "stop", "_own"]), unique=True)):
        members.append(draw(lines) + draw(functions(method, method=True)))
    if name == "P":
        members.append(draw(functions("kept", method=True)))
    base = "(P)" if name == "R" else ""
    return f"class {name}{base}:\n{indent(''.join(members) or 'pass', '    ')}\n"


@st.composite
def definitions(draw: st.DrawFn, name: str) -> Definition:
    """One definition of ``name``."""
    if name in CONSTANTS:
        return name, f"{name} = {draw(st.sampled_from(LITERALS))}\n"
    return name, draw(functions(name) if name in FUNCTIONS else classes(name))


@st.composite
def edits(draw: st.DrawFn, before: list[Definition]) -> list[Definition]:
    """A version after ``before``: most of it as it was, some of it otherwise, some gone, some new."""
    known = dict(before)
    after: list[Definition] = []
    for name in [*CONSTANTS, *FUNCTIONS, *CLASSES]:
        fate = draw(st.sampled_from(["stays", "stays", "stays", "changes", "goes"]))
        if name in known and fate == "stays":
            after.append((name, known[name]))
        elif (fate == "changes" or name in ALWAYS) or (name not in known and draw(st.booleans())):
            after.append(draw(definitions(name)))
    return after


@st.composite
def versions(draw: st.DrawFn, most: int = 4) -> list[str]:
    """Sources of one module, each an edit of the one before it."""
    told: list[Definition] = []
    sources = []
    for _ in range(draw(st.integers(2, most))):
        told = draw(edits(told))
        sources.append(HEAD + "".join(draw(lines) + source + "\n" for _, source in told))
    return sources
