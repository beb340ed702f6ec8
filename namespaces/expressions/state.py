"""One rendering: its context, ports, clock, scopes and budget. Everything that compiled code touches at run time.

The cache of compiled templates and the passes of ``render()`` are in ``rendering``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import NoReturn

from namespaces.errors import did_you_mean
from namespaces.expressions.failures import LimitReached, Limits, NothingFound, RefusedOutside, RenderError
from namespaces.expressions.ports import Ports
from namespaces.expressions.values import is_list, kind, to_text

#: Roots that text from outside may not read (expressions.md 6).
OPERATORS_ROOTS = frozenset(("envs", "globals"))
MacroBody = Callable[[], str]


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
        "ports",
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
        """The text, if no result may be longer."""
        if len(text) > self.limits.output:
            raise LimitReached(f"expression result too large: more than {self.limits.output} characters")
        return text

    def room(self, size: int) -> None:
        """Refuses a result of ``size`` characters or elements before it is made."""
        if size > self.limits.output:
            raise LimitReached(f"expression result too large: {size}, the limit is {self.limits.output}")

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
            text = piece if type(piece) is str else to_text(piece)
            parts.append(text)
            size += len(text)
            if size > self.limits.output:
                raise LimitReached(f"expression result too large: more than {self.limits.output} characters")
        return "".join(parts)


class MacroDefinition:
    """A macro's compiled body, its parameters and their defaults, which are computed at each call."""

    __slots__ = ("body", "name", "params")

    def __init__(self, name: str, body: MacroBody) -> None:
        self.name = name
        self.body = body
        self.params: list[tuple[str, Callable[[], object] | None]] = []
