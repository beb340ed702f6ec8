"""From YAML text to plain values with positions: the only place that reads YAML.

One pass over libyaml's events, bounded in size, depth and expansion; what the values mean is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import yaml
from yaml._yaml import CParser

from namespaces.errors import Problem, Severity
from namespaces.flows.limits import DEFAULTS, FlowLimits, size_text

Path = tuple[str | int, ...]

MAX_MERGE_LEVELS = 20
MAX_KEYS = 20_000

_CORE = "tag:yaml.org,2002:"
_CORE_SCALARS = {_CORE + name for name in ("str", "int", "float", "bool", "null")}
_NO_VALUE = object()


def _any_case(word: str) -> list[str]:
    return ["".join(letters) for letters in product(*((c, c.upper()) for c in word))]


_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(_any_case("true"), True),
    **dict.fromkeys(_any_case("false"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_NUMBER_START = frozenset("-0123456789")
# Whole numbers whose text is canonical. `007`, `+5`, `1_000` and 20 digits stay text: a number target reads
# them from it (or refuses), a text target and an untyped place keep them as written.
_INTEGER = re.compile(r"-?[1-9][0-9]{0,18}|0")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]{1,3})?|[eE][-+]?[0-9]{1,3})")


def plain_scalar(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means (``flows.md`` 0.2): dates, ``yes`` and ``010`` stay text."""
    word = _WORDS.get(text, _NO_VALUE)
    if word is not _NO_VALUE:
        return word  # type: ignore[return-value]
    if text[0] in _NUMBER_START:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _DECIMAL.fullmatch(text):
            number = float(text)
            return text if number in (float("inf"), float("-inf")) else number
    return text


def scalar_text(value: object) -> str:
    """A scalar as text; how it was written is known to ``Document.text_at`` only."""
    if isinstance(value, str):
        return value
    if value is True:
        return "true"
    if value is False:
        return "false"
    return "" if value is None else str(value)


class _Refused(Exception):
    def __init__(self, code: str, message: str, line: int = 0, column: int = 0, limit: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.line, self.column, self.limit = code, message, line, column, limit


@dataclass(frozen=True)
class Document:
    """One YAML document: ``value`` is made of dict, list, str, int, float, bool and None.

    ``value`` is None when nothing could be read (then ``problems`` has an error) or nothing was written
    (then it has the warning ``G102``).
    """

    value: Any
    problems: tuple[Problem, ...] = ()
    text: str = field(default="", repr=False)
    limits: FlowLimits = field(default=DEFAULTS, repr=False)

    @property
    def ok(self) -> bool:
        return not any(p.severity is Severity.ERROR for p in self.problems)

    def position(self, path: Path) -> tuple[int, int]:
        """Line and column (from 1) of the key or item at ``path``, or of the nearest part of it that exists."""
        positions = self._positions
        while path and path not in positions:
            path = path[:-1]
        return positions.get(path, (1, 1))

    def text_at(self, path: Path, value: Any) -> str:
        """The scalar ``value`` at ``path`` as it was written: ``1.10`` and not ``1.1``, where text is wanted."""
        if type(value) is float or type(value) is bool:
            written = self._detailed.texts.get(path)
            if written is not None and plain_scalar(written) == value:
                return written
        return scalar_text(value)

    @property
    def _positions(self) -> dict[Path, tuple[int, int]]:
        return self._detailed.positions or {}

    @cached_property
    def _detailed(self) -> _Builder:
        # A second pass, only paid by files with findings: recording marks would slow down every file.
        builder = _Builder(self.text, self.limits, positions={})
        # A fault is already in `problems`; what was seen before it has a position.
        with contextlib.suppress(_Refused, yaml.YAMLError, ValueError):
            builder.build()
        return builder


def read_yaml(data: bytes | str, limits: FlowLimits = DEFAULTS) -> Document:
    """Read one document. Never raises because of the content: every fault is in ``problems``.

    Codes: G001 syntax, G002 encoding, G003 duplicate key, G005 tag, G006 limit, G014 several documents,
    G102 (warning) nothing in it, G103 (warning) byte order mark.
    """
    problems: list[Problem] = []
    try:
        text = _decode(data, problems, limits.flow_bytes)
    except _Refused as refused:
        return Document(None, (_problem(refused),))
    try:
        builder = _Builder(text, limits)
        value = builder.build()
        if builder.duplicates:
            problems.extend(_duplicate_problems(text, limits))
    except _Refused as refused:
        return Document(None, (*problems, _problem(refused)), text, limits)
    except (yaml.YAMLError, ValueError) as error:
        return Document(None, (*problems, _syntax_problem(error, text, limits.flow_depth)), text, limits)
    if value is _NO_VALUE:
        problems.append(Problem("G102", "the file is empty", severity=Severity.WARNING, line=1, column=1))
        value = None
    return Document(value, tuple(problems), text, limits)


_PAIR = re.compile(r"(?<!\\)\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def _too_large(size: int, most: int) -> _Refused:
    return _Refused("G006", f"the file is larger than {size_text(most)}: {size} bytes", limit="flow_bytes")


def _decode(data: bytes | str, problems: list[Problem], most: int) -> str:
    if isinstance(data, bytes):
        if len(data) > most:
            raise _too_large(len(data), most)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            seen = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else f"byte 0x{data[error.start]:02x}"
            line = data.count(b"\n", 0, error.start) + 1
            raise _Refused("G002", f"not UTF-8: {seen} at position {error.start}", line, 1) from None
    else:
        text = data
        try:
            size = len(text) if text.isascii() else len(text.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise _Refused("G002", f"not UTF-8: lone surrogate at position {error.start}") from None
        if size > most:
            raise _too_large(size, most)
    if "\\u" in text and text.lstrip()[:1] == "{":
        # JSON writes characters beyond U+FFFF as two escapes, which YAML has no words for.
        text = _PAIR.sub(lambda pair: json.loads(f'"{pair[0]}"'), text)
    if text.startswith("\ufeff"):
        text = text[1:]
        message = "the file begins with a byte order mark, which was dropped"
        problems.append(Problem("G103", message, severity=Severity.WARNING, line=1, column=1))
    return text


class _Open:
    """A mapping or sequence whose end has not been seen."""

    __slots__ = ("aliased", "anchor", "count", "height", "items", "key", "level", "merges", "path", "seen")

    def __init__(self, items: Any, anchor: str | None, count: int, path: Path) -> None:
        self.items = items
        self.anchor = anchor
        self.count = count
        self.key: Any = _NO_VALUE
        self.height = 0
        self.level = 0
        self.merges: list[Any] | None = None
        self.seen: dict[str, int] | None = None
        self.path = path


class _Anchored:
    """What an alias stands for, with what it costs: nodes when expanded, nesting, merge levels."""

    __slots__ = ("height", "level", "nodes", "text", "value")

    def __init__(self, value: Any, nodes: int, height: int, level: int, text: str | None) -> None:
        self.value, self.nodes, self.height, self.level, self.text = value, nodes, height, level, text


class _Builder:
    """Builds plain values from events; with ``positions`` it also notes where each key and item stands."""

    def __init__(self, text: str, limits: FlowLimits, positions: dict[Path, tuple[int, int]] | None = None) -> None:
        self._parser = CParser(text)
        self._limits = limits
        self.positions = positions
        self.texts: dict[Path, str] = {}
        self.duplicates: list[tuple[str, Path, int, int, int]] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._aliases = 0

    def build(self) -> Any:
        """The value, or ``_NO_VALUE`` for an empty stream. Raises ``_Refused`` and ``yaml.YAMLError``."""
        get_event = self._parser.get_event
        scalar_event, mapping_start, sequence_start = yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent
        mapping_end, sequence_end, alias_event = yaml.MappingEndEvent, yaml.SequenceEndEvent, yaml.AliasEvent
        stack: list[_Open] = []
        top: _Open | None = None
        nodes = 0
        result = _NO_VALUE
        positions = self.positions
        most_nodes, most_depth = self._limits.flow_nodes, self._limits.flow_depth

        while True:
            event: Any = get_event()
            kind = type(event)
            if kind is scalar_event:
                text = event.value
                if top is not None and top.key is _NO_VALUE and type(top.items) is dict:
                    self._key(top, text, event, nodes)
                    continue
                if event.tag is not None or event.style:
                    value = self._tagged(event) if event.tag is not None else text
                else:
                    value = plain_scalar(text)
                nodes += 1
                if event.anchor is not None:
                    self._anchors[event.anchor] = _Anchored(value, 1, 0, 0, text)
            elif kind is mapping_start or kind is sequence_start:
                value = self._open(event, stack, top, nodes, kind is mapping_start)
                stack.append(value)
                top = value
                nodes += 1
                if nodes > most_nodes:
                    raise self._too_many_nodes(event)
                continue
            elif kind is mapping_end or kind is sequence_end:
                assert top is not None
                stack.pop()
                if top.merges is not None:
                    nodes += self._merge(top)
                if nodes > most_nodes:
                    raise self._too_many_nodes(event)
                if top.anchor is not None:
                    self._anchors[top.anchor] = _Anchored(top.items, nodes - top.count, top.height + 1, top.level, None)
                value, height = top.items, top.height + 1
                top = stack[-1] if stack else None
                if top is not None and height > top.height:
                    top.height = height
            elif kind is alias_event:
                anchored = self._resolve(event)
                if top is not None and top.key is _NO_VALUE and type(top.items) is dict:
                    if anchored.text is None:
                        raise self._refuse("G001", "keys must be text", event)
                    self._key(top, anchored.text, event, nodes)
                    continue
                value = anchored.value
                nodes += anchored.nodes
                if nodes > most_nodes:
                    raise self._too_many_nodes(event)
                if len(stack) + anchored.height > most_depth:
                    raise self._too_deep(event)
                if top is not None:
                    top.height = max(top.height, anchored.height)
                    if top.key is _MERGE:
                        top.level = max(top.level, anchored.level + 1)
                    elif stack[-2:] and len(stack) > 1 and stack[-2].key is _MERGE and type(top.items) is list:
                        stack[-2].level = max(stack[-2].level, anchored.level + 1)
                    if top.level > MAX_MERGE_LEVELS or (len(stack) > 1 and stack[-2].level > MAX_MERGE_LEVELS):
                        raise self._limit(event, f"more than {MAX_MERGE_LEVELS} levels of merge keys")
            elif kind is yaml.DocumentStartEvent:
                if result is not _NO_VALUE:
                    raise self._refuse("G014", "one flow per file: a second document begins here", event)
                continue
            elif kind is yaml.StreamEndEvent:
                return result
            else:
                continue

            # `value` is complete: hand it to what is open.
            if positions is not None and (type(value) is float or type(value) is bool):
                self._note_text(top, event, value)
            if top is None:
                result = value
            elif type(top.items) is list:
                if positions is not None and kind in (scalar_event, alias_event):
                    mark = event.start_mark
                    positions[(*top.path, len(top.items))] = (mark.line + 1, mark.column + 1)
                top.items.append(value)
            elif top.key is _MERGE:
                if not _mergeable(value):
                    raise self._refuse("G001", "a merge key (<<) takes a mapping or a list of mappings", event)
                if top.merges is None:
                    top.merges = []
                top.merges.append(value)
                top.key = _NO_VALUE
            else:
                if top.key is not _SKIP:
                    top.items[top.key] = value
                top.key = _NO_VALUE

    def _note_text(self, top: _Open | None, event: Any, value: float | bool) -> None:
        if event.__class__ is yaml.AliasEvent:
            anchored = self._anchors.get(str(event.anchor))
            text = anchored.text if anchored is not None else None
        else:
            text = event.value
        if top is not None and text is not None and text != scalar_text(value):
            self.texts[(*top.path, len(top.items) if type(top.items) is list else str(top.key))] = text

    def _key(self, top: _Open, text: str, event: Any, nodes: int) -> None:
        if text == "<<" and event.__class__ is yaml.ScalarEvent and not event.style and event.tag is None:
            top.key = _MERGE
            return
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _CORE_SCALARS and tag != "!":
            raise self._refuse("G005", f"tag not allowed: {_short_tag(tag)}", event)
        anchor = getattr(event, "anchor", None)
        if anchor is not None and event.__class__ is yaml.ScalarEvent:
            self._anchors[anchor] = _Anchored(text, 1, 0, 0, text)
        if text in top.items:
            line = event.start_mark.line + 1
            first = top.seen.get(text, 0) if top.seen else 0
            self.duplicates.append((text, (*top.path, text), first, line, event.start_mark.column + 1))
            top.key = _SKIP
            return
        if len(top.items) >= MAX_KEYS:
            raise self._limit(event, f"more than {MAX_KEYS:,} keys in one mapping")
        if nodes > self._limits.flow_nodes:
            raise self._too_many_nodes(event)
        top.items[text] = None  # keeps the order of keys and finds a duplicate before its value is read
        top.key = text
        if self.positions is not None:
            mark = event.start_mark
            if top.seen is None:
                top.seen = {}
            top.seen[text] = mark.line + 1
            self.positions[(*top.path, text)] = (mark.line + 1, mark.column + 1)

    def _open(self, event: Any, stack: list[_Open], top: _Open | None, nodes: int, mapping: bool) -> _Open:
        if event.tag is not None and event.tag != _CORE + ("map" if mapping else "seq") and event.tag != "!":
            raise self._refuse("G005", f"tag not allowed: {_short_tag(event.tag)}", event)
        if len(stack) >= self._limits.flow_depth:
            raise self._too_deep(event)
        if top is not None and top.key is _NO_VALUE and type(top.items) is dict:
            raise self._refuse("G001", "keys must be text", event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # open: an alias to it would be recursive
        path: Path = ()
        if self.positions is not None and top is not None:
            path = (*top.path, len(top.items)) if type(top.items) is list else (*top.path, str(top.key))
            if type(top.items) is list:
                mark = event.start_mark
                self.positions[path] = (mark.line + 1, mark.column + 1)
        return _Open({} if mapping else [], event.anchor, nodes, path)

    def _resolve(self, event: Any) -> _Anchored:
        self._aliases += 1
        if self._aliases > self._limits.flow_aliases:
            raise self._limit(event, f"more than {self._limits.flow_aliases:,} aliases", "flow_aliases")
        if event.anchor not in self._anchors:
            raise self._refuse("G001", f"found undefined alias {event.anchor!r}", event)
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise self._refuse("G006", f"recursive alias {event.anchor!r}", event)
        return anchored

    @staticmethod
    def _merge(top: _Open) -> int:
        """Adds the keys of merged maps after the mapping's own; returns the nodes that came with them."""
        added = 0
        for value in top.merges or ():
            for source in value if isinstance(value, list) else (value,):
                added += len(source)
                for key, item in source.items():
                    top.items.setdefault(key, item)
        return added

    def _tagged(self, event: Any) -> Any:
        tag, text = event.tag, event.value
        if tag in ("!", _CORE + "str"):
            return text
        if tag not in _CORE_SCALARS:
            raise self._refuse("G005", f"tag not allowed: {_short_tag(tag)}", event)
        value = plain_scalar(text)
        wanted: dict[str, tuple[type, ...]] = {
            "int": (int,),
            "float": (int, float),
            "bool": (bool,),
            "null": (type(None),),
        }
        name = tag[len(_CORE) :]
        fits = isinstance(value, wanted[name]) and (name == "bool") == isinstance(value, bool)
        if not fits:
            raise self._refuse("G004", f"{text!r} is not a !!{name}", event)
        return value

    @staticmethod
    def _refuse(code: str, message: str, event: Any) -> _Refused:
        mark = event.start_mark
        return _Refused(code, message, mark.line + 1, mark.column + 1)

    def _limit(self, event: Any, message: str, limit: str = "") -> _Refused:
        refused = self._refuse("G006", message, event)
        refused.message += f" at line {refused.line}"
        refused.limit = limit
        return refused

    def _too_many_nodes(self, event: Any) -> _Refused:
        return self._limit(event, f"expands to more than {self._limits.flow_nodes:,} nodes", "flow_nodes")

    def _too_deep(self, event: Any) -> _Refused:
        return self._limit(event, f"nesting deeper than {self._limits.flow_depth}", "flow_depth")


_MERGE = object()
_SKIP = object()


def _mergeable(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and all(isinstance(item, dict) for item in value))


def _short_tag(tag: str) -> str:
    return "!!" + tag[len(_CORE) :] if tag.startswith(_CORE) else tag


def _problem(refused: _Refused) -> Problem:
    return Problem(refused.code, refused.message, line=refused.line, column=refused.column, limit=refused.limit)


def _duplicate_problems(text: str, limits: FlowLimits) -> list[Problem]:
    builder = _Builder(text, limits, positions={})
    builder.build()
    return [
        Problem("G003", f"duplicate key {key!r} (lines {first}, {line})", path_text(path), line, column)
        for key, path, first, line, column in builder.duplicates
    ]


def _syntax_problem(error: Exception, text: str, most_depth: int) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        character = error.character if isinstance(error.character, int) else ord(error.character[:1] or "\0")
        message = f"character U+{character:04X} is not allowed at position {error.position}: {error.reason}"
        before = text.encode()[: error.position]
        column = len(before.rpartition(b"\n")[2].decode(errors="replace")) + 1
        return Problem("G002", message, line=before.count(b"\n") + 1, column=column)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    parts = [str(part) for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    message = ", ".join(parts) or str(error) or type(error).__name__
    limit = ""
    code = "G002" if "control characters" in message or "Unicode character" in message else "G001"
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    if "maximum nesting depth" in message:  # libyaml's own guard, met while it looks ahead for a simple key
        code, message, limit = "G006", f"nesting deeper than {most_depth}", "flow_depth"
    return Problem(code, f"{message} at line {line}" if line else message, line=line, column=column, limit=limit)


def path_text(path: Path) -> str:
    """``tasks[0].id`` for ``("tasks", 0, "id")``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
