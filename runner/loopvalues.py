"""What a Loop goes through: its ``values`` as keys and texts, one for each iteration (``flows.md`` 4.16)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from namespaces.blobs import SCHEME
from namespaces.errors import LannerError
from namespaces.expressions.values import to_text
from runner.asking import CannotAnswer, Renderer

Value = tuple[str | None, str]
"""Key (of a map) and text; maps and lists are JSON text."""


def loop_values(written: Any, renderer: Renderer) -> list[Value] | str:
    """The values of a list or map, distinct, or the URI of the file whose lines they are.

    Raises ``CannotAnswer`` for anything else and for null values.
    """
    if isinstance(written, str):
        text = renderer.text(written).strip()
        if text.startswith(SCHEME):
            return text
        try:
            found = json.loads(text)
        except ValueError:
            found = text
    elif isinstance(written, list | Mapping):
        found = renderer.value(written)
    else:
        found = written
    match found:
        case Mapping():
            return [(str(key), _text(value, found)) for key, value in found.items()]
        case list():
            return [(None, text) for text in dict.fromkeys(_text(value, found) for value in found)]
        case _:
            raise CannotAnswer(
                f"Unknown value type: {found!r:.200}",
                hint="`values` is a list, a map, text that renders to a JSON array or object, or a file's URI",
            )


def lines_of(file: BinaryIO) -> Iterator[Value]:
    """One value per line that is not blank; rows of Ion or JSON become JSON text. Raises ``CannotAnswer`` for nulls."""
    for line in file:
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise CannotAnswer("the file of `values` is not UTF-8 text") from error
        if text == "null":
            raise CannotAnswer("Found a null value inside the iteration values=<a line of the file>")
        if text:
            yield None, _line(text)


def _line(text: str) -> str:
    """Scalars stay as they are written, but for the quotes of a text."""
    if text[0] not in '{["':
        return text
    try:
        return to_text(json.loads(text))
    except ValueError:
        from namespaces.expressions.ion_text import parsed

        try:
            values = parsed(text, everything=True)
        except (ValueError, LannerError):
            return text
        return to_text(values[0]) if len(values) == 1 else text


def _text(value: Any, values: Iterable[Any]) -> str:
    if value is None:
        shown = json.dumps(values, ensure_ascii=False, default=str)
        raise CannotAnswer(f"Found a null value inside the iteration values={shown[:500]}")
    return to_text(value)
