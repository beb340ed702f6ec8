"""expressions.md 1: delimiters, comments, whitespace, literals."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import pytest

from namespaces.expressions import render
from namespaces.expressions.ports import NoPorts
from tests.namespaces.expressions.support import fault, out


@pytest.mark.parametrize(
    "text",
    ["", "plain", "{ x }", "a }} b", "a %} b", "a #} b", "$ { x }", "line\n", "\n\n", "{'a': 1}"],
)
def test_text_that_is_no_template_is_returned_unchanged(text: str) -> None:
    assert out(text) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ s }}\n", "hello\n"),
        ("a\n{% if t %}\nb\n{% endif %}\nc", "a\n\nb\n\nc"),
        ("a {{- s -}} b", "ahellob"),
        ("a \n {{- s -}} \n b", "ahellob"),
        ("a {%- if t -%} b {%- endif -%} c", "abc"),
        ("a{# one\ntwo {{ missing }} #}b", "ab"),
        ("{{ s\n ~ \n 'x' }}", "hellox"),
        ("{{ 'a\nb' }}", "a\nb"),
        ("{{ '}}' }}", "}}"),
        ("{{ {'a': {'b': 1}} }}", '{"a":{"b":1}}'),
        ("{{{'a': 1}}}", '{"a":1}'),
    ],
)
def test_delimiters_comments_and_white_space(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (r"{{ 'it\'s' }}", "it's"),
        (r'{{ "a\"b" }}', 'a"b'),
        (r"{{ 'a\"b' }}", r"a\"b"),
        (r"{{ 'a\nb\t\\u00e9' }}", r"a\nb\t\\u00e9"),
        ('{{ "#{s} x" }}', "hello x"),
        ('{{ "#{m.k ~ "!"}#{n}" }}', "v!5"),
        ("{{ '#{s} x' }}", "#{s} x"),
        ('{{ "#" }}', "#"),
    ],
)
def test_texts_escape_only_their_quote_and_interpolate_in_double_quotes(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ 5 }}", "5"),
        ("{{ 10L }}", "10"),
        ("{{ 1.50 }}", "1.5"),
        ("{{ 1000000000.0 }}", "1.0E9"),
        ("{{ 10000000.0 }}", "1.0E7"),
        ("{{ 9999999.0 }}", "9999999.0"),
        ("{{ 0.00001 }}", "1.0E-5"),
        ("{{ 0.001 }}", "0.001"),
        ("{{ 123456789.125 }}", "1.23456789125E8"),
        ("{{ true }}{{ TRUE }}{{ false }}{{ FALSE }}", "truetruefalsefalse"),
        ("{{ null }}{{ NULL }}{{ none }}{{ NONE }}", ""),
        ("{{ [1, 'a', s] }}", '[1,"a","hello"]'),
        ("{{ {'a': 1, \"b\": s} }}", '{"a":1,"b":"hello"}'),
        ("{{ {s: 1} }}", '{"hello":1}'),
        ("{{ {} }}{{ [] }}", "{}[]"),
        ("{{ 1..3 }}", "[1,2,3]"),
        ("{{ 'a'..'c' }}", '["a","b","c"]'),
        ("{{ 3..1 }}", "[]"),
        ("{{ 99999999999999999999 }}", "99999999999999999999"),
    ],
)
def test_literals(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ }}", "{{ s", "{% if t", "{# x", "{{ 'a }}", '{{ "a }}', '{{ "#{s }}', "{{ 10l }}", "{{ 1e3 }}", "{{ 1_000 }}", "{{ [1,] }}",
        "{{ {'a': 1,} }}", "{{ {a} }}", "{{ {'a': 1}.a }}", "{{ {'a': 1}['a'] }}", "{{ (1 }}", "{{ 1) }}", "{{ [1) }}",
        "{{ 'a' 'b' }}", "{{ s. }}", "{{ ~ }}", "{{ | upper }}", "{{ s | }}", "{% %}", "{{ § }}", "{{ a = 1 }}",
    ],
)  # fmt: skip
def test_broken_templates_are_syntax_errors_with_line_and_column(template: str) -> None:
    assert " at line 1, column " in fault(template)


@pytest.mark.parametrize("template", ["{{ True }}", "{{ None }}", "{{ {a: 1} }}"])
def test_words_of_other_languages_are_unknown_variables(template: str) -> None:
    assert "Unable to find" in fault(template)


def test_the_line_and_column_of_a_syntax_error_count_from_one() -> None:
    message = fault("one\ntwo {{ s }}\n  {{ s + }}")

    assert message == "unexpected the end of the expression, expected a value at line 3, column 10"


def test_carriage_returns_and_other_signs_pass_through() -> None:
    assert render("a\r\n{{ 'é✓' }}\x00", {}, NoPorts()) == "a\r\né✓\x00"
