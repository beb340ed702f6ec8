"""Sources for reading: highlighted lines, excerpts around a fault, differences of two texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from markupsafe import Markup

CONTEXT = 3
AROUND = 4
LONGEST_LINE = 400


@lru_cache(maxsize=64)
def highlighted(text: str) -> tuple[Markup, ...]:
    """The YAML text as one HTML fragment a line, with class names and no styles."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import YamlLexer

    made = highlight(text, YamlLexer(stripnl=False), HtmlFormatter(nowrap=True))
    lines = made.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    return tuple(Markup(line) for line in lines)  # noqa: S704  - Pygments has escaped the text


def excerpt(text: str, line: int) -> list[dict[str, Any]]:
    """The lines around a fault: ``{number, text, fault}``; empty when the line is not in the text."""
    lines = text.splitlines()
    if not 1 <= line <= len(lines):
        return []
    first = max(1, line - AROUND)
    return [
        {"number": number, "text": lines[number - 1][:LONGEST_LINE], "fault": number == line}
        for number in range(first, min(len(lines), line + AROUND) + 1)
    ]


def difference(old: str, new: str, context: int = CONTEXT) -> list[dict[str, Any]]:
    """Rows of a unified difference: ``{sign, old, new, text}``; a row with sign ``@`` stands for equal lines."""
    import difflib

    a, b = old.splitlines(), new.splitlines()
    rows: list[dict[str, Any]] = []
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    at = 0
    for group in matcher.get_grouped_opcodes(context):
        hidden = group[0][1] - at
        if hidden > 0:
            rows.append({"sign": "@", "old": "", "new": "", "text": f"{hidden:,} equal line{'s' * (hidden != 1)}"})
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                rows += [_row(" ", i1 + n + 1, j1 + n + 1, a[i1 + n]) for n in range(i2 - i1)]
                continue
            rows += [_row("-", n + 1, "", a[n]) for n in range(i1, i2)]
            rows += [_row("+", "", n + 1, b[n]) for n in range(j1, j2)]
        at = group[-1][2]
    hidden = len(a) - at
    if rows and hidden > 0:
        rows.append({"sign": "@", "old": "", "new": "", "text": f"{hidden:,} equal line{'s' * (hidden != 1)}"})
    return rows


def _row(sign: str, old: int | str, new: int | str, text: str) -> dict[str, Any]:
    return {"sign": sign, "old": old, "new": new, "text": text}


def task_line(lines: Sequence[str], task_id: str) -> int | None:
    """The line on which a task is declared: ``id: name`` in any quoting; None when it is written otherwise."""
    wanted = {f"id: {task_id}", f'id: "{task_id}"', f"id: '{task_id}'"}
    for number, line in enumerate(lines, 1):
        if line.strip().removeprefix("- ").partition(" #")[0].strip() in wanted:
            return number
    return None
