"""Plain values as YAML text in the manner of the files they go into; pieces of the old text are kept as written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from namespaces.flows.migration.nodes import Node, value_of
from namespaces.flows.reader import plain_scalar

_SAFE = re.compile(r"[A-Za-z0-9_./$*+-](?:[\w./ :;()*+$=-]*[\w./()*+$=-])?", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9_][\w./-]*", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A piece of the old text that goes elsewhere unchanged. ``lead`` are comments above it, ``tail`` one behind it.

    ``start`` and ``end`` are the offsets of all that, so that nobody else keeps those comments too.
    """

    node: Node
    lead: tuple[str, ...] = ()
    tail: str = ""
    start: int = 0
    end: int = 0


def plain(value: Any) -> Any:
    """The value without ``Kept``: what the text must mean when it is read again."""
    if isinstance(value, Kept):
        return value_of(value.node)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def scalar(value: Any) -> str:
    """A scalar on one line, unquoted where that is safe."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value)
    if _SAFE.fullmatch(value) and ": " not in value and not value.startswith(("- ", "* ")):
        seen = plain_scalar(value)
        if isinstance(seen, str) and not re.fullmatch(r"[*+-]+.*|(?i:yes|no|on|off|y|n)|[\d:.+-]+", value):
            return value
    if '"' not in value and "\\" not in value and value.isprintable():
        return f'"{value}"'
    if value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return json.dumps(value, ensure_ascii=False)


def flow(value: Any, text: str) -> str:
    """A value on one line, in brackets when it has parts. JSON, which YAML reads too."""
    if isinstance(value, Kept):
        node = value.node
        if node.kind == "scalar" and node.style not in ("|", ">", "") and "\n" not in text[node.start : node.end]:
            return text[node.start : node.end]
        return flow(value_of(node), text)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {flow(v, text)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item, text) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def block(value: Any, column: int, text: str) -> str:
    """A value whose first line begins at ``column``; the lines after it are indented to fit."""
    if isinstance(value, Kept):
        return kept(value.node, column, text) + value.tail
    if isinstance(value, dict) and value:
        return f"\n{' ' * column}".join(entry(key, item, column, text) for key, item in value.items())
    if isinstance(value, list) and value:
        return f"\n{' ' * column}".join(item_(item, column, text) for item in value)
    if isinstance(value, dict | list):
        return "{}" if isinstance(value, dict) else "[]"
    return scalar(value)


def item_(value: Any, column: int, text: str) -> str:
    """``- value`` at a column, its comments above it."""
    lead = value.lead if isinstance(value, Kept) else ()
    return f"\n{' ' * column}".join([*lead, "- " + block(value, column + 2, text)])


def entry(key: str, value: Any, column: int, text: str) -> str:
    """``key: value`` at a column."""
    name = key if _KEY.fullmatch(key) and isinstance(plain_scalar(key), str) else json.dumps(key, ensure_ascii=False)
    node = value.node.resolved if isinstance(value, Kept) else None
    nested = isinstance(value, dict | list) and bool(value)
    if node is not None and node.kind in ("mapping", "sequence") and not node.flow and value.node.kind != "alias":
        nested = True
    if isinstance(value, str) and "\n" in value.rstrip("\n") and not value.startswith((" ", "\n", "\t")):
        return f"{name}: {_literal(value, column + 2)}"
    if not nested:
        if node is not None:
            return f"{name}: {kept(value.node, column, text)}{value.tail}"
        return f"{name}: {block(value, column, text)}"
    lead = value.lead if isinstance(value, Kept) else ()
    inner = f"\n{' ' * (column + 2)}".join([*lead, block(value, column + 2, text)])
    return f"{name}:\n{' ' * (column + 2)}{inner}"


def _literal(value: str, column: int) -> str:
    ends = len(value) - len(value.rstrip("\n"))
    sign = "-" if ends == 0 else "" if ends == 1 else "+"
    lines = [(" " * column + line) if line else "" for line in value.rstrip("\n").split("\n")]
    return f"|{sign}\n" + "\n".join(lines) + "\n" * max(ends - 1, 0)


def kept(node: Node, column: int, text: str) -> str:
    """The old text of a node for another column, its further lines moved with it."""
    if node.kind == "alias":
        return text[node.start : node.end]
    old = node.column
    if node.kind in ("mapping", "sequence") and not node.flow:
        old = node.start - (text.rfind("\n", 0, node.start) + 1)
    first, *others = text[node.start : node.end].split("\n")
    shift = column - old
    moved = []
    for line in others:
        blank = len(line) - len(line.lstrip(" "))
        if not line.strip() or shift == 0:
            moved.append(line)
        else:
            moved.append(" " * max(blank + shift, 0) + line[blank:])
    return "\n".join([first, *moved])
