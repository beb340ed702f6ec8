"""Names of months and days and the localized styles. English is built in, other languages come from Babel (CLDR)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from namespaces.expressions.failures import RenderError
from namespaces.expressions.values import shorten, to_text


@dataclass(frozen=True, slots=True)
class Names:
    """Words of one language; ``styles`` are patterns for full, long, medium and short."""

    months: tuple[str, ...]
    months_short: tuple[str, ...]
    days: tuple[str, ...]
    days_short: tuple[str, ...]
    halves: tuple[str, str]
    quarters: tuple[str, ...]
    styles: dict[str, str]


_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ENGLISH = Names(
    _MONTHS,
    tuple(name[:3] for name in _MONTHS),
    _DAYS,
    tuple(name[:3] for name in _DAYS),
    ("AM", "PM"),
    ("1st quarter", "2nd quarter", "3rd quarter", "4th quarter"),
    {
        "full": "EEEE, MMMM d, yyyy 'at' h:mm:ss a zzzz",
        "long": "MMMM d, yyyy 'at' h:mm:ss a z",
        "medium": "MMM d, yyyy, h:mm:ss a",
        "short": "M/d/yy, h:mm a",
    },
)


def names_of(locale: object) -> Names:
    """The words of a locale such as ``fr`` or ``fr-FR``; English without one. Raises for unknown ones."""
    if locale is None:
        return ENGLISH
    tag = to_text(locale).replace("-", "_")
    if tag in ("", "en", "en_US"):
        return ENGLISH
    if not re.fullmatch(r"[A-Za-z]{2,3}(_[A-Za-z0-9]{2,8}){0,3}", tag):
        raise RenderError(f"unknown locale {shorten(tag)!r}")
    return _from_babel(tag)


@lru_cache(maxsize=32)
def _from_babel(tag: str) -> Names:
    from babel import Locale, UnknownLocaleError

    try:
        found = Locale.parse(tag)
    except (UnknownLocaleError, ValueError) as error:
        raise RenderError(f"unknown locale {tag!r}", hint="for instance en, fr, de-DE") from error
    months, days = found.months["format"], found.days["format"]
    styles = {}
    for style in ("full", "long", "medium", "short"):
        joined = str(found.datetime_formats[style])
        pattern = joined.replace("{1}", found.date_formats[style].pattern)
        styles[style] = pattern.replace("{0}", found.time_formats[style].pattern).replace("\u202f", " ")
    halves = found.day_periods["format"]["abbreviated"]
    return Names(
        tuple(months["wide"][i] for i in range(1, 13)),
        tuple(months["abbreviated"][i] for i in range(1, 13)),
        tuple(days["wide"][i] for i in range(7)),
        tuple(days["abbreviated"][i] for i in range(7)),
        (halves.get("am", "AM"), halves.get("pm", "PM")),
        tuple(found.quarters["format"]["wide"][i] for i in range(1, 5)),
        styles,
    )
