"""The tests behind ``is`` (expressions.md 7). ``defined`` is an operator, because its value may fail."""

# ruff: noqa: ARG001 - whatever is registered takes the rendering's state first, used or not

from __future__ import annotations

from collections.abc import Mapping

from namespaces.expressions.failures import RenderError
from namespaces.expressions.registry import test
from namespaces.expressions.state import State
from namespaces.expressions.values import kind


@test("defined", examples=(("{{ missing.a.b is defined }}", "false"), ("{{ null is defined }}", "false")))
def defined(state: State, value: object) -> bool:
    """The variable exists and is not null; never an error."""
    raise AssertionError("compiled as an operator, because its value may fail")


@test("null", "none", examples=(("{{ null is null }}", "true"), ("{{ 'x' is null }}", "false")))
def null(state: State, value: object) -> bool:
    """Null; undefined is an error."""
    return value is None


@test("empty", examples=(("{{ ' ' is empty }}", "true"), ("{{ 0 is empty }}", "false"), ("{{ [] is empty }}", "true")))
def empty(state: State, value: object) -> bool:
    """Null, blank text, empty list or map; numbers and booleans never are."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list | tuple | Mapping) and len(value) == 0)


def _integer(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RenderError(f"`is {name}` needs an integer, got {kind(value)}")
    return value


@test("even", examples=(("{{ 2 is even }}", "true"),))
def even(state: State, value: object) -> bool:
    """Even integer; anything but an integer is an error."""
    return _integer(value, "even") % 2 == 0


@test("odd", examples=(("{{ 3 is odd }}", "true"),))
def odd(state: State, value: object) -> bool:
    """Odd integer; anything but an integer is an error."""
    return _integer(value, "odd") % 2 == 1


@test("map", examples=(("{{ {'a': 1} is map }}", "true"), ("{{ null is map }}", "false")))
def map_(state: State, value: object) -> bool:
    """A map; null is none."""
    return isinstance(value, Mapping)


@test("iterable", examples=(("{{ [1] is iterable }}", "true"), ("{{ 'a' is iterable }}", "false")))
def iterable(state: State, value: object) -> bool:
    """A list; maps and texts are not."""
    return isinstance(value, list | tuple)


@test("json", examples=(("{{ '{\"a\": 1}' is json }}", "true"), ("{{ 'a' is json }}", "false")))
def json(state: State, value: object) -> bool:
    """Text that is JSON; anything but a text is an error."""
    from namespaces.expressions.conversion import parse_json

    if not isinstance(value, str):
        raise RenderError(f"`is json` needs a text, got {kind(value)}")
    try:
        parse_json(value)
    except RenderError:
        return False
    return True
