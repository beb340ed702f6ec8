"""expressions.md 5.2, 7, 8.2: lists, maps, tests, JSON, YAML, Ion, jq, numbers."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.expressions import NoPorts, render, render_typed
from tests.namespaces.expressions.support import fault, out


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ nul | merge([1]) }}{{ [1] | merge(nul) }}{{ nul | merge({'a': 1}) }}", '[1][1]{"a":1}'),
        ("{{ ['b', 'a'] | sort }}{{ ['b', 'a', 'c'] | rsort }}", '["a","b"]["c","b","a"]'),
        ("{{ [2, 1.5] | sort }}{{ [] | sort }}", "[1.5,2][]"),
        ("{{ numbers | reverse }}{{ numbers }}", "[2,1,3][3,1,2]"),
        ("{{ [1, [2, [3]]] | flatten }}", "[1,2,[3]]"),
        ("{{ [1, 1.0, 'a', 'a', [1], [1], null, null, true, 1] | distinct }}", '[1,"a",[1],null,true]'),
        ("{{ [1,2,3] | chunk(5) }}{{ [] | chunk(2) }}", "[[1,2,3]][]"),
        ("{{ plain | keys | first }}{{ plain | values | first }}", "a1"),
    ],
)
def test_collection_filters(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ [1, 'a'] | sort }}", "{{ [true, false] | sort }}", "{{ s | reverse }}", "{{ s | keys }}", "{{ list | values }}",
        "{{ s | flatten }}", "{{ s | chunk(2) }}", "{{ list | chunk(0) }}", "{{ [1] | merge({'a': 1}) }}", "{{ plain | merge([1]) }}",
        "{{ s | distinct }}", "{{ plain | sort }}",
    ],
)  # fmt: skip
def test_what_collection_filters_refuse(template: str) -> None:
    assert fault(template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ nul is null }}{{ s is not null }}", "truetrue"),
        (
            "{{ empty is empty }}{{ blank is empty }}{{ nul is empty }}{{ 0 is empty }}{{ f is empty }}",
            "truetruetruefalsefalse",
        ),
        ("{{ {} is empty }}{{ list is not empty }}", "truetrue"),
        ("{{ 4 is even }}{{ 4 is odd }}{{ -3 is odd }}", "truefalsetrue"),
        ("{{ m is map }}{{ list is map }}{{ nul is map }}", "truefalsefalse"),
        ("{{ list is iterable }}{{ m is iterable }}{{ s is iterable }}", "truefalsefalse"),
        ("{{ '[1]' is json }}{{ '{' is json }}{{ 'null' is json }}", "truefalsetrue"),
    ],
)
def test_tests(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    "template", ["{{ nul is even }}", "{{ 1.0 is odd }}", "{{ '2' is even }}", "{{ 1 is json }}", "{{ nul is json }}"]
)
def test_what_tests_refuse(template: str) -> None:
    assert fault(template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ fromJson(nul) }}", ""),
        ("{{ fromJson('{\"a\": [1, 2.50, null, true]}') }}", '{"a":[1,2.5,null,true]}'),
        ("{{ json('5') + 1 }}{{ jsonDecode('\"x\"') }}", "6x"),
        ("{{ nul | toJson }}{{ s | json }}{{ 1.5 | jsonEncode }}", 'null"hello"1.5'),
        ("{{ date | toJson }}", '"2013-09-08T14:19:12.123456Z"'),
        ("{{ fromJson('123456789012345678901234567890') }}", "123456789012345678901234567890"),
        ("{{ yaml('a: 1\nb: [x, 2.5, true, null]\nc: 2024-01-01\nd: yes\ne: 12:30') }}", '{"a":1,"b":["x",2.5,true,null],"c":"2024-01-01","d":"yes","e":"12:30"}'),
        ("{{ yaml('a: &x {k: 1}\nb:\n  <<: *x\n  l: 2').b }}", '{"k":1,"l":2}'),
        ("{{ yaml('\"1\"') | className }}", "java.lang.String"),
        ("{{ yaml('') ?? 'none' }}", "none"),
        ("{{ nul | yaml }}", "null"),
        ("{{ {'a': {'b': [1, {'c': 'd'}]}, 'e': []} | yaml }}", "a:\n  b:\n   - 1\n   - c: d\ne: []\n"),
        ("{{ ['true', '1', 'a: b', '', 'x'] | yaml }}", ' - "true"\n - "1"\n - "a: b"\n - ""\n - x\n'),
        ("{{ fromIon('{a:1, b:[2.5, \"x\", sym], c:null, d:true}') }}", '{"a":1,"b":[2.5,"x","sym"],"c":null,"d":true}'),
        ("{{ fromIon('{a:1}\n{a:2}', allRows=true) }}{{ fromIon('{a:1} {a:2}').a }}", '[{"a":1},{"a":2}]1'),
        ("{{ {'a b': 1.5, 'c': [null, 'x\"']} | toIon }}", "{'a b':1.5e0,c:[null,\"x\\\"\"]}"),
        ("{{ nul | toIon }}{{ date | toIon }}", "null2013-09-08T14:19:12.123456Z"),
        ("{{ '{\"k\": 1}' | jq('.k') }}", "[1]"),
        ("{{ [1, 2] | jq('map(. * 2)') | first }}", "[2,4]"),
        ("{{ plain | jq('.missing') }}", "[null]"),
        ("{{ plain | jq('empty') }}", "[]"),
    ],
)  # fmt: skip
def test_conversion(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ fromJson(5) }}", "{{ fromJson() }}", "{{ fromJson('{a: 1}') }}", "{{ fromJson('NaN') }}", "{{ yaml(nul) }}", "{{ yaml(1) }}",
        "{{ yaml('a: [') }}", "{{ yaml('!!python/object/apply:os.system [id]') }}", "{{ yaml('a: 1\na: 2') }}", "{{ yaml('&a [*a]') }}",
        "{{ fromIon('{not: ion') }}", "{{ fromIon(5) }}", "{{ plain | jq('.[') }}", "{{ 's' | jq('.') }}", "{{ plain | jq(5) }}",
        "{{ plain | jq('error(\"x\")') }}", "{{ plain | jq('import \"a\" as $a; .') }}", "{{ plain | jq('input') }}",
    ],
)  # fmt: skip
def test_what_cannot_be_converted(template: str) -> None:
    assert fault(template)


def test_jq_sees_no_environment_and_no_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANNER_TEST_SECRET", "hidden")

    assert out("{{ 1 | jq('env, $ENV') }}") == "[{},{}]"
    assert "modules are not available" in fault("{{ 1 | jq('\"x\" | modulemeta') }}")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ '12' | number }}{{ '12.3' | number }}{{ '-1e2' | number }}", "1212.3-100.0"),
        ("{{ '12' | number('FLOAT') }}", "12.0"),
        ("{{ '12.30' | number('BIGDECIMAL') }}", "12.30"),
        ("{{ '12.30' | number('BIGDECIMAL') + 1 }}", "13.30"),
        ("{{ '5' | number('int') | className }}", "java.lang.Integer"),
        ("{{ '5' | number('BIGINTEGER') | className }}", "java.math.BigInteger"),
        ("{{ '1.5' | number('BIGDECIMAL') | className }}", "java.math.BigDecimal"),
        ("{{ -2.5 | abs }}", "2.5"),
        (
            "{{ true | className }}{{ {} | className }}{{ [] | className }}",
            "java.lang.Booleanjava.util.LinkedHashMapjava.util.ArrayList",
        ),
    ],
)
def test_numbers(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    "template",
    ["{{ 5 | number }}", "{{ 'x' | number }}", "{{ '1.5' | number('INT') }}", "{{ '3000000000' | number('INT') }}", "{{ '1' | number('BYTE') }}",
     "{{ nul | abs }}", "{{ s | abs }}", "{{ '' | number }}"],
)  # fmt: skip
def test_what_is_no_number(template: str) -> None:
    assert fault(template)


_texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
_plain: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(_texts, _plain, max_size=4))
def test_written_yaml_reads_back(value: dict[str, Any]) -> None:
    assert render_typed("{{ yaml(v | yaml) }}", {"v": value}, NoPorts()) == value


@given(_plain)
def test_written_ion_reads_back(value: Any) -> None:
    made = render_typed("{{ fromIon(v | toIon, allRows=true) }}", {"v": value}, NoPorts())

    assert made == [value]


@given(_plain)
def test_written_json_reads_back(value: Any) -> None:
    assert json.loads(render("{{ v | toJson }}", {"v": value}, NoPorts())) == value


def test_multi_line_text_is_written_as_a_block() -> None:
    assert out("{{ v | yaml }}", v={"script": "a\nb\n"}) == "script: |\n  a\n  b\n"


def test_an_ion_instant_keeps_its_moment() -> None:
    made = render_typed("{{ fromIon('2020-01-01T00:00:00Z') }}", {}, NoPorts())

    assert made == datetime(2020, 1, 1, tzinfo=UTC)
