"""What reaches the terminal: tables, JSON, one-line errors. Text from elsewhere never carries control characters."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# C0, DEL and C1 but tab and newline; then the bidirectional controls, which can make a name read as another.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]")
STATE_STYLES = {
    "SUCCESS": "green",
    "WARNING": "yellow",
    "FAILED": "red",
    "KILLED": "red",
    "KILLING": "red",
    "CANCELLED": "yellow",
    "RUNNING": "cyan",
    "PAUSED": "magenta",
    "QUEUED": "blue",
    "Synced": "green",
    "OutOfSync": "yellow",
    "Degraded": "yellow",
    "Error": "red",
}


def clean(text: object) -> str:
    """The text with control characters made visible (``\\x1b``), so that it cannot steer a terminal."""
    return _CONTROL.sub(
        lambda match: f"\\x{ord(match[0]):02x}" if ord(match[0]) < 256 else f"\\u{ord(match[0]):04x}", str(text)
    )


def fail(message: str, hint: str = "") -> None:
    """An error for a person on stderr: what is wrong, then what to do."""
    lines = [
        f"error: {clean(line)}" if i == 0 else f"       {clean(line)}" for i, line in enumerate(message.split("\n"))
    ]
    if hint:
        lines.append(f"hint:  {clean(hint)}")
    print("\n".join(lines), file=sys.stderr)


def note(message: str) -> None:
    """A line about what happened, on stderr, so that stdout stays data."""
    print(clean(message), file=sys.stderr)


def console(file: IO[str] | None = None) -> Console:
    from rich.console import Console

    return Console(file=file, highlight=False, markup=False, emoji=False)


def told(message: str, value: Any, as_json: bool) -> None:
    """What an action did: a line for a person, or what the server answered for a program."""
    if as_json:
        print_json(value)
    else:
        note(message)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[tuple[str, str]], empty: str) -> None:
    """Rows as a table of (key, heading) columns; dotted keys reach into maps. ``empty`` is said when there are none."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    listed = list(rows)
    if not listed:
        note(empty)
        return
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for _, heading in columns:
        shown.add_column(heading, overflow="fold")
    for row in listed:
        cells = []
        for key, _ in columns:
            text = cell(pick(row, key))
            cells.append(Text(text, style=STATE_STYLES.get(text, "")))
        shown.add_row(*cells)
    out = console()
    if not out.is_terminal:
        # A pipe has no width: never fold what another program reads.
        out.width = max(out.width, 4000)
        shown.box = None
    out.print(shown)


def listing(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str]], as_json: bool, empty: str = "nothing found"
) -> None:
    """Every listing of the command line: JSON as the server sent it, or a table."""
    if as_json:
        print_json(list(rows))
    else:
        table(rows, columns, empty)


def pick(row: Mapping[str, Any], dotted: str) -> Any:
    value: Any = row
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list)):
        return clean(json.dumps(value, ensure_ascii=False))
    text = clean(value)
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text):
        return text[:10]
    # Instants: whole seconds are what a person compares.
    return re.sub(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z$", r"\1Z", text).replace("\n", " ")
