"""Functions that need nothing but their arguments, the clock and random bytes (expressions.md 5.1, 5.2)."""

# ruff: noqa: ARG001 - whatever is registered takes the rendering's state first, used or not

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from namespaces.expressions.date_filters import date_, zone_of
from namespaces.expressions.failures import RenderError
from namespaces.expressions.operators import integers
from namespaces.expressions.registry import function
from namespaces.expressions.state import State
from namespaces.expressions.text_filters import integer, text
from namespaces.expressions.values import compare, is_number, kind, to_json

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KSUID_EPOCH = 1_400_000_000


@function("now", examples=(("{{ now() | length }}", "27"),))
def now(
    state: State,
    format_: object = "iso",
    time_zone: object = None,
    existing_format: object = None,
    locale: object = None,
) -> object:
    """The present time as text, in `timeZone` or the server's zone."""
    moment = state.now().astimezone(zone_of(state, time_zone))
    return date_(state, moment, format_, time_zone, existing_format, locale)


def _extreme(name: str, op: str, values: tuple[object, ...]) -> object:
    if not values:
        raise RenderError(f"{name}() needs at least one number")
    best = values[0]
    for value in values:
        if not is_number(value):
            raise RenderError(f"{name}() takes numbers as separate arguments, got {kind(value)}")
        if compare(op, value, best):
            best = value
    return best


@function("max", examples=(("{{ max(1,5,3) }}", "5"),))
def max_(state: State, *values: object) -> object:
    """The greatest of some numbers."""
    return _extreme("max", ">", values)


@function("min", examples=(("{{ min(8,3,5) }}", "3"),))
def min_(state: State, *values: object) -> object:
    """The least of some numbers."""
    return _extreme("min", "<", values)


@function("range", cheap=False, examples=(("{{ range(0,10,5) }}", "[0,5,10]"), ("{{ range(3,1) }}", "[]")))
def range_(state: State, start: object, end: object, step: object = 1) -> list[int]:
    """The integers from start to end, both included."""
    first, last = integer(start, "range", "start"), integer(end, "range", "end")
    width = integer(step, "range", "step")
    if width == 0:
        raise RenderError("range(): step must not be 0")
    return list(integers(state, first, last, width))


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(_BASE62[rest])
    return "".join(reversed(digits))


def _uuid7(state: State) -> int:
    milliseconds = int(state.now().timestamp() * 1000)
    noise = int.from_bytes(state.entropy(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | noise
    value = value & ~(0xF << 76) | 0x7 << 76
    return value & ~(0x3 << 62) | 0x2 << 62


@function("uuid", examples=(("{{ uuid() | length }}", "36"),))
def uuid(state: State) -> str:
    """A random UUID (version 7)."""
    digits = f"{_uuid7(state):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@function("id", examples=(("{{ id() | length }}", "22"),))
def id_(state: State) -> str:
    """A random id of 22 letters and digits."""
    return _base62(_uuid7(state), 22)


@function("ksuid", examples=(("{{ ksuid() | length }}", "27"),))
def ksuid(state: State) -> str:
    """A random id that sorts by second."""
    seconds = int(state.now().timestamp()) - _KSUID_EPOCH
    return _base62((seconds & 0xFFFFFFFF) << 128 | int.from_bytes(state.entropy(16), "big"), 27)


@function("nanoId", examples=(("{{ nanoId(8) | length }}", "8"),))
def nano_id(state: State, length: object = 21, alphabet: object = None) -> str:
    """A random text of `length` signs of an alphabet."""
    count = integer(length, "nanoId", "length")
    signs = text(alphabet, "nanoId") if alphabet is not None else "_-" + _BASE62
    if not 1 <= count <= 1000 or not 1 <= len(signs) <= 255:
        raise RenderError("nanoId(): length must be 1 to 1000, the alphabet 1 to 255 signs")
    return "".join(signs[_below(state, len(signs))] for _ in range(count))


def _below(state: State, bound: int) -> int:
    """A uniform integer from 0 to bound - 1: numbers of the last, incomplete block are drawn again."""
    width = (bound.bit_length() + 7) // 8 + 1
    top = 256**width // bound * bound
    while True:
        drawn = int.from_bytes(state.entropy(width), "big")
        if drawn < top:
            return drawn % bound


@function("randomInt", examples=(("{{ randomInt(1,2) }}", "1"),))
def random_int(state: State, lower: object, upper: object) -> int:
    """A random integer from lower to upper - 1; equal bounds give lower."""
    low, high = integer(lower, "randomInt", "lower"), integer(upper, "randomInt", "upper")
    if high < low:
        raise RenderError(f"randomInt(): upper {high} is below lower {low}")
    return low if low == high else low + _below(state, high - low)


@function("randomPort", cheap=False, examples=(("{{ randomPort() > 1023 }}", "true"),))
def random_port(state: State) -> int:
    """A TCP port that nothing listens on at this moment."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- encryption


def _key(value: object, name: str) -> bytes:
    try:
        key = base64.b64decode(text(value, name), validate=True)
    except binascii.Error as error:
        raise RenderError(f"{name}(): the key is not Base64") from error
    if len(key) not in (16, 24, 32):
        raise RenderError(f"{name}(): the key must have 32 bytes, got {len(key)}")
    return key


@function(
    "encrypt", cheap=False, examples=(("{{ encrypt('I6EGNzRESu3X3pKZidrqCGOHQFUFC0yK', 'toto') | length }}", "44"),)
)
def encrypt(state: State, key: object, plaintext: object) -> str:
    """AES-GCM: Base64 of the initialisation vector and the sealed text."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    vector = state.entropy(12)
    sealed = AESGCM(_key(key, "encrypt")).encrypt(vector, text(plaintext, "encrypt").encode(), None)
    return state.sized(base64.b64encode(vector + sealed).decode())


@function(
    "decrypt",
    cheap=False,
    disclosing=True,
    outside=True,
    examples=(
        (
            "{{ decrypt('I6EGNzRESu3X3pKZidrqCGOHQFUFC0yK', encrypt('I6EGNzRESu3X3pKZidrqCGOHQFUFC0yK', 'toto')) }}",
            "toto",
        ),
    ),
)
def decrypt(state: State, key: object, encrypted: object) -> str:
    """The text behind `encrypt`."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from namespaces.expressions.outreach import refuse_outside

    refuse_outside(state, "decrypt")
    try:
        sealed = base64.b64decode(text(encrypted, "decrypt"), validate=True)
        return AESGCM(_key(key, "decrypt")).decrypt(sealed[:12], sealed[12:], None).decode()
    except (binascii.Error, InvalidTag, ValueError) as error:
        raise RenderError("decrypt(): the value cannot be decrypted with this key") from error


# -- the context itself


@function(
    "printContext",
    "fetchContext",
    outside=True,
    cheap=False,
    examples=(("{{ fromJson(printContext()).flow.id }}", "example"),),
)
def print_context(state: State) -> str:
    """Everything the template sees, as indented JSON, without secrets."""
    hidden = {"secret", "secrets"} | ({"envs", "globals"} if state.restricted else set())
    seen = {name: state.context[name] for name in state.context if name not in hidden}
    return state.sized(to_json(state.bounded(seen), pretty=True))


@function("block", "parent", examples=(("{{ block('a') }}", ""),))
def block(state: State, *names: object) -> str:
    """Template blocks: nothing to print without inheritance."""
    return ""


# -- outputs in loops


def _mapping(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise RenderError(f"{name}() needs a map of outputs, got {kind(value)}")
    return value


@function("currentEachOutput", outside=True, examples=(("{{ currentEachOutput(outputs.say).value }}", "hello b"),))
def current_each_output(state: State, outputs: object) -> object:
    """The outputs of a sibling in the same iteration of all enclosing loops: `currentEachOutput(outputs.t)`."""
    from namespaces.expressions.access import member, path

    found: object = _mapping(outputs, "currentEachOutput")
    parents = state.lookup("parents") if "parents" in state.context else []
    assert isinstance(parents, list | tuple)
    for parent in reversed(parents):
        if isinstance(parent, Mapping) and isinstance(parent.get("taskrun"), Mapping):
            found = member(state, found, parent["taskrun"]["value"])
    return member(state, found, path(state, "taskrun", "value"))


@function(
    "loopOutputs",
    outside=True,
    examples=(("{{ loopOutputs(outputs.loop.outputs, 'city') | join('+') }}", "Berlin+Paris"),),
)
def loop_outputs(state: State, outputs: object, name: object) -> list[object]:
    """The output `name` of each iteration of a Loop, null where missing: `loopOutputs(outputs.l.outputs, 'x')`."""
    if not isinstance(outputs, list | tuple):
        raise RenderError(f"loopOutputs() needs the list `outputs.<loop>.outputs`, got {kind(outputs)}")
    key = text(name, "loopOutputs")
    found: list[object] = []
    for item in outputs:
        inner = item.get("outputs") if isinstance(item, Mapping) else None
        found.append(inner.get(key) if isinstance(inner, Mapping) else None)
    return found


@function("parentOutput", outside=True, examples=(("{{ parentOutput().evaluationResult }}", "true"),))
def parent_output(state: State, index: object = 0) -> object:
    """The outputs of an ancestor task run, the closest by default."""
    from namespaces.expressions.access import path

    return path(state, "parents", integer(index, "parentOutput", "index"), "outputs")
