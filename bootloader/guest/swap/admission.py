"""Which definitions may be run for themselves, apart from the rest of their module: those that only define.

Pure. What the source alone does not tell, classes of the application or of libraries that are derived from, is handed
back to be asked of the living process.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from .effects import Meaning
from .plan import Scope
from .refusal import Refusal, quoted
from .signature import annotations_of, defaults
from .source import start
from .statements import Part, by_name, parts


def admit(path: str, scope: Scope, group: Iterable[Part], meaning: Meaning) -> list[tuple[Scope, ast.expr]]:
    """The bases of new classes in ``group`` that are not known; raises :class:`Refusal` for what runs more."""
    return list(_admitted(path, scope, group, meaning))


def admit_annotations(path: str, annotations: Iterable[ast.expr], meaning: Meaning) -> None:
    """Raises :class:`Refusal` for an annotation that does more than name a type."""
    for annotation in annotations:
        if not meaning.is_free(annotation):
            raise Refusal(path, annotation.lineno, f"has an annotation that runs code: {quoted(annotation)}")


def _admitted(path: str, scope: Scope, group: Iterable[Part], meaning: Meaning) -> Iterator[tuple[Scope, ast.expr]]:
    group = list(group)
    siblings = {part.name for part in group}
    for part in group:
        match part.node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() as node:
                for decorator in node.decorator_list:
                    if not meaning.may_decorate(decorator, siblings):
                        what = f"has the decorator `@{ast.unparse(decorator)}`, which would have to run again"
                        raise Refusal(path, decorator.lineno, what)
                for default in defaults(node).values():
                    if not meaning.is_free(default):
                        raise Refusal(path, default.lineno, f"has a default that runs code: {quoted(default)}")
                admit_annotations(path, annotations_of(node), meaning)
            case ast.ClassDef() as node:
                yield from _class(path, scope, node, meaning)


def _class(path: str, scope: Scope, node: ast.ClassDef, meaning: Meaning) -> Iterator[tuple[Scope, ast.expr]]:
    for decorator in node.decorator_list:
        if not meaning.may_decorate(decorator):
            raise Refusal(path, decorator.lineno, f"has the decorator `@{ast.unparse(decorator)}`, which runs code")
    for keyword in node.keywords:
        is_abstract = keyword.arg == "metaclass" and meaning.dotted(keyword.value) == "abc.ABCMeta"
        if not is_abstract and (keyword.arg == "metaclass" or not isinstance(keyword.value, ast.Constant)):
            raise Refusal(path, node.lineno, f"is a new class with `{ast.unparse(keyword)}`")
    yield from ((scope, base) for base in node.bases if not meaning.is_known_base(base))
    body = list(parts(node.body, meaning, runs_as_main=True))
    for part in body:
        if isinstance(part.node, ast.AnnAssign):
            admit_annotations(path, [part.node.annotation], meaning)
        if part.kind == "effect":
            raise Refusal(path, start(part.whole), f"runs in the body of the new class: {quoted(part.node)}")
    for group in by_name(body).values():
        yield from _admitted(path, (*scope, node.name), group, meaning)
