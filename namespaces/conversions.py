"""One submitted value into the type that an input or output declares (``flows.md`` 1.4, table of types).

Results are plain JSON types: dates and times as ISO text, durations as seconds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from namespaces.durations import format_duration, parse_duration
from namespaces.flows.limits import FlowLimits
from namespaces.flows.model import Input
from namespaces.flows.moments import iso_instant, iso_time, read_date, read_instant, read_time
from namespaces.flows.reader import read_yaml, scalar_text
from namespaces.flows.regexes import TooSlow, full_match

MAX_DEPTH = 64
_SIZED = FlowLimits(flow_bytes=1 << 40)
"""Values are bounded as a whole before they are converted (``namespaces.inputs``)."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file part of a form: only the multipart reader makes one, never a JSON body."""

    filename: str
    size: int
    source: Any = None
    """Whatever the caller's ``store_file`` reads from."""


class Unfit(Exception):
    """The value does not fit; ``faults`` are (path below the input such as ``[1].size``, reason)."""

    def __init__(self, *faults: tuple[str, str]) -> None:
        super().__init__(faults[0][1])
        self.faults = faults


class NothingGiven(Unfit):
    """A required value is missing."""

    def __init__(self) -> None:
        super().__init__(("", "missing required input"))


AcceptUri = Callable[[str], bool]


def convert(
    declared: Input,
    value: Any,
    *,
    choices: tuple[str, ...] | None = None,
    accept_uri: AcceptUri | None = None,
    is_default: bool = False,
) -> Any:
    """The value in the declared type, checked; None for an optional input without one. Raises ``Unfit``.

    A FILE stays an ``Upload`` until it is stored.
    """
    if value is None:
        if declared.required:
            raise NothingGiven
        return None
    if isinstance(value, Upload) and declared.type != "FILE":
        raise _unfit(f"a file was sent for an input of type {declared.type}")
    if declared.type == "FILE":
        return _file(declared, value, accept_uri, is_default)
    if declared.type in ("SELECT", "ENUM"):
        return _select(declared, value, choices)
    if declared.type == "MULTISELECT":
        return _multiselect(declared, value, choices)
    reader = _READERS.get(declared.type)
    if reader is None:
        raise _unfit(f"inputs of type {declared.type} are not available on this server")
    return reader(declared, value)


def _unfit(reason: str) -> Unfit:
    return Unfit(("", reason))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else scalar_text(value) if not isinstance(value, dict | list) else "…"
    return text if len(text) <= 100 else text[:100] + "…"


def _text(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        raise _unfit("it must be text, but is a list or a map")
    text = scalar_text(value)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise _unfit("it is not valid Unicode")
    return text


def _string(declared: Input, value: Any) -> str:
    text = _text(value)
    pattern = declared.properties.get("validator")
    if pattern is not None:
        try:
            fits = full_match(pattern, text)
        except TooSlow:
            raise _unfit(f"it took too long to match the pattern `{pattern}`") from None
        if not fits:
            raise _unfit(f"it must match the pattern `{pattern}`")
    return text


_INTEGER = re.compile(r"[-+]?[0-9]{1,19}", re.ASCII)


def _integer(declared: Input, value: Any) -> int:
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float):
        number = int(value) if value.is_integer() else None
    elif isinstance(value, str):
        number = int(value) if _INTEGER.fullmatch(value.strip()) else None
    if number is None or not -(2**63) <= number < 2**63:
        raise _unfit(f"`{_short(value)}` is not a valid integer")
    _bounded(declared, number)
    return number


def _float(declared: Input, value: Any) -> float | int:
    if isinstance(value, int | float) and not isinstance(value, bool):
        number: float = value
    elif isinstance(value, str) and value.isascii() and "_" not in value:
        try:
            number = float(value)
        except ValueError:
            raise _unfit(f"`{_short(value)}` is not a valid number") from None
    else:
        raise _unfit(f"`{_short(value)}` is not a valid number")
    if not math.isfinite(number):
        raise _unfit(f"`{_short(value)}` is not a finite number")
    _bounded(declared, number)
    return float(number)


def _bounded(declared: Input, number: float) -> None:
    low, high = declared.properties.get("min"), declared.properties.get("max")
    if low is not None and number < low:
        raise _unfit(f"it must be more than `{scalar_text(low)}`")
    if high is not None and number > high:
        raise _unfit(f"it must be less than `{scalar_text(high)}`")


def _bool(_declared: Input, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in ("true", "false"):
        raise _unfit(f"`{_short(value)}` is not a valid boolean: it must be true or false")
    return word == "true"


def _boolean(_declared: Input, value: Any) -> bool:
    """Kestra's older BOOLEAN: any text but ``true`` is false."""
    return value if isinstance(value, bool) else scalar_text(value).lower() == "true"


def _moment(read: Callable[[Any], Any], write: Callable[[Any], str], what: str) -> Callable[[Input, Any], str]:
    def convert_moment(declared: Input, value: Any) -> str:
        try:
            moment = read(_text(value).strip())
        except ValueError:
            raise _unfit(f"`{_short(value)}` is not a valid {what}") from None
        after, before = declared.properties.get("after"), declared.properties.get("before")
        if after is not None and moment < read(after):
            raise _unfit(f"it must be after `{scalar_text(after)}`")
        if before is not None and moment > read(before):
            raise _unfit(f"it must be before `{scalar_text(before)}`")
        return write(moment)

    return convert_moment


def _duration(declared: Input, value: Any) -> float:
    try:
        found = parse_duration(value.strip() if isinstance(value, str) else value)
    except ValueError as error:
        raise _unfit(str(error)) from None
    low, high = declared.properties.get("min"), declared.properties.get("max")
    if low is not None and found < parse_duration(low):
        raise _unfit(f"it must be more than `{_iso(low)}`")
    if high is not None and found > parse_duration(high):
        raise _unfit(f"it must be less than `{_iso(high)}`")
    return found / timedelta(seconds=1)


def _iso(value: Any) -> str:
    return value if isinstance(value, str) else format_duration(parse_duration(value))


def read_json(text: str) -> Any:
    """JSON without NaN, without duplicate keys and at most 64 deep. Raises ``ValueError`` with a sentence."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ValueError(f"duplicate key '{twice}'")
        return found

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not a JSON value")

    if _depth(text) > MAX_DEPTH:
        raise ValueError(f"nesting deeper than {MAX_DEPTH}")
    return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)


def _depth(text: str) -> int:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    deepest = depth = 0
    for letter in re.sub(r'"(?:[^"\\]|\\.)*"', "", text):
        if letter in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in "]}":
            depth -= 1
    return deepest


def _json(_declared: Input, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return read_json(_text(value))
    except ValueError as error:
        raise _unfit(f"it must be a valid JSON: {error}") from None


def _yaml(_declared: Input, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    document = read_yaml(value, _SIZED)
    if not document.ok:
        raise _unfit(f"it must be a valid YAML: {document.problems[-1].message}")
    return document.value


def _ion(_declared: Input, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    from namespaces.errors import LannerError
    from namespaces.expressions.ion_text import parsed

    try:
        found = parsed(_text(value), everything=False)
    except (LannerError, ValueError) as error:
        raise _unfit(f"it must be a valid ION: {error}") from None
    return found[0] if found else None


_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):[^\s<>\"{}|\\^`\x00-\x1f\x7f]+")
_SCRIPT_SCHEMES = frozenset({"javascript", "vbscript", "data"})


def _uri(_declared: Input, value: Any) -> str:
    text = _text(value).strip()
    match = _URI.fullmatch(text)
    if match is None or re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise _unfit(f"it must be a valid URI, but is `{_short(text)}`")
    if match["scheme"].lower() in _SCRIPT_SCHEMES:
        raise _unfit(f"it must be a valid URI, the scheme {match['scheme']} is not allowed")
    return text


_EMAIL = re.compile(r"^$|^[a-zA-Z0-9_!#$%&’*+/=?`{|}~^.-]+@[a-zA-Z0-9.-]+$")


def _email(_declared: Input, value: Any) -> str:
    text = _text(value)
    if not _EMAIL.fullmatch(text):
        raise _unfit("The input must be a valid email")
    return text


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str):
        try:
            found = read_json(_text(value))
        except ValueError as error:
            raise _unfit(f"it must be a list or a JSON array: {error}") from None
        if isinstance(found, list):
            return found
    raise _unfit("it must be a list or a JSON array")


def _item(declared: Input, kind: Any) -> Input:
    return Input(id=declared.id, type=str(kind or "STRING"), properties={})


def _array(declared: Input, value: Any) -> list[Any]:
    item = _item(declared, declared.properties.get("itemType"))
    found, faults = [], []
    for index, one in enumerate(_as_list(value)):
        try:
            found.append(convert(item, one))
        except Unfit as unfit:
            faults += [(f"[{index}]{path}", reason) for path, reason in unfit.faults]
    if faults:
        raise Unfit(*faults)
    return found


def _checks_choice(declared: Input) -> bool:
    return declared.required and declared.properties.get("allowCustomValue") is not True


def _not_among(text: str, choices: tuple[str, ...]) -> str:
    return f"value `{_short(text)}` doesn't match the values `[{', '.join(choices)}]`"


def _select(declared: Input, value: Any, choices: tuple[str, ...] | None) -> str:
    text = _text(value)
    if choices is not None and _checks_choice(declared) and text not in choices:
        raise _unfit(_not_among(text, choices))
    return text


def _multiselect(declared: Input, value: Any, choices: tuple[str, ...] | None) -> list[Any]:
    item = _item(declared, declared.properties.get("itemType"))
    found, faults = [], []
    for one in _as_list(value):
        if choices is not None and _checks_choice(declared) and scalar_text(one) not in choices:
            faults.append(("", _not_among(scalar_text(one), choices)))
            continue
        found.append(convert(item, one))
    if faults:
        raise Unfit(*faults)
    return found


def _file(declared: Input, value: Any, accept_uri: AcceptUri | None, is_default: bool) -> Upload | str:
    if isinstance(value, Upload):
        if value.size == 0:
            raise _unfit(f"the uploaded file `{_short(value.filename)}` is empty")
        _check_extension(declared, value.filename)
        return value
    text = value if isinstance(value, str) else ""
    allowed = ("kestra://", "nsfile://", "file://") if is_default else ("kestra://",)
    if not text.startswith(allowed) or "\x00" in text or ".." in text.split("/"):
        raise _unfit("upload a file, or give the kestra:// URI of one")
    if text.startswith("kestra://") and accept_uri is not None and not accept_uri(text):
        raise _unfit(f"the file `{_short(text)}` is not one you may read")
    _check_extension(declared, text)
    return text


def _check_extension(declared: Input, name: str) -> None:
    allowed = declared.properties.get("allowedFileExtensions")
    if allowed and not name.lower().endswith(tuple(str(ending).lower() for ending in allowed)):
        raise _unfit(f"it must have one of the extensions `[{', '.join(allowed)}]`")


def _as_map(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = read_json(_text(value))
        except ValueError as error:
            raise _unfit(f"it must be a map or a JSON object: {error}") from None
    if not isinstance(value, Mapping):
        raise _unfit("it must be a map or a JSON object")
    return dict(value)


def _members(parts: tuple[Input, ...], value: Any, faults: list[tuple[str, str]], path: str) -> dict[str, Any]:
    try:
        given = _as_map(value)
    except Unfit as unfit:
        faults += [(path, reason) for _, reason in unfit.faults]
        return {}
    found = {}
    for part in parts:
        choices = part.properties.get("values")
        try:
            found[part.id] = convert(part, given.get(part.id), choices=choices)
        except Unfit as unfit:
            faults += [(f"{path}.{part.id}{below}", reason) for below, reason in unfit.faults]
    return found


def _object(declared: Input, value: Any) -> dict[str, Any]:
    faults: list[tuple[str, str]] = []
    found = _members(declared.properties.get("properties", ()), value, faults, "")
    if faults:
        raise Unfit(*faults)
    return found


def _table(declared: Input, value: Any) -> list[dict[str, Any]]:
    rows = _as_list(value)
    bounds = declared.properties.get("rows") or {}
    faults: list[tuple[str, str]] = []
    if bounds.get("min") is not None and len(rows) < bounds["min"]:
        faults.append(("", f"it must have at least {bounds['min']} row(s)"))
    if bounds.get("max") is not None and len(rows) > bounds["max"]:
        faults.append(("", f"it must have at most {bounds['max']} row(s)"))
    columns = declared.properties.get("columns", ())
    found = [_members(columns, row, faults, f"[{index}]") for index, row in enumerate(rows)]
    if faults:
        raise Unfit(*faults)
    return found


_READERS: dict[str, Callable[[Input, Any], Any]] = {
    "STRING": _string,
    "SECRET": _string,
    "INT": _integer,
    "FLOAT": _float,
    "BOOL": _bool,
    "BOOLEAN": _boolean,
    "DATETIME": _moment(read_instant, iso_instant, "date-time with a zone (2024-01-01T00:00:00Z)"),
    "DATE": _moment(read_date, lambda day: str(day.isoformat()), "date (2024-01-31)"),
    "TIME": _moment(read_time, iso_time, "time (10:15:30)"),
    "DURATION": _duration,
    "JSON": _json,
    "YAML": _yaml,
    "ION": _ion,
    "URI": _uri,
    "EMAIL": _email,
    "ARRAY": _array,
    "OBJECT": _object,
    "TABLE": _table,
}
