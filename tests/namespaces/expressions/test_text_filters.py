"""expressions.md 8.1: filters on text."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import pytest

from tests.namespaces.expressions.support import fault, out

_NULL_PASSES = (
    "upper", "lower", "trim", "capitalize", "title", "abbreviate(3)", "replace({'a': 'b'})", "split(',')", "join(',')",
    "slice(0)", "first", "last", "substringBefore('.')", "substringAfterLast('.')", "slugify", "indent(2)", "nindent(2)",
    "escapeChar('single')", "urlencode", "urldecode", "base64encode", "base64decode", "md5", "sha256", "string",
    "regexMatch('a')", "regexReplace('a', 'b')", "regexExtract('a')", "numberFormat('0')", "sort", "reverse", "keys", "values",
    "flatten", "distinct", "chunk(2)", "jq('.')", "number", "className", "date", "dateAdd(1, 'DAYS')", "timestamp",
)  # fmt: skip


@pytest.mark.parametrize("applied", _NULL_PASSES)
def test_null_passes_through(applied: str) -> None:
    assert out(f"{{{{ nul | {applied} }}}}") == ""


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ 'straße' | upper }}", "STRASSE"),
        ("{{ t | upper }}", "TRUE"),
        ('{{ "\n a\t" | trim }}', "a"),
        ("{{ '' | capitalize }}", ""),
        ("{{ 'a  b\tc' | title }}", "A  B\tC"),
        ("{{ 'hello' | abbreviate(5) }}", "hello"),
        ("{{ 'hello' | abbreviate(2) }}", ".."),
        ("{{ 'abc' | replace({'a': 'b', 'b': 'c'}) }}", "ccc"),
        ("{{ 'a.c' | replace({'.': '-'}) }}", "a-c"),
        (r"{{ 'a.c' | replace({'(?<x>[a-z])\.': '${x}!'}, regexp=true) }}", "a!c"),
        ("{{ {'k': ['a', 5]} | replace({'a': 'b'}) }}", '{"k":["b","5"]}'),
        ("{{ 'a1b22c' | split('[0-9]+') }}", '["a","b","c"]'),
        ("{{ 'a|b' | split('|') }}", '["a","|","b"]'),
        (r"{{ 'a.b' | split('\.') }}", '["a","b"]'),
        ("{{ ',a' | split(',') }}", '["","a"]'),
        ("{{ 'a,b,,' | split(',', -1) }}", '["a","b","",""]'),
        ("{{ '' | split(',') }}", '[""]'),
        ("{{ [1, null, true] | join(' ') }}", "1  true"),
        ("{{ [] | join(',') }}", ""),
        ("{{ 'abc' | slice(1) }}", "bc"),
        ("{{ 'abc' | slice(toIndex=2) }}", "ab"),
        ("{{ 'abc' | slice(3) }}", ""),
        ("{{ [] | first }}", ""),
        ("{{ plain | length }}{{ 'abc' | length }}", "13"),
        ("{{ 'abc' | substringBefore('x') }}", "abc"),
        ("{{ 'abc' | substringAfter('x') }}", ""),
        ("{{ 'abc' | substringAfterLast('x') }}", ""),
        ('{{ "Test\t\t\ntest*" | slugify }}', "test-test"),
        ("{{ 'Ça_va bien' | slugify }}", "ca-va-bien"),
        ('{{ "a\r\nb" | indent(2) }}', "a\r\n  b"),
        ('{{ "a\nb" | indent(2, ">") }}', "a\n>>b"),
        ('{{ "a\n" | indent(2) }}', "a\n  "),
        ("{{ '' | nindent(2) }}", ""),
        ('{{ "a\rb" | nindent(1) }}', "\r a\r b"),
        ("{{ \"L'eau\" | escapeChar('shell') }}", "L'\\''eau"),
        ("{{ 'say \"x\"' | escapeChar('double') }}", 'say \\"x\\"'),
        ("{{ 'Kestra rulez !' | urlencode | urldecode }}", "Kestra rulez !"),
        ("{{ 'é' | base64encode }}{{ 'w6k=' | base64decode }}", "w6k=é"),
        ("{{ 'hello' | md5 }}", "5d41402abc4b2a76b9719d911017c592"),
        ("{{ [1,2] | string | className }}", "java.lang.String"),
        ("{{ s | default('d') }}{{ empty | default('d') }}{{ blank | default('d') }}", "hellodd"),
        ("{{ [] | default('d') }}{{ {} | default('d') }}{{ 0 | default('d') }}", "dd0"),
    ],
)
def test_text_filters(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ list | upper }}", "{{ plain | trim }}", "{{ 'abc' | slice(1, 9) }}", "{{ 'abc' | slice(-1) }}", "{{ '' | first }}",
        "{{ plain | first }}", "{{ nul | startsWith('a') }}", "{{ nul | endsWith('a') }}", "{{ 5 | startsWith('5') }}",
        "{{ 'a' | escapeChar('foo') }}", "{{ 42 | md5 }}", "{{ 'a' | raw }}", "{{ 'a' | escape }}", "{{ '%%%' | base64decode }}",
        "{{ 'a' | abbreviate('x') }}", "{{ 'a' | join(',') }}", "{{ 'a' | replace('a') }}", "{{ 'a' | indent(-1) }}",
        "{{ 'a' | split('(') }}", "{{ 'a' | split(1) }}",
    ],
)  # fmt: skip
def test_what_text_filters_refuse(template: str) -> None:
    assert fault(template)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^hello.*$", "hello world", "true"),
        (r"^\d+$", "hello", "false"),
        (r"\d+", "order-12345-done", "true"),
        (r"(?i)HELLO", "hello", "true"),
        (r"h(?i)ELLO", "hello", "true"),
        (r"h(?i)ELLO", "HELLO", "false"),
        (r"\p{Alpha}+\p{Digit}", "ab1", "true"),
        (r"^\p{L}+$", "été", "true"),
        (r"^[\p{Upper}_]+$", "A_B", "true"),
        (r"\Qa.b\E", "a.b", "true"),
        (r"\Qa.b\E", "axb", "false"),
        (r"a++b", "aab", "true"),
        (r"(?<x>a)\k<x>", "aa", "true"),
        (r"end\z", "the end", "true"),
        (r"^\h+a", "\ta", "true"),
        (r"\d", "٣", "false"),
    ],
)
def test_java_patterns(pattern: str, text: str, found: str) -> None:
    assert out("{{ v | regexMatch(p) }}", v=text, p=pattern) == found


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ 'hello world' | regexReplace('(w)orld', '$1eb') }}", "hello web"),
        (r"{{ 'a1' | regexReplace('(?<d>\d)', '<${d}>') }}", "a<1>"),
        (r"{{ 'a' | regexReplace('a', '\$1') }}", "$1"),
        (r"{{ 'ab' | regexReplace('(a)(b)', '$21') }}", "b1"),
        (r"{{ 'order-12345' | regexExtract('\d+') }}", "12345"),
        (r"{{ 'k=v' | regexExtract('(?<key>\w)=(\w)', 'key') }}", "k"),
        (r"{{ 'k=v' | regexExtract('(\w)=(\w)', 2) }}", "v"),
        ("{{ 'a' | regexExtract('b') ?? 'none' }}", "none"),
    ],
)
def test_regular_replacements_and_extraction(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize("pattern", ["(", "[a&&[b]]", r"\p{Nothing}", "a{2,1}", "[[a]]"])
def test_patterns_without_a_translation_are_named(pattern: str) -> None:
    assert "invalid pattern" in fault("{{ 'a' | regexMatch(p) }}", p=pattern)


@pytest.mark.parametrize(
    "template",
    ["{{ 'a' | regexReplace('a', '$2') }}", "{{ 'a' | regexReplace('a', '$') }}", "{{ 'a' | regexExtract('a', 3) }}"],
)
def test_groups_that_do_not_exist_are_errors(template: str) -> None:
    assert "group" in fault(template)


@pytest.mark.parametrize(
    ("number", "pattern", "text"),
    [
        ("1234567.891", "#,##0.00", "1,234,567.89"),
        ("5", "000", "005"),
        ("0.125", "0.00", "0.12"),
        ("0.375", "0.00", "0.38"),
        ("-1234.5", "#,##0.0", "-1,234.5"),
        ("-5", "0;(0)", "(5)"),
        ("0.256", "0.0%", "25.6%"),
        ("12345", "0.###E0", "1.234E4"),
        ("0.00012", "00.#E0", "12E-5"),
        ("12345", "##0.#####E0", "12.345E3"),
        ("5", "'#'0", "#5"),
        ("1.5", "#.##", "1.5"),
        ("0.5", "#.##", ".5"),
        ("1000", "¤#,##0", "$1,000"),
        ("0.001", "0‰", "1‰"),
        ("-0.001", "0", "-0"),
    ],
)
def test_number_formats(number: str, pattern: str, text: str) -> None:
    made = out("{{ v | numberFormat(p) }}", v=float(number) if "." in number else int(number), p=pattern)

    assert made == text or (number == "-0.001" and made in ("0", "-0"))


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' | numberFormat('0') }}",
        "{{ 5 | numberFormat('0#') }}",
        '{{ 5 | numberFormat("\'0") }}',
        "{{ 5 | numberFormat('0.0.0') }}",
    ],
)
def test_number_formats_that_are_none(template: str) -> None:
    assert fault(template)


def test_a_number_without_a_format_has_groups_and_three_digits() -> None:
    assert out("{{ 1234567.8912 | numberFormat }}") == "1,234,567.891"
