"""One rendering: its context, ports, clock, scopes and budget. Everything that compiled code touches at run time.

The cache of compiled templates and the passes of ``render()`` are in ``rendering``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import NoReturn

from namespaces.errors import did_you_mean
from namespaces.expressions.failures import LimitReached, Limits, NothingFound, RefusedOutside, RenderError, longer
from namespaces.expressions.ports import Ports
from namespaces.expressions.values import is_list, kind, to_json, to_text

#: Roots that text from outside may not read (expressions.md 6).
OPERATORS_ROOTS = frozenset(("envs", "globals"))
MacroBody = Callable[[], str]
_DEEPEST = 200


class _Eval:
    """The one attribute that Jinja's generated code reads from an evaluation context."""

    autoescape = False
    volatile = False


_EVAL = _Eval()


class Entry(Mapping[str, object]):
    """One item of a map in a loop: ``x.key``, ``x.value``."""

    __slots__ = ("_pair",)

    def __init__(self, key: object, value: object) -> None:
        self._pair = (key, value)

    def __getitem__(self, name: str) -> object:
        if name == "key":
            return self._pair[0]
        if name == "value":
            return self._pair[1]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(("key", "value"))

    def __len__(self) -> int:
        return 2


class State:
    """Mutable, belongs to one rendering in one thread.

    ``restricted``: the text came from outside, so functions that disclose are refused.
    ``read_outside`` becomes True when a nested ``render()`` met data from outside.
    ``held`` collects ``{% raw %}`` bodies while rendering recursively, else None.
    """

    __slots__ = (
        "context",
        "depth",
        "entropy",
        "eval_ctx",
        "held",
        "isolated",
        "limits",
        "macros",
        "now",
        "null_loop",
        "ports", "produced",
        "read_outside",
        "restricted",
        "scopes",
        "spent",
        "text",
        "zone",
    )  # fmt: skip

    def __init__(
        self,
        text: str,
        context: Mapping[str, object],
        ports: Ports,
        now: Callable[[], datetime],
        zone: str,
        limits: Limits,
        restricted: bool = False,
    ) -> None:
        self.text = text
        self.context = context
        self.ports = ports
        self.now = now
        self.zone = zone
        self.limits = limits
        self.restricted = restricted
        self.read_outside = False
        self.scopes: list[dict[str, object]] = []
        self.isolated = False
        self.spent = 0
        self.produced = 0
        self.depth = 0
        self.macros: dict[str, MacroDefinition] = {}
        self.held: list[str] | None = None
        self.null_loop = False
        self.eval_ctx = _EVAL
        self.entropy: Callable[[int], bytes] = os.urandom

    def nested(self, text: str, restricted: bool) -> State:
        """The state of a text rendered inside this one: same context, budget carried on, own variables."""
        inner = State(text, self.context, self.ports, self.now, self.zone, self.limits, restricted)
        inner.spent = self.spent
        inner.produced = self.produced
        inner.depth = self.depth + 1
        inner.held = self.held
        if inner.depth > self.limits.depth:
            raise LimitReached(f"too deeply nested: render() inside render() more than {self.limits.depth} times")
        return inner

    # -- what Jinja's generated preamble asks for

    def resolve_or_missing(self, name: str) -> NoReturn:
        raise RenderError(f"unexpected name `{name}` in compiled code")

    # -- budget

    def step(self, count: int = 1) -> None:
        self.spent += count
        if self.spent > self.limits.steps:
            raise LimitReached(f"the expression took more than {self.limits.steps} steps")

    def sized(self, text: str) -> str:
        """The text, unless it is longer than any result may be."""
        if longer(text, self.limits.output):
            raise self._too_large(f"more than {self.limits.output} bytes")
        self.made(len(text))
        return text

    def made(self, size: int) -> None:
        """Counts characters, or elements of lists, that were made."""
        self.produced += size
        if self.produced > self.limits.volume:
            raise LimitReached(f"the expression made more than {self.limits.volume} characters on its way")

    def text_of(self, value: object) -> str:
        """What a value prints; large lists and maps are refused before their text is made."""
        if isinstance(value, Mapping | list | tuple):
            return self.sized(to_json(self.bounded(value)))
        return value if type(value) is str else to_text(value)

    def bounded(self, value: object) -> object:
        """The value with plain maps for lazy ones. Raises when its text would be too long or too deeply nested."""
        return _bounded(value, [self.limits.output], 0)

    def room(self, size: int) -> None:
        """Refuses a result of ``size`` characters or elements before it is made."""
        if size > self.limits.output:
            raise self._too_large(f"{size}, the limit is {self.limits.output}")

    def _too_large(self, what: str) -> LimitReached:
        hint = "write large results to a file"
        return LimitReached(f"expression result too large: {what}", hint=hint, limit="rendered_bytes")

    # -- variables

    def lookup(self, name: str) -> object:
        """A variable of the template or a root of the context. Raises :class:`NothingFound`."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        if not self.isolated:
            try:
                value = self.context[name]
            except KeyError:
                pass
            else:
                if self.restricted and name in OPERATORS_ROOTS:
                    raise RefusedOutside(f"{name} is not available in text from outside")
                return value
        raise NothingFound(name, hint=self._known(name))

    def _known(self, name: str) -> str:
        if self.isolated:
            return "a macro sees its own arguments only"
        names = sorted(self.context)
        return f"known: {', '.join(names[:30])}{did_you_mean(name, names)}" if names else ""

    def assign(self, name: str, value: object) -> None:
        """``{% set %}``: writes through to an existing outer variable, else into the innermost scope."""
        for scope in reversed(self.scopes):
            if name in scope:
                scope[name] = value
                return
        if not self.scopes:
            self.scopes.append({})
        outer = not self.isolated and name in self.context
        self.scopes[0 if outer else -1][name] = value

    def loop(self, values: object, name: str) -> Iterator[None]:
        """Runs a loop's body once per element, in a scope of its own with the element and ``loop``."""
        self.null_loop = values is None
        items = self._elements(values)
        if not self.scopes:
            self.scopes.append({})
        length = len(items)
        for index, item in enumerate(items):
            self.step()
            self.scopes.append({
                name: item,
                "loop": {
                    "index": index, "length": length, "first": index == 0, "last": index == length - 1,
                    "revindex": length - 1 - index,
                },
            })  # fmt: skip
            yield None
            self.scopes.pop()

    def _elements(self, values: object) -> list[object]:
        if values is None:
            return []
        if isinstance(values, Mapping):
            return [Entry(key, value) for key, value in values.items()]
        if is_list(values) and isinstance(values, Iterable):
            return list(values)
        raise RenderError(f"`for` needs a list, a range or a map, got {kind(values)}")

    # -- macros

    def define_macro(self, name: str, body: MacroBody) -> None:
        self.macros[name] = MacroDefinition(name, body)

    def call_macro(self, name: str, args: tuple[object, ...], named: dict[str, object]) -> str:
        macro = self.macros[name]
        names = [param for param, _ in macro.params]
        if len(args) > len(names):
            raise RenderError(f"macro {name}() takes {len(names)} arguments, got {len(args)}")
        given = dict(zip(names, args, strict=False))
        for key, value in named.items():
            if key not in names or key in given:
                raise RenderError(f"macro {name}() has no argument `{key}` left to give{did_you_mean(key, names)}")
            given[key] = value
        for param, default in macro.params:
            if param not in given:
                given[param] = default() if default else None
        before, was_isolated = self.scopes, self.isolated
        self.step()
        self.depth += 1
        if self.depth > self.limits.depth:
            raise LimitReached(f"too deeply nested: macro {name}() calls itself more than {self.limits.depth} times")
        self.scopes, self.isolated = [given], True
        try:
            return macro.body()
        finally:
            self.scopes, self.isolated = before, was_isolated
            self.depth -= 1

    # -- output

    def collect(self, pieces: Iterable[object]) -> str:
        """The text of all pieces, refused as soon as it grows too long."""
        parts: list[str] = []
        size = 0
        for piece in pieces:
            text = piece if type(piece) is str else self.text_of(piece)
            parts.append(text)
            size += len(text)
            if size > self.limits.output:
                raise self._too_large(f"more than {self.limits.output} bytes")
        made = "".join(parts)
        if longer(made, self.limits.output):
            raise self._too_large(f"more than {self.limits.output} bytes")
        return made


def _bounded(value: object, left: list[int], depth: int) -> object:
    if isinstance(value, str):
        left[0] -= len(value)
    elif not isinstance(value, Mapping | list | tuple):
        left[0] -= 1
        return value
    if left[0] < 0:
        raise LimitReached("expression result too large", limit="rendered_bytes")
    if isinstance(value, str):
        return value
    if depth > _DEEPEST:
        raise LimitReached(f"the value is too deeply nested: more than {_DEEPEST} levels")
    left[0] -= 2 + len(value) if type(value) is not dict else 2
    if isinstance(value, list | tuple):
        items = [_bounded(item, left, depth + 1) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    plain = {key: _bounded(item, left, depth + 1) for key, item in value.items()}
    left[0] -= sum(len(key) + 4 if isinstance(key, str) else 8 for key in plain)
    same = type(value) is dict and all(plain[key] is item for key, item in value.items())
    return value if same else plain


class MacroDefinition:
    """A macro's compiled body, its parameters and their defaults, which are computed at each call."""

    __slots__ = ("body", "name", "params")

    def __init__(self, name: str, body: MacroBody) -> None:
        self.name = name
        self.body = body
        self.params: list[tuple[str, Callable[[], object] | None]] = []
