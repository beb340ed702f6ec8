"""expressions.md 4.3: keys, indices and the few methods; nothing of Python."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import pytest

from namespaces.expressions import NoPorts, RenderError, render
from tests.namespaces.expressions.support import LazyMap, fault, out


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ m.k }}", "v"),
        ("{{ m['k'] }}", "v"),
        ('{{ m["k"] }}', "v"),
        ("{{ m[key] }}", "v"),
        ("{{ m.size }}", "key"),
        ("{{ plain.size }}", "1"),
        ("{{ list[0] }}", "a"),
        ("{{ list['0'] }}", "a"),
        ("{{ list[n - 3] }}", "c"),
        ("{{ (maps | first).id }}", "1"),
        ("{{ maps[1].id }}", "2"),
        ("{{ deep['b-c'][0].x }}", "7"),
        ("{{ numbered[1] }}", "one"),
        ("{{ s.length() }}", "5"),
        ("{{ s.length }}", "5"),
        ("{{ 'a'.isEmpty() }}", "false"),
        ("{{ s.toUpperCase() }}", "HELLO"),
        ("{{ 'A'.toLowerCase() }}", "a"),
        ("{{ ' a '.trim() }}", "a"),
        ("{{ 'a,b'.split(',') }}", '["a","b"]'),
        ("{{ s.replace('l', 'L') }}", "heLLo"),
        ("{{ s.startsWith('he') }}{{ s.endsWith('he') }}", "truefalse"),
        ("{{ list.size() }}{{ list.size }}{{ list.isEmpty() }}", "33false"),
        ("{{ plain.get('a') }}{{ plain.containsKey('b') }}", "1false"),
        ("{{ plain.keySet() }}{{ plain.values() }}", '["a"][1]'),
        ("{{ plain.entrySet() }}", '[{"key":"a","value":1}]'),
    ],
)
def test_paths_indices_and_methods(template: str, text: str) -> None:
    deep = {"b-c": [{"x": 7}]}

    assert out(template, key="k", deep=deep, numbered={"1": "one"}) == text


def test_a_dash_in_a_name_is_a_subtraction() -> None:
    assert out("{{ n-1 }}") == "4"
    assert "Unable to find `name`" in fault("{{ plain.a-name }}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ maps | first.id }}", "{{ list.0 }}", "{{ s.substring(1, 3) }}", "{{ s[0] }}", "{{ s.class }}", "{{ s.getClass() }}",
        "{{ n.x }}", "{{ t.x }}", "{{ list.append('x') }}", "{{ m.pop('k') }}", "{{ s.format(1) }}", "{{ s.length(1) }}",
    ],
)  # fmt: skip
def test_everything_else_is_an_error(template: str) -> None:
    assert fault(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}", "{{ ''['__class__'] }}", "{{ '' | attr('__class__') }}", "{{ list.__class__.__mro__ }}",
        "{{ s.__init__.__globals__ }}", "{{ n.__class__ }}", "{{ date.__reduce__ }}", "{{ '{0.__class__}'.format(1) }}",
        "{{ s.format_map(m) }}", "{{ cycler.__init__.__globals__ }}", "{{ lipsum }}", "{{ namespace }}", "{{ joiner }}",
        "{{ self }}", "{{ config }}", "{{ request }}", "{{ g }}", "{{ dict }}", "{{ context }}", "{{ environment }}",
        "{{ resolve }}", "{{ undefined }}", "{{ t_1 }}", "{{ _ }}", "{{ loop }}", "{{ super() }}", "{{ varargs }}",
        "{{ caller() }}", "{{ print(1) }}", "{{ open('/etc/passwd') }}", "{{ s.join(list) }}", "{{ m.items() }}",
    ],
)  # fmt: skip
def test_no_way_leads_out_of_plain_data(template: str) -> None:
    assert fault(template)


def test_underscore_names_are_ordinary_keys_of_maps() -> None:
    assert out("{{ trigger._context.id }}", trigger={"_context": {"id": "daily"}}) == "daily"
    assert "Unable to find `__class__`" in fault("{{ plain.__class__ }}")


def test_a_refused_attribute_cannot_be_defaulted_away() -> None:
    assert "attribute not allowed: `__class__`" in fault("{{ ''.__class__ ?? 'd' }}")


def test_a_lazy_map_is_only_asked_for_the_keys_of_the_template() -> None:
    task = LazyMap({"value": 1})
    outputs = LazyMap({"t": task})
    context = {"outputs": outputs}

    assert render("{{ outputs.t.value }}", context, NoPorts()) == "1"
    assert render("{{ outputs.missing.value ?? 'd' }}{{ outputs contains 't' }}", context, NoPorts()) == "dtrue"
    with pytest.raises(RenderError, match="Unable to find `missing`"):
        render("{{ outputs.missing }}", context, NoPorts())
    assert outputs.asked == ["t", "missing", "missing"]
    assert task.asked == ["value"]


def test_a_lazy_map_prints_and_loops_like_any_map() -> None:
    context = {"outputs": LazyMap({"a": 1, "b": LazyMap({"c": None}, walkable=True)}, walkable=True)}

    assert render("{{ outputs }}", context, NoPorts()) == '{"a":1,"b":{"c":null}}'
    assert (
        render("{% for x in outputs %}{{ x.key }}={{ x.value }};{% endfor %}", context, NoPorts())
        == 'a=1;b={"c":null};'
    )
    assert (
        render("{{ outputs | keys }}{{ outputs | length }}{{ outputs is empty }}", context, NoPorts())
        == '["a","b"]2false'
    )


def test_the_context_itself_may_be_a_lazy_map() -> None:
    context = LazyMap({"inputs": {"a": 1}})

    assert render("{{ inputs.a }}", context, NoPorts()) == "1"
    assert context.asked == ["inputs"]


@pytest.mark.parametrize("name", ["'X-GitHub-Event'", "'X-Github-Event'", "'x-github-event'", "s"])
def test_headers_of_the_trigger_are_found_in_any_case(name: str) -> None:
    trigger = {"headers": {"X-Github-Event": ["push"]}, "body": {"headers": {"A": 1}}}

    assert out(f"{{{{ trigger.headers[{name}][0] }}}}", trigger=trigger, s="X-GITHUB-EVENT") == "push"
    assert out("{{ trigger.headers['X-Other'] is defined }}", trigger=trigger) == "false"
    assert "a" in fault("{{ trigger.body.headers.a }}", trigger=trigger)
