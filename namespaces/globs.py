"""Globs over paths and namespaces: ``*``, ``**`` and ``?``, matched in linear space and at most quadratic time.

No regular expressions: a pattern written by somebody else cannot make the matcher blow up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

WILDCARDS = "*?"


def matches_path(pattern: str, path: str) -> bool:
    """``pattern`` over ``/``-separated ``path``: ``*`` and ``?`` stay within a part, ``**`` spans any number of them.

    A trailing ``/**`` needs at least one more part.
    """
    return _matches(pattern.split("/"), path.split("/"))


def matches_namespace(pattern: str, namespace: str) -> bool:
    """``pattern`` over a dotted namespace: ``a.b.**`` means all descendants of ``a.b``, not ``a.b`` itself."""
    return _matches(pattern.split("."), namespace.split("."))


def any_path(patterns: Iterable[str], path: str) -> bool:
    return any(pattern == "**" or matches_path(pattern, path) for pattern in patterns)


def literal_prefix(pattern: str) -> str:
    """The text before the first wildcard."""
    for index, character in enumerate(pattern):
        if character in WILDCARDS:
            return pattern[:index]
    return pattern


def _matches(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    if len(pattern) > 1 and pattern[-1] == "**":
        # At least one part for a trailing `**`: the last `*` takes one, the `**` before it the others.
        pattern = [*pattern, "*"]
    return _greedy(pattern, parts, any_number="**", one=_part)


def _part(pattern: str, text: str) -> bool:
    if pattern == "*":
        return True
    if "*" not in pattern and "?" not in pattern:
        return pattern == text
    return _greedy(pattern, text, any_number="*", one=_character)


def _character(pattern: str, text: str) -> bool:
    return pattern in ("?", text)


def _greedy(pattern: Sequence[str], items: Sequence[str], *, any_number: str, one: Callable[[str, str], bool]) -> bool:
    """Greedy matching that goes back to the last ``any_number`` only: enough, as that takes any number."""
    at, mark, resume = 0, -1, 0
    index = 0
    while index < len(items):
        if at < len(pattern) and pattern[at] == any_number:
            mark, resume = at, index
            at += 1
        elif at < len(pattern) and one(pattern[at], items[index]):
            at += 1
            index += 1
        elif mark >= 0:
            resume += 1
            index, at = resume, mark + 1
        else:
            return False
    while at < len(pattern) and pattern[at] == any_number:
        at += 1
    return at == len(pattern)
