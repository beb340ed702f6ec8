"""expressions.md 2.2 to 2.4: printing, typed results, maps and lists."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.expressions import NoPorts, RenderError, render, render_typed, render_value, to_json, to_text, truthy
from tests.namespaces.expressions.support import CONTEXT, out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("<b>&", "<b>&"),
        (5, "5"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        ({"k": "v", "n": None}, '{"k":"v","n":null}'),
        (["a", {"b": [1.0, True]}], '["a",{"b":[1.0,true]}]'),
        (2**70, str(2**70)),
        ([2**70], f"[{2**70}]"),
        (1e300, "1.0E300"),
        (-0.0, "-0.0"),
        (datetime(2013, 9, 8, 16, 19, tzinfo=timezone(timedelta(hours=2))), "2013-09-08T16:19+02:00"),
        (datetime(2013, 9, 8, 16, 19, 12, tzinfo=ZoneInfo("Europe/Paris")), "2013-09-08T16:19:12+02:00"),
        (datetime(2013, 9, 8, 16, 19, tzinfo=UTC), "2013-09-08T16:19:00Z"),
        (datetime(2013, 9, 8, 16, 19, 12, 120000, tzinfo=UTC), "2013-09-08T16:19:12.120Z"),
        (datetime(2013, 9, 8, 16, 19, 12, 123456, tzinfo=UTC), "2013-09-08T16:19:12.123456Z"),
        (date(2013, 9, 8), "2013-09-08"),
        ({"at": datetime(2013, 9, 8, tzinfo=UTC)}, '{"at":"2013-09-08T00:00:00Z"}'),
    ],
)
def test_values_print_as_kestra_prints_them(value: object, text: str) -> None:
    assert render("{{ v }}", {"v": value}, NoPorts()) == text
    assert to_text(value) == text


def test_the_output_is_not_rendered_again() -> None:
    assert out("{{ vars.second }}") == "{{ vars.first }}"


def test_recursive_rendering_is_an_option_of_the_server() -> None:
    assert render("{{ vars.third }}", CONTEXT, NoPorts(), recursive=True) == "1"
    assert render("{{ vars.third }}{% raw %}{{ x }}{% endraw %}", CONTEXT, NoPorts(), recursive=True) == "1{{ x }}"


def test_recursive_rendering_takes_no_commands_from_data() -> None:
    with pytest.raises(RenderError, match=r"secret\(\) is not available in text from outside"):
        render("{{ inputs.text }}", CONTEXT, NoPorts(), recursive=True)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ 1 }}", 1),
        ("{{ 1.0 }}", 1.0),
        ("{{ list }}", ["a", "b", "c"]),
        ("{{ plain }}", {"a": 1}),
        ("{{ true }}", True),
        ("{{ nul }}", None),
        ("{{ s }}", "hello"),
        ("plain text", "plain text"),
        ("", ""),
        ("a {{ s }}", "a hello"),
        ("{{ s }}{{ str5 }}", "hello5"),
        ("{{ n }}{{ nul }}", 5),
        ("{{ nul }}{{ n }}", 5),
        ("{% if t %}{{ n }}{% endif %}", 5),
    ],
)
def test_typed_rendering_keeps_the_type_of_a_single_print(template: str, value: object) -> None:
    made = render_typed(template, CONTEXT, NoPorts())

    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    "template", ["{{ n }}{{ n }}", "a{{ n }}", " {{ n }}", "{{ n }} ", "{{ s }}{{ list }}", "{{ n }}\n"]
)
def test_typed_rendering_adds_nothing_to_a_value_that_is_no_text(template: str) -> None:
    with pytest.raises(RenderError, match="Tried to add"):
        render_typed(template, CONTEXT, NoPorts())


def test_maps_and_lists_are_rendered_in_order_keys_included() -> None:
    value = {"{{ s }}": ["{{ n }}", 5, None, True, {"a": "{{ list }}"}], "b": "x", "hello": "second"}

    made = render_value(value, CONTEXT, NoPorts())

    assert made == {"hello": ["5", 5, None, True, {"a": '["a","b","c"]'}], "b": "x"}
    assert isinstance(made, dict)
    assert list(made) == ["hello", "b"]


@pytest.mark.parametrize("text", ["false", "0", "-0", ""])
def test_falsy_texts(text: str) -> None:
    assert not truthy(text)


def test_null_is_falsy() -> None:
    assert not truthy(None)


@pytest.mark.parametrize("text", ["False", "no", "null", "0.0", "[]", " ", "true", "FALSE", "00"])
def test_truthy_texts(text: str) -> None:
    assert truthy(text)


_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_json)
def test_the_printed_json_of_any_value_reads_back_as_the_value(value: Any) -> None:
    assert json.loads(to_json(value)) == value


@given(_json)
def test_typed_rendering_returns_any_value_unchanged(value: Any) -> None:
    made = render_typed("{{ v }}", {"v": value}, NoPorts())

    assert made == value


@given(st.text(alphabet="{}%#'\"abs.|()[]~?:=! \n-+*/1,", max_size=60))
def test_any_text_renders_or_gives_a_render_error(text: str) -> None:
    try:
        render(text, CONTEXT, NoPorts())
    except RenderError:
        return


@given(st.text().filter(lambda text: "{" not in text))
def test_text_without_a_brace_is_itself(text: str) -> None:
    assert render(text, {}, NoPorts()) == text
