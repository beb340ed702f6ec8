"""The syntax tree of a template: frozen values, made by the parser, read by analysis and compiler.

``line`` counts from 1. Nothing here knows how a node is rendered.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Node:
    line: int


class Expr(Node):
    """Anything that has a value."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Literal(Expr):
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Path(Expr):
    """A root variable and the constant keys below it: ``inputs.a['b-c'][0]``."""

    root: str
    keys: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Member(Expr):
    """One step below any value, by a key that is only known when rendering, or below something that is no path."""

    target: Expr
    key: Expr


@dataclass(frozen=True, slots=True)
class Method(Expr):
    target: Expr
    name: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Call(Expr):
    name: str
    args: tuple[Expr, ...]
    named: tuple[tuple[str, Expr], ...] = ()


@dataclass(frozen=True, slots=True)
class Filtered(Expr):
    """``target`` is None for the innermost filter of a ``{% filter %}`` tag: the body of the tag."""

    target: Expr | None
    name: str
    args: tuple[Expr, ...] = ()
    named: tuple[tuple[str, Expr], ...] = ()


@dataclass(frozen=True, slots=True)
class Test(Expr):
    target: Expr
    name: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    op: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Chain(Expr):
    """``~``, ``+``, ``and``, ``or`` over two or more operands: flat, so that long chains do not nest."""

    op: str
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Ternary(Expr):
    condition: Expr
    yes: Expr
    no: Expr


@dataclass(frozen=True, slots=True)
class ListOf(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class MapOf(Expr):
    items: tuple[tuple[Expr, Expr], ...]


@dataclass(frozen=True, slots=True)
class Text(Node):
    """``raw`` text came from ``{% raw %}`` and must survive recursive rendering."""

    text: str
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Print(Node):
    value: Expr


@dataclass(frozen=True, slots=True)
class If(Node):
    branches: tuple[tuple[Expr, tuple[Node, ...]], ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class For(Node):
    name: str
    values: Expr
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Set(Node):
    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Macro(Node):
    name: str
    params: tuple[tuple[str, Expr | None], ...]
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class FilterTag(Node):
    filters: Filtered
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Template(Node):
    """``size`` is the number of nodes below, ``tight`` the pairs ``inputs.key - name`` written without blanks."""

    body: tuple[Node, ...]
    size: int = 0
    dashed: tuple[str, ...] = ()


_FIELDS: dict[type, tuple[str, ...]] = {}


def children(node: Node) -> list[Node]:
    """The nodes directly below one, in source order."""
    names = _FIELDS.get(type(node))
    if names is None:
        plain = ("line", "name", "op", "root", "keys", "text", "raw", "negated", "size", "dashed")
        names = _FIELDS[type(node)] = tuple(field.name for field in fields(node) if field.name not in plain)
    found: list[Node] = []
    for name in names:
        item = getattr(node, name)
        if isinstance(item, Node):
            found.append(item)
        elif type(item) is tuple and item:
            _collect(item, found)
    return found


def _collect(items: tuple[object, ...], found: list[Node]) -> None:
    for item in items:
        if isinstance(item, Node):
            found.append(item)
        elif type(item) is tuple:
            _collect(item, found)


def walk(node: Node) -> list[Node]:
    """A node and everything below it."""
    found = [node]
    for one in found:
        if type(one) not in _LEAVES:
            found.extend(children(one))
    return found


_LEAVES = frozenset((Literal, Path, Text))
