"""Regular expressions written in flows (Java's dialect): compiled once, and never run without a time limit."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

TRIAL_S = 0.05
"""How long a pattern may take over a hostile text when the flow is saved."""
MATCH_S = 0.5
"""How long one match of a submitted value may take."""

_HOSTILE = ("a" * 40 + "!", "1" * 40 + "x", " " * 40 + "x", "a1" * 20 + "!", "-_" * 20 + "!", "aA0 ." * 10 + "\n")

# `(a+)+` and its kind: one repeated thing repeated again. This library sees through most of them, others do not.
_NESTED = re.compile(r"\((?:\?:)?(?:\\.|\[(?:[^\]\\]|\\.)*\]|[^()\[\]\\|*+?{}])[*+]\)[*+{]")


class TooSlow(Exception):
    """A match was given up at its time limit."""


@lru_cache(maxsize=2_000)
def _compiled(pattern: str) -> Any:
    # It has Java's \p{L}, possessive quantifiers and a time limit; `re` has none of them.
    import regex  # type: ignore[import-untyped]

    try:
        return regex.compile(pattern, regex.VERSION0)
    except regex.error as error:
        raise ValueError(str(error)) from None
    except (RecursionError, OverflowError):
        raise ValueError("too deeply nested") from None


def pattern_fault(pattern: str) -> str:
    """Why the pattern cannot be used, or an empty text. A pattern that explodes on a short text is refused."""
    try:
        compiled = _compiled(pattern)
    except ValueError as error:
        return str(error)
    if _NESTED.search(pattern):
        return "nested repetition: takes too long on a long text"
    for text in _hostile_texts(pattern):
        try:
            compiled.fullmatch(text, timeout=TRIAL_S)
        except TimeoutError:
            return f"takes too long on a text such as {text[:12]!r}…: nested repetition"
    return ""


def _hostile_texts(pattern: str) -> tuple[str, ...]:
    """General texts, and repetitions of the pattern's own letters, that make nested repetition explode."""
    if not any(repeat in pattern for repeat in "*+{"):
        return ()
    own = "".join(dict.fromkeys(c for c in pattern if c.isalnum()))[:4]
    return (*_HOSTILE, *(c * 40 + "!" for c in own))


def full_match(pattern: str, text: str) -> bool:
    """Whether the whole text matches. Raises ``TooSlow`` after half a second."""
    try:
        return _compiled(pattern).fullmatch(text, timeout=MATCH_S) is not None
    except TimeoutError:
        raise TooSlow(pattern) from None
