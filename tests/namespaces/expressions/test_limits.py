"""reliability.md R21, S10, 4.4 B: the bounds that hold in any process."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import itertools
from typing import Any

import pytest

from namespaces.expressions import LimitReached, Limits, NoPorts, parse, render
from tests.namespaces.expressions.support import fault, out


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ 'a'*100000000 }}", "`*` needs two numbers"),
        ("{{ ''.ljust(1000000000) }}", "attribute not allowed"),
        ("{{ '%1000000000d' | format(1) }}", "unknown filter"),
        ("{{ 9**(9**9) }}", "power operator is limited"),
        ("{{ range(0, 1000000000) }}", "range too large"),
        ("{{ 0..1000000000 }}", "range too large"),
        ("{{ range(0, 10000000, 2) }}", "range too large"),
        ("{{ 'a' | indent(1000000000) }}", "a"),
        ("{% set a = 'aaaaaaaaaaaaaaaa' %}" + "{% set a = a ~ a %}" * 40, "too large"),
        ("{% set a = 99999999 %}" + "{% set a = a * a %}" * 40, "too large"),
        ("{% set a = 1.5 %}" + "{% set a = a * a %}" * 40 + "{{ a }}", "too large"),
        ("{% set a = 'aaaaaaaaaaaaaaaa' %}" + "{% set a = a | replace({'a': 'aaaaaaaaaaaaaaaa'}) %}" * 9, "too large"),
        ("{% set a = 'x' %}" + "{% set a = [a, a, a, a, a, a, a, a] | join(a) %}" * 9, "too large"),
        ("{{ '\n' | nindent(2000000) }}", "too large"),
        ("{% set a = list %}" + "{% set a = [a, a, a, a] %}" * 20 + "{{ a }}", "too large"),
        ("{% set a = list %}" + "{% set a = [a, a, a, a] %}" * 20 + "{{ a ~ '' }}", "too large"),
        ("{% set a = list %}" + "{% set a = [a, a, a, a] %}" * 20 + "{{ a | toJson }}", "too large"),
        ("{% set a = list %}{% set b = list %}" + "{% set a = [a, a, a, a] %}{% set b = [b, b, b, b] %}" * 20 + "{{ a == b }}", "steps"),
        ("{% set a = list %}" + "{% set a = a | merge(a) %}" * 40, "too large"),
        ("{{ " + " ~ ".join(["big"] * 100) + " }}", "too large"),
        ("{{ " + " and ".join(["big == other"] * 50) + " }}", "steps"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deeply nested"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "too deeply nested"),
        ("{{ " + "[" * 1000 + "]" * 1000 + " }}", "too deeply nested"),
        ("{{ " + "not " * 1000 + "true }}", "too deeply nested"),
        ("{{ a" + ".b" * 1000 + " }}", "too deeply nested"),
        ("{{ a" + " - 1" * 1000 + " }}", "too deeply nested"),
        ("{{ a" + " | upper" * 1000 + " }}", "too deeply nested"),
        ("{{ a" + " ?? a" * 1000 + " }}", "too deeply nested"),
        ("{{ t" + " ? t : t" * 1000 + " }}", "too deeply nested"),
        ("{% if t %}" * 100 + "{% endif %}" * 100, "too deeply nested"),
        ("{% for i in 1..2 %}" * 25 + "{% endfor %}" * 25, "too deeply nested"),
        ("{{ '" + "a" * 70_000 + "' }}", "more than 65536 bytes"),
        ("{{ 1 }}" + "a" * 1_100_000, "the limit is 1048576"),
        ("{{ fromJson(v) }}", "too large"),
        ("{{ fromJson('" + "[" * 5000 + "]" * 5000 + "') }}", "too deeply nested"),
        ("{{ yaml('" + "[" * 30000 + "') }}", "nesting deeper than 64"),
        ("{{ '" + "[" * 5000 + "]" * 5000 + "' | jq('.') }}", "too deeply nested"),
        ("{{ fromIon('" + "[" * 5000 + "]" * 5000 + "') }}", "too deeply nested"),
        ("{{ " + "9" * 400 + " }}", "more than 300 digits"),
        ("{{ 1" + "0" * 250 + " * 1" + "0" * 250 + " * 1" + "0" * 280 + " * 1" + "0" * 290 + " * 1" + "0" * 290 + " }}", "too large"),
    ],
    ids=lambda value: value[:40],
)  # fmt: skip
def test_what_would_grow_or_nest_without_bound_is_refused(template: str, message: str) -> None:
    if template == "{{ 'a' | indent(1000000000) }}":
        template = "{{ 'a\n' | indent(1000000000) }}"
        message = "too large"
    big = list(range(60_000))

    assert message in fault(template, v="[" + "1," * 3_000_000 + "1]", big=[big], other=[list(big)])


def test_yaml_that_expands_through_aliases_is_refused() -> None:
    names = "abcdefghi"
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{name}: &{name} [{','.join(['*' + before] * 9)}]" for before, name in itertools.pairwise(names)]

    assert "expands to more than 100000 nodes" in fault("{{ yaml(v) }}", v="\n".join(lines))


def test_yaml_that_expands_through_merge_keys_is_refused() -> None:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{i}: &a{i}\n  <<: [*a{i - 1}, *a{i - 1}]\n  k{i}: 1" for i in range(1, 25)]

    assert "expands to more than 100000 nodes" in fault("{{ yaml(v) }}", v="\n".join(lines))


@pytest.mark.parametrize(
    "template",
    [
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{{ x",
        "{% if x %}",
        "{{ '" + "a" * 70_000 + "' }}",
    ],
    ids=lambda value: value[:20],
)
def test_what_is_a_warning_at_save_is_an_error_when_rendered(template: str) -> None:
    found = parse(template)

    assert found.error is not None
    assert found.column == 1
    assert fault(template) == found.error


def test_three_nested_loops_end_at_the_limit_of_steps() -> None:
    loops = "{% for a in range(1, 1000) %}" * 3 + "{% endfor %}" * 3

    with pytest.raises(LimitReached, match="more than 10000 steps"):
        render(loops, {}, NoPorts(), limits=Limits(steps=10_000))


def test_the_output_is_bounded_as_a_whole() -> None:
    with pytest.raises(LimitReached, match="expression result too large"):
        render("{{ a }}{{ a }}{{ a }}", {"a": "x" * 400_000}, NoPorts())


def test_long_scripts_with_a_few_expressions_render() -> None:
    script = "echo line\n" * 50_000 + "{{ n }}"

    assert out(script).endswith("5")


def test_reasonable_nesting_is_fine() -> None:
    assert out("{{ " + "(" * 40 + "1" + ")" * 40 + " }}") == "1"
    assert out("{{ s" + " | upper" * 40 + " }}") == "HELLO"
    assert out("{{ missing" + " ?? missing" * 40 + " ?? 'd' }}") == "d"
    assert out("{{ " + " ~ ".join(["s"] * 500) + " }}") == "hello" * 500
    assert out("{{ " + " + ".join(["1"] * 500) + " }}") == "500"
    assert out("{{ " + " or ".join(["f"] * 500) + " }}") == "false"
    assert out("{% if t %}" * 10 + "x" + "{% endif %}" * 10) == "x"


def test_a_value_that_contains_itself_is_an_error_not_a_crash() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop

    assert fault("{{ v }}", v=loop)


def test_a_defect_of_a_port_is_not_hidden() -> None:
    class Broken(NoPorts):
        def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> object:
            raise ConnectionError("the database is away")

    with pytest.raises(ConnectionError):
        out("{{ kv('a') }}", Broken())
