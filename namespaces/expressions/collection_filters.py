"""Filters on lists and maps (expressions.md 8.2). Nothing is changed in place."""

# ruff: noqa: ARG001 - whatever is registered takes the rendering's state first, used or not

from __future__ import annotations

from collections.abc import Mapping
from functools import cmp_to_key

from namespaces.expressions.failures import RenderError
from namespaces.expressions.registry import filter_
from namespaces.expressions.state import State
from namespaces.expressions.text_filters import integer
from namespaces.expressions.values import compare, equal, is_number, kind, to_text


def elements(state: State, value: object, name: str) -> list[object]:
    """A copy of a list, charged by its length. Raises for anything else."""
    if not isinstance(value, list | tuple):
        raise RenderError(f"`{name}` needs a list, got {kind(value)}")
    state.step(len(value) // 100)
    state.made(len(value))
    return list(value)


@filter_("join", examples=(("{{ ['a','b','c'] | join('-') }}", "a-b-c"),))
def join(state: State, value: object, separator: object = "") -> object:
    """The elements as text, with `separator` between them."""
    if value is None:
        return None
    between = to_text(separator)
    parts: list[str] = []
    size = 0
    for item in elements(state, value, "join"):
        parts.append(state.text_of(item))
        size += len(parts[-1]) + len(between)
        state.room(size)
    return state.sized(between.join(parts))


@filter_(
    "slice",
    names=("fromIndex", "toIndex"),
    examples=(("{{ 'abcdef' | slice(1,3) }}", "bc"), ("{{ ['a','b','c','d'] | slice(1,3) }}", '["b","c"]')),
)
def slice_(state: State, value: object, from_index: object = 0, to_index: object = None) -> object:
    """Part of a text or list; indices count from 0, `toIndex` is not part of it; out of bounds is an error."""
    if value is None:
        return None
    if not isinstance(value, str | list | tuple):
        raise RenderError(f"`slice` needs a text or a list, got {kind(value)}")
    start = integer(from_index, "slice", "fromIndex")
    end = len(value) if to_index is None else integer(to_index, "slice", "toIndex")
    if not 0 <= start <= end <= len(value):
        raise RenderError(f"`slice`: {start} to {end} is out of bounds, the length is {len(value)}")
    return value[start:end]


def _at(state: State, value: object, index: int, name: str) -> object:
    if value is None:
        return None
    if isinstance(value, str):
        if not value:
            raise RenderError(f"`{name}` of an empty text")
        return value[index]
    found = elements(state, value, name)
    return found[index] if found else None


@filter_("first", examples=(("{{ 'Kestra' | first }}", "K"), ("{{ [1,2,3] | first }}", "1")))
def first(state: State, value: object) -> object:
    """First element or letter; null of an empty list."""
    return _at(state, value, 0, "first")


@filter_("last", examples=(("{{ [1,2,3] | last }}", "3"),))
def last(state: State, value: object) -> object:
    """Last element or letter; null of an empty list."""
    return _at(state, value, -1, "last")


@filter_("length", examples=(("{{ [1,2,3] | length }}", "3"), ("{{ null | length }}", "0"), ("{{ 5 | length }}", "0")))
def length(state: State, value: object) -> int:
    """Size of a list, map or text; 0 for anything else."""
    return len(value) if isinstance(value, str | list | tuple | Mapping) else 0


@filter_("merge", examples=(("{{ [1,2] | merge([3]) }}", "[1,2,3]"), ("{{ {'a': 1} | merge({'a': 2}) }}", '{"a":2}')))
def merge(state: State, value: object, items: object) -> object:
    """Two lists one after the other, or two maps of which the right one wins; null counts as empty."""
    if value is None and items is None:
        return None
    if isinstance(value, Mapping) or (value is None and isinstance(items, Mapping)):
        if items is not None and not isinstance(items, Mapping):
            raise RenderError(f"`merge` of a map needs a map, got {kind(items)}")
        state.made(len(value or ()) + len(items or ()))
        return {**(value or {}), **(items or {})}
    left = [] if value is None else elements(state, value, "merge")
    left += [] if items is None else elements(state, items, "merge")
    state.room(len(left))
    return left


def _sorted(state: State, value: object, name: str, reverse: bool) -> object:
    if value is None:
        return None
    found = elements(state, value, name)
    numbers = all(is_number(item) for item in found)
    if not numbers and not all(isinstance(item, str) for item in found):
        kinds = sorted({kind(item) for item in found})
        if len(kinds) > 1 or kinds[0] != "a date":
            raise RenderError(f"`{name}` needs elements of one kind, got {' and '.join(kinds)}")
    order = cmp_to_key(lambda a, b: -1 if compare("<", a, b) else 1 if compare(">", a, b) else 0)
    return sorted(found, key=order, reverse=reverse)


@filter_("sort", cheap=False, examples=(("{{ [3,1,2] | sort }}", "[1,2,3]"),))
def sort(state: State, value: object) -> object:
    """Numbers, texts or dates in order; mixed lists are an error."""
    return _sorted(state, value, "sort", False)


@filter_("rsort", cheap=False, examples=(("{{ [3,1,2] | rsort }}", "[3,2,1]"),))
def rsort(state: State, value: object) -> object:
    """In descending order."""
    return _sorted(state, value, "rsort", True)


@filter_("reverse", examples=(("{{ [1,2,3] | reverse }}", "[3,2,1]"),))
def reverse(state: State, value: object) -> object:
    """The list from its end; a text is an error."""
    return None if value is None else elements(state, value, "reverse")[::-1]


@filter_("keys", examples=(("{{ ['a','b'] | keys }}", "[0,1]"), ("{{ {'a': 1} | keys }}", '["a"]')))
def keys(state: State, value: object) -> object:
    """Keys of a map, indices of a list."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return list(value)
    return list(range(len(elements(state, value, "keys"))))


@filter_("values", examples=(("{{ {'a': 1} | values }}", "[1]"),))
def values(state: State, value: object) -> object:
    """Values of a map."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise RenderError(f"`values` needs a map, got {kind(value)}")
    state.step(len(value) // 100)
    return list(value.values())


@filter_("flatten", examples=(("{{ [[1,2],3] | flatten }}", "[1,2,3]"),))
def flatten(state: State, value: object) -> object:
    """Lists inside the list opened, one level."""
    if value is None:
        return None
    made: list[object] = []
    for item in elements(state, value, "flatten"):
        made.extend(item if isinstance(item, list | tuple) else [item])
        state.room(len(made))
    state.made(len(made))
    return made


@filter_("distinct", cheap=False, examples=(("{{ ['a','b','a'] | distinct }}", '["a","b"]'),))
def distinct(state: State, value: object) -> object:
    """Without repetitions, order kept."""
    if value is None:
        return None
    made: list[object] = []
    seen: set[object] = set()
    for item in elements(state, value, "distinct"):
        if isinstance(item, str):
            if item in seen:
                continue
            seen.add(item)
            made.append(item)
            continue
        state.step(1 + len(made) // 10)
        if not any(equal(item, other, state.step) for other in made):
            made.append(item)
    return made


@filter_("chunk", examples=(("{{ [1,2,3,4,5] | chunk(2) }}", "[[1,2],[3,4],[5]]"),))
def chunk(state: State, value: object, size: object) -> object:
    """Lists of `size` elements each, the last one may be shorter."""
    if value is None:
        return None
    found, width = elements(state, value, "chunk"), integer(size, "chunk", "size")
    if width < 1:
        raise RenderError("`chunk`: size must be at least 1")
    return [found[i : i + width] for i in range(0, len(found), width)]


@filter_("isIn", examples=(("{{ 'a' | isIn(['a','b']) }}", "true"),))
def is_in(state: State, value: object, items: object) -> bool:
    """Whether the value is an element of the list, a key of the map or part of the text."""
    from namespaces.expressions.operators import is_in as operator

    return operator(state, value, items)
