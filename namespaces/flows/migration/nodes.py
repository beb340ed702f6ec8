"""YAML text as a tree of nodes with offsets: what an edit needs to know of the text. What it means is not here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml._yaml import CParser

from namespaces.flows.reader import plain_scalar

_CORE = "tag:yaml.org,2002:"


@dataclass(eq=False, slots=True)
class Node:
    """One node of the text. ``start`` and ``end`` are offsets in characters, ``end`` without what trails.

    ``kind`` is scalar, mapping, sequence or alias; ``style`` is the quote or ``|``, ``>`` of a scalar, or ``flow``
    or ``block``. ``column`` is the column of the key or dash that the node belongs to.
    """

    kind: str
    start: int
    end: int
    style: str = ""
    column: int = 0
    value: Any = None
    text: str = ""
    entries: list[tuple[Node, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)
    target: Node | None = None
    anchored: bool = False

    @property
    def resolved(self) -> Node:
        """The node itself, or what an alias stands for."""
        return self if self.target is None else self.target.resolved

    @property
    def flow(self) -> bool:
        """Whether it is a collection in brackets."""
        return self.style == "flow"


def read_nodes(text: str) -> Node | None:
    """The root node of a text that ``read_yaml`` accepts; None for an empty one."""
    return _Reading(text).root()


class _Reading:
    def __init__(self, text: str) -> None:
        self._text = text
        self._parser = CParser(text)
        self._anchors: dict[str, Node] = {}

    def root(self) -> Node | None:
        event = self._next()
        while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            event = self._next()
        return None if isinstance(event, yaml.StreamEndEvent) else self._node(event, 0)

    def _next(self) -> Any:
        return self._parser.get_event()

    def _node(self, event: Any, column: int) -> Node:
        start, end = event.start_mark.index, event.end_mark.index
        if isinstance(event, yaml.AliasEvent):
            return Node("alias", start, end, column=column, target=self._anchors[str(event.anchor)])
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, start, end, column)
            self._anchor(event, node)
            return node
        mapping = isinstance(event, yaml.MappingStartEvent)
        node = Node("mapping" if mapping else "sequence", start, end, column=column)
        node.style = "flow" if event.flow_style else "block"
        self._anchor(event, node)
        if event.anchor is not None or event.tag is not None:
            # The marks begin with the anchor; what is edited begins behind it.
            node.start = self._behind_properties(start)
        closing: Any = yaml.MappingEndEvent if mapping else yaml.SequenceEndEvent
        event = self._next()
        while not isinstance(event, closing):
            here = event.start_mark.column
            if mapping:
                key = self._node(event, here)
                value = self._node(self._next(), here)
                node.entries.append((key, value))
            else:
                dash = max(self._text.rfind("-", 0, event.start_mark.index), 0)
                line = self._text.rfind("\n", 0, dash) + 1
                node.items.append(self._node(event, here if node.flow else dash - line))
            event = self._next()
        if node.flow:
            node.end = event.end_mark.index
        elif node.entries:
            node.end = max(node.entries[-1][1].end, node.entries[-1][0].end + 1)
            node.start = node.entries[0][0].start
        elif node.items:
            node.end = node.items[-1].end
        return node

    def _anchor(self, event: Any, node: Node) -> None:
        if event.anchor is not None:
            self._anchors[event.anchor] = node
            node.anchored = True

    def _behind_properties(self, at: int) -> int:
        while True:
            found = _PROPERTY.match(self._text, at)
            if found is None:
                return at
            at = found.end()

    def _scalar(self, event: Any, start: int, end: int, column: int) -> Node:
        style = event.style or ""
        if event.anchor is not None or event.tag is not None:
            start = min(self._behind_properties(start), end)
        if style in ("|", ">"):
            end = start + len(self._text[start:end].rstrip())
        plain = style == "" and event.tag is None
        value = plain_scalar(event.value) if plain or (event.tag or "").startswith(_CORE) else event.value
        if event.tag in ("!", _CORE + "str"):
            value = event.value
        return Node("scalar", start, end, style, column, value, event.value)


_PROPERTY = re.compile(r"[&!][^\s,\[\]{}]*[ \t]*")


def value_of(node: Node) -> Any:
    """The plain value, aliases and merge keys resolved, as ``read_yaml`` gives it."""
    node = node.resolved
    if node.kind == "scalar":
        return node.value
    if node.kind == "sequence":
        return [value_of(item) for item in node.items]
    return {key.text: value_of(value) for key, value in visible(node)}


def visible(mapping: Node) -> list[tuple[Node, Node]]:
    """The entries of a mapping, those that come with merge keys after its own."""
    own = [(key, value) for key, value in mapping.entries if not _is_merge(key)]
    if len(own) == len(mapping.entries):
        return own
    seen = {key.resolved.text for key, _ in own}
    for key, value in mapping.entries:
        if _is_merge(key):
            source = value.resolved
            for one in source.items if source.kind == "sequence" else (source,):
                for inner, below in visible(one.resolved):
                    if inner.resolved.text not in seen:
                        seen.add(inner.resolved.text)
                        own.append((inner, below))
    return own


def _is_merge(key: Node) -> bool:
    return key.kind == "scalar" and key.text == "<<" and not key.style


def scalars(node: Node) -> Iterator[Node]:
    """Every scalar of the text, keys too, once."""
    stack = [node]
    while stack:
        one = stack.pop()
        if one.kind == "scalar":
            yield one
        for key, value in one.entries:
            stack += (key, value)
        stack += one.items
