"""Labels: their written forms and the rules about ``system.*`` (``flows.md`` 1.3). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from namespaces.flows.reader import scalar_text

Pairs = tuple[tuple[str, str], ...]

SYSTEM = "system."
CORRELATION_ID = "system.correlationId"
READ_ONLY = "system.readOnly"
RESTARTED = "system.restarted"
REPLAY = "system.replay"
FROM = "system.from"
USERNAME = "system.username"

_NEWER_KEY = re.compile(r"[^\W\d_][\w.-]*")


@dataclass(frozen=True, slots=True)
class LabelFault:
    """What is wrong with one entry: its place in the written form (index or key; None: the whole) and a message."""

    place: str | int | None
    message: str
    system: bool = False
    warning: bool = False


def read_labels(
    value: Any, text_at: Callable[[tuple[Any, ...], Any], str] | None = None
) -> tuple[Pairs, list[LabelFault]]:
    """Labels in any accepted form (map, or list of ``{key, value}``) as ordered pairs of text, with the faults.

    None gives no labels. Values may be text, numbers or booleans; they become text. Keys that newer Kestra
    refuses (first letter not lower case) are faults with ``warning``. ``text_at`` knows how the scalar at a place
    below the labels was written.
    """
    faults: list[LabelFault] = []
    pairs: list[tuple[str, str]] = []
    if value is None:
        return (), faults
    if isinstance(value, Mapping):
        entries: Iterable[tuple[str | int, Any, Any]] = ((key, key, item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        entries = _listed(value, faults)
    else:
        return (), [LabelFault(None, "labels must be a map, or a list of {key, value}")]
    for place, key, item in entries:
        if isinstance(item, Mapping | list | tuple):
            faults.append(LabelFault(place, f"value of label '{key}' must be text, a number or a boolean"))
            continue
        where = (place,) if isinstance(value, Mapping) else (place, "value")
        text = scalar_text(item) if text_at is None else text_at(where, item)
        name = scalar_text(key)
        if not name:
            faults.append(LabelFault(place, "label key must not be empty"))
        elif not text:
            faults.append(LabelFault(place, f"value of label '{name}' must not be empty"))
        else:
            pairs.append((name, text))
            if not (_NEWER_KEY.fullmatch(name) and name[0].islower()):
                message = f"label key '{name}' is refused by Kestra 2: it must begin with a lower-case letter"
                faults.append(LabelFault(place, message, warning=True))
    return tuple(pairs), faults


def _listed(value: Iterable[Any], faults: list[LabelFault]) -> Iterable[tuple[int, Any, Any]]:
    for index, entry in enumerate(value):
        if not isinstance(entry, Mapping) or not set(entry) <= {"key", "value"}:
            faults.append(LabelFault(index, "a label must be a map with 'key' and 'value'"))
        else:
            yield index, entry.get("key"), entry.get("value")


def system_faults(pairs: Iterable[tuple[str, str]], *, of_flow: bool = False) -> list[LabelFault]:
    """One fault per label that only the server may set; a flow may carry ``system.readOnly``."""
    return [
        LabelFault(key, f"System labels can only be set by Kestra itself, offending label: {key}={value}", system=True)
        for key, value in pairs
        if key.startswith(SYSTEM) and not (of_flow and key == READ_ONLY)
    ]


def without_system(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """The labels that an execution takes over from its flow."""
    return tuple((key, value) for key, value in pairs if not key.startswith(SYSTEM))


def as_map(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What expressions see: the first of several values for one key wins; dotted keys stay flat."""
    found: dict[str, str] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def upsert(pairs: Iterable[tuple[str, str]], changes: Iterable[tuple[str, str]]) -> Pairs:
    """The Labels task: existing keys take the new value, in their place; the last change of a key wins."""
    found: dict[str, str] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    found.update(changes)
    return tuple(found.items())
