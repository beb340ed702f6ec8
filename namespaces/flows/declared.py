"""What a flow declares beside its tasks: inputs, outputs, labels, concurrency, SLAs, checks, quotas."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from namespaces.errors import did_you_mean
from namespaces.flows import scalars
from namespaces.flows.findings import Findings
from namespaces.flows.model import FlowOutput, Input
from namespaces.flows.moments import read_date, read_instant, read_time
from namespaces.flows.reader import Path
from namespaces.flows.regexes import pattern_fault
from namespaces.flows.scope import Scope
from namespaces.labels import Pairs, read_labels, system_faults
from namespaces.plugin import is_expression

INPUT_ID = re.compile(r"[a-zA-Z0-9][.a-zA-Z0-9_-]*", re.ASCII)

_BOUNDS = frozenset({"min", "max"})
_DATES = frozenset({"after", "before"})
_CHOICE = frozenset({"values", "expression", "allowCustomValue", "isRadio", "autoSelectFirst"})
INPUT_TYPES: dict[str, frozenset[str]] = {
    "STRING": frozenset({"validator"}),
    "INT": _BOUNDS,
    "FLOAT": _BOUNDS,
    "BOOL": frozenset(),
    "BOOLEAN": frozenset(),
    "DATETIME": _DATES,
    "DATE": _DATES,
    "TIME": _DATES,
    "DURATION": _BOUNDS,
    "FILE": frozenset({"extension", "allowedFileExtensions", "accept"}),
    "JSON": frozenset(),
    "YAML": frozenset(),
    "URI": frozenset(),
    "SECRET": frozenset({"validator"}),
    "ARRAY": frozenset({"itemType"}),
    "SELECT": _CHOICE,
    "ENUM": _CHOICE,
    "MULTISELECT": _CHOICE | {"options", "itemType"},
    "EMAIL": frozenset(),
    "ION": frozenset(),
    "FORM": frozenset({"inputs"}),
    "OBJECT": frozenset({"properties"}),
    "TABLE": frozenset({"columns", "rows"}),
    "REUSABLE_INPUTS": frozenset({"ref"}),
}
"""Input type to its own properties (``flows.md`` 1.4)."""

INPUT_COMMON = frozenset(
    {"id", "name", "type", "description", "displayName", "required", "defaults", "prefill", "dependsOn"}
)
_OLDER_TYPES = frozenset({"BOOLEAN", "ENUM"})
_NEWER_TYPES = frozenset({"FORM", "OBJECT", "TABLE", "ION", "REUSABLE_INPUTS"})
_WRITTEN_AS_TEXT = frozenset({"STRING", "SECRET", "SELECT", "ENUM", "URI", "EMAIL", "DATE", "TIME", "DATETIME"})
_NOT_IN_OBJECT = frozenset({"OBJECT", "TABLE", "ARRAY", "FORM", "FILE", "SECRET", "JSON", "ION", "YAML"})


def read_inputs(scope: Scope, value: Any, path: Path, *, inside: str = "") -> tuple[Input, ...]:
    """A list of declared inputs. ``inside`` names the FORM, OBJECT or TABLE that holds them."""
    found: list[Input] = []
    places: list[Path] = []
    for index, item in enumerate(scalars.a_list(scope.findings, value, path)):
        place = (*path, index)
        if not isinstance(item, dict):
            scope.findings.error(scalars.WRONG_TYPE, place, "must be an input: a map with id and type")
            continue
        declared = _read_input(scope, item, place, inside)
        if declared is not None:
            found.append(declared)
            places.append(place)
    report_duplicates(scope.findings, [i.id for i in found], places, "input")
    return tuple(found)


def report_duplicates(findings: Findings, ids: list[str], places: list[Path], what: str) -> None:
    """``places`` says where each id stands: what could not be read before it has none here."""
    repeated = [name for name in dict.fromkeys(ids) if name and ids.count(name) > 1] if len(set(ids)) < len(ids) else []
    if repeated:
        place = places[max(i for i, name in enumerate(ids) if name in repeated)]
        findings.error("F007", place, f"Duplicate {what} with name [{', '.join(repeated)}]")


def _declared_id(scope: Scope, item: dict[str, Any], place: Path) -> str:
    findings = scope.findings
    key = "id"
    if item.get("name") is not None:
        scope.is_older("input name", (*place, "name"))
        findings.warning("F101", (*place, "name"), "name is deprecated: it is now id")
        if item.get("id") is not None:
            findings.error("F030", (*place, "name"), "'id' and 'name' are two names of one property")
        else:
            key = "name"
    name = scalars.text(findings, item.get(key), (*place, key))
    if name is None:
        if item.get(key) is None:
            findings.required((*place, "id"))
        return ""
    if not INPUT_ID.fullmatch(name):
        findings.error("F005", (*place, key), f'must match "^{INPUT_ID.pattern}", but is {name[:60]!r}')
        return ""
    return name


def _read_input(scope: Scope, item: dict[str, Any], place: Path, inside: str) -> Input | None:
    findings = scope.findings
    name = _declared_id(scope, item, place)
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in INPUT_TYPES:
        near = did_you_mean(str(kind), INPUT_TYPES)
        findings.error("F002", (*place, "type"), f"Invalid type: {'null' if kind is None else kind}{near}")
        return None
    if kind in _OLDER_TYPES:
        scope.is_older(f"input type {kind}", (*place, "type"))
    elif kind in _NEWER_TYPES:
        scope.is_newer(f"input type {kind}", (*place, "type"))
    own = INPUT_TYPES[kind]
    properties: dict[str, Any] = {}
    for key, value in item.items():
        if key in own:
            if value is not None:
                properties[key] = value
        elif key not in INPUT_COMMON:
            findings.unknown_property((*place, key), INPUT_COMMON | own, f"{kind} input")
    common = _input_common(scope, item, place)
    check = _CHECKS.get(kind)
    if check is not None:
        check(scope, properties, item, place)
    if inside:
        _inside(findings, kind, item, place, inside)
    if kind in _WRITTEN_AS_TEXT and isinstance(common["defaults"], bool | float):
        common["defaults"] = findings.text_at((*place, "defaults"), common["defaults"])
    return Input(id=name, type=kind, properties=properties, written=item, **common)


def _input_common(scope: Scope, item: dict[str, Any], place: Path) -> dict[str, Any]:
    findings = scope.findings
    common: dict[str, Any] = {
        "required": scalars.boolean(findings, item.get("required"), (*place, "required"), True),
        "defaults": item.get("defaults"),
        "prefill": item.get("prefill"),
    }
    if item.get("description") is not None:
        common["description"] = scalars.text(findings, item["description"], (*place, "description"))
    if item.get("displayName") is not None:
        shown = scalars.text(findings, item["displayName"], (*place, "displayName"))
        if shown and len(shown) > 64:
            findings.error("F005", (*place, "displayName"), f"size must be between 0 and 64, but is {len(shown)}")
        common["display_name"] = shown
    if item.get("dependsOn") is not None:
        where = (*place, "dependsOn")
        depends = scalars.a_map(findings, item["dependsOn"], where)
        for key in depends:
            if key not in ("inputs", "condition"):
                findings.unknown_property((*where, key), ("inputs", "condition"), "dependsOn of an input")
        common["depends_on"] = scalars.texts(findings, depends.get("inputs"), (*where, "inputs"))
        common["condition"] = scalars.text(findings, depends.get("condition"), (*where, "condition"))
    if common["defaults"] is not None and not common["required"]:
        message = "`defaults` together with `required: false`: Kestra suggests `prefill` for a value one may clear"
        findings.warning("F105", (*place, "defaults"), message)
    return common


def _inside(findings: Findings, kind: str, item: dict[str, Any], place: Path, inside: str) -> None:
    if inside == "FORM":
        if kind == "FORM":
            findings.error("F027", place, "a FORM cannot hold another FORM")
        return
    if kind in _NOT_IN_OBJECT or kind == "REUSABLE_INPUTS":
        findings.error("F027", (*place, "type"), f"an input of type {inside} cannot hold one of type {kind}")
    for key in ("defaults", "prefill", "dependsOn", "expression"):
        if item.get(key) is not None:
            findings.error("F027", (*place, key), f"'{key}' is not allowed inside an input of type {inside}")


def _check_validator(scope: Scope, properties: dict[str, Any], _item: dict[str, Any], place: Path) -> None:
    if "validator" in properties:
        pattern = scalars.text(scope.findings, properties["validator"], (*place, "validator")) or ""
        fault = pattern_fault(pattern)
        if fault:
            scope.findings.error("F016", (*place, "validator"), f"invalid pattern [{pattern}]: {fault}")
        properties["validator"] = pattern


def _check_numbers(scope: Scope, properties: dict[str, Any], item: dict[str, Any], place: Path) -> None:
    for key in ("min", "max"):
        if key not in properties:
            continue
        value = properties[key]
        if item["type"] == "INT":
            found: Any = scalars.integer(scope.findings, value, (*place, key))
        else:
            found = _number(scope.findings, value, (*place, key))
        properties[key] = found
    _ordered(scope.findings, properties, ("min", "max"), place)


def _number(findings: Findings, value: Any, path: Path) -> float | int | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = None
        if number is not None and abs(number) != float("inf") and number == number:
            return number
        if value.lower() in (".inf", "-.inf", ".nan", "inf", "nan"):
            findings.error(scalars.UNREADABLE, path, f"not a finite number: {value}")
            return None
    findings.error(scalars.WRONG_TYPE, path, f"must be a number, but is {value!r}")
    return None


def _ordered(findings: Findings, properties: Mapping[str, Any], keys: tuple[str, str], place: Path) -> None:
    low, high = (properties.get(key) for key in keys)
    if low is not None and high is not None and low > high:
        findings.error("F005", (*place, keys[0]), f"'{keys[0]}' must not be more than '{keys[1]}'")


def _check_durations(scope: Scope, properties: dict[str, Any], _item: dict[str, Any], place: Path) -> None:
    found: dict[str, Any] = {
        k: scalars.duration(scope.findings, properties[k], (*place, k)) for k in ("min", "max") if k in properties
    }
    _ordered(scope.findings, found, ("min", "max"), place)


def _check_dates(scope: Scope, properties: dict[str, Any], item: dict[str, Any], place: Path) -> None:
    read: Callable[[Any], Any] = {"DATE": read_date, "TIME": read_time, "DATETIME": read_instant}[item["type"]]
    found: dict[str, Any] = {}
    for key in ("after", "before"):
        if key in properties:
            try:
                found[key] = read(properties[key])
            except ValueError as fault:
                scope.findings.error(scalars.UNREADABLE, (*place, key), str(fault))
    _ordered(scope.findings, found, ("after", "before"), place)


def _check_file(scope: Scope, properties: dict[str, Any], item: dict[str, Any], place: Path) -> None:
    defaults = item.get("defaults")
    if defaults is not None and not (
        isinstance(defaults, str)
        and (defaults.startswith(("nsfile://", "file://", "kestra://")) or is_expression(defaults))
    ):
        scope.findings.error(
            "F031",
            (*place, "defaults"),
            "no `defaults` can be set for inputs of type 'FILE' other than nsfile:///… or file:///…",
        )
    if "extension" in properties:
        scope.is_older("FILE extension", (*place, "extension"))
        scope.findings.warning(
            "F101", (*place, "extension"), "extension is deprecated: it is now allowedFileExtensions"
        )
    if "allowedFileExtensions" in properties:
        where = (*place, "allowedFileExtensions")
        properties["allowedFileExtensions"] = scalars.texts(scope.findings, properties["allowedFileExtensions"], where)


def _item_type(scope: Scope, properties: dict[str, Any], place: Path) -> None:
    kind = properties.get("itemType")
    if kind == "ARRAY":
        scope.findings.error("F017", (*place, "itemType"), "`itemType` cannot be `ARRAY`")
    elif kind is not None and not (isinstance(kind, str) and kind in INPUT_TYPES):
        near = did_you_mean(str(kind), INPUT_TYPES)
        scope.findings.error("F002", (*place, "itemType"), f"Invalid type: {kind}{near}")


def _check_array(scope: Scope, properties: dict[str, Any], _item: dict[str, Any], place: Path) -> None:
    if properties.get("itemType") is None:
        scope.findings.required((*place, "itemType"))
    _item_type(scope, properties, place)


def _check_choice(scope: Scope, properties: dict[str, Any], item: dict[str, Any], place: Path) -> None:
    findings = scope.findings
    if "options" in properties:
        scope.is_older("MULTISELECT options", (*place, "options"))
        findings.warning("F101", (*place, "options"), "options is deprecated: it is now values")
        if "values" in properties:
            findings.error("F030", (*place, "options"), "'options' and 'values' are two names of one property")
        properties["values"] = properties.pop("options")
    values, expression = properties.get("values"), properties.get("expression")
    if (values is None) == (expression is None):
        findings.error("F024", place, "either `values` or `expression` must be given, and not both")
    if values is not None:
        properties["values"] = scalars.texts(findings, values, (*place, "values"))
        _choice_defaults(findings, properties, item, place)
    _item_type(scope, properties, place)


def _choice_defaults(findings: Findings, properties: dict[str, Any], item: dict[str, Any], place: Path) -> None:
    defaults, values = item.get("defaults"), properties["values"]
    if defaults is None or properties.get("allowCustomValue") is True:
        return
    for one in defaults if isinstance(defaults, list) else [defaults]:
        if isinstance(one, dict | list) or is_expression(one):
            continue
        text = findings.text_at((*place, "defaults"), one)
        if text not in values and not (item["type"] == "MULTISELECT" and text.lstrip().startswith("[")):
            shown = ", ".join(values)
            findings.error("F005", (*place, "defaults"), f"it must match the values `[{shown}]`, but is {text!r}")


def _check_form(scope: Scope, properties: dict[str, Any], item: dict[str, Any], place: Path) -> None:
    _children(scope, properties, item, place, "inputs")


def _check_object(scope: Scope, properties: dict[str, Any], item: dict[str, Any], place: Path) -> None:
    _children(scope, properties, item, place, "properties")


def _check_table(scope: Scope, properties: dict[str, Any], item: dict[str, Any], place: Path) -> None:
    _children(scope, properties, item, place, "columns")
    if "rows" in properties:
        where = (*place, "rows")
        rows = scalars.a_map(scope.findings, properties["rows"], where)
        for key in rows:
            if key not in ("min", "max"):
                scope.findings.unknown_property((*where, key), ("min", "max"), "rows of a TABLE input")
        bounds = {
            key: scalars.integer(scope.findings, rows[key], (*where, key), at_least=least)
            for key, least in (("min", 0), ("max", 1))
            if rows.get(key) is not None
        }
        _ordered(scope.findings, bounds, ("min", "max"), where)
        properties["rows"] = bounds


def _children(scope: Scope, properties: dict[str, Any], item: dict[str, Any], place: Path, key: str) -> None:
    if not properties.get(key):
        scope.findings.error("F027", (*place, key), "must not be empty")
    properties[key] = read_inputs(scope, properties.get(key), (*place, key), inside=item["type"])


_Check = Callable[[Scope, dict[str, Any], dict[str, Any], Path], None]
_CHECKS: dict[str, _Check] = {
    "STRING": _check_validator,
    "SECRET": _check_validator,
    "INT": _check_numbers,
    "FLOAT": _check_numbers,
    "DURATION": _check_durations,
    "DATE": _check_dates,
    "TIME": _check_dates,
    "DATETIME": _check_dates,
    "FILE": _check_file,
    "ARRAY": _check_array,
    "SELECT": _check_choice,
    "ENUM": _check_choice,
    "MULTISELECT": _check_choice,
    "FORM": _check_form,
    "OBJECT": _check_object,
    "TABLE": _check_table,
}

_OUTPUT_KEYS = frozenset({"id", "type", "value", "description", "displayName", "required"})


def read_flow_outputs(scope: Scope, value: Any, path: Path) -> tuple[FlowOutput, ...]:
    """Declared outputs of a flow or of a Loop (``flows.md`` 1.6)."""
    findings = scope.findings
    found: list[FlowOutput] = []
    places: list[Path] = []
    for index, item in enumerate(scalars.a_list(findings, value, path)):
        place = (*path, index)
        if not isinstance(item, dict):
            findings.error(scalars.WRONG_TYPE, place, "must be an output: a map with id, type and value")
            continue
        for key in item:
            if key not in _OUTPUT_KEYS and not (item.get("type") == "ARRAY" and key == "itemType"):
                findings.unknown_property((*place, key), _OUTPUT_KEYS, "output")
        name = _declared_id(scope, {"id": item.get("id")}, place)
        kind = item.get("type")
        if not isinstance(kind, str) or kind not in INPUT_TYPES:
            near = did_you_mean(str(kind), INPUT_TYPES)
            findings.error("F002", (*place, "type"), f"Invalid type: {'null' if kind is None else kind}{near}")
            continue
        places.append(place)
        required = scalars.boolean(findings, item.get("required"), (*place, "required"), True)
        if item.get("value") is None and required:
            findings.required((*place, "value"))
        found.append(
            FlowOutput(
                id=name,
                type=kind,
                value=item.get("value"),
                description=scalars.text(findings, item.get("description"), (*place, "description")),
                display_name=scalars.text(findings, item.get("displayName"), (*place, "displayName")),
                required=required,
                properties={"itemType": item["itemType"]} if item.get("itemType") is not None else {},
            )
        )
    report_duplicates(findings, [o.id for o in found], places, "output")
    return tuple(found)


def read_label_pairs(scope: Scope, value: Any, path: Path, *, of_flow: bool = False) -> Pairs:
    """Labels in any form as pairs; ``system.*`` is refused."""
    pairs, faults = read_labels(value, lambda place, item: scope.findings.text_at((*path, *place), item))
    for fault in (*faults, *system_faults(pairs, of_flow=of_flow)):
        place = path if fault.place is None else (*path, fault.place)
        if fault.warning:
            scope.findings.warning("F106", place, fault.message)
        else:
            scope.findings.error("F011" if fault.system else scalars.WRONG_TYPE, place, fault.message)
    return pairs


def read_label_map(scope: Scope, value: Any, path: Path) -> Any:
    """Labels of a task or trigger: pairs as written, still to be rendered; or one expression as it is."""
    if value is None or is_expression(value):
        return value
    return read_label_pairs(scope, value, path)
