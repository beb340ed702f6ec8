"""Java's DecimalFormat patterns (English symbols) for numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from namespaces.expressions.failures import RenderError
from namespaces.expressions.values import is_number, kind


@dataclass(frozen=True, slots=True)
class _Shape:
    prefix: str
    suffix: str
    least_whole: int
    least_fraction: int
    most_fraction: int
    group: int
    scale: int
    exponent: int  # digits of the exponent, 0 for none
    whole_signs: int


def formatted(value: object, pattern: str) -> str:
    """The number as text. Raises for what is no number or no pattern."""
    if not is_number(value):
        raise RenderError(f"`numberFormat` needs a number, got {kind(value)}")
    positive, _, negative = _halves(pattern)
    shape = _parsed(positive)
    number = Decimal(value)  # type: ignore[arg-type]
    if not number.is_finite():
        return shape.prefix + ("NaN" if number.is_nan() else "∞") + shape.suffix
    with localcontext() as context:
        context.prec = 400
        digits = _digits(abs(number) * Decimal(10) ** shape.scale, shape)
    below = number < 0 and any(char in "123456789" for char in digits)
    if not below:
        return shape.prefix + digits + shape.suffix
    if negative:
        other = _parsed(negative)
        return other.prefix + digits + other.suffix
    return "-" + shape.prefix + digits + shape.suffix


def _halves(pattern: str) -> tuple[str, str, str]:
    quoted = False
    for index, char in enumerate(pattern):
        if char == "'":
            quoted = not quoted
        elif char == ";" and not quoted:
            return pattern[:index], ";", pattern[index + 1 :]
    return pattern, "", ""


def _parsed(pattern: str) -> _Shape:
    prefix: list[str] = []
    suffix: list[str] = []
    body: list[str] = []
    scale = 0
    at = 0
    quoted = False
    while at < len(pattern):
        char = pattern[at]
        affix = suffix if body else prefix
        if char == "'":
            if pattern.startswith("''", at):
                affix.append("'")
                at += 1
            else:
                quoted = not quoted
        elif quoted:
            affix.append(char)
        elif char in "#0,." or (char == "E" and body and pattern.startswith("0", at + 1)):
            if suffix:
                raise RenderError(f"malformed number pattern {pattern!r}")
            body.append(char)
        else:
            scale += 2 if char == "%" else 3 if char == "‰" else 0
            affix.append("$" if char == "¤" else char)
        at += 1
    if quoted:
        raise RenderError(f"malformed number pattern {pattern!r}: unclosed quote")
    mantissa, _, exponent = "".join(body).partition("E")
    whole, _, fraction = mantissa.partition(".")
    plain = whole.replace(",", "")
    if "0#" in plain or "#0" in fraction or "." in fraction or "," in fraction or set(exponent) - {"0"}:
        raise RenderError(f"malformed number pattern {pattern!r}")
    group = len(whole) - whole.rindex(",") - 1 if "," in whole else 0
    return _Shape(
        "".join(prefix),
        "".join(suffix),
        plain.count("0"),
        fraction.count("0"),
        len(fraction),
        group,
        scale,
        len(exponent),
        len(plain),
    )


def _digits(number: Decimal, shape: _Shape) -> str:
    if shape.exponent:
        return _scientific(number, shape)
    rounded = number.quantize(Decimal(1).scaleb(-shape.most_fraction), rounding=ROUND_HALF_EVEN)
    whole, _, fraction = format(rounded, "f").partition(".")
    whole = whole.lstrip("0").rjust(shape.least_whole, "0")
    fraction = _trimmed(fraction, shape.least_fraction)
    if not whole and not fraction:
        whole = "0"
    if shape.group:
        head = len(whole) % shape.group
        parts = [whole[:head]] if head else []
        parts += [whole[i : i + shape.group] for i in range(head, len(whole), shape.group)]
        whole = ",".join(parts)
    return f"{whole}.{fraction}" if fraction else whole


def _trimmed(fraction: str, least: int) -> str:
    kept = fraction.rstrip("0")
    return kept.ljust(least, "0")


def _scientific(number: Decimal, shape: _Shape) -> str:
    whole_digits = max(1, shape.least_whole)
    exponent = number.adjusted() - (whole_digits - 1) if number else 0
    if shape.whole_signs > shape.least_whole and shape.whole_signs > 1:
        exponent = number.adjusted() // shape.whole_signs * shape.whole_signs if number else 0
    mantissa = number.scaleb(-exponent).quantize(Decimal(1).scaleb(-shape.most_fraction), rounding=ROUND_HALF_EVEN)
    whole, _, fraction = format(mantissa, "f").partition(".")
    fraction = _trimmed(fraction, shape.least_fraction)
    sign = "-" if exponent < 0 else ""
    power = str(abs(exponent)).rjust(shape.exponent, "0")
    return f"{whole.rjust(shape.least_whole, '0')}{'.' + fraction if fraction else ''}E{sign}{power}"
