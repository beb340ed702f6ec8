"""Between values and texts: JSON, YAML, Ion, numbers, jq, class names (expressions.md 5.2, 8.2).

What reads untrusted text checks size and nesting first; heavy libraries are imported where they are used.
"""

# ruff: noqa: ARG001 - whatever is registered takes the rendering's state first, used or not

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from itertools import islice

import orjson

from namespaces.expressions.failures import DEFAULT_LIMITS, LimitReached, RenderError
from namespaces.expressions.registry import filter_, function
from namespaces.expressions.state import State
from namespaces.expressions.text_filters import text
from namespaces.expressions.values import BigInteger, is_number, kind, shorten, to_json, to_text

_DEEPEST = 200
_LONG_NUMBER = re.compile(r"\d{19}")
_MAX_RESULTS = 100_000


def nesting(document: str) -> int:
    """An upper bound of how deep brackets nest, whatever is inside texts; linear and without recursion."""
    depth = deepest = 0
    for char in re.findall(r"[\[\]{}]", document):
        depth += 1 if char in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def parse_json(document: str) -> object:
    """The value of a JSON text. Raises for bad, long or deep ones."""
    if len(document) > DEFAULT_LIMITS.output:
        raise LimitReached(f"JSON too large: {len(document)} characters, the limit is {DEFAULT_LIMITS.output}")
    try:
        found = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        if nesting(document) > _DEEPEST:
            raise LimitReached(f"JSON too deeply nested: more than {_DEEPEST} levels") from error
        return _slow_json(document, error)
    return _slow_json(document, None) if _LONG_NUMBER.search(document) else found


def _slow_json(document: str, first: orjson.JSONDecodeError | None) -> object:
    """The standard library keeps integers above 64 bits, which orjson makes floats, and lone surrogates."""
    import json

    try:
        return json.loads(document, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RenderError(f"not JSON: {first or error} in {shorten(document)!r}") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


@function(
    "fromJson",
    "json",
    "jsonDecode",
    examples=(("{{ fromJson('{\"test1\": 1}').test1 }}", "1"), ("{{ fromJson('[1, 2, 3]')[0] }}", "1")),
)
def from_json(state: State, json: object) -> object:
    """The value of a JSON text; null gives null, anything but a text is an error."""
    return None if json is None else parse_json(text(json, "fromJson"))


@filter_(
    "toJson",
    "json",
    "jsonEncode",
    examples=(("{{ 'a' | toJson }}", '"a"'), ("{{ null | toJson }}", "null"), ("{{ [1,'b'] | toJson }}", '[1,"b"]')),
)
def json_text(state: State, value: object) -> str:
    """JSON text; null gives the text `null`, texts get quotes."""
    return state.sized(to_json(state.bounded(value)))


@function("yaml", examples=(("{{ yaml('a: 1').a }}", "1"),), cheap=False)
def from_yaml(state: State, yaml: object) -> object:
    """The value of a YAML text; dates stay text. Anything but a text, also null, is an error."""
    from namespaces.expressions.yaml_text import parsed

    return parsed(text(yaml, "yaml"))


@filter_(
    "yaml",
    examples=(("{{ ['string',1,1.123] | yaml }}", " - string\n - 1\n - 1.123\n"), ("{{ null | yaml }}", "null")),
    cheap=False,
)
def yaml_text(state: State, value: object) -> str:
    """Block style, list items behind ` - `; ends with a line break. Null gives the text `null`."""
    from namespaces.expressions.yaml_text import written

    return "null" if value is None else state.sized(written(state.bounded(value)))


@function(
    "fromIon", "ionDecode", examples=(("{{ fromIon('{title:\"Main_Page\"}').title }}", "Main_Page"),), cheap=False
)
def from_ion(state: State, ion: object, all_rows: object = False) -> object:
    """The first Ion value of a text, or all of them as a list with `allRows=true`."""
    from namespaces.expressions.ion_text import parsed

    if ion is None:
        return None
    found = parsed(text(ion, "fromIon"), everything=all_rows is True)
    if all_rows is True:
        return found
    return found[0] if found else None


@filter_("toIon", examples=(("{{ {'a': 1} | toIon }}", "{a:1}"), ("{{ 'x' | toIon }}", '"x"')))
def ion_text(state: State, value: object) -> str:
    """Ion text on one line."""
    from namespaces.expressions.ion_text import written

    return state.sized(written(state.bounded(value)))


_GUARD = (
    '{} as $ENV | def env: {}; def input: error("input is not available"); def inputs: empty; def debug: .; '
    'def debug(m): .; def stderr: .; def input_filename: null; def modulemeta: error("modules are not available"); '
    "def get_search_list: []; def halt: empty; def halt_error: error; def halt_error(c): error; "
)


@filter_(
    "jq",
    names=("expression",),
    cheap=False,
    examples=(("{{ {'k': 5} | jq('.k') | first }}", "5"), ("{{ [1,2] | jq('.[] + 1') }}", "[2,3]")),
)
def jq(state: State, value: object, program: object) -> object:
    """A jq program on the value (a text is parsed as JSON first); always a list of results."""
    if value is None:
        return None
    document = str(value) if isinstance(value, str) else to_json(value)
    if len(document) > 32 * DEFAULT_LIMITS.output or nesting(document) > _DEEPEST:
        raise LimitReached("the value is too large or too deeply nested for jq")
    if isinstance(value, str):
        parse_json(document)
    source = text(program, "jq")
    if re.match(r"\s*(import|include|module)\b", source):
        raise RenderError("`jq`: modules are not available")
    found, complaint = _run_jq(source, document)
    if complaint:
        raise RenderError(f"`jq`: {complaint}")
    if len(found) > _MAX_RESULTS:
        raise LimitReached(f"`jq` gave more than {_MAX_RESULTS} results")
    return found


def _run_jq(source: str, document: str) -> tuple[list[object], str]:
    """The results, or what went wrong as text: jq's objects must not hang on a traceback, because the library
    crashes the interpreter when the garbage collector finds them in a cycle (jq 1.13)."""
    import jq as engine

    try:
        return list(islice(iter(engine.compile(f"{_GUARD}\n{source}").input_text(document)), _MAX_RESULTS + 1)), ""
    except (ValueError, StopIteration) as error:
        message = (str(error).splitlines() or ["failed"])[0]
        return [], re.sub(r" at <top-level>, line (\d+)", lambda at: f" at line {int(at[1]) - 1}", message)


_KINDS = ("INT", "LONG", "FLOAT", "DOUBLE", "BIGDECIMAL", "BIGINTEGER")
_BITS = {"INT": 31, "LONG": 63}


@filter_("number", examples=(("{{ '12.3' | number }}", "12.3"), ("{{ '42' | number('INT') }}", "42")))
def number(state: State, value: object, type_: object = None) -> object:
    """The number a text stands for: INT, LONG, FLOAT, DOUBLE, BIGDECIMAL, BIGINTEGER, or what it looks like."""
    if value is None:
        return None
    source = text(value, "number").strip()
    wanted = type_.upper() if isinstance(type_, str) else None
    if type_ is not None and wanted not in _KINDS:
        raise RenderError(f"`number`: type must be one of {', '.join(_KINDS)}, got {to_text(type_)!r}")
    if len(source) > 300 or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?[dDfFlL]?", source):
        raise RenderError(f"`number`: {shorten(source)!r} is not a number")
    source = source.rstrip("dDfFlL")
    whole = re.fullmatch(r"[+-]?\d+", source) is not None
    try:
        if wanted == "BIGINTEGER":
            return BigInteger(source)
        if wanted == "BIGDECIMAL":
            return Decimal(source)
        if wanted in _BITS or (wanted is None and whole):
            made = int(source)
            if wanted and not -(2 ** _BITS[wanted]) <= made < 2 ** _BITS[wanted]:
                raise RenderError(f"`number`: {source} is out of the range of {wanted}")
            return made
        return float(source)
    except (ValueError, InvalidOperation) as error:
        raise RenderError(f"`number`: {shorten(source)!r} is not {wanted}") from error


@filter_("abs", examples=(("{{ -5 | abs }}", "5"),))
def absolute(state: State, value: object) -> object:
    """The number without its sign; null is an error."""
    if not is_number(value):
        raise RenderError(f"`abs` needs a number, got {kind(value)}")
    return abs(value)  # type: ignore[arg-type]


@filter_(
    "className", examples=(("{{ 'a' | className }}", "java.lang.String"), ("{{ 1.5 | className }}", "java.lang.Double"))
)
def class_name(state: State, value: object) -> object:
    """The name Java has for the type of the value."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "java.lang.Boolean"
    if isinstance(value, BigInteger):
        return "java.math.BigInteger"
    if isinstance(value, int):
        bits = int(value).bit_length()
        return f"java.{'lang.Integer' if bits < 32 else 'lang.Long' if bits < 64 else 'math.BigInteger'}"
    if isinstance(value, float):
        return "java.lang.Double"
    if isinstance(value, Decimal):
        return "java.math.BigDecimal"
    if isinstance(value, datetime):
        return "java.time.ZonedDateTime"
    if isinstance(value, date):
        return "java.time.LocalDate"
    if isinstance(value, Mapping):
        return "java.util.LinkedHashMap"
    return "java.lang.String" if isinstance(value, str) else "java.util.ArrayList"
