"""Typed inputs as form fields: which widget, its choices, bounds in words, value and faults. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from namespaces.flows.model import Input
from namespaces.inputs import InputState, expand

PREFIX = "input:"
"""Form names of inputs carry it, so that no input meets one of the page's own fields."""
RADIO_UP_TO = 4

_MULTILINE = frozenset({"JSON", "YAML", "ION", "ARRAY", "OBJECT", "TABLE"})
_HINTS = {
    "DATETIME": "ISO 8601 with a zone, such as 2026-01-31T06:00:00Z",
    "DURATION": "ISO 8601, such as PT5M or P1D",
    "URI": "such as https://example.com/data.csv",
    "JSON": "JSON",
    "YAML": "YAML",
    "ION": "Ion text",
    "ARRAY": 'JSON list, such as ["a", "b"]',
    "OBJECT": 'JSON object, such as {"key": "value"}',
    "TABLE": "JSON list of rows",
}
_BOUNDS = (("min", "at least"), ("max", "at most"), ("after", "after"), ("before", "before"), ("validator", "matching"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One row of the form. ``widget``: text, area, radio, select, checks, file, secret, or ``datalist`` text."""

    name: str
    input_id: str
    label: str
    type: str
    widget: str
    kind: str = "text"
    mode: str = ""
    description: str = ""
    required: bool = True
    value: str = ""
    values: tuple[str, ...] = ()
    default: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    hint: str = ""
    faults: tuple[str, ...] = ()
    depended_on: bool = False

    @property
    def dom_id(self) -> str:
        return "f-" + self.input_id.replace(".", "-")


def fields(
    declared: Iterable[Input],
    states: Sequence[InputState] | None = None,
    submitted: Mapping[str, Any] | None = None,
    faults: Mapping[str, Sequence[str]] | None = None,
) -> list[Field]:
    """The form of these inputs. ``states`` (what the server resolved) hides those that do not apply now.

    ``submitted`` are values to show again, by input name; a SECRET or a file never comes back.
    """
    by_name = {state.name: state for state in states or ()}
    expanded = expand(declared)
    needed = {other for one in expanded for other in one.depends_on}
    found = []
    for one in expanded:
        state = by_name.get(one.name)
        if state is not None and not state.enabled:
            continue
        given = (submitted or {}).get(one.name)
        wrong = tuple((faults or {}).get(one.name, ()))
        found.append(_field(one.name, one.declared, state, given, wrong, one.name in needed))
    return found


def _field(
    name: str, declared: Input, state: InputState | None, given: Any, faults: tuple[str, ...], depended_on: bool
) -> Field:
    choices = _choices(declared, state)
    widget, kind, mode = _widget(declared, choices)
    default = "" if declared.type == "SECRET" else text_of(declared.defaults)
    shown: Any = given
    if given is None and declared.type not in ("SECRET", "FILE"):
        shown = declared.prefill if declared.prefill is not None else _resolved_default(declared, state)
    values = _list(shown) if widget == "checks" else ()
    return Field(
        name=PREFIX + name,
        input_id=name,
        label=declared.display_name or name,
        type=declared.type,
        widget=widget,
        kind=kind,
        mode=mode,
        description=declared.description or "",
        required=declared.required and declared.defaults is None,
        value="" if declared.type in ("SECRET", "FILE") or widget == "checks" else text_of(shown),
        values=values,
        default=default if not declared.required or declared.defaults is not None else "",
        choices=choices,
        hint=_hint(declared),
        faults=tuple(_cause(text) for text in faults),
        depended_on=depended_on,
    )


def _resolved_default(declared: Input, state: InputState | None) -> Any:
    """A default that is an expression is shown as it was rendered, when it could be."""
    if state is not None and state.is_default and not state.errors:
        return state.value
    return declared.defaults


def _choices(declared: Input, state: InputState | None) -> tuple[tuple[str, str], ...]:
    if declared.type in ("BOOL", "BOOLEAN"):
        yes_no = (("true", "True"), ("false", "False"))
        return yes_no if declared.required else (*yes_no, ("", "Not set"))
    if declared.type not in ("SELECT", "ENUM", "MULTISELECT"):
        return ()
    known = (
        state.choices if state is not None and state.choices is not None else declared.properties.get("values") or ()
    )
    return tuple((text_of(one), text_of(one)) for one in known)


def _widget(declared: Input, choices: tuple[tuple[str, str], ...]) -> tuple[str, str, str]:
    """(widget, HTML input type, inputmode)."""
    kind = declared.type
    if kind in ("BOOL", "BOOLEAN"):
        return "radio", "", ""
    if kind == "MULTISELECT":
        return ("checks", "", "") if choices else ("area", "", "")
    if kind in ("SELECT", "ENUM"):
        if declared.properties.get("allowCustomValue") is True or not choices:
            return "datalist", "text", ""
        return ("radio" if len(choices) <= RADIO_UP_TO and declared.required else "select"), "", ""
    if kind in _MULTILINE:
        return "area", "", ""
    simple = {
        "SECRET": ("secret", "password", ""),
        "FILE": ("file", "file", ""),
        "INT": ("text", "text", "numeric"),
        "FLOAT": ("text", "text", "decimal"),
        "DATE": ("text", "date", ""),
        "EMAIL": ("text", "email", "email"),
        "URI": ("text", "text", "url"),
    }
    return simple.get(kind, ("text", "text", ""))


def _hint(declared: Input) -> str:
    parts = [_HINTS[declared.type]] if declared.type in _HINTS else []
    for name, text in _BOUNDS:
        bound = declared.properties.get(name)
        if bound is not None:
            parts.append(f"{text} {text_of(bound)}")
    item = declared.properties.get("itemType")
    if item:
        parts.append(f"items of type {item}")
    allowed = declared.properties.get("allowedFileExtensions")
    if allowed:
        parts.append("files " + ", ".join(map(str, allowed)))
    return "; ".join(parts)


def text_of(value: Any) -> str:
    """A value as a person would type it: JSON for lists and maps, true and false, empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _list(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return (value,) if value else ()
    return tuple(text_of(one) for one in value) if isinstance(value, list | tuple) else ()


def _cause(text: str) -> str:
    """``Invalid value for input `x`. Cause: why`` is shown under the field, so only the cause is needed."""
    cause = text.partition("Cause: ")[2] or text
    return cause[:1].upper() + cause[1:]


def faults_of(message: str) -> dict[str, list[str]]:
    """Faults by input name, out of the lines of an ``InvalidInput``."""
    found: dict[str, list[str]] = {}
    for line in message.splitlines():
        name = line.partition("`")[2].partition("`")[0].partition("[")[0]
        found.setdefault(name, []).append(line)
    return found
