"""expressions.md 6: render, renderOnce, and the rule for text from outside."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

from typing import Any

import pytest

from tests.namespaces.expressions.support import PlainPorts, fault, out

_EVIL = "{{ secret('K') }}"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ vars.third }}", "{{ vars.second }}"),
        ("{{ renderOnce(vars.third) }}", "{{ vars.first }}"),
        ("{{ render(vars.third, recursive=false) }}", "{{ vars.first }}"),
        ("{{ render(vars.third) }}", "1"),
        ("{{ render({'{{ s }}': ['{{ n }}', 5]}) }}", '{"hello":["5",5]}'),
        ("{{ render('test') }}{{ render(42) }}{{ render(nul) }}", "test42"),
        ("{{ render('a {{ s }}') | upper }}", "A HELLO"),
        ("{{ render('{% raw %}{{ x }}{% endraw %}{{ vars.third }}') }}", "{{ x }}1"),
        ("{{ render('{% verbatim %}{{ s }}{% endverbatim %}') }}", "hello"),
        ("{% set q = 1 %}{{ render('{{ q ?? 2 }}') }}", "2"),
        ("{{ render(inputs.name) }}", "bob"),
    ],
)
def test_render(template: str, text: str) -> None:
    assert out(template) == text


def test_endless_rendering_is_stopped() -> None:
    assert "Too many rendering attempts" in fault(
        "{{ render(vars.a) }}", vars={"a": "{{ vars.b }}", "b": "{{ vars.a }}"}
    )
    assert "too deeply nested" in fault("{{ render(vars.a) }}", vars={"a": "{{ render(vars.a) }}"})


def test_a_missing_variable_inside_names_the_inner_text() -> None:
    assert fault("{{ render(vars.a) }}", vars={"a": "{{ nothing }}"}) == (
        "Unable to find `nothing` used in the expression `{{ nothing }}` at line 1"
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ render(trigger.body) }}", "{{ renderOnce(trigger.body) }}", "{{ render(inputs.a) }}", "{{ render(outputs.t.value) }}",
        "{{ render(taskrun.value) }}", "{{ render(item.value) }}", "{{ render(labels.a) }}", "{{ render(kv('a')) }}",
        "{{ render(http('x')) }}", "{{ render(read('kestra:///a')) }}", "{{ render(read(inputs.a)) }}", "{{ render(read(vars.path)) }}",
        "{{ render('x' ~ inputs.a) }}", "{{ render(inputs.a | upper | lower | default('x')) }}", "{{ render([inputs.a]) }}",
        "{{ render({'a': inputs.a}) }}", "{{ render({inputs.a: 1}) }}", "{{ render(t ? inputs.a : 'x') }}", "{{ render(\"#{inputs.a}\") }}",
        "{% set x = inputs.a %}{{ render(x) }}", "{% set x = inputs.a %}{% set y = x ~ '' %}{{ render(y) }}",
        "{% set x = 'a' %}{% set x = x ~ inputs.a %}{{ render(x) }}", "{% for x in inputs.all %}{{ render(x) }}{% endfor %}",
        "{% macro m(p) %}{{ render(p) }}{% endmacro %}{{ m(inputs.a) }}", "{% macro m() %}{{ inputs }}{% endmacro %}{{ render(trigger['body']) }}",
        "{{ render(inputs['a']) }}", "{{ render((inputs).a) }}", "{{ render(toRender=inputs.a) }}", "{{ render(render(vars.holder)) }}",
        "{{ render(vars.holder) }}", "{{ render(parent.outputs.a) }}", "{{ render(fromJson(inputs.json).a) }}",
        "{% set vars = inputs %}{{ render(vars.a) }}",
        "{% if f %}{% set body = 'x' %}{% endif %}{{ render(body) }}",
        "{% set y = body %}{% set body = 'x' %}{{ render(y) }}",
    ],
)  # fmt: skip
def test_text_from_outside_runs_no_secret(template: str) -> None:
    outside: dict[str, Any] = {
        "trigger": {"body": _EVIL}, "outputs": {"t": {"value": _EVIL}}, "taskrun": {"value": _EVIL}, "item": {"value": _EVIL},
        "labels": {"a": _EVIL}, "body": _EVIL, "parent": {"outputs": {"a": _EVIL}},
        "inputs": {"a": _EVIL, "all": [_EVIL], "json": '{"a": "{{ secret(\'K\') }}"}'},
        "vars": {"holder": "{{ inputs.a }}", "path": "q"},
    }  # fmt: skip
    ports = PlainPorts(K="top secret", a=_EVIL, http=_EVIL, q=_EVIL, **{"kestra:///a": _EVIL, _EVIL: _EVIL})

    message = fault(template, ports, **outside)

    assert "secret() is not available in text from outside" in message or "Unable to find `vars`" in message
    assert not [asked for asked in ports.asked if asked[0] == "secret"]


@pytest.mark.parametrize(
    "text",
    [
        "{{ secret('K') }}", "{{ credential('K') }}", "{{ decrypt('a', 'b') }}", "{{ env('a') }}", "{{ http('a') }}",
        "{{ subflow('a', 'b') }}", "{{ envs.a }}", "{{ globals.a }}", "{{ envs ?? 'd' }}", "{{ kv('a', 'other.ns') }}",
        "{{ read('a', 'other.ns') }}", "{{ read('kestra:///x/executions/E2/a') }}", "{{ read('/x/executions/E2/a') }}",
        "{{ read('kestra:///x/executions/E1/../E2/a') }}", "{{ fileSize('kestra:///x/executions/E2/a') }}",
        "{{ render(\"{{ secret('K') }}\") }}", "{{ render(vars.s) }}", "{{ printContext() | length > 0 ? secret('K') : 1 }}",
    ],
)  # fmt: skip
def test_what_text_from_outside_may_not_use(text: str) -> None:
    message = fault(
        "{{ render(inputs.a) }}", PlainPorts(K="k", a="a"), inputs={"a": text}, vars={"s": "{{ secret('K') }}"}
    )

    assert "not available in text from outside" in message


def test_what_text_from_outside_may_use() -> None:
    own = "kestra:///x/executions/E1/a"
    ports = PlainPorts(a="value", q="file", **{own: "mine"})
    text = f"{{{{ kv('a') }}}}{{{{ kv('a', 'company.team') }}}}{{{{ read('q') }}}}{{{{ read('{own}') }}}}{{{{ vars.first }}}}{{{{ s | upper }}}}"

    assert out("{{ render(inputs.a) }}", ports, inputs={"a": text}) == "valuevaluefilemine1HELLO"


def test_the_context_printed_by_text_from_outside_holds_no_environment() -> None:
    made = out("{{ renderOnce(inputs.a) }}", inputs={"a": "{{ printContext() }}"})

    assert '"vars"' in made
    assert "environment" not in made
    assert '"global"' not in made


@pytest.mark.parametrize(
    "template",
    [
        "{{ render(vars.s) }}", "{{ render(\"{{ secret('K') }}\") }}", "{{ render('{{ ' ~ vars.name ~ \"('K') }}\") }}",
        "{% set own = vars.s %}{{ render(own) }}", "{{ render(vars.nested) }}", "{{ render(read('template.txt')) }}",
        "{% for own in vars.all %}{{ render(own) }}{% endfor %}", "{{ render(flow.description) }}",
    ],
)  # fmt: skip
def test_variables_namespace_files_and_the_flows_own_text_keep_all_functions(template: str) -> None:
    own = {"s": _EVIL, "name": "secret", "nested": "{{ vars.s }}", "all": [_EVIL]}

    assert out(template, PlainPorts(K="k", **{"template.txt": _EVIL}), vars=own, flow={"description": _EVIL}) == "k"


def test_outside_text_is_shown_literally_without_render() -> None:
    assert out("{{ inputs.text }}") == "{{ secret('K') }}"
