"""What can go wrong while reading or rendering an expression, and the limits that bound it.

The words of a lookup failure are Kestra's (expressions.md 2.1); everything else says what was seen and wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

from namespaces.errors import LannerError


class RenderError(LannerError):
    """An expression could not be read or rendered; the task that needs its result fails with this message.

    ``line`` and ``column`` count from 1 inside the text that was rendered, 0 when unknown; ``limit`` is the name of
    the setting (``limits.*``) that was met, if one was.
    """

    code = "render_error"
    status = 422

    def __init__(self, message: str, *, line: int = 0, column: int = 0, hint: str = "", limit: str = "") -> None:
        super().__init__(message, hint=hint)
        self.line = line
        self.column = column
        self.limit = limit


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
    """Bounds of one rendering; the words behind ``#`` are the settings (``limits.*``) that the values come from.

    ``text``, ``expression`` and ``output`` in bytes of UTF-8; ``seconds``, ``memory_bytes`` and ``context`` (bytes of
    JSON) bind renderer processes only, because a cheap template copies nothing and cannot take long.
    ``volume`` is the sum of all texts and lists that are made on the way, ``steps`` the sum of all elements visited.
    """

    text: int = 1024 * 1024  # template_bytes
    expression: int = 64 * 1024  # expression_bytes
    output: int = 1024 * 1024  # rendered_bytes
    context: int = 32 * 1024 * 1024  # context_bytes
    volume: int = 256 * 1024 * 1024
    steps: int = 1_000_000
    range: int = 100_000
    depth: int = 50
    passes: int = 100
    nesting: int = 100
    seconds: float = 2.0  # render_time
    memory_bytes: int = 128 * 1024 * 1024  # render_memory_bytes


DEFAULT_LIMITS = Limits()


def longer(text: str, most: int) -> bool:
    """Whether the text has more than ``most`` bytes of UTF-8; counted only when it may."""
    if len(text) > most:
        return True
    return len(text) * 4 > most and not text.isascii() and len(text.encode("utf-8", "surrogatepass")) > most


def refuse_long(text: str, limits: Limits) -> None:
    """Raise ``LimitReached`` for a text with expressions that is too long to be looked at."""
    if longer(text, limits.text):
        raise LimitReached(
            f"the text has {len(text)} characters, more than {limits.text} bytes are not rendered",
            hint="put long texts into a file",
            limit="template_bytes",
        )
