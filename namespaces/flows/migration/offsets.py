"""Where the characters of a scalar's value stand in the text: folding, escapes and indentation undone."""

from __future__ import annotations

import re

from namespaces.flows.migration.nodes import Node

Spans = list[tuple[int, int]]

_FOLD = re.compile(r"[ \t]*\n[ \t\n]*")
_JOINED = re.compile(r"\\\r?\n[ \t]*")
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)


def spans(text: str, node: Node) -> Spans | None:
    """Start and end offset of each character of the value; None where that cannot be told.

    An alignment, not a second reader of YAML: whoever edits by it reads the result and compares.
    """
    if node.style in ("|", ">"):
        return _block(text, node)
    return _line(text, node)


def _line(text: str, node: Node) -> Spans | None:
    found: Spans = []
    quoted = node.style in ("'", '"')
    at, end, value = node.start + quoted, node.end - quoted, node.text
    here = 0
    while here < len(value):
        if at >= end:
            return None
        fold = _FOLD.match(text, at, end)
        if fold is not None:
            breaks = fold[0].count("\n")
            made = " " if breaks == 1 else "\n" * (breaks - 1)
            if not value.startswith(made, here):
                return None
            found += [(at, fold.end())] * len(made)
            here, at = here + len(made), fold.end()
            continue
        if node.style == '"' and (joined := _JOINED.match(text, at, end)) is not None:
            at = joined.end()  # a line that goes on: no character of the value
            continue
        step = 1
        if node.style == "'" and text[at] == "'":
            step = 2
        elif node.style == '"' and text[at] == "\\":
            escape = _ESCAPE.match(text, at, end)
            if escape is None:
                return None
            step = len(escape[0])
        elif text[at] != value[here]:
            return None
        found.append((at, at + step))
        at, here = at + step, here + 1
    return found


def _block(text: str, node: Node) -> Spans | None:
    found: Spans = []
    at = text.find("\n", node.start) + 1
    if not at:
        return found if not node.text else None
    header = text[node.start : at]
    given = re.search(r"[1-9]", header.split("#")[0])
    indent = _indent(text, at) if given is None else max(node.column, 0) + int(given[0])
    value, here = node.text, 0
    stop = len(text)
    at = _skip(text, at, indent)
    while here < len(value):
        if at >= stop:
            # A last line without a line break, or breaks that the chomping made.
            return found + [(stop, stop)] * (len(value) - here)
        if text[at] == value[here] and text[at] != "\n":
            found.append((at, at + 1))
            at, here = at + 1, here + 1
        elif text[at] == "\n":
            beyond = at
            breaks = 0
            while beyond < stop and text[beyond] == "\n":
                beyond, breaks = _skip(text, beyond + 1, indent), breaks + 1
                if node.style == "|":
                    break
            made = 1 if value[here] == " " else len(value[here : here + breaks]) - len(
                value[here : here + breaks].lstrip("\n")
            )  # fmt: skip
            if not made:
                return None
            found += [(at, beyond)] * made
            at, here = beyond, here + made
        else:
            return None
    return found


def _indent(text: str, at: int) -> int:
    for line in text[at:].split("\n"):
        if line.strip():
            return len(line) - len(line.lstrip(" "))
    return 0


def _skip(text: str, at: int, indent: int) -> int:
    """Behind the indentation of the line that begins at ``at``."""
    beyond = at
    while beyond < len(text) and beyond - at < indent and text[beyond] == " ":
        beyond += 1
    return beyond
