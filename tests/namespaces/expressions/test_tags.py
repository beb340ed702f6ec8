"""expressions.md 9: tags, loops, scopes, macros, raw."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import pytest

from tests.namespaces.expressions.support import fault, out


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% if t %}a{% endif %}", "a"),
        ("{% if f %}a{% elseif n == 5 %}b{% else %}c{% endif %}", "b"),
        ("{% if f %}a{% elseif f %}b{% elseif f %}d{% else %}c{% endif %}", "c"),
        ("{% if f %}a{% endif %}", ""),
        ("{% for x in list %}{{ x }}{% endfor %}", "abc"),
        ("{% for x in 1..3 %}{{ x }}{% endfor %}", "123"),
        ("{% for x in plain %}{{ x.key }}={{ x.value }}{% endfor %}", "a=1"),
        ("{% for x in [] %}a{% else %}none{% endfor %}", "none"),
        ("{% for x in {} %}a{% else %}none{% endfor %}", "none"),
        ("{% for x in nul %}a{% else %}none{% endfor %}", ""),
        ("{% for x in list %}{{ loop.index }}{{ loop.revindex }}{{ loop.length }} {% endfor %}", "023 113 203 "),
        ("{% for x in list %}{{ loop.first }}{{ loop.last }} {% endfor %}", "truefalse falsefalse falsetrue "),
        ("{% for x in 1..2 %}{% for y in 1..2 %}{{ x }}{{ y }}{{ loop.last ? '' : ',' }}{% endfor %};{% endfor %}", "11,12;21,22;"),
        ("{% set a = 'x' %}{{ a }}", "x"),
        ("{% set y = '' %}{% for i in list %}{% set y = y ~ i %}{% endfor %}{{ y }}", "abc"),
        ("{% set s = 'other' %}{{ s }}", "other"),
        ("{% for i in list %}{% set s = i %}{% endfor %}{{ s }}", "c"),
        ("{% for s in list %}{% endfor %}{{ s }}", "hello"),
        ("{% if t %}{% set q = 1 %}{% endif %}{{ q }}", "1"),
        ("{% filter upper %}a{{ s }}{% endfilter %}", "AHELLO"),
        ("{% filter upper | lower | capitalize %}aB{% endfilter %}", "Ab"),
        ("{% filter replace({'l': 'L'}) %}{{ s }}{% endfilter %}", "heLLo"),
        ("{% filter default('d') %} {% endfilter %}", "d"),
        ("{% block x %}a{{ s }}{% endblock %}", "ahello"),
        ('{% block "x" %}a{% endblock x %}', "a"),
        ("{% macro f(a, b='z') %}{{ a }}{{ b }}{% endmacro %}{{ f('q') }}{{ f('q', 'r') }}{{ f(b='1', a='2') }}", "qzqr21"),
        ("{{ f('q') }}{% macro f(a) %}<{{ a }}>{% endmacro %}", "<q>"),
        ("{% macro f(a) %}{{ a ?? 'none' }}{% endmacro %}{{ f() }}", "none"),
        ("{% macro f(x) %}{% for i in x %}{{ i }}{% endfor %}{% endmacro %}{{ f(list) | upper }}", "ABC"),
        ("{% macro f(x) %}[{{ x }}]{% endmacro %}{% macro g(x) %}{{ f(x) }}{% endmacro %}{{ g(1) }}", "[1]"),
        ("{% macro f(n) %}{{ n }}{% if n > 1 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "321"),
    ],
)  # fmt: skip
def test_tags(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    "template",
    [
        "{% for x in s %}{% endfor %}", "{% for x in n %}{% endfor %}", "{% for x in t %}{% endfor %}",
        "{% for k, v in m %}{% endfor %}", "{% for x in list if t %}{% endfor %}", "{% for i in list %}{% set z = i %}{% endfor %}{{ z }}",
        "{% for i in list %}{% endfor %}{{ i }}", "{% for i in list %}{{ loop.parent }}{% endfor %}", "{% set x %}a{% endset %}",
        "{% if t %}a{% elif f %}b{% endif %}", "{% macro f(a) %}{{ s }}{% endmacro %}{{ f(1) }}",
        "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{% endmacro %}{{ f(b=2) }}", "{% if t %}", "{% endif %}",
        "{% for x in list %}{% endif %}", "{% else %}", "{% nothing %}", "{% filter uper %}a{% endfilter %}",
    ],
)  # fmt: skip
def test_what_tags_do_not_take(template: str) -> None:
    assert fault(template)


@pytest.mark.parametrize(
    "tag",
    ["import 'x'", "from 'x' import y", "include 'x'", "extends 'x'", "embed 'x'", "cache 'x'", "parallel", "flush",
     "autoescape false", "with a = 1", "do s", "break", "continue"],
)  # fmt: skip
def test_removed_tags_are_syntax_errors_that_say_so(tag: str) -> None:
    assert f"the tag `{tag.split()[0]}` is not supported at line 1, column 1" in fault(f"{{% {tag} %}}")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("See {% raw %}{{ var }}{% endraw %}", "See {{ var }}"),
        ("{%raw%}{{ var }}{%endraw%}", "{{ var }}"),
        ("a {%- raw -%} {{ x }} {%- endraw -%} b", "a  {{ x }}  b"),
        ("{% raw %}\n{% if %}\n{% endraw %}", "\n{% if %}\n"),
        ("{% verbatim %}{{ x }}{% endverbatim %}", "{{ x }}"),
        ("a {%- verbatim -%} {{ x }} {%- endverbatim -%} b", "a{{ x }}b"),
        ("{% raw %}{% endraw %}", ""),
    ],
)
def test_raw_and_verbatim_pass_their_content_through(template: str, text: str) -> None:
    assert out(template) == text


def test_an_unclosed_raw_block_is_a_syntax_error() -> None:
    assert "unclosed tag `raw`" in fault("{% raw %}{{ x }}")
