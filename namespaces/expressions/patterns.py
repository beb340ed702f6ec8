"""Regular expressions in Java's syntax on Python's ``re``: translation, splitting, replacing.

The time they take is bounded by the renderer process, not here.
"""

from __future__ import annotations

import re
from functools import lru_cache

from namespaces.expressions.failures import RenderError

_POSIX = {
    "Lower": "a-z", "Upper": "A-Z", "ASCII": "\\x00-\\x7F", "Alpha": "a-zA-Z", "Digit": "0-9", "Alnum": "a-zA-Z0-9",
    "Punct": "!-/:-@\\[-`{-~", "Graph": "!-~", "Print": " -~", "Blank": " \\t", "XDigit": "0-9a-fA-F",
    "Space": " \\t\\n\\x0B\\f\\r", "Cntrl": "\\x00-\\x1F\\x7F",
}  # fmt: skip
_UNICODE = {
    "L": "^\\W\\d_",
    "IsAlphabetic": "^\\W\\d_",
    "IsLetter": "^\\W\\d_",
    "N": "\\d",
    "Nd": "\\d",
    "IsDigit": "\\d",
}
_MAX_PATTERN = 4096


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Java's pattern as Python's. Raises :class:`RenderError` for what has no translation."""
    if len(pattern) > _MAX_PATTERN:
        raise RenderError(f"the pattern has more than {_MAX_PATTERN} characters")
    try:
        return re.compile(translated(pattern), re.ASCII if _is_ascii(pattern) else 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise RenderError(f"invalid pattern [{pattern}]: {error}") from error


def _is_ascii(pattern: str) -> bool:
    return "\\p{" not in pattern and "(?U" not in pattern


def translated(pattern: str) -> str:
    """The text of Python's pattern for Java's."""
    out: list[str] = []
    at = 0
    open_flags = 0
    groups: list[int] = []
    in_class = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            piece, at = _escape(pattern, at, in_class > 0)
            out.append(piece)
            continue
        if in_class:
            if char == "&" and pattern.startswith("&&", at):
                raise RenderError(f"invalid pattern [{pattern}]: intersections of classes are not supported")
            if char == "[":
                raise RenderError(f"invalid pattern [{pattern}]: classes inside classes are not supported")
            in_class -= char == "]" and in_class > 0 and not out[-1].endswith(("[", "[^"))
            out.append(char)
        elif char == "[":
            in_class = 1
            negated = pattern.startswith("[^", at)
            out.append("[^" if negated else "[")
            at += negated
        elif char == "(":
            flags = re.compile(r"\(\?([imsxdu]+)\)").match(pattern, at)
            if flags:  # Python takes such flags at the start only: wrap what follows, up to the end of the group
                python = "".join(f for f in flags[1] if f in "imsx")
                out.append(f"(?{python}:" if python else "(?:")
                open_flags += 1
                at = flags.end()
                continue
            if pattern.startswith("(?<", at) and not pattern.startswith(("(?<=", "(?<!"), at):
                out.append("(?P<")
                at += 2
            else:
                out.append("(")
            groups.append(open_flags)
            open_flags = 0
        elif char == ")":
            out.append(")" * open_flags + ")")
            open_flags = groups.pop() if groups else 0
        else:
            out.append(char)
        at += 1
    return "".join(out) + ")" * open_flags


def _escape(pattern: str, at: int, in_class: bool) -> tuple[str, int]:
    following = pattern[at + 1 : at + 2]
    if following == "Q":
        end = pattern.find("\\E", at + 2)
        end = len(pattern) if end < 0 else end
        return re.escape(pattern[at + 2 : end]), end + 2
    if following in ("p", "P"):
        named = re.compile(r"\\[pP](?:\{(\w+)\}|(\w))").match(pattern, at)
        if named is None:
            raise RenderError(f"invalid pattern [{pattern}]: \\p without a name")
        return _property(pattern, named[1] or named[2], following == "P", in_class), named.end()
    if following == "k":
        reference = re.compile(r"\\k<(\w+)>").match(pattern, at)
        if reference:
            return f"(?P={reference[1]})", reference.end()
    plain = {"z": "\\Z", "Z": "(?=\\n?\\Z)", "h": "[ \\t\\xA0]", "R": "(?:\\r\\n|[\\n\\r\\x0B\\f])", "e": "\\x1B"}
    if following in plain and not (in_class and following in "zZR"):
        text = plain[following]
        return (text[1:-1] if in_class and text.startswith("[") else text), at + 2
    return pattern[at : at + 2], at + 2


def _property(pattern: str, name: str, negated: bool, in_class: bool) -> str:
    if name in ("Lu", "Ll", "IsUppercase", "IsLowercase"):
        name = "Upper" if name in ("Lu", "IsUppercase") else "Lower"
    if name in _POSIX:
        body = _POSIX[name]
        if in_class and negated:
            raise RenderError(f"invalid pattern [{pattern}]: \\P{{{name}}} inside a class is not supported")
        return body if in_class else f"[{'^' if negated else ''}{body}]"
    if name not in _UNICODE:
        raise RenderError(f"invalid pattern [{pattern}]: the property {name} is not supported")
    body = _UNICODE[name]
    if in_class and (negated or body.startswith("^")):
        if negated:
            raise RenderError(f"invalid pattern [{pattern}]: \\P{{{name}}} inside a class is not supported")
        return "a-zA-Z\\u00AA\\u00B5\\u00BA\\u00C0-\\u00D6\\u00D8-\\u00F6\\u00F8-\\u02C1\\u0370-\\u03FF\\u0400-\\u052F"
    if negated:
        return f"[{body[1:]}]" if body.startswith("^") else f"[^{body}]"
    return body if in_class else f"[{body}]"


def expand(match: re.Match[str], template: str) -> str:
    """Java's replacement text: ``$1``, ``${name}``, ``\\$``."""
    out: list[str] = []
    at = 0
    while at < len(template):
        char = template[at]
        if char == "\\" and at + 1 < len(template):
            out.append(template[at + 1])
            at += 2
        elif char == "$":
            named = re.compile(r"\$\{(\w+)\}").match(template, at)
            if named:
                try:
                    out.append(match[named[1]] or "")
                except IndexError as error:
                    raise RenderError(f"no group with name <{named[1]}>") from error
                at = named.end()
                continue
            digits = re.compile(r"\$(\d+)").match(template, at)
            if digits is None:
                raise RenderError("illegal group reference: `$` must be followed by a number or {name}")
            number = digits[1]
            while len(number) > 1 and int(number) > (match.re.groups or 0):
                number = number[:-1]
            if int(number) > match.re.groups:
                raise RenderError(f"no group {number}")
            out.append(match[int(number)] or "")
            at += 1 + len(number)
        else:
            out.append(char)
            at += 1
    return "".join(out)


def replace(text: str, pattern: str, replacement: str, limit: int) -> str:
    """All matches replaced. Raises when the result would be longer than ``limit``."""
    size = 0
    parts: list[str] = []
    at = 0
    for match in compiled(pattern).finditer(text):
        made = expand(match, replacement)
        size += len(made)
        if size > limit:
            raise RenderError("expression result too large")
        parts += [text[at : match.start()], made]
        at = match.end()
    return "".join([*parts, text[at:]])


def is_plain(pattern: str) -> bool:
    """Whether a delimiter means itself: no regular expression is needed for it."""
    return (len(pattern) == 1 and pattern not in "\\^$.|?*+()[{") or (
        len(pattern) == 2 and pattern[0] == "\\" and not pattern[1].isalnum()
    )


def split(text: str, delimiter: str, limit: int) -> list[str]:
    """Java's ``String.split``: the delimiter is a pattern, trailing empty parts go unless there is a limit."""
    if text == "":
        return [""]
    parts: list[str] = []
    at = 0
    if is_plain(delimiter):
        parts = text.split(delimiter[-1], limit - 1 if limit > 0 else -1)
    else:
        for match in compiled(delimiter).finditer(text):
            if limit > 0 and len(parts) == limit - 1:
                break
            if match.end() == 0 or (match.start() == match.end() == len(text)):
                continue
            parts.append(text[at : match.start()])
            at = match.end()
        parts.append(text[at:])
    if limit == 0:
        while parts and parts[-1] == "":
            parts.pop()
    return parts
