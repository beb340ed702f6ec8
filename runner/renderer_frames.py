"""The wire between the server and a renderer process: length-prefixed JSON frames, special values tagged.

No pickle: what comes back from a renderer is only ever data. Used by both ends; does no I/O.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import orjson

from namespaces.expressions.values import BigInteger

TAG = "\x00"
MAX_FRAME = 48 * 1024 * 1024
_HEAD = struct.Struct(">I")
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
Lazy = Callable[[Mapping[object, object]], int]
Found = Callable[[int], object]


class FrameTooLarge(ValueError):
    """A message is above the size that the other end would take."""


def packed(message: Mapping[str, object], lazy: Lazy | None = None) -> bytes:
    """A frame: four bytes of length, then JSON. ``lazy`` gives the number under which a map is kept at this end."""
    body = _encoded(message, lazy)
    if len(body) > MAX_FRAME:
        raise FrameTooLarge(f"{len(body)} bytes")
    return _HEAD.pack(len(body)) + body


def length_of(head: bytes) -> int:
    """The length that a frame's first four bytes announce. Raises for more than the limit."""
    size = int(_HEAD.unpack(head)[0])
    if size > MAX_FRAME:
        raise FrameTooLarge(f"{size} bytes")
    return size


def unpacked(body: bytes, found: Found | None = None) -> dict[str, object]:
    """The message of a frame's body. ``found`` gives the map behind a number."""
    message = orjson.loads(body)
    if b"\\u0000" in body:
        message = _untagged(message, found)
    assert isinstance(message, dict)
    return message


def _encoded(value: object, lazy: Lazy | None) -> bytes:
    def default(one: object) -> object:
        return _tagged(one, lazy)

    try:
        body = orjson.dumps(value, default, _OPTIONS)
    except TypeError:  # big integers, lone surrogates, keys that are no text: the slow way takes them
        return orjson.dumps(_prepared(value, lazy), default, _OPTIONS)
    # a key of ours in the data must not look like a tag (infinities cannot arise: arithmetic refuses them)
    if b"\\u0000" in body:
        return orjson.dumps(_prepared(value, lazy), default, _OPTIONS)
    return body


def _prepared(value: object, lazy: Lazy | None) -> object:
    """A copy in which everything that JSON or orjson cannot say is tagged."""
    if type(value) is dict:
        plain = all(isinstance(key, str) and key != TAG and _is_clean(key) for key in value)
        if plain:
            return {key: _prepared(item, lazy) for key, item in value.items()}
        return {TAG: "map", "v": [[_prepared(k, lazy), _prepared(v, lazy)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_prepared(item, lazy) for item in value]
    if type(value) is str:
        return value if _is_clean(value) else {TAG: "text", "v": list(value.encode("utf-16-be", "surrogatepass"))}
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    tagged = _tagged(value, lazy)
    return tagged if isinstance(tagged, dict) and TAG in tagged else _prepared(tagged, lazy)


def _is_clean(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _tagged(value: object, lazy: Lazy | None) -> object:
    if isinstance(value, datetime):
        zone = value.tzinfo
        name = "UTC" if zone is UTC else f"={zone.key}" if isinstance(zone, ZoneInfo) else None
        offset = value.utcoffset()
        seconds = None if offset is None else offset.total_seconds()
        return {TAG: "datetime", "v": [value.replace(tzinfo=None).isoformat(), name, seconds, value.fold]}
    if isinstance(value, date):
        return {TAG: "date", "v": value.isoformat()}
    if isinstance(value, time):
        return {TAG: "time", "v": value.isoformat()}
    if isinstance(value, BigInteger):
        return {TAG: "biginteger", "v": str(int(value))}
    if isinstance(value, int):
        return {TAG: "int", "v": hex(value)}
    if isinstance(value, Decimal):
        return {TAG: "decimal", "v": str(value)}
    if isinstance(value, float):
        return {TAG: "float", "v": repr(float(value))}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, Mapping):
        return {TAG: "lazy", "v": lazy(value)} if lazy else dict(value)
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _untagged(value: object, found: Found | None) -> object:
    if isinstance(value, list):
        return [_untagged(item, found) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: _untagged(item, found) for key, item in value.items()}
    kind, body = value[TAG], value["v"]
    if kind == "map":
        return {_untagged(key, found): _untagged(item, found) for key, item in body}
    if kind == "lazy":
        if found is None:
            raise ValueError("unexpected reference to a map")
        return found(int(body))
    if kind == "datetime":
        return _moment(*body)
    simple: dict[str, Callable[[str], object]] = {
        "date": date.fromisoformat, "time": time.fromisoformat, "biginteger": BigInteger, "decimal": Decimal,
        "float": float, "int": lambda text: int(text, 16),
    }  # fmt: skip
    if kind == "text":
        return bytes(body).decode("utf-16-be", "surrogatepass")
    return simple[kind](body)


def _moment(text: str, name: str | None, seconds: float | None, fold: int) -> datetime:
    moment = datetime.fromisoformat(text).replace(fold=fold)
    if seconds is None:
        return moment
    if name == "UTC":
        return moment.replace(tzinfo=UTC)
    zone = ZoneInfo(name[1:]) if name else timezone(timedelta(seconds=seconds))
    return moment.replace(tzinfo=zone)
