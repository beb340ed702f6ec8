"""What compiled code calls for operators, tags and literals. Each takes the rendering's state first.

Names beginning with ``lazy:`` get their operands as functions, so that they may catch or skip them.
"""

# ruff: noqa: ARG001 - whatever is registered takes the rendering's state first, used or not

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal

from namespaces.expressions import access
from namespaces.expressions.failures import LimitReached, NothingFound, RenderError
from namespaces.expressions.state import State
from namespaces.expressions.values import compare, equal, is_list, is_number, kind, to_text, truth

Operand = Callable[[], object]
Number = int | float | Decimal
#: Integers are unlimited as numbers go, not as memory goes.
_MAX_BITS = 4096


def _bounded(value: object) -> object:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise LimitReached(f"the number is too large: more than {_MAX_BITS} bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise LimitReached("the number is too large for a float")
    return value


def _pair(op: str, left: object, right: object) -> tuple[Number, Number]:
    """Two numbers of kinds that Python adds up. Raises for anything else."""
    if not (is_number(left) and is_number(right)):
        raise RenderError(f"`{op}` needs two numbers, got {kind(left)} and {kind(right)}")
    assert isinstance(left, Number)
    assert isinstance(right, Number)
    if isinstance(left, Decimal) != isinstance(right, Decimal):
        return Decimal(repr(left)) if isinstance(left, float) else Decimal(left), (
            Decimal(repr(right)) if isinstance(right, float) else Decimal(right)
        )
    return left, right


def add(state: State, first: object, *others: object) -> object:
    """Numbers add up; with a text on one side it is concatenation; both from left to right."""
    total = first
    for other in others:
        if isinstance(total, str) or isinstance(other, str):
            if total is None or other is None:
                raise RenderError(f"`+` cannot add {kind(total)} and {kind(other)}", hint="`~` takes null as empty")
            total = state.sized(state.text_of(total) + state.text_of(other))
        else:
            a, b = _pair("+", total, other)
            total = _bounded(a + b)  # type: ignore[operator]
    return total


def concat(state: State, *items: object) -> str:
    parts: list[str] = []
    size = 0
    for item in items:
        parts.append(state.text_of(item))
        size += len(parts[-1])
        state.room(size)
    return state.sized("".join(parts))


def subtract(state: State, left: object, right: object) -> object:
    a, b = _pair("-", left, right)
    return _bounded(a - b)  # type: ignore[operator]


def multiply(state: State, left: object, right: object) -> object:
    a, b = _pair("*", left, right)
    return _bounded(a * b)  # type: ignore[operator]


def divide(state: State, left: object, right: object) -> object:
    """Two integers divide to an integer, truncated towards zero."""
    a, b = _pair("/", left, right)
    if b == 0:
        raise RenderError("division by zero")
    if isinstance(a, int) and isinstance(b, int):
        return (abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)
    return _bounded(a / b)  # type: ignore[operator]


def modulo(state: State, left: object, right: object) -> object:
    """The rest has the sign of the dividend."""
    a, b = _pair("%", left, right)
    if b == 0:
        raise RenderError("division by zero")
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) % abs(b) * (-1 if a < 0 else 1)
    if isinstance(a, Decimal) and isinstance(b, Decimal):
        return a % b
    return math.fmod(a, b)


def negate(state: State, value: object) -> object:
    if not is_number(value):
        raise RenderError(f"`-` needs a number, got {kind(value)}")
    return -value  # type: ignore[operator]


def plus(state: State, value: object) -> object:
    if not is_number(value):
        raise RenderError(f"`+` needs a number, got {kind(value)}")
    return value


def negation(state: State, value: object) -> bool:
    return not truth(value, "not")


def equals(state: State, left: object, right: object) -> bool:
    return equal(left, right, state.step)


def differs(state: State, left: object, right: object) -> bool:
    return not equal(left, right, state.step)


def ordered(op: str) -> Callable[[State, object, object], bool]:
    def compared(state: State, left: object, right: object) -> bool:
        return compare(op, left, right)

    return compared


def contains(state: State, whole: object, part: object) -> bool:
    """A list has the element (or all of a list), a text the text, a map the key; null has nothing."""
    if whole is None:
        return False
    parts = list(part) if isinstance(part, list | tuple) else [part]
    if isinstance(whole, list | tuple):
        state.step(len(whole) * len(parts) // 100)
        return all(any(equal(element, one, state.step) for element in whole) for one in parts)
    if isinstance(whole, Mapping):
        return all(one is not None and to_text(one) in whole for one in parts)
    if isinstance(whole, str):
        if not all(isinstance(one, str) for one in parts):
            raise RenderError(f"`contains` needs a text to look for in a text, got {kind(part)}")
        state.step(len(whole) * len(parts) // 1000)
        return all(str(one) in whole for one in parts)
    raise RenderError(f"`contains` needs a list, a map or a text, got {kind(whole)}")


def is_in(state: State, part: object, whole: object) -> bool:
    if whole is None:
        return False
    if isinstance(whole, list | tuple):
        state.step(len(whole) // 100)
        return any(equal(element, part, state.step) for element in whole)
    return contains(state, whole, part)


def span(state: State, start: object, end: object) -> list[object]:
    """``1..3`` and ``'a'..'c'``, both ends included."""
    if isinstance(start, str) and isinstance(end, str) and len(start) == 1 == len(end):
        return [chr(code) for code in integers(state, ord(start), ord(end), 1)]
    for value in (start, end):
        if not isinstance(value, int) or isinstance(value, bool):
            raise RenderError(f"`..` needs two integers or two letters, got {kind(start)} and {kind(end)}")
    assert isinstance(start, int)
    assert isinstance(end, int)
    return list(integers(state, start, end, 1))


def integers(state: State, start: int, end: int, step: int) -> range:
    """An inclusive range, refused when it is longer than the limit."""
    found = range(start, end + (1 if step > 0 else -1), step)
    if abs(end - start) // abs(step) >= state.limits.range and len(found) > 0:
        raise LimitReached(f"range too large: more than {state.limits.range} elements")
    state.step(len(found) // 10)
    return found


def condition(state: State, value: object) -> bool:
    """The condition of ``? :``: null counts as false there."""
    return value is not None and truth(value, "? :")


def if_true(state: State, value: object) -> bool:
    return truth(value, "if")


def loop_was_null(state: State) -> bool:
    return state.null_loop


def make_map(state: State, *flat: object) -> dict[str, object]:
    """Keys and values in turn; a later key wins."""
    made: dict[str, object] = {}
    for index in range(0, len(flat), 2):
        key = flat[index]
        if key is None or is_list(key) or isinstance(key, Mapping):
            raise RenderError(f"the key of a map cannot be {kind(key)}")
        made[to_text(key)] = flat[index + 1]
    return made


def assign(state: State, value: object, name: object) -> None:
    state.assign(str(name), value)


def raw(state: State, text: object) -> str:
    """``{% raw %}``: as it is; while rendering recursively a mark stands for it until the last pass."""
    if state.held is None:
        return str(text)
    state.held.append(str(text))
    return f"\x00raw {len(state.held) - 1}\x00"


def fail(state: State, message: object) -> object:
    raise RenderError(str(message))


def both(state: State, *items: Operand) -> bool:
    return all(truth(item(), "and") for item in items)


def either(state: State, *items: Operand) -> bool:
    return any(truth(item(), "or") for item in items)


def _attempt(state: State, value: Operand) -> tuple[bool, object]:
    """Whether the value could be looked up, and it. Scopes are put back where a macro was left half-way."""
    scopes, height = state.scopes, len(state.scopes)
    try:
        return True, value()
    except NothingFound:
        state.scopes = scopes
        del scopes[height:]
        return False, None


def coalesce(state: State, left: Operand, right: Operand) -> object:
    found, value = _attempt(state, left)
    return value if found and value is not None else right()


def coalesce_undefined(state: State, left: Operand, right: Operand) -> object:
    found, value = _attempt(state, left)
    return value if found else right()


def is_defined(state: State, value: Operand) -> bool:
    found, seen = _attempt(state, value)
    return found and seen is not None


def default(state: State, value: Operand, fallback: Operand) -> object:
    """Replaces what is undefined, null, blank or empty; ``false`` and ``0`` stay. The fallback is strict."""
    other = fallback()
    found, seen = _attempt(state, value)
    if not found or seen is None or (isinstance(seen, str) and not seen.strip()):
        return other
    if isinstance(seen, list | tuple | Mapping) and not seen:
        return other
    return seen


def macro_parameters(state: State, name: Operand, *flat: Operand) -> None:
    """Names and defaults in turn, for the macro just defined; a default of the compiler's ``...`` means none."""
    macro = state.macros[str(name())]
    for index in range(0, len(flat), 3):
        has_default = bool(flat[index + 1]())
        macro.params.append((str(flat[index]()), flat[index + 2] if has_default else None))


def call_macro(state: State, name: object, count: object, *flat: object) -> str:
    """``count`` positional values, then names and values in turn."""
    assert isinstance(count, int)
    args, rest = flat[:count], flat[count:]
    named = {str(rest[i]): rest[i + 1] for i in range(0, len(rest), 2)}
    return state.call_macro(str(name), args, named)


OPERATORS: dict[str, Callable[..., object]] = {
    "path": access.path,
    "member": access.member,
    "method": access.method,
    "~": concat,
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": modulo,
    "..": span,
    "==": equals,
    "!=": differs,
    "<": ordered("<"),
    ">": ordered(">"),
    "<=": ordered("<="),
    ">=": ordered(">="),
    "contains": contains,
    "isIn": is_in,
    "unary -": negate,
    "unary +": plus,
    "unary not": negation,
    "? :": condition,
    "if": if_true,
    "for": State.loop,
    "null loop": loop_was_null,
    "map": make_map,
    "set": assign,
    "fail": fail,
    "raw": raw,
    "call macro": call_macro,
    "lazy:and": both,
    "lazy:or": either,
    "lazy:??": coalesce,
    "lazy:???": coalesce_undefined,
    "lazy:defined": is_defined,
    "lazy:default": default,
    "lazy:macro": macro_parameters,
}
