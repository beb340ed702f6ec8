"""Expressions in a text as paths, calls and filters with their offsets: what may be renamed, and nothing else.

Works on the tokens of the expression language, so that strings, comments and scripts around are never looked into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from namespaces.expressions import tree
from namespaces.expressions.failures import SyntaxProblem
from namespaces.expressions.lexer import Lexer, Token
from namespaces.expressions.parser import parse_template

_WORDS = frozenset(("and", "or", "not", "is", "contains", "equals", "isIn", "true", "false", "null", "none"))
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Key:
    """One step of a path. ``value`` is None for a computed key; ``inner`` is the path that computes it, if only one."""

    value: str | int | None
    at: int
    to: int
    text: str = ""
    inner: Chain | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """A root name with the keys behind it: ``outputs.a['b'][taskrun.value]``."""

    root: str
    at: int
    to: int
    root_to: int
    keys: tuple[Key, ...] = ()

    @property
    def names(self) -> tuple[str | int | None, ...]:
        return (self.root, *(key.value for key in self.keys))

    def starts(self, *names: str) -> bool:
        """Whether the path begins with these names."""
        return self.names[: len(names)] == names


@dataclass(frozen=True, slots=True)
class Call:
    """``name(…)``: where the name stands, where the brackets end, and the named arguments with their places."""

    name: str
    at: int
    name_to: int
    to: int
    named: tuple[tuple[str, int, int], ...] = ()
    dot_keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """``| name`` with the place of the name."""

    name: str
    at: int
    to: int


@dataclass(frozen=True)
class Found:
    """Everything in one text. ``whole`` is the inside of a text that is one ``{{ }}`` and nothing else."""

    chains: tuple[Chain, ...] = ()
    calls: tuple[Call, ...] = ()
    filters: tuple[Filter, ...] = ()
    own: frozenset[str] = frozenset()
    whole: str | None = None
    template: tree.Template | None = field(default=None, repr=False)

    def free(self, root: str) -> Iterator[Chain]:
        """The paths that begin with ``root``, unless the text assigns that name itself."""
        if root in self.own:
            return iter(())
        return (chain for chain in self.chains if chain.root == root)


NOTHING = Found()


def find(text: str) -> Found:
    """What stands in the expressions of a text; nothing when they cannot be read."""
    if "{{" not in text and "{%" not in text:
        return NOTHING
    try:
        template = parse_template(text)
        segments = Lexer(text).segments()
    except SyntaxProblem:
        return NOTHING
    chains: list[Chain] = []
    calls: list[Call] = []
    filters: list[Filter] = []
    for segment in segments:
        for tokens in _streams(segment.tokens):
            _scan(text, tokens, segment.kind == "tag" and tokens is segment.tokens, chains, calls, filters)
    own = {node.name for node in tree.walk(template) if isinstance(node, tree.Set | tree.For | tree.Macro)}
    for node in tree.walk(template):
        if isinstance(node, tree.Macro):
            own.update(name for name, _ in node.params)
    return Found(tuple(chains), tuple(calls), tuple(filters), frozenset(own), _whole(text, template), template)


def _whole(text: str, template: tree.Template) -> str | None:
    if len(template.body) != 1 or not isinstance(template.body[0], tree.Print):
        return None
    inside = text.strip()
    if inside != text.strip("\n") or not inside.startswith("{{") or not inside.endswith("}}"):
        return None
    return inside[2:-2].strip("-").strip()


def _streams(tokens: tuple[Token, ...]) -> Iterator[tuple[Token, ...]]:
    yield tokens
    for token in tokens:
        if token.kind == "parts" and isinstance(token.value, tuple):
            for part in token.value:
                if isinstance(part, tuple):
                    yield from _streams(part)


def _is(token: Token, value: str) -> bool:
    return token.kind == "op" and token.value == value


def _scan(
    text: str,
    tokens: tuple[Token, ...],
    tag: bool,
    chains: list[Chain],
    calls: list[Call],
    filters: list[Filter],
) -> None:
    at = 1 if tag else 0
    if tag and tokens and tokens[0].value in ("filter",) and tokens[1].kind == "name":
        filters.append(Filter(str(tokens[1].value), tokens[1].at, tokens[1].to))
        at = 2
    while at < len(tokens):
        token = tokens[at]
        before = tokens[at - 1] if at else None
        after = tokens[at + 1] if at + 1 < len(tokens) else None
        if token.kind != "name" or token.value in _WORDS or (before is not None and _is(before, ".")):
            at += 1
        elif before is not None and _is(before, "|"):
            filters.append(Filter(str(token.value), token.at, token.to))
            at += 1
        elif before is not None and before.kind == "name" and before.value in ("is", "not") and _is_test(tokens, at):
            at += 1
        elif after is not None and _is(after, "("):
            calls.append(_call(text, tokens, at))
            at += 2
        elif after is not None and _is(after, "=") and before is not None and (_is(before, "(") or _is(before, ",")):
            at += 2
        else:
            chain, at = _chain(text, tokens, at)
            chains.append(chain)


def _is_test(tokens: tuple[Token, ...], at: int) -> bool:
    if tokens[at - 1].value == "is":
        return True
    return at >= 2 and tokens[at - 2].value == "is"


def _call(text: str, tokens: tuple[Token, ...], at: int) -> Call:
    close = _closing(tokens, at + 1)
    depth, named = 0, []
    for index in range(at + 1, close):
        token = tokens[index]
        if token.kind == "op" and token.value in ("(", "[", "{"):
            depth += 1
        elif token.kind == "op" and token.value in (")", "]", "}"):
            depth -= 1
        elif depth == 1 and token.kind == "name" and _is(tokens[index + 1], "=") and tokens[index - 1].kind == "op":
            named.append((str(token.value), token.at, token.to))
    keys, _ = _keys(text, tokens, close + 1)
    return Call(str(tokens[at].value), tokens[at].at, tokens[at].to, tokens[close].to, tuple(named), keys)


def _closing(tokens: tuple[Token, ...], at: int) -> int:
    depth = 0
    for index in range(at, len(tokens)):
        if tokens[index].kind == "op":
            if tokens[index].value in ("(", "[", "{"):
                depth += 1
            elif tokens[index].value in (")", "]", "}"):
                depth -= 1
                if depth == 0:
                    return index
    return len(tokens) - 1


def _chain(text: str, tokens: tuple[Token, ...], at: int) -> tuple[Chain, int]:
    root = tokens[at]
    keys, after = _keys(text, tokens, at + 1)
    to = keys[-1].to if keys else root.to
    # Computed keys are scanned again by the caller, so that paths inside them are found too.
    computed = next((n for n in range(at + 1, after) if _is(tokens[n], "[") and not _literal(tokens, n)), after)
    return Chain(str(root.value), root.at, to, root.to, keys), max(computed, at + 1)


def _literal(tokens: tuple[Token, ...], at: int) -> bool:
    return tokens[at + 1].kind in ("string", "int") and _is(tokens[at + 2], "]")


def _keys(text: str, tokens: tuple[Token, ...], at: int) -> tuple[tuple[Key, ...], int]:
    keys: list[Key] = []
    while at + 1 < len(tokens):
        token, following = tokens[at], tokens[at + 1]
        if _is(token, ".") and following.kind == "name":
            if at + 2 < len(tokens) and _is(tokens[at + 2], "("):
                break
            keys.append(Key(str(following.value), token.at, following.to))
            at += 2
        elif _is(token, "["):
            close = _closing(tokens, at)
            if _literal(tokens, at):
                value = following.value
                assert isinstance(value, str | int)
                keys.append(Key(value, token.at, tokens[close].to))
            else:
                keys.append(_computed(text, tokens, at, close))
            at = close + 1
        else:
            break
    return tuple(keys), at


def _computed(text: str, tokens: tuple[Token, ...], at: int, close: int) -> Key:
    inner = None
    if tokens[at + 1].kind == "name":
        keys, after = _keys(text, tokens, at + 2)
        if after == close:
            root = tokens[at + 1]
            inner = Chain(str(root.value), root.at, keys[-1].to if keys else root.to, root.to, keys)
    return Key(None, tokens[at].at, tokens[close].to, text[tokens[at + 1].at : tokens[close - 1].to], inner)


def step(name: str | int) -> str:
    """A key as it is written behind a path: ``.name``, or in brackets."""
    if isinstance(name, int):
        return f"[{name}]"
    return f".{name}" if _NAME.fullmatch(name) else f"[{literal(name)}]"


def literal(text: str) -> str:
    """A text as a string of the expression language."""
    return "'" + text.replace("'", "\\'") + "'"


_BOOLEAN_FILTERS = frozenset(("startsWith", "endsWith", "regexMatch"))
_BOOLEAN_CALLS = frozenset(("isWeekend", "isPublicHoliday", "isLastWorkingDay", "isDayWeekInMonth", "fileExists"))


def is_boolean(node: tree.Node) -> bool:
    """Whether an expression cannot be anything but true or false."""
    match node:
        case tree.Literal(_, value):
            return isinstance(value, bool)
        case tree.Test() | tree.Unary(_, "not"):
            return True
        case tree.Binary(_, op):
            return op in ("==", "!=", "<", ">", "<=", ">=", "contains", "equals", "isIn")
        case tree.Chain(_, op):
            return op in ("and", "or")
        case tree.Filtered(_, _, name):
            return name in _BOOLEAN_FILTERS
        case tree.Call(_, name):
            return name in _BOOLEAN_CALLS
        case tree.Ternary(_, _, yes, no):
            return is_boolean(yes) and is_boolean(no)
    return False


def printed(found: Found) -> tree.Node | None:
    """The expression of a text that is one ``{{ }}``."""
    if found.template is None or found.whole is None:
        return None
    body = found.template.body[0]
    return body.value if isinstance(body, tree.Print) else None
