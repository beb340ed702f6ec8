"""What can go wrong while reading or rendering an expression, and the limits that bound it.

The words of a lookup failure are Kestra's (expressions.md 2.1); everything else says what was seen and wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

from namespaces.errors import LannerError


class RenderError(LannerError):
    """An expression could not be read or rendered; the task that needs its result fails with this message.

    ``line`` and ``column`` count from 1 inside the text that was rendered, 0 when unknown.
    """

    code = "render_error"
    status = 422

    def __init__(self, message: str, *, line: int = 0, column: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.line = line
        self.column = column


class SyntaxProblem(RenderError):
    """The text is not a template: always carries line and column."""

    code = "expression_syntax"


class NothingFound(RenderError):
    """A variable, key or index does not exist: the one failure that ``??``, ``default`` and ``is defined`` forgive.

    ``attribute`` is the missing name, ``path`` the whole way to it as far as it is known.
    """

    def __init__(self, attribute: str, path: str = "", hint: str = "") -> None:
        super().__init__(f"Unable to find `{attribute}`", hint=hint)
        self.attribute = attribute
        self.path = path or attribute


class LimitReached(RenderError):
    """A documented bound (reliability.md R21, S10) was met."""

    code = "render_limit"


class RefusedOutside(RenderError):
    """A function or root that text from outside may not use (expressions.md 6)."""

    code = "render_refused"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one rendering. Sizes in characters; ``seconds`` and ``memory_bytes`` bind renderer processes only.

    ``volume`` is the sum of all texts and lists that are made on the way, ``steps`` the sum of all elements visited.
    """

    text: int = 1024 * 1024
    expression: int = 64 * 1024
    output: int = 1024 * 1024
    volume: int = 256 * 1024 * 1024
    steps: int = 1_000_000
    range: int = 100_000
    depth: int = 50
    passes: int = 100
    nesting: int = 100
    seconds: float = 2.0
    memory_bytes: int = 128 * 1024 * 1024


#: Used while parsing, where no caller's limits are known: the parse result is shared by all callers.
DEFAULT_LIMITS = Limits()
