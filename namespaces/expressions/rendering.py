"""Rendering itself: cached programs, string and typed results, the passes of ``render()`` (expressions.md 2, 6).

What may run in this process is decided by the caller (``runner.renderer``); the bounds of ``Limits`` hold anyway.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from namespaces.errors import LannerError
from namespaces.expressions.cache import TextCache
from namespaces.expressions.failures import (
    DEFAULT_LIMITS,
    LimitReached,
    Limits,
    NothingFound,
    RenderError,
    SyntaxProblem,
)
from namespaces.expressions.operators import OPERATORS
from namespaces.expressions.ports import Ports
from namespaces.expressions.registry import function
from namespaces.expressions.state import State
from namespaces.expressions.values import kind, shorten, to_text

if TYPE_CHECKING:
    from namespaces.expressions import tree
    from namespaces.expressions.compiler import Program

_HELD = re.compile("\x00raw (\\d+)\x00")


@dataclass(frozen=True, slots=True)
class Expression:
    """What is known about a text before it is rendered.

    ``static``: no template at all, rendering returns it unchanged. ``cheap``: may render in this process.
    ``error`` is set for a syntax error only; ``warnings`` are unknown names and wrong arguments (message, line),
    which fail when their place is rendered. ``dashed`` are paths such as ``inputs.key-name`` (a subtraction).
    """

    text: str
    static: bool
    cheap: bool
    error: str | None = None
    line: int = 0
    column: int = 0
    hint: str = ""
    references: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    warnings: tuple[tuple[str, int], ...] = ()
    dashed: tuple[str, ...] = ()


class _Compiled:
    """A text's tree, and its program from the first rendering on."""

    __slots__ = ("assigned", "bounds", "error", "expression", "program", "reads_outside", "template")

    def __init__(self, text: str, limits: Limits) -> None:
        from namespaces.expressions import analysis, builtins, parser

        assert builtins.FILTERS
        self.bounds = (limits.text, limits.expression)
        self.error: SyntaxProblem | None = None
        self.template: tree.Template | None = None
        self.program: Program | None = None
        self.reads_outside = True
        self.assigned: tuple[str, ...] = ()
        try:
            template = parser.parse_template(text, limits)
        except SyntaxProblem as error:
            self.error = error
            self.expression = Expression(text, False, True, str(error), error.line, error.column, error.hint)
            return
        self.template = template
        self.reads_outside = analysis.reads_outside(template)
        self.assigned = analysis.assigned_names(template, template)
        self.expression = Expression(
            text,
            False,
            analysis.is_cheap(template),
            references=analysis.references(template),
            calls=analysis.calls(template),
            warnings=analysis.complaints(template),
            dashed=template.dashed,
        )

    def ready(self) -> Program:
        """The program. Raises the syntax error of the text."""
        if self.program is None:
            if self.template is None:
                error = self.error
                assert error is not None
                made = LimitReached if error.limit else RenderError
                raise made(str(error), line=error.line, column=error.column, hint=error.hint, limit=error.limit)
            from namespaces.expressions.compiler import compile_template

            try:
                self.program = compile_template(self.template)
            except (RecursionError, SyntaxError, MemoryError) as error:
                raise LimitReached("the expression is too deeply nested") from error
        return self.program


_cache: TextCache[_Compiled] = TextCache(entries=4096, characters=16 * 1024 * 1024)


def resize_cache(*, entries: int, characters: int) -> None:
    """Replaces the cache of compiled texts by an empty one of another size; for renderer processes."""
    global _cache
    _cache = TextCache(entries=entries, characters=characters)


def warm() -> None:
    """Loads parser, compiler and filters, so that the first rendering does not pay for it."""
    compiled("{{ '' }}", DEFAULT_LIMITS).ready()


def compiled(text: str, limits: Limits) -> _Compiled:
    """The cached tree and program of a text, read under these limits."""
    found = _cache.get(text)
    if found is None or found.bounds != (limits.text, limits.expression):
        found = _Compiled(text, limits)
        _cache.put(text, found)
    return found


def parse(text: str, limits: Limits = DEFAULT_LIMITS) -> Expression:
    """What a text is: static, cheap, wrong. Never raises; cached."""
    return Expression(text, True, True) if "{" not in text else compiled(text, limits).expression


def explained(error: Exception, state: State, line: int) -> RenderError:
    """The error of a rendering as users see it: Kestra's words for a miss, the line, never a traceback."""
    if isinstance(error, NothingFound):
        return RenderError(
            f"{error.message} used in the expression `{shorten(state.text, 2000)}` at line {line}",
            line=line,
            hint="; ".join(
                part for part in (f"`{error.path}`" if error.path != error.attribute else "", error.hint) if part
            ),
        )
    if isinstance(error, RenderError):
        if error.line:
            return error
        error.line = line
        return error
    if isinstance(error, LannerError):
        return RenderError(error.message, line=line, hint=error.hint)
    if isinstance(error, RecursionError):
        return LimitReached("the value is too deeply nested", line=line)
    if isinstance(error, MemoryError):
        return LimitReached("expression result too large: out of memory", line=line, limit="render_memory_bytes")
    return RenderError(f"the expression failed: {error}", line=line)


#: What faulty data may raise inside a filter; anything else is a defect or the port's own trouble and passes on.
_EXPECTED = (LannerError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError, MemoryError)


def pieces(found: _Compiled, state: State) -> Iterator[object]:
    """The printed values and texts in order. Raises :class:`RenderError` with the line."""
    program = found.ready()
    try:
        yield from program.root(state)
    except _EXPECTED as error:
        raise explained(error, state, program.line_of(error)) from error


def once(found: _Compiled, state: State) -> str:
    """One pass to text."""
    program = found.ready()
    try:
        return state.collect(program.root(state))
    except _EXPECTED as error:
        raise explained(error, state, program.line_of(error)) from error


def until_stable(text: str, state: State, *, restricted: bool, recursive: bool) -> str:
    """A text rendered inside the rendering ``state``, again and again if ``recursive``, until nothing changes.

    Every pass after one that read data from outside is restricted; ``{% raw %}`` bodies wait until the end.
    """
    held: list[str] = [] if state.held is None else state.held
    outermost = state.held is None
    current = text
    for _ in range(state.limits.passes + 1):
        if "{" not in current:
            break
        found = compiled(current, state.limits)
        inner = state.nested(current, restricted)
        inner.held = held if recursive else None
        made = once(found, inner)
        state.spent = inner.spent
        read = found.reads_outside or any(name in state.context for name in found.assigned)
        if read or inner.read_outside or restricted:
            state.read_outside = True
            restricted = True
        if not recursive or made == current:
            current = made
            break
        current = made
    else:
        raise RenderError("Too many rendering attempts")
    return state.sized(_HELD.sub(lambda mark: _body(held, mark), current)) if outermost and held else current


def _body(held: list[str], mark: re.Match[str]) -> str:
    index = int(mark[1])
    return held[index] if index < len(held) else mark[0]


def rendered(state: State, outside: object, value: object, recursive: object = True, *names: str) -> object:
    """``render(value)``: texts, and the texts in maps and lists; other values as they are.

    ``names`` are variables that the template assigns: where the context has one too, the value may be the context's.
    """
    restricted = state.restricted or bool(outside) or any(name in state.context for name in names)
    again = recursive is not False
    if isinstance(value, str):
        return until_stable(str(value), state, restricted=restricted, recursive=again)
    if isinstance(value, Mapping):
        state.step(len(value))
        made: dict[str, object] = {}
        for key, item in value.items():
            made.setdefault(
                to_text(rendered(state, restricted, to_text(key), recursive)),
                rendered(state, restricted, item, recursive),
            )
        return made
    if isinstance(value, list | tuple):
        state.step(len(value))
        return [rendered(state, restricted, item, recursive) for item in value]
    return value


OPERATORS["render"] = rendered


@function("render", outside=True, cheap=False, examples=(("{{ render('test') }}", "test"), ("{{ render(42) }}", "42")))
def render_function(state: State, to_render: object, recursive: object = True) -> object:
    """Renders a text (or the texts of a map or list) with the present context, until nothing changes."""
    return rendered(state, True, to_render, recursive)


@function("renderOnce", outside=True, cheap=False, examples=(("{{ renderOnce('test') }}", "test"),))
def render_once_function(state: State, to_render: object) -> object:
    """Renders a text exactly once."""
    return rendered(state, True, to_render, False)


# -- entry points


def render(
    text: str,
    context: Mapping[str, object],
    ports: Ports,
    *,
    now: Callable[[], datetime],
    zone: str,
    limits: Limits,
    recursive: bool,
    restricted: bool,
) -> str:
    if "{" not in text:
        return text
    found = compiled(text, limits)
    state = State(text, context, ports, now, zone, limits, restricted)
    if recursive:
        return until_stable(text, state, restricted=restricted, recursive=True)
    return once(found, state)


def render_typed(
    text: str,
    context: Mapping[str, object],
    ports: Ports,
    *,
    now: Callable[[], datetime],
    zone: str,
    limits: Limits,
    restricted: bool,
) -> object:
    """One print alone keeps its type; texts join; anything beside a value that is no text is an error."""
    if "{" not in text:
        return text
    result: object = None
    started = False
    size = 0
    state = State(text, context, ports, now, zone, limits, restricted)
    for piece in pieces(compiled(text, limits), state):
        if piece is None:
            continue
        if not started:
            result, started = piece, True
        elif isinstance(result, str) and isinstance(piece, str):
            size += len(piece)
            state.room(size)
            result = result + piece
        else:
            raise RenderError(
                f"Tried to add {shorten(piece)!r} ({kind(piece)}) to {shorten(result)!r} ({kind(result)})",
                hint="a typed value must be one {{ }} and nothing else, not even a blank",
            )
    return result


def render_value(value: object, one: Callable[[str], str]) -> object:
    """Maps (keys and values) and lists gone through, texts rendered by ``one``, other values untouched."""
    if isinstance(value, str):
        return one(value)
    if isinstance(value, Mapping):
        made: dict[object, object] = {}
        for key, item in value.items():
            name = one(key) if isinstance(key, str) else key
            if name not in made:
                made[name] = render_value(item, one)
        return made
    if isinstance(value, list | tuple):
        return [render_value(item, one) for item in value]
    return value
