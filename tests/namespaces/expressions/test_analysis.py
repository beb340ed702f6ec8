"""What is known about a text before it is rendered: syntax, cost, references, warnings."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.expressions import parse, references


def test_text_without_a_template_is_static_and_cheap() -> None:
    found = parse("echo hello")

    assert (found.static, found.cheap, found.error) == (True, True, None)


def test_a_syntax_error_has_line_and_column_and_does_not_raise() -> None:
    found = parse("one\n{{ a + }}")

    assert found.error == "unexpected the end of the expression, expected a value at line 2, column 8"
    assert (found.line, found.column) == (2, 8)


@pytest.mark.parametrize(
    "template",
    [
        "{{ inputs.name }}", "a {{ inputs.a | upper | default('x') }} b", "{{ a == 1 and b ?? 'c' ? 1 : 2 }}", "{{ secret('K') }}",
        "{{ kv('a').b[0] }}", "{% if a %}b{% endif %}", "{% set a = 1 %}{{ a + 1 }}", "{{ a | split(',') }}", "{{ a | replace({'b': 'c'}) }}",
        "{{ trigger.date | date('yyyy') }}", "{{ fromJson(a).b }}", "{{ now() }}", "{% raw %}{{ x }}{% endraw %}", "{{ a | toJson }}",
    ],
)  # fmt: skip
def test_bounded_templates_are_cheap(template: str) -> None:
    assert parse(template).cheap


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in b %}{% endfor %}", "{% macro a() %}{% endmacro %}", "{% filter upper %}{% endfilter %}", "{{ 1..9 }}",
        "{{ range(1, 9) }}", "{{ a | jq('.') }}", "{{ a | regexMatch('b') }}", "{{ a | regexReplace('b', 'c') }}", "{{ a | split('b+') }}",
        "{{ a | split(b) }}", "{{ a | replace({'b': 'c'}, regexp=true) }}", "{{ a | replace({'b': 'c'}, b) }}", "{{ a | sort }}",
        "{{ a | yaml }}", "{{ yaml(a) }}", "{{ render(a) }}", "{{ renderOnce(a) }}", "{{ a.split('b+') }}", "{{ fromIon(a) }}",
        "{{ printContext() }}", "{{ isPublicHoliday(a, 'FR') }}", "{{ a | distinct }}", "{% set a = [a, a] %}{{ a }}", "{% set a = a | merge(a) %}", "{{ a ~ 'b' }}" * 1000,
    ],
)  # fmt: skip
def test_loops_patterns_and_unbounded_work_are_not_cheap(template: str) -> None:
    assert not parse(template).cheap


def test_references_are_roots_and_constant_paths() -> None:
    found = references(
        "{{ inputs.a['b-c'].d ?? vars[inputs.key] }}{% for x in outputs.t %}{{ x.value }}{{ loop.index }}{% endfor %}"
    )

    assert found == {"inputs", "inputs.a.b-c.d", "vars", "inputs.key", "outputs", "outputs.t"}
    assert references("plain") == frozenset()
    assert references("{{ broken") == frozenset()


def test_calls_name_functions_arguments_filters_and_tests() -> None:
    found = parse("{{ read('a', revision=1) | json }}{{ json(x) is not empty }}").calls

    assert found == {"read()", "read(revision=)", "|json", "json()", "is empty"}


def test_markers_count_only_inside_expressions() -> None:
    assert parse("json( taskrun.value {{ 'json( item.x' }}").references == frozenset()


def test_dashes_in_paths_are_noticed() -> None:
    assert parse("{{ inputs.key-name ~ outputs.a.b-c }}{{ inputs.a - b }}{{ n-1 }}").dashed == (
        "inputs.key-name", "outputs.a.b-c",
    )  # fmt: skip


def test_unknown_names_are_warnings_with_their_lines() -> None:
    found = parse("{{ a | uper }}\n{{ nowe() }}\n{{ a is emty }}\n{{ a | abbreviate }}")

    assert found.error is None
    assert [line for _, line in found.warnings] == [1, 2, 3, 4]
    assert "did you mean 'upper'" in found.warnings[0][0]


@given(st.text(alphabet="{}%#'\" ab|.()[]~?:=!-+*/1,\n", max_size=80))
def test_parsing_never_raises(text: str) -> None:
    assert parse(text).text == text


def test_importing_the_language_loads_nothing_heavy() -> None:
    heavy = "jinja2 orjson yaml jq holidays amazon babel cryptography httpx2"
    code = f"import sys, namespaces.expressions; print([m for m in '{heavy}'.split() if m in sys.modules])"

    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": "."}
    )

    assert made.stdout == "[]\n"
