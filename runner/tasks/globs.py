"""Glob patterns as Java's ``FileSystem.getPathMatcher`` reads them (``flows.md`` 6.4, 6.5)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable

from runner.plugin import RunFailed

Matches = Callable[[str], bool]


@functools.lru_cache(maxsize=512)
def translate(pattern: str) -> re.Pattern[str]:
    """The regular expression of a Java glob: ``*`` within a folder, ``**`` across, ``?``, ``[a-z]``, ``{a,b}``.

    Raises ``RunFailed`` for a pattern that Java refuses as well.
    """
    out, at, group = [], 0, False
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "\\":
            if at == len(pattern):
                raise RunFailed(f"glob pattern ends with a backslash: {pattern!r}")
            out.append(re.escape(pattern[at]))
            at += 1
        elif char == "*":
            if pattern[at : at + 1] == "*":
                out.append(".*")
                at += 1
            else:
                out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            end = pattern.find("]", at + 1)
            if end < 0:
                raise RunFailed(f"glob pattern has a '[' without ']': {pattern!r}")
            body = pattern[at:end]
            negated = body[:1] == "!"
            body = body[1:] if negated else body
            escaped = body.replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^").replace("&&", "&\\&")
            out.append(f"(?!/)[{'^' if negated else ''}{escaped}]")
            at = end + 1
        elif char == "{":
            if group:
                raise RunFailed(f"glob pattern has a group inside a group: {pattern!r}")
            group = True
            out.append("(?:")
        elif char == "}" and group:
            group = False
            out.append(")")
        elif char == "," and group:
            out.append("|")
        else:
            out.append(re.escape(char))
    if group:
        raise RunFailed(f"glob pattern has a '{{' without '}}': {pattern!r}")
    return _compiled("".join(out), pattern)


def _compiled(expression: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(expression, re.DOTALL)
    except re.error as error:
        raise RunFailed(f"bad pattern {pattern!r}: {error}") from error


def output_matcher(patterns: Iterable[str], root: str) -> Matches:
    """Whether a path relative to ``root`` is one of the wanted files. ``glob:`` and ``regex:`` see the whole path."""
    relative, absolute = [], []
    for pattern in patterns:
        if pattern.startswith("glob:"):
            absolute.append(translate(pattern[5:]))
        elif pattern.startswith("regex:"):
            absolute.append(_compiled(pattern[6:], pattern))
        else:
            relative.append(translate(pattern.removeprefix("./").lstrip("/")))
    return lambda path: any(p.fullmatch(path) for p in relative) or any(p.fullmatch(f"{root}/{path}") for p in absolute)


def namespace_matcher(patterns: Iterable[str]) -> Matches:
    """Whether a namespace file (its path begins with ``/``) fits. A pattern that starts with a word character is
    matched at any depth."""
    compiled = []
    for pattern in patterns:
        if pattern.startswith("glob:"):
            compiled.append(translate(pattern[5:]))
        elif pattern.startswith("regex:"):
            compiled.append(_compiled(pattern[6:], pattern))
        elif re.match(r"\w", pattern):
            compiled.append(translate("**/" + pattern))
        else:
            compiled.append(translate(pattern))
    return lambda path: any(p.fullmatch(path) for p in compiled)
