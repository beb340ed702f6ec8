"""expressions.md 2.1: what is missing is an error, and how to ask without one."""

from __future__ import annotations

import pytest

from namespaces.expressions import NoPorts, RenderError, render
from tests.namespaces.expressions.support import fault, out


@pytest.mark.parametrize(
    ("template", "attribute"),
    [
        ("{{ missing }}", "missing"),
        ("{{ plain.missing }}", "missing"),
        ("{{ plain['x'] }}", "x"),
        ("{{ list[9] }}", "9"),
        ("{{ nul.foo }}", "foo"),
        ("{{ missing is null }}", "missing"),
        ("{{ missing is empty }}", "missing"),
        ("{{ missing == null }}", "missing"),
        ("{{ not missing }}", "missing"),
        ("{{ missing ? 1 : 2 }}", "missing"),
        ("{% for x in missing %}{% endfor %}", "missing"),
        ("{% if missing %}{% endif %}", "missing"),
        ("{{ missing ?? missing2 }}", "missing2"),
        ("{{ missing | upper }}", "missing"),
        ("{{ s | default(missing) }}", "missing"),
    ],
)
def test_a_missing_variable_names_itself_the_template_and_the_line(template: str, attribute: str) -> None:
    assert fault(template) == f"Unable to find `{attribute}` used in the expression `{template}` at line 1"


def test_a_negative_index_is_an_error() -> None:
    assert "Unable to find" in fault("{{ list[-1] }}")


def test_the_line_of_a_missing_variable_is_that_of_its_print() -> None:
    with pytest.raises(RenderError) as raised:
        out("{{ s }}\n\n  {{ missing }}")

    assert str(raised.value).endswith("at line 3")
    assert raised.value.line == 3


def test_the_hint_names_the_whole_path_and_what_is_known() -> None:
    with pytest.raises(RenderError) as raised:
        render("{{ outputs.load.rwos }}", {"outputs": {"load": {"rows": 1}}}, NoPorts())

    assert raised.value.hint == "`outputs.load.rwos`; known: rows, did you mean 'rows'?"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ nul }}", ""),
        ("{{ missing ?? 'd' }}", "d"),
        ("{{ missing.a.b ?? 'd' }}", "d"),
        ("{{ nul.foo ?? 'd' }}", "d"),
        ("{{ list[9] ?? 'd' }}", "d"),
        ("{{ missing is defined }}", "false"),
        ("{{ missing.a['b'].c is defined }}", "false"),
        ("{{ missing is not defined }}", "true"),
        ("{{ nul is defined }}", "false"),
        ("{{ s is defined }}", "true"),
        ("{{ f ? missing : 'x' }}", "x"),
        ("{{ n == 5 or missing }}", "true"),
        ("{{ f and missing }}", "false"),
        ("{{ missing | default('d') }}", "d"),
        ("{{ missing | upper | default('d') }}", "d"),
        ("{{ m.a.b | default('d') }}", "d"),
        ("{{ missing ?? missing2 ?? 'x' }}", "x"),
        ("{{ plain[missing].child is defined ? 1 : 2 }}", "2"),
    ],
)
def test_asking_without_an_error(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize("template", ["{{ (1 / 0) ?? 'd' }}", "{{ nothing() ?? 'd' }}", "{{ (1 / 0) | default('d') }}"])
def test_only_lookup_failures_are_forgiven(template: str) -> None:
    assert fault(template)


def test_a_loop_left_by_a_forgiven_failure_leaves_no_variables_behind() -> None:
    template = (
        "{% macro broken() %}{% for i in [1, 2] %}{{ nothing }}{% endfor %}{% endmacro %}"
        "{% for i in ['a', 'b'] %}{{ broken() ?? 'd' }}{{ i }}{{ loop.index }}{% endfor %}"
    )

    assert out(template) == "da0db1"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ s | uper }}", "unknown filter `uper`, did you mean 'upper'?"),
        ("{{ nowe() }}", "unknown function `nowe`"),
        ("{{ s is emty }}", "unknown test `emty`, did you mean 'empty'?"),
        ("{{ s | abbreviate }}", "filter `abbreviate` expects an argument `length`"),
        ("{{ s | upper(1) }}", "filter `upper` takes at most 0 arguments, got 1"),
        ("{{ s | date(tz='UTC') }}", "filter `date` has no argument `tz`"),
        ("{{ range(1, end=2, start=3) }}", "function range(): the argument `start` is given twice"),
    ],
)
def test_unknown_names_and_wrong_arguments_are_named(template: str, message: str) -> None:
    assert message in fault(template)


def test_an_unknown_function_in_a_branch_that_is_not_taken_does_not_fail() -> None:
    assert out("{{ t ? 'a' : nothing() }}") == "a"
