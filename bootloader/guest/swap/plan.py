"""What is to be done to one module so that it is what its new source says.

Plain values between the comparison, which makes them, and the files that perform them. Pure.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from types import CodeType

from .source import Function, Source
from .statements import Kind

Scope = tuple[str, ...]
"""The classes around a name, outermost first; empty for the module itself."""
Path = tuple[str, ...]
"""A name of the module, or one in its classes: the scope, then the name."""

ANNOTATIONS = "__annotations__"
"""As this, what a class declares is touched: whoever was handed the class may have read it."""
DOCSTRING = "__doc__"
"""As this, a docstring is touched: of the module, a class or a function. Only what names it has read it."""
DEFAULTS = ("__defaults__", "__kwdefaults__")
"""As these, and as :data:`ANNOTATIONS`, what a function declares is touched: only what names that has read it."""


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """A function that stays, with another signature. ``scope``: None where it is within a function.

    ``anew``: parameters whose default is evaluated; the others keep the object that they have. ``annotated``: its
    annotations are evaluated.
    """

    name: str
    scope: Scope | None
    old: CodeType
    new: CodeType
    syntax: Function
    anew: frozenset[str]
    annotated: bool

    @property
    def touches(self) -> set[Path]:
        """What of the function is another object then, besides its code."""
        path = tuple(self.name.split(".")) if self.scope is not None else ()
        names = (*(ANNOTATIONS,) * self.annotated, *(DEFAULTS if self.anew else ()))
        return {(*path, name) for name in names if path}


@dataclass(frozen=True, slots=True, eq=False)
class Bind:
    """Run ``statements``, and give ``name`` what they make. ``before``: what it was bound by; None where it is new."""

    scope: Scope
    name: str
    kind: Kind
    statements: tuple[ast.stmt, ...]
    before: Kind | None
    line: int

    @property
    def path(self) -> Path:
        """Its name with its classes'."""
        return (*self.scope, self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Unbind:
    """Take a name away; ``line``: where the old source had it."""

    scope: Scope
    name: str
    kind: Kind
    line: int

    @property
    def path(self) -> Path:
        """Its name with its classes'."""
        return (*self.scope, self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Describe:
    """Another docstring, or other annotations of names, for the module or a class. ``annotations``: None to keep."""

    scope: Scope
    documented: bool
    doc: ast.Expr | None
    annotations: tuple[ast.stmt, ...] | None
    line: int


Step = Bind | Unbind | Describe


@dataclass(slots=True, eq=False)
class Plan:
    """``successors``: each old code object with the one that takes its place, lines moved or more."""

    old: Source
    new: Source
    successors: list[tuple[CodeType, CodeType]] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    """Functions whose code is another, by qualified name."""
    touched: set[Path] = field(default_factory=set)
    """Names that stand for another object afterwards, or for none."""
    inherited: set[Path] = field(default_factory=set)
    """Those of them that come from a base, or by another name."""
    bases: list[tuple[Scope, ast.expr]] = field(default_factory=list)
    """What new classes derive from, where the source does not tell whether that runs code."""
    former_bases: list[tuple[Scope, ast.expr]] = field(default_factory=list)
    """The same of classes that go."""
    classes: dict[Scope, int] = field(default_factory=dict)
    """Classes that stay but begin on another line: on which."""
