"""What evaluating an expression does besides giving its value: nothing, as far as can be told, or something.

Pure. Names are judged by what the module imports them as; where that does not tell, there may be an effect.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping

DECORATORS = frozenset(
    {
        "property",
        "staticmethod",
        "classmethod",
        "abc.abstractmethod",
        "contextlib.asynccontextmanager",
        "contextlib.contextmanager",
        "dataclasses.dataclass",
        "functools.cache",
        "functools.cached_property",
        "functools.lru_cache",
        "functools.total_ordering",
        "functools.wraps",
        "enum.unique",
        "typing.final",
        "typing.no_type_check",
        "typing.overload",
        "typing.override",
        "typing.runtime_checkable",
        "typing_extensions.final",
        "typing_extensions.overload",
        "typing_extensions.override",
    }
)
"""Decorators that may run again: they make a new thing of what they are given, and keep no list of it."""

BASES = frozenset(
    {
        "abc.ABC",
        "collections.OrderedDict",
        "collections.UserDict",
        "collections.UserList",
        "collections.abc.Callable",
        "collections.abc.Iterable",
        "collections.abc.Iterator",
        "collections.abc.Mapping",
        "collections.abc.MutableMapping",
        "collections.abc.Sequence",
        "enum.Enum",
        "enum.Flag",
        "enum.IntEnum",
        "enum.IntFlag",
        "enum.StrEnum",
        "threading.Thread",
        "threading.local",
        "typing.Generic",
        "typing.NamedTuple",
        "typing.Protocol",
        "typing.TypedDict",
    }
)
"""Classes outside of an application that run nothing of its own when they are derived from; builtins besides."""

_CALLS = frozenset(
    {
        "abs",
        "bool",
        "bytearray",
        "bytes",
        "complex",
        "dict",
        "divmod",
        "float",
        "frozenset",
        "int",
        "len",
        "list",
        "max",
        "min",
        "object",
        "pow",
        "range",
        "round",
        "set",
        "slice",
        "sorted",
        "str",
        "sum",
        "tuple",
        "array.array",
        "collections.Counter",
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.deque",
        "contextvars.ContextVar",
        "dataclasses.field",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "decimal.Decimal",
        "enum.auto",
        "fractions.Fraction",
        "functools.partial",
        "itertools.count",
        "logging.getLogger",
        "math.ceil",
        "math.cos",
        "math.floor",
        "math.log",
        "math.log10",
        "math.log2",
        "math.radians",
        "math.sin",
        "math.sqrt",
        "operator.attrgetter",
        "operator.itemgetter",
        "os.path.dirname",
        "os.path.join",
        "pathlib.Path",
        "pathlib.PurePath",
        "pathlib.PurePosixPath",
        "re.compile",
        "struct.Struct",
        "struct.calcsize",
        "threading.Condition",
        "threading.Event",
        "threading.Lock",
        "threading.RLock",
        "types.MappingProxyType",
        "types.SimpleNamespace",
        "typing.NewType",
        "typing.ParamSpec",
        "typing.TypeVar",
        "typing.cast",
    }
)
"""What only makes a value out of its arguments."""

_HARMLESS = (
    ast.Constant | ast.Name | ast.Attribute | ast.Subscript | ast.Slice | ast.Starred | ast.Tuple | ast.List | ast.Set
    | ast.Dict | ast.UnaryOp | ast.BinOp | ast.Compare | ast.BoolOp | ast.IfExp | ast.JoinedStr | ast.FormattedValue
    | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.comprehension
    | ast.operator | ast.unaryop | ast.cmpop | ast.boolop | ast.expr_context | ast.keyword
)  # fmt: skip
_MUTABLE = ast.List | ast.Set | ast.Dict | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.Call


class Meaning:
    """What the names of a module stand for, as far as its own text tells.

    ``imported``: a name to the dotted name that it was imported as; ``bound``: names that it binds in other ways.
    """

    def __init__(self, imported: Mapping[str, str], bound: Iterable[str]) -> None:
        self._imported = imported
        self._bound = frozenset(bound)

    def dotted(self, node: ast.expr) -> str:
        """The full dotted name of ``functools.cache`` and the like; empty where the text does not tell."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in self._bound:
            return ""
        if node.id in self._imported:
            return ".".join((self._imported[node.id], *reversed(parts)))
        return ".".join((node.id, *reversed(parts))) if hasattr(builtins, node.id) else ""

    def is_free(self, node: ast.expr) -> bool:
        """Whether evaluating ``node`` has no effect."""
        todo: list[ast.AST] = [node]
        while todo:
            each = todo.pop()
            match each:
                case ast.Lambda():
                    todo += [*each.args.defaults, *filter(None, each.args.kw_defaults)]
                    continue
                case ast.Call():
                    if self.dotted(each.func) not in _CALLS:
                        return False
                case _ if not isinstance(each, _HARMLESS):
                    return False
            todo += ast.iter_child_nodes(each)
        return True

    def is_derived(self, node: ast.expr) -> bool:
        """Whether ``node`` may be computed again without making a second one of something that is in use."""
        return self.is_free(node) and not any(isinstance(each, _MUTABLE) for each in ast.walk(node))

    def may_decorate(self, node: ast.expr, siblings: Iterable[str] = ()) -> bool:
        """Whether a decorator may be run again; ``siblings``: properties of the same class."""
        if isinstance(node, ast.Call):
            return self.may_decorate(node.func) and all(
                self.is_free(argument) for argument in (*node.args, *(each.value for each in node.keywords))
            )
        match node:
            case ast.Attribute(ast.Name(name), "setter" | "getter" | "deleter"):
                return name in siblings
        return self.dotted(node) in DECORATORS

    def is_known_base(self, node: ast.expr) -> bool:
        """Whether a base class, from outside of the application, is known to run nothing when it is derived from."""
        if isinstance(node, ast.Subscript):
            node = node.value
        dotted = self.dotted(node)
        return dotted in BASES or (bool(dotted) and isinstance(getattr(builtins, dotted, None), type))


def reads(node: ast.AST, *, called: bool = True) -> Iterator[tuple[str, ...]]:
    """What is read while ``node`` is evaluated, as paths: ``Config.PIN`` is ``("Config", "PIN")``.

    The bodies of functions are left out: they are read when they are called. ``called``: whether the names count that
    are called; the others are handed to something.
    """
    todo = [node]
    while todo:
        each = todo.pop()
        if isinstance(each, ast.Call) and not called:
            root = each.func
            while isinstance(root, ast.Attribute):
                root = root.value
            todo += [*each.args, *each.keywords, *([] if isinstance(root, ast.Name) else [root])]
            continue
        if isinstance(each, ast.Name) and not (called or isinstance(each.ctx, ast.Load)):
            continue
        if isinstance(each, ast.Name | ast.Attribute):
            path: list[str] = []
            inner: ast.expr = each
            while isinstance(inner, ast.Attribute):
                path.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name):
                yield (inner.id, *reversed(path))
            else:
                todo.append(inner)
            continue
        body = each.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) else ()
        skipped = {id(part) for part in (body if isinstance(body, list) else [body])} if body else set()
        todo += [child for child in ast.iter_child_nodes(each) if id(child) not in skipped]
