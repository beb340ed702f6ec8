"""Log lines as HTML: numbers, levels, ANSI colours as classes. Pure and quick: it writes 100,000 lines a page."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

from markupsafe import Markup

BLOCK = 500
"""Lines the browser draws or skips together."""
LONGEST = 4_000
_LEVELS = {10: ("TRACE", "d"), 20: ("DEBUG", "d"), 30: ("INFO", ""), 40: ("WARN", "w"), 50: ("ERROR", "e")}
_ESCAPE = re.compile(
    r"\x1b(?:\[([0-9;]{0,64})m|\[[0-?]{0,32}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|.)?", re.S
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def in_time(lines: Iterable[Any]) -> list[Any]:
    """The lines of one window by time: what scripts write arrives a moment after what the worker says about them."""
    return sorted(lines, key=lambda row: (row.at, row.id))


def block(lines: Iterable[Any], number: int, line_url: Callable[[int], str], longest: int = LONGEST) -> Markup:
    """Rows ``(id, at, level, task_id, message)`` as list items; the first has the given number."""
    made = []
    for row in lines:
        made.append(_line(row, number, line_url, longest))
        number += 1
    return Markup("".join(made))  # noqa: S704  - every part is escaped below


def blocks(lines: list[Any], number: int, line_url: Callable[[int], str], longest: int = LONGEST) -> Markup:
    """The lines in lists of ``BLOCK``."""
    made = []
    for start in range(0, len(lines), BLOCK):
        part = block(lines[start : start + BLOCK], number + start, line_url, longest)
        made.append(f'<ol class="block" start="{number + start}">{part}</ol>')
    return Markup("".join(made))  # noqa: S704  - made of escaped parts


def _line(row: Any, number: int, line_url: Callable[[int], str], longest: int) -> str:
    word, look = _LEVELS.get(row.level, ("INFO", ""))
    seconds, rest = divmod(row.at, 1_000_000)
    clock = time.strftime("%H:%M:%S", time.gmtime(seconds))
    full = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:03d}Z"
    message = row.message
    cut = ""
    if len(message) > longest:
        cut = f' <a href="{escape(line_url(row.id))}">show all {len(message):,} characters</a>'
        message = message[:longest] + "…"
    task = escape(row.task_id or "")
    hover = f' title="{task}"' if len(task) > 18 else ""
    return (
        f'<li class="r {look}" id="L{number}"><a href="#L{number}">{number}</a>'
        f'<time datetime="{full}">{clock}.{rest // 1000:03d}</time><b>{word}</b>'
        f"<i{hover}>{task}</i><span>{coloured(message)}{cut}</span></li>\n"
    )


def coloured(text: str) -> str:
    """Escaped HTML; SGR colours, bold and underline become classes, every other escape sequence is dropped."""
    if "\x1b" not in text:
        return escape(_CONTROL.sub("\ufffd", text), quote=False)
    made: list[str] = []
    open_classes: tuple[str, ...] = ()
    at = 0
    for found in _ESCAPE.finditer(text):
        if found.start() > at:
            made.append(_span(text[at : found.start()], open_classes))
        at = found.end()
        if found.group(1) is not None:
            open_classes = _changed(open_classes, found.group(1))
    if at < len(text):
        made.append(_span(text[at:], open_classes))
    return "".join(made)


def _span(text: str, classes: tuple[str, ...]) -> str:
    safe = escape(_CONTROL.sub("\ufffd", text), quote=False)
    return f'<span class="{" ".join(classes)}">{safe}</span>' if classes else safe


def _changed(classes: tuple[str, ...], codes: str) -> tuple[str, ...]:
    found = set(classes)
    numbers = [int(code or 0) for code in codes.split(";")] if codes else [0]
    position = 0
    while position < len(numbers):
        code = numbers[position]
        position += 1
        if code == 0:
            found.clear()
        elif code == 1:
            found.add("ab")
        elif code == 4:
            found.add("au")
        elif code == 22:
            found.discard("ab")
        elif code == 24:
            found.discard("au")
        elif 30 <= code <= 37 or 90 <= code <= 97 or code in (38, 39):
            found = {one for one in found if not one[1:].isdigit()}
            if code == 38 and numbers[position : position + 1] == [5]:
                found.add(f"a{_of_256(numbers[position + 1] if position + 1 < len(numbers) else 7)}")
                position += 2
            elif code == 38 and numbers[position : position + 1] == [2]:
                position += 4
            elif code not in (38, 39):
                found.add(f"a{code - 30 if code < 40 else code - 82}")
        elif code == 48:
            position += 2 if numbers[position : position + 1] == [5] else 4
    return tuple(sorted(found))


def _of_256(colour: int) -> int:
    """The nearest of the 16 colours, which both themes draw legibly."""
    if colour < 16:
        return colour
    if colour >= 232:
        return 8 if colour < 244 else 7
    red, green, blue = (colour - 16) // 36, (colour - 16) // 6 % 6, (colour - 16) % 6
    most = max(red, green, blue)
    if most == 0:
        return 8
    return (1 if red * 2 > most else 0) | (2 if green * 2 > most else 0) | (4 if blue * 2 > most else 0) or 7
