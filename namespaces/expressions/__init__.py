"""Kestra's expression language: parse, render, and what a template may ask of the server.

Pure: no I/O but through ``Ports``. Heavy parts (Jinja2, filters) load with the first text that is a template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from namespaces.expressions.failures import LimitReached, Limits, RefusedOutside, RenderError, SyntaxProblem
from namespaces.expressions.ports import PORT_NAMES, NoPorts, Ports

if TYPE_CHECKING:
    from namespaces.expressions.rendering import Expression

__all__ = [
    "PORT_NAMES", "Expression", "LimitReached", "Limits", "NoPorts", "Ports", "RefusedOutside", "RenderError",
    "SyntaxProblem", "parse", "references", "render", "render_typed", "render_value", "to_json", "to_text", "truthy",
]  # fmt: skip

_LIMITS = Limits()
_FALSY = frozenset(("false", "0", "-0", ""))


def __getattr__(name: str) -> object:
    if name == "Expression":
        from namespaces.expressions.rendering import Expression

        return Expression
    raise AttributeError(name)


def _now() -> datetime:
    from namespaces.clock import SystemClock

    return SystemClock().now()


def parse(text: str, limits: Limits = _LIMITS) -> Expression:
    """What is known about a text without rendering it. Never raises; cached by text."""
    from namespaces.expressions import rendering

    return rendering.parse(text, limits)


def render(
    text: str,
    context: Mapping[str, object],
    ports: Ports,
    *,
    now: Callable[[], datetime] = _now,
    zone: str = "UTC",
    limits: Limits = _LIMITS,
    recursive: bool = False,
    restricted: bool = False,
) -> str:
    """The text with every ``{{ }}`` printed, in this process. Raises :class:`RenderError`.

    ``recursive`` is the server option ``recursive_rendering``; ``restricted`` marks a text from outside.
    """
    if "{" not in text:
        return text
    from namespaces.expressions import rendering

    return rendering.render(
        text, context, ports, now=now, zone=zone, limits=limits, recursive=recursive, restricted=restricted
    )


def render_typed(
    text: str,
    context: Mapping[str, object],
    ports: Ports,
    *,
    now: Callable[[], datetime] = _now,
    zone: str = "UTC",
    limits: Limits = _LIMITS,
    restricted: bool = False,
) -> object:
    """The native value when the text is exactly one ``{{ }}``, else a text. Raises :class:`RenderError`."""
    if "{" not in text:
        return text
    from namespaces.expressions import rendering

    return rendering.render_typed(text, context, ports, now=now, zone=zone, limits=limits, restricted=restricted)


def render_value(
    value: object,
    context: Mapping[str, object],
    ports: Ports,
    *,
    now: Callable[[], datetime] = _now,
    zone: str = "UTC",
    limits: Limits = _LIMITS,
    recursive: bool = False,
    restricted: bool = False,
) -> object:
    """Maps (keys and values) and lists gone through in order, texts rendered, everything else untouched."""
    from namespaces.expressions import rendering

    def one(text: str) -> str:
        return render(
            text, context, ports, now=now, zone=zone, limits=limits, recursive=recursive, restricted=restricted
        )

    return rendering.render_value(value, one)


def truthy(text: str | None) -> bool:
    """Kestra's truth of a rendered text: null, ``false``, ``0``, ``-0`` and empty are false (flows.md 0)."""
    return text is not None and text not in _FALSY


def to_text(value: object) -> str:
    """The text that ``{{ value }}`` prints (expressions.md 2.4)."""
    from namespaces.expressions import values

    return values.to_text(value)


def to_json(value: object) -> str:
    """Compact JSON with dates as ISO text; any mapping is a map."""
    from namespaces.expressions import values

    return values.to_json(value)


def references(text: str) -> frozenset[str]:
    """Root names and dotted literal paths that a text uses (``inputs``, ``inputs.name``); empty for a broken one."""
    return parse(text).references
