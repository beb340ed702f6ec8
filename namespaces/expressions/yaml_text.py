"""YAML text in and out for templates: an event reader with limits, and block style as Kestra writes it.

Not the reader of flow files (that one keeps lines and types); values here are JSON-like, dates stay text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from namespaces.expressions.failures import LimitReached, RenderError
from namespaces.expressions.values import is_list, to_text

_MAX_NODES = 100_000
_MAX_DEPTH = 64
_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\d[\d_]*)?\.?\d+([eE][-+]?\d+)?|[-+]?\d+\.")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def parsed(document: str) -> object:
    """The value of the first document. Raises for bad YAML, tags, recursion and too many nodes."""
    import yaml

    if len(document) > 1024 * 1024:
        raise LimitReached("YAML too large: more than 1048576 characters")
    if max(map(document.count, "[{")) > _MAX_NODES:
        raise LimitReached(f"YAML expands to more than {_MAX_NODES} nodes")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Reader(_events(yaml.parse(document, Loader=loader))).document()
    except yaml.YAMLError as error:
        if "nesting depth" in str(error):
            raise LimitReached(f"YAML nesting deeper than {_MAX_DEPTH}") from error
        raise RenderError(f"not YAML: {' '.join(str(error).split())}") from error


def _events(source: Iterable[object]) -> list[object]:
    """All events, stopped at once where the nesting gets too deep."""
    found: list[object] = []
    depth = 0
    for event in source:
        name = type(event).__name__
        depth += name in ("SequenceStartEvent", "MappingStartEvent")
        depth -= name in ("SequenceEndEvent", "MappingEndEvent")
        if depth > _MAX_DEPTH:
            raise LimitReached(f"YAML nesting deeper than {_MAX_DEPTH}")
        found.append(event)
        if len(found) > 3 * _MAX_NODES:
            raise LimitReached(f"YAML expands to more than {_MAX_NODES} nodes")
    return found


class _Reader:
    def __init__(self, events: list[object]) -> None:
        self._events = events
        self._at = 0
        self._anchors: dict[str, tuple[object, int]] = {}
        self._nodes = 0

    def document(self) -> object:
        while self._at < len(self._events):
            name = type(self._events[self._at]).__name__
            if name in ("StreamStartEvent", "DocumentStartEvent"):
                self._at += 1
            elif name in ("StreamEndEvent", "DocumentEndEvent"):
                return None
            else:
                return self._node()[0]
        return None

    def _charge(self, count: int) -> int:
        self._nodes += count
        if self._nodes > _MAX_NODES:
            raise LimitReached(f"YAML expands to more than {_MAX_NODES} nodes")
        return count

    def _node(self) -> tuple[object, int]:
        """The next value and the number of nodes it expands to."""
        event = self._events[self._at]
        self._at += 1
        name = type(event).__name__
        anchor = getattr(event, "anchor", None)
        if name == "AliasEvent":
            if anchor not in self._anchors:
                raise RenderError(f"not YAML: unknown or recursive alias {anchor}")
            value, size = self._anchors[anchor]
            return value, self._charge(size)
        tag = getattr(event, "tag", None)
        if (
            tag is not None
            and tag != "!"
            and not re.fullmatch(r"tag:yaml\.org,2002:(str|int|float|bool|null|map|seq)", tag)
        ):
            raise RenderError(f"not YAML: the tag {tag} is not allowed")
        size = self._charge(1)
        made: object
        if name == "ScalarEvent":
            made = self._scalar(event, tag)
        elif name == "SequenceStartEvent":
            items: list[object] = []
            while type(self._events[self._at]).__name__ != "SequenceEndEvent":
                item, count = self._node()
                items.append(item)
                size += count
            self._at += 1
            made = items
        else:
            made, count = self._mapping()
            size += count
        if anchor is not None:
            self._anchors[anchor] = (made, size)
        return made, size

    def _mapping(self) -> tuple[dict[str, object], int]:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        size = 0
        while type(self._events[self._at]).__name__ != "MappingEndEvent":
            key_event = self._events[self._at]
            key, _ = self._node()
            value, count = self._node()
            size += count
            if getattr(key_event, "value", None) == "<<" and getattr(key_event, "style", None) in (None, ""):
                for source in value if isinstance(value, list) else [value]:
                    if not isinstance(source, dict):
                        raise RenderError("not YAML: `<<` needs a map or a list of maps")
                    self._charge(len(source))
                    merged = {**source, **merged}
                continue
            if isinstance(key, list | dict):
                raise RenderError("not YAML: keys must be text")
            name = str(getattr(key_event, "value", "")) if type(key_event).__name__ == "ScalarEvent" else to_text(key)
            if name in own:
                raise RenderError(f"not YAML: duplicate key {name!r}")
            own[name] = value
        self._at += 1
        return {**merged, **own}, size

    @staticmethod
    def _scalar(event: object, tag: str | None) -> object:
        value = str(event.value)  # type: ignore[attr-defined]
        plain = event.implicit[0]  # type: ignore[attr-defined]
        if tag == "tag:yaml.org,2002:str" or (not plain and tag in (None, "!")):
            return value
        if value in _WORDS:
            return _WORDS[value]
        if len(value) <= 300 and _INT.fullmatch(value):
            return int(value.replace("_", ""))
        if len(value) <= 300 and _FLOAT.fullmatch(value):
            return float(value.replace("_", ""))
        return value


# -- writing

_PLAIN = re.compile(r"[A-Za-z0-9_./\\(ÄÖÜäöüß][^\x00-\x1f\x7f]*")
_AMBIGUOUS = re.compile(
    r"(?i:true|false|null|yes|no|on|off|y|n|~)|[-+.]?\d[\d_,.:]*([eE][-+]?\d+)?|0[xo][0-9a-fA-F]+|\d{4}-\d\d?-\d\d?.*"
)


def written(value: object) -> str:
    """Block style with a line break at the end."""
    lines: list[str] = []
    if isinstance(value, Mapping) or is_list(value):
        if not value:
            return "{}\n" if isinstance(value, Mapping) else "[]\n"
        _write(value, 0, lines)
        return "\n".join(lines) + "\n"
    return _scalar_text(value, 0) + "\n"


def _write(value: object, indent: int, lines: list[str]) -> None:
    if indent > 2 * _MAX_DEPTH:
        raise LimitReached(f"the value is too deeply nested for YAML: more than {_MAX_DEPTH} levels")
    blank = " " * indent
    if isinstance(value, Mapping):
        for key, item in value.items():
            _entry(f"{blank}{_scalar_text(to_text(key), 0)}:", item, indent, lines)
        return
    assert isinstance(value, list | tuple)
    for item in value:
        if (isinstance(item, Mapping) or is_list(item)) and item:
            inner: list[str] = []
            _write(item, indent + 3, inner)
            inner[0] = f"{blank} - {inner[0][indent + 3 :]}"
            lines.extend(inner)
        else:
            lines.append(f"{blank} - {_inline(item, indent + 3)}")


def _entry(head: str, item: object, indent: int, lines: list[str]) -> None:
    if (isinstance(item, Mapping) or is_list(item)) and item:
        lines.append(head)
        _write(item, indent + (2 if isinstance(item, Mapping) else 0), lines)
    else:
        lines.append(f"{head} {_inline(item, indent + 2)}")


def _inline(value: object, indent: int) -> str:
    if isinstance(value, Mapping):
        return "{}"
    if is_list(value):
        return "[]"
    return _scalar_text(value, indent)


def _scalar_text(value: object, indent: int) -> str:
    if value is None:
        return "null"
    if not isinstance(value, str):
        return to_text(value)
    if "\n" in value and not re.search(r"[^\n\t\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd]|^[ \n]| \n", value):
        blank = " " * max(indent, 2)
        mark = "|" if value.endswith("\n") and not value.endswith("\n\n") else "|-" if value[-1] != "\n" else "|+"
        body = value[:-1] if value.endswith("\n") else value
        return mark + "\n" + "\n".join(blank + line if line else "" for line in body.split("\n"))
    plain = (
        _PLAIN.fullmatch(value)
        and not _AMBIGUOUS.fullmatch(value)
        and ": " not in value
        and " #" not in value
        and not value.endswith((":", " "))
    )
    if plain:
        return value
    if re.search(r"[\x00-\x1f\x7f-\x9f\ufeff]", value):
        import json

        return json.dumps(value, ensure_ascii=False)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
