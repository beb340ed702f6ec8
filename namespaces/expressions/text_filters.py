"""Filters on text (expressions.md 8.1). Null in gives null out unless a filter says otherwise."""

# ruff: noqa: ARG001 - whatever is registered takes the rendering's state first, used or not

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from urllib.parse import quote_plus, unquote_plus

from namespaces.expressions import patterns
from namespaces.expressions.failures import RenderError
from namespaces.expressions.registry import filter_
from namespaces.expressions.state import State
from namespaces.expressions.values import is_list, kind, to_text

_WORD = re.compile(r"(?:^|(?<=\s))\S")
_ENDING = re.compile(r"\r\n|\n|\r")


def scalar(value: object, name: str) -> str:
    """Any scalar as text. Raises for lists and maps."""
    if isinstance(value, Mapping) or is_list(value):
        raise RenderError(f"`{name}` needs a text, got {kind(value)}")
    return to_text(value)


def text(value: object, name: str) -> str:
    """A text and nothing else."""
    if not isinstance(value, str):
        raise RenderError(f"`{name}` needs a text, got {kind(value)}")
    return str(value)


def integer(value: object, name: str, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RenderError(f"`{name}`: {what} must be an integer, got {kind(value)}")
    return int(value)


def _simple(change: Callable[[str], str], name: str, doc: str, *examples: tuple[str, str]) -> None:
    def apply(state: State, value: object) -> object:
        return None if value is None else state.sized(change(scalar(value, name)))

    apply.__doc__ = doc
    apply.__module__ = __name__
    filter_(name, examples=examples)(apply)


_simple(str.upper, "upper", "Upper case.", ("{{ 'MiXed' | upper }}", "MIXED"), ("{{ 5 | upper }}", "5"))
_simple(str.lower, "lower", "Lower case.", ("{{ 'MiXed' | lower }}", "mixed"))
_simple(str.strip, "trim", "Without white space at both ends.", ("{{ '  a ' | trim }}", "a"))
_simple(
    lambda value: value[:1].upper() + value[1:],
    "capitalize",
    "First letter upper case, the rest unchanged.",
    ("{{ 'hello WORLD foo' | capitalize }}", "Hello WORLD foo"),
)
_simple(
    lambda value: _WORD.sub(lambda match: match[0].upper(), value),
    "title",
    "First letter of each blank-separated word upper case, the rest unchanged.",
    ("{{ 'hello WORLD foo' | title }}", "Hello WORLD Foo"),
    ("{{ 'hello-world' | title }}", "Hello-world"),
)
_simple(
    quote_plus,
    "urlencode",
    "Form encoding: a blank becomes `+`.",
    ("{{ 'a b&c/é' | urlencode }}", "a+b%26c%2F%C3%A9"),
)
_simple(
    unquote_plus,
    "urldecode",
    "The text behind a form encoding.",
    ("{{ 'a+b%26c' | urldecode }}", "a b&c"),
)
_simple(
    lambda value: base64.b64encode(value.encode()).decode(),
    "base64encode",
    "Base64 of the UTF-8 text.",
    ("{{ 'test' | base64encode }}", "dGVzdA=="),
    ("{{ 5 | base64encode }}", "NQ=="),
)


def slug(value: str) -> str:
    """Accents off, white space and `_` to `-`, other signs dropped, lower case (flows.md 9.5)."""
    plain = "".join(char for char in unicodedata.normalize("NFD", value) if not unicodedata.combining(char))
    dashed = re.sub(r"[\s_]+", "-", plain)
    return re.sub(r"-+", "-", re.sub(r"[^A-Za-z0-9-]", "", dashed)).lower()


_simple(
    slug,
    "slugify",
    "Text for an address: accents off, blanks to `-`, other signs dropped, lower case.",
    ("{{ 'Été à Paris !' | slugify }}", "ete-a-paris-"),
    ("{{ 'My_Flow 1' | slugify }}", "my-flow-1"),
)


@filter_("base64decode", examples=(("{{ 'dGVzdA==' | base64decode }}", "test"),))
def base64decode(state: State, value: object) -> object:
    """The UTF-8 text behind Base64."""
    if value is None:
        return None
    try:
        return base64.b64decode(scalar(value, "base64decode"), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RenderError(f"`base64decode`: the value is no Base64 of a UTF-8 text: {error}") from error


@filter_("string", examples=(("{{ 5 | string | className }}", "java.lang.String"),))
def string(state: State, value: object) -> object:
    """Any value as the text it prints."""
    return None if value is None else state.sized(state.text_of(value))


@filter_("abbreviate", examples=(("{{ 'hello world' | abbreviate(8) }}", "hello..."),))
def abbreviate(state: State, value: object, length: object) -> object:
    """At most `length` characters, the last three being `...` when the text is longer."""
    if value is None:
        return None
    whole, size = scalar(value, "abbreviate"), integer(length, "abbreviate", "length")
    if size < 0:
        raise RenderError("`abbreviate`: length must not be negative")
    if len(whole) <= size:
        return whole
    return whole[: size - 3] + "..." if size > 3 else "..."[:size]


@filter_(
    "replace",
    names=("replace_pairs", "regexp"),
    examples=(
        ("{{ 'john doe is john doe' | replace({'john': 'jane'}) }}", "jane doe is jane doe"),
        (r"{{ 'aa1bb2' | replace({'(\d)': '-$1-'}, regexp=true) }}", "aa-1-bb-2-"),
    ),
)
def replace(state: State, value: object, replace_pairs: object, regexp: object = False) -> object:
    """Old texts by new ones, in order. With `regexp` the old texts are Java patterns and `$1` is a group.
    Maps and lists are gone through; their values become texts."""
    if value is None:
        return None
    if not isinstance(replace_pairs, Mapping):
        raise RenderError(f"`replace` needs a map of old to new, got {kind(replace_pairs)}")
    pairs = [(to_text(old), to_text(new)) for old, new in replace_pairs.items()]
    return _replaced(state, value, pairs, regexp is True)


def _replaced(state: State, value: object, pairs: list[tuple[str, str]], regexp: bool) -> object:
    state.step()
    if isinstance(value, Mapping):
        return {to_text(key): _replaced(state, item, pairs, regexp) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(state, item, pairs, regexp) for item in value]
    made = state.text_of(value)
    for old, new in pairs:
        if regexp:
            made = patterns.replace(made, old, new, state.limits.output)
        else:
            state.room(len(made) + made.count(old) * max(0, len(new) - len(old)))
            made = made.replace(old, new)
        state.sized(made)
    return made


@filter_(
    "split",
    examples=(
        ("{{ 'a,b,c' | split(',') }}", '["a","b","c"]'),
        ("{{ 'a,b,c' | split(',', 2) }}", '["a","b,c"]'),
        ("{{ 'a.b' | split('.') }}", "[]"),
        ("{{ 'a,b,,' | split(',') }}", '["a","b"]'),
    ),
)
def split(state: State, value: object, delimiter: object, limit: object = 0) -> object:
    """Parts around a delimiter, which is a Java pattern. Trailing empty parts are dropped unless `limit` is given."""
    if value is None:
        return None
    found = patterns.split(scalar(value, "split"), text(delimiter, "split"), integer(limit, "split", "limit"))
    state.step(len(found) // 10)
    return found


def _around(name: str, example: str, cut: Callable[[str, str], str], doc: str) -> None:
    def apply(state: State, value: object, separator: object) -> object:
        return None if value is None else cut(scalar(value, name), text(separator, name))

    apply.__doc__ = doc
    apply.__module__ = __name__
    filter_(name, examples=((f"{{{{ 'a.b.c' | {name}('.') }}}}", example),))(apply)


_around("substringBefore", "a", lambda t, s: t.split(s, 1)[0] if s else "", "Before the first separator, or all.")
_around("substringBeforeLast", "a.b", lambda t, s: t.rsplit(s, 1)[0] if s else t, "Before the last separator, or all.")
_around(
    "substringAfter", "b.c", lambda t, s: t.split(s, 1)[1] if s in t and s else (t if not s else ""),
    "After the first separator, or nothing.",
)  # fmt: skip
_around(
    "substringAfterLast", "c", lambda t, s: t.rsplit(s, 1)[1] if s and s in t else "",
    "After the last separator, or nothing.",
)  # fmt: skip


@filter_(
    "startsWith",
    names=("value",),
    examples=(('{{ "Hello World" | startsWith("Hello") }}', "true"),),
)
def starts_with(state: State, value: object, prefix: object) -> bool:
    """Whether the text begins with `value`; null is an error."""
    return text(value, "startsWith").startswith(text(prefix, "startsWith"))


@filter_("endsWith", names=("value",), examples=(('{{ "Hello World" | endsWith("Hello") }}', "false"),))
def ends_with(state: State, value: object, suffix: object) -> bool:
    """Whether the text ends with `value`; null is an error."""
    return text(value, "endsWith").endswith(text(suffix, "endsWith"))


def _indented(state: State, value: object, amount: object, prefix: object, name: str) -> tuple[str, str, str]:
    whole = scalar(value, name)
    count, unit = integer(amount, name, "amount"), text(prefix, name)
    if count < 0:
        raise RenderError(f"`{name}`: amount must not be negative")
    state.room(len(whole) + (len(_ENDING.findall(whole)) + 1) * count * len(unit))
    ending = _ENDING.search(whole)
    blank = unit * count
    return _ENDING.sub(lambda match: match[0] + blank, whole), blank, ending[0] if ending else "\n"


@filter_("indent", examples=(('{{ "first line\nsecond line" | indent(2) }}', "first line\n  second line"),))
def indent(state: State, value: object, amount: object, prefix: object = " ") -> object:
    """Indents every line but the first."""
    return None if value is None else _indented(state, value, amount, prefix, "indent")[0]


@filter_("nindent", examples=(("{{ 'a' | nindent(2) }}", "\n  a"),))
def nindent(state: State, value: object, amount: object, prefix: object = " ") -> object:
    """A line break, then every line indented; empty text stays empty."""
    if value is None:
        return None
    whole, blank, ending = _indented(state, value, amount, prefix, "nindent")
    return ending + blank + whole if whole else ""


_ESCAPES = {"single": ("'", "\\'"), "double": ('"', '\\"'), "shell": ("'", "'\\''")}


@filter_("escapeChar", examples=(("{{ \"L'eau\" | escapeChar('single') }}", "L\\'eau"),))
def escape_char(state: State, value: object, type_: object) -> object:
    """Escapes quotes: `single`, `double`, or `shell` (for use inside single quotes of a shell)."""
    if value is None:
        return None
    pair = _ESCAPES.get(type_) if isinstance(type_, str) else None
    if pair is None:
        raise RenderError(f"`escapeChar`: type must be one of single, double, shell, got {to_text(type_)!r}")
    return state.sized(scalar(value, "escapeChar").replace(*pair))


def _hash(name: str, example: str) -> None:
    def apply(state: State, value: object) -> object:
        return None if value is None else hashlib.new(name, text(value, name).encode()).hexdigest()

    apply.__doc__ = f"{name.upper()} of the UTF-8 text, in hexadecimal; only texts."
    apply.__module__ = __name__
    filter_(name, examples=((f"{{{{ 'hello' | {name} | abbreviate(11) }}}}", example),))(apply)


_hash("md5", "5d41402a...")
_hash("sha1", "aaf4c61d...")
_hash("sha256", "2cf24dba...")
_hash("sha512", "9b71d224...")


@filter_(
    "regexMatch",
    cheap=False,
    examples=((r"{{ 'order-12345-done' | regexMatch(regex='\d+') }}", "true"),),
)
def regex_match(state: State, value: object, regex: object) -> object:
    """Whether the Java pattern is found anywhere in the text."""
    if value is None:
        return None
    return patterns.compiled(text(regex, "regexMatch")).search(scalar(value, "regexMatch")) is not None


@filter_(
    "regexReplace",
    cheap=False,
    examples=(("{{ 'hello world' | regexReplace(regex='world', replacement='java') }}", "hello java"),),
)
def regex_replace(state: State, value: object, regex: object, replacement: object) -> object:
    """Every match of the Java pattern replaced; `$1` is a group."""
    if value is None:
        return None
    return state.sized(
        patterns.replace(
            scalar(value, "regexReplace"),
            text(regex, "regexReplace"),
            text(replacement, "regexReplace"),
            state.limits.output,
        )
    )


@filter_(
    "regexExtract",
    cheap=False,
    examples=((r"{{ 'order-12345-done' | regexExtract('order-(\d+)', 1) }}", "12345"),),
)
def regex_extract(state: State, value: object, regex: object, group: object = 0) -> object:
    """The first match of the Java pattern, or one group of it; null when there is none."""
    if value is None:
        return None
    found = patterns.compiled(text(regex, "regexExtract")).search(scalar(value, "regexExtract"))
    if found is None:
        return None
    try:
        return found[str(group) if isinstance(group, str) else integer(group, "regexExtract", "group")]
    except IndexError as error:
        raise RenderError(f"`regexExtract`: the pattern has no group {to_text(group)}") from error


@filter_(
    "numberFormat",
    names=("format",),
    examples=(
        ("{{ 1234567.891 | numberFormat('#,##0.00') }}", "1,234,567.89"),
        ("{{ 5 | numberFormat('000') }}", "005"),
    ),
)
def number_format(state: State, value: object, pattern: object = None) -> object:
    """A number by Java's DecimalFormat pattern; without one `#,##0.###`."""
    from namespaces.expressions.decimal_format import formatted

    return (
        None if value is None else formatted(value, "#,##0.###" if pattern is None else text(pattern, "numberFormat"))
    )


@filter_("default", examples=(("{{ missing | upper | default('d') }}", "d"), ("{{ false | default('d') }}", "false")))
def default(state: State, value: object, default: object) -> object:
    """Replaces what is undefined, null, blank or empty; not `false` and `0`."""
    raise AssertionError("compiled as an operator, because its left side may fail")


def _removed(name: str) -> None:
    why = f"the filter `{name}` is not available: nothing is escaped here"

    def apply(state: State, value: object, *rest: object) -> object:
        raise RenderError(why)

    apply.__doc__ = "Not available: an error."
    apply.__module__ = __name__
    filter_(name, examples=((f"{{{{ 'x' | {name} }}}}", f"error: {why}"),))(apply)


_removed("raw")
_removed("escape")
