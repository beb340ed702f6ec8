"""Steps into values: keys, indices and the small set of Java methods (expressions.md 4.3).

No Python attribute is reachable: only maps, lists and texts are looked into, by key, index or listed method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from namespaces.errors import did_you_mean
from namespaces.expressions.failures import NothingFound, RenderError
from namespaces.expressions.state import State
from namespaces.expressions.values import is_list, kind, to_text


def path(state: State, root: str, *keys: str | int) -> object:
    """The value at a constant path; the message of a miss knows the whole way."""
    value = state.lookup(root)
    for depth, key in enumerate(keys):
        if type(value) is dict and key in value:
            value = value[key]
            continue
        try:
            value = member(state, value, key)
        except NothingFound as miss:
            miss.path = ".".join([root, *map(str, keys[: depth + 1])])
            raise
    return value


def member(state: State, value: object, key: object) -> object:
    """``value.key`` and ``value[key]``. Raises :class:`NothingFound` for what is not there."""
    if isinstance(value, Mapping):
        return _of_map(state, value, key)
    name = to_text(key)
    if value is None:
        raise NothingFound(name, hint=f"the value before `{name}` is null")
    if is_list(value):
        assert isinstance(value, list | tuple)
        if isinstance(key, int) and not isinstance(key, bool):
            index = key
        elif isinstance(key, str) and key.isdecimal() and len(key) < 10:
            index = int(key)
        else:
            return method(state, value, name)
        if 0 <= index < len(value):
            return value[index]
        raise NothingFound(name, hint=f"the list has {len(value)} elements, counted from 0")
    return method(state, value, name)


def _of_map(state: State, value: Mapping[object, object], key: object) -> object:
    if key is None:
        raise NothingFound("null", hint="the key is null")
    if not isinstance(key, str):
        key = to_text(key)
    try:
        return value[key]
    except KeyError:
        pass
    if (header := _header(state, value, key)) is not None:
        return header
    if key in _MAP_METHODS:
        return method(state, value, key)
    hint = ""
    if type(value) is dict:  # a lazy map is never walked for a message
        names = [str(name) for name in list(value)[:30]]
        hint = f"known: {', '.join(names)}{did_you_mean(key, names)}" if names else "the map is empty"
    raise NothingFound(key, hint=hint)


def _header(state: State, value: Mapping[object, object], key: str) -> object:
    """A header of the trigger by its name in any case (flows.md 7.5): WSGI keeps no case, senders write their own."""
    try:
        trigger = state.lookup("trigger")
    except NothingFound:
        return None
    if not isinstance(trigger, dict) or trigger.get("headers") is not value:
        return None
    wanted = key.lower()
    return next((found for name, found in value.items() if str(name).lower() == wanted), None)


def method(state: State, value: object, name: str, *args: object) -> object:
    """A listed method; parentheses may be missing in the source, so every way in checks the list."""
    if isinstance(value, Mapping):
        if name in value and not args:
            return value[name]
        allowed = _MAP_METHODS
    elif isinstance(value, str):
        allowed = _TEXT_METHODS
    elif is_list(value):
        allowed = _LIST_METHODS
    else:
        allowed = {}
    found = allowed.get(name)
    if found is None:
        if value is None:
            raise NothingFound(name, hint=f"the value before `{name}` is null")
        if name.startswith("_") or name in ("class", "getClass") or args:
            raise RenderError(f"attribute not allowed: `{name}` of {kind(value)}")
        raise NothingFound(name, hint=f"attribute not allowed: {kind(value)} has no `{name}`")
    call, count = found
    if len(args) != count or not all(isinstance(arg, str) for arg in args):
        raise RenderError(f"`{name}` of {kind(value)} takes {count} text arguments")
    result = call(value, *args)
    return state.sized(result) if isinstance(result, str) else result


def _split(text: str, pattern: str) -> object:
    from namespaces.expressions.patterns import split

    return split(text, pattern, 0)


def _replace(text: str, old: str, new: str) -> str:
    from namespaces.expressions.failures import DEFAULT_LIMITS, LimitReached

    size = len(text) + text.count(old) * (len(new) - len(old))
    if size > DEFAULT_LIMITS.output:
        raise LimitReached("expression result too large")
    return text.replace(old, new)


Listed = dict[str, tuple[Callable[..., object], int]]

_TEXT_METHODS: Listed = {
    "length": (len, 0),
    "isEmpty": (lambda text: text == "", 0),
    "toUpperCase": (lambda text: str(text).upper(), 0),
    "toLowerCase": (lambda text: str(text).lower(), 0),
    "trim": (lambda text: str(text).strip(), 0),
    "split": (_split, 1),
    "replace": (_replace, 2),
    "startsWith": (lambda text, start: str(text).startswith(start), 1),
    "endsWith": (lambda text, end: str(text).endswith(end), 1),
}
_LIST_METHODS: Listed = {
    "size": (len, 0),
    "isEmpty": (lambda items: len(items) == 0, 0),
}
_MAP_METHODS: Listed = {
    "size": (len, 0),
    "get": (lambda items, key: items.get(key), 1),
    "containsKey": (lambda items, key: key in items, 1),
    "keySet": (lambda items: list(items), 0),
    "values": (lambda items: list(items.values()), 0),
    "entrySet": (lambda items: [{"key": key, "value": value} for key, value in items.items()], 0),
}
