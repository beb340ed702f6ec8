"""Reading single values of the document: text, booleans, numbers, durations, names. Faults become findings."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from namespaces.durations import parse_duration
from namespaces.flows.findings import UNREADABLE as UNREADABLE
from namespaces.flows.findings import WRONG_TYPE as WRONG_TYPE
from namespaces.flows.findings import Findings
from namespaces.flows.reader import Path
from namespaces.flows.reader import scalar_text as scalar_text
from namespaces.plugin import is_expression

E = TypeVar("E", bound=StrEnum)

_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_INTEGER = re.compile(r"[-+]?[0-9](?:_?[0-9])*", re.ASCII)
_LONGEST_INTEGER = 19


def text(findings: Findings, value: Any, path: Path) -> str | None:
    """The text as written; a map or a list is a finding."""
    if type(value) is str:
        return value
    if isinstance(value, dict | list):
        findings.error(WRONG_TYPE, path, "must be text")
        return None
    return None if value is None else findings.text_at(path, value)


def boolean(findings: Findings, value: Any, path: Path, default: bool) -> bool:
    if value is True or value is False:
        return bool(value)
    if value is None:
        return default
    word = value.lower() if isinstance(value, str) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    findings.error(WRONG_TYPE, path, f"must be true or false, but is {_short(value)}")
    return default


def integer(findings: Findings, value: Any, path: Path, *, at_least: int | None = None) -> int | None:
    """A whole number; more than 19 digits is ``G004``."""
    number: int | None = None
    if type(value) is int:
        number = value
    elif isinstance(value, str) and _INTEGER.fullmatch(value):
        digits = value.replace("_", "")
        if len(digits.lstrip("-+")) > _LONGEST_INTEGER:
            findings.error(UNREADABLE, path, f"number too long: {len(digits)} digits, at most {_LONGEST_INTEGER}")
            return None
        number = int(digits)
    if number is None:
        if isinstance(value, str) and value.lower() in (".inf", "-.inf", "+.inf", ".nan"):
            findings.error(UNREADABLE, path, f"not a finite number: {value}")
        else:
            findings.error(WRONG_TYPE, path, f"must be an integer, but is {_short(value)}")
        return None
    if at_least is not None and number < at_least:
        findings.error("F005", path, f"must be greater than or equal to {at_least}, but is {number}")
        return None
    return number


def duration(findings: Findings, value: Any, path: Path) -> timedelta | None:
    try:
        return parse_duration(value)
    except ValueError as error:
        findings.error(WRONG_TYPE, path, str(error))
        return None


def dynamic_duration(findings: Findings, value: Any, path: Path) -> str | None:
    """Text of a duration or an expression; a plain one is checked now."""
    if is_expression(value):
        return str(value)
    if duration(findings, value, path) is None:
        return None
    written = scalar_text(value)
    return written if written[:1] in ("P", "p") else f"PT{written}S"


def one_of(findings: Findings, value: Any, path: Path, allowed: Collection[str]) -> str | None:
    if isinstance(value, str) and value in allowed:
        return value
    findings.error(WRONG_TYPE, path, f"must be one of {', '.join(map(repr, allowed))}, but is {_short(value)}")
    return None


def enum(findings: Findings, value: Any, path: Path, kind: type[E]) -> E | None:
    found = one_of(findings, value, path, [member.value for member in kind])
    return None if found is None else kind(found)


def a_list(findings: Findings, value: Any, path: Path) -> list[Any]:
    if isinstance(value, list):
        return value
    if value is not None:
        findings.error(WRONG_TYPE, path, f"must be a list, but is {_short(value)}")
    return []


def a_map(findings: Findings, value: Any, path: Path) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if value is not None:
        findings.error(WRONG_TYPE, path, f"must be a map, but is {_short(value)}")
    return {}


def texts(findings: Findings, value: Any, path: Path) -> tuple[str, ...]:
    found = (text(findings, item, (*path, index)) for index, item in enumerate(a_list(findings, value, path)))
    return tuple(item for item in found if item is not None)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    written = scalar_text(value) if value is not None else "null"
    return repr(written if len(written) <= 60 else written[:60] + "…")
