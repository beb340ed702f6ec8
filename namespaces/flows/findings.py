"""Collecting validation findings: where, what, and in Kestra's words first. No rule of the language is here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any, Protocol

from namespaces.errors import Problem, Severity, did_you_mean
from namespaces.flows.reader import Document, Path, path_text, scalar_text

WRONG_TYPE = "F028"
UNREADABLE = "G004"


class Findings:
    """Gathers findings while a document is read; positions are only looked up when there are any."""

    def __init__(self, document: Document | None = None) -> None:
        self._document = document
        self._found: list[tuple[Severity, str, Path, str, str, str]] = []
        self.failed = False

    def error(self, code: str, path: Path, message: str, hint: str = "", *, limit: str = "") -> None:
        self.failed = True
        self._found.append((Severity.ERROR, code, path, message, hint, limit))

    def warning(self, code: str, path: Path, message: str, hint: str = "") -> None:
        self._found.append((Severity.WARNING, code, path, message, hint, ""))

    def info(self, code: str, path: Path, message: str, hint: str = "") -> None:
        self._found.append((Severity.INFO, code, path, message, hint, ""))

    def text_at(self, path: Path, value: Any) -> str:
        """A scalar as it was written."""
        return scalar_text(value) if self._document is None else self._document.text_at(path, value)

    def required(self, path: Path, words: str = "must not be null") -> None:
        self.error("F004", path, words)

    def unknown_property(self, path: Path, known: Collection[str], owner: str) -> None:
        seen = scalar_text(path[-1])
        nearest = did_you_mean(seen, known)
        self.error(
            "F003",
            path,
            f'Unrecognized field "{seen}" ({owner}): unknown property {seen!r}{nearest}',
            hint="known properties: " + ", ".join(sorted(known)) if known else "",
        )

    def problems(self, document: Document) -> tuple[Problem, ...]:
        """All findings with line and column, in the order of the text; the document's own problems first."""
        if not self._found:
            return document.problems
        located = []
        for severity, code, path, message, hint, limit in self._found:
            line, column = document.position(path)
            located.append(
                Problem(code, message, path_text(path), line, column, severity=severity, hint=hint, limit=limit)
            )
        located.sort(key=lambda p: (p.line == 0, p.line, p.column))
        return (*document.problems, *located)


_WORDS: dict[str, str] = {
    "string_type": "must be text",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "int_parsing_size": "number too long",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a map",
    "model_type": "must be a map",
    "model_attributes_type": "must be a map",
}


class _Type(Protocol):
    """As much of a catalog entry as a message needs."""

    @property
    def short(self) -> str: ...

    def known_at(self, path: Iterable[Any]) -> frozenset[str]: ...


def report(findings: Findings, errors: Iterable[Any], path: Path, entry: _Type, shared: Collection[str]) -> None:
    """Put pydantic's errors about the properties of one type into our words. ``shared``: names every type has.

    Of a union's errors (text, or list of text) only one finding is left, naming every accepted form.
    """
    unions: dict[Path, list[str]] = {}
    for item in errors:
        kind, loc = item["type"], item["loc"]
        place = tuple(part for part in loc if not (isinstance(part, str) and _is_union_member(part)))
        where: Path = (*path, *place)
        if kind == "missing":
            findings.required(where)
        elif kind == "extra_forbidden":
            known = entry.known_at(place[:-1])
            findings.unknown_property(where, known | set(shared) if len(place) == 1 else known, entry.short)
        elif len(place) < len(loc):
            unions.setdefault(where, []).append(_words(item))
        else:
            code = UNREADABLE if kind == "int_parsing_size" else _code(kind)
            findings.error(code, where, _words(item) + _seen(item))
    for where, words in unions.items():
        findings.error(WRONG_TYPE, where, " or ".join(dict.fromkeys(words)))


def _code(kind: str) -> str:
    if kind in ("too_short", "string_too_short"):
        return "F004"
    if kind.startswith("string_") or kind in ("too_long", "greater_than_equal", "less_than_equal", "greater_than"):
        return "F005" if kind not in ("string_type",) else WRONG_TYPE
    return WRONG_TYPE


def _words(item: Any) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind in _WORDS:
        return _WORDS[kind]
    if kind == "literal_error":
        return "must be one of " + re.sub(r" or (?='[^']*'$)", ", ", str(context["expected"]))
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        return f'must match "{context["pattern"]}"'
    if kind == "string_too_long":
        return f"size must be between 0 and {context['max_length']}"
    if kind == "too_long":
        return f"size must be between 0 and {context['max_length']}"
    if kind == "greater_than_equal":
        return f"must be greater than or equal to {context['ge']:g}"
    if kind == "greater_than":
        return f"must be greater than {context['gt']:g}"
    if kind == "less_than_equal":
        return f"must be less than or equal to {context['le']:g}"
    if kind == "value_error":
        return str(context["error"])
    return str(item["msg"])


def _seen(item: Any) -> str:
    value = item["input"]
    if isinstance(value, dict | list) or value is None or item["type"] in ("too_short", "string_too_short"):
        return ""
    if item["type"] == "value_error":
        return ""
    text = scalar_text(value) if isinstance(value, str | int | float) else str(value)
    return f", but is {(text if len(text) <= 60 else text[:60] + '…')!r}"


_MEMBER = re.compile(r"(?:list|dict|str|int|float|bool|function-[a-z]+|literal|nullable|model|constrained-str)\b.*")


def _is_union_member(part: str) -> bool:
    """Whether a part of pydantic's location is the name of a union's member and not a property."""
    return bool(_MEMBER.fullmatch(part)) and (
        "[" in part or part in ("str", "int", "float", "bool", "timedelta", "constrained-str")
    )
