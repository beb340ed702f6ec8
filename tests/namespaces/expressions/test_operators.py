"""expressions.md 4: precedence, semantics, truth."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.expressions import NoPorts, render, render_typed
from tests.namespaces.expressions.support import fault, out


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ 1 + 2 ~ 'x' }}", "12x"),
        ("{{ 'x' ~ 'ab' | length }}", "3"),
        ("{{ 'x' ~ 'Y' | lower ~ 'Z' }}", "xyZ"),
        ("{{ missing ?? 1 + 2 }}", "3"),
        ("{{ missing ?? s | upper }}", "HELLO"),
        ("{{ list | length + 2 }}", "5"),
        ("{{ 2 * list | length }}", "6"),
        ("{{ s == 'hello' ? 'y' : 'n' }}", "y"),
        ("{{ not s is null }}", "false"),
        ("{{ not (m contains 'k') }}", "false"),
        ("{{ n + 1 is even }}", "true"),
        ("{{ s ~ t ? 'a' : 'b' }}", "a"),
        ("{{ -5 | abs }}", "5"),
        ("{{ 2 + 3 * 4 }}", "14"),
        ("{{ 10 - 4 - 3 }}", "3"),
        ("{{ 100 / 10 / 2 }}", "5"),
        ("{{ 1 + 1 == 2 and 2 > 1 or f }}", "true"),
        ("{{ f or t and f }}", "false"),
        ("{{ (1 + 2) * 3 }}", "9"),
        ("{{ f ? 1 : f ? 2 : 3 }}", "3"),
        ("{{ t ? f ? 1 : 2 : 3 }}", "2"),
        ("{{ 1..2 | length }}", "2"),
        ("{{ s == 'a' ~ 'b' }}", "false"),
        ("{{ - 5 + 2 }}", "-3"),
        ("{{ not f and t }}", "true"),
    ],
)
def test_precedence(template: str, text: str) -> None:
    assert out(template) == text


def test_not_binds_tighter_than_contains() -> None:
    assert "is neither true nor false in `not`" in fault("{{ not m contains 'k' }}")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ f ?? 'x' }}", "false"),
        ("{{ empty ?? 'x' }}", ""),
        ("{{ 0 ?? 'x' }}", "0"),
        ("{{ nul ?? 'x' }}", "x"),
        ("{{ nul ??? 'd' }}", ""),
        ("{{ missing ??? 'd' }}", "d"),
        ("{{ t ? 'a' : f ? 'b' : 'c' }}", "a"),
        ("{{ nul ? 'a' : 'b' }}", "b"),
        ("{{ s ~ nul ~ 'x' }}", "hellox"),
        ("{{ 'a' ~ 1 ~ true ~ 1.0 }}", "a1true1.0"),
        ("{{ list ~ '' }}", '["a","b","c"]'),
        ("{{ plain ~ '!' }}", '{"a":1}!'),
    ],
)
def test_defaults_conditions_and_concatenation(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ 1 + '1' }}", "11"),
        ("{{ 'a' + 'b' }}", "ab"),
        ("{{ str5 + 1 }}", "51"),
        ("{{ 1 + 2 + 'a' + 1 + 2 }}", "3a12"),
        ("{{ 1 + 1.5 }}", "2.5"),
        ("{{ 5 / 2 }}", "2"),
        ("{{ -5 / 2 }}", "-2"),
        ("{{ 5 / -2 }}", "-2"),
        ("{{ -5 / -2 }}", "2"),
        ("{{ 5.0 / 2 }}", "2.5"),
        ("{{ 5 % 3 }}", "2"),
        ("{{ -5 % 3 }}", "-2"),
        ("{{ 5 % -3 }}", "2"),
        ("{{ 7 % 2.5 }}", "2.0"),
        ("{{ 9223372036854775807 + 1 }}", "9223372036854775808"),
        ("{{ 2 * 3.0 }}", "6.0"),
        ("{{ +n }}{{ -n }}", "5-5"),
    ],
)
def test_arithmetic(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ 1 / 0 }}", "{{ 1 % 0 }}", "{{ 1.0 / 0 }}", "{{ list + list }}", "{{ 'a' - 1 }}", "{{ str5 * 2 }}", "{{ nul + 1 }}",
        "{{ 1 - nul }}", "{{ t + 1 }}", "{{ -s }}", "{{ 'a' * 3 }}", "{{ list * 2 }}", "{{ nul + 'a' }}", "{{ plain % 1 }}",
    ],
)  # fmt: skip
def test_arithmetic_of_what_is_no_number_is_an_error(template: str) -> None:
    assert fault(template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ 1 == 1.0 }}", "true"),
        ("{{ '5' == 5 }}", "false"),
        ("{{ t == 'true' }}", "false"),
        ("{{ t == 1 }}", "false"),
        ("{{ f == 0 }}", "false"),
        ("{{ nul == null }}", "true"),
        ("{{ nul == '' }}", "false"),
        ("{{ nul != 1 }}", "true"),
        ("{{ [1, {'a': 2.0}] == [1.0, {'a': 2}] }}", "true"),
        ("{{ {'a': 1} == {'a': 1, 'b': 2} }}", "false"),
        ("{{ [1] == [1, 2] }}", "false"),
        ("{{ s equals 'hello' }}", "true"),
        ("{{ nul > 3 }}", "false"),
        ("{{ 3 <= nul }}", "false"),
        ("{{ 'b' > 'a' }}", "true"),
        ("{{ 'a' <= 'a' }}", "true"),
        ("{{ 1 < 1.5 }}", "true"),
    ],
)
def test_comparison(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize(
    "template", ["{{ 1 < '2' }}", "{{ t < f }}", "{{ list < list }}", "{{ 1 < 2 < 3 }}", "{{ date < 'tomorrow' }}"]
)
def test_what_has_no_order_is_an_error(template: str) -> None:
    assert "cannot be compared" in fault(template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ date > '2013-09-08T16:19:12+02:00' }}", "true"),
        ("{{ date < '2013-09-08T14:19:13' }}", "true"),
        ("{{ date > '2013-09-08' }}", "true"),
        ("{{ date > day }}", "true"),
        ("{{ date == other }}", "true"),
        ("{{ date < other }}", "false"),
    ],
)
def test_dates_compare_as_instants_also_with_iso_text(template: str, text: str) -> None:
    other = datetime(2013, 9, 8, 16, 19, 12, 123456, tzinfo=timezone(timedelta(hours=2)))

    assert out(template, other=other, day=date(2013, 9, 8)) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ list contains 'a' }}", "true"),
        ("{{ list contains ['a', 'z'] }}", "false"),
        ("{{ list contains ['a', 'b'] }}", "true"),
        ("{{ s contains 'ell' }}", "true"),
        ("{{ m contains 'k' }}", "true"),
        ("{{ m contains 'v' }}", "false"),
        ("{{ nul contains 'a' }}", "false"),
        ("{{ [1, 2] contains 2.0 }}", "true"),
        ("{{ 'a' isIn list }}", "true"),
        ("{{ 'z' isIn list }}", "false"),
    ],
)
def test_contains_and_is_in(template: str, text: str) -> None:
    assert out(template) == text


@pytest.mark.parametrize("template", ["{{ n contains 1 }}", "{{ s contains 1 }}", "{{ s contains nul }}"])
def test_contains_of_the_wrong_kind_is_an_error(template: str) -> None:
    assert fault(template)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("t", "yes"), ("f", "no"), ("n", "yes"), ("0", "no"), ("0.0", "no"), ("s", "yes"), ("empty", "no"), ("blank", "yes"),
        ("'false'", "yes"), ("'0'", "yes"),
    ],
)  # fmt: skip
def test_truth_of_booleans_numbers_and_texts(value: str, text: str) -> None:
    assert out(f"{{% if {value} %}}yes{{% else %}}no{{% endif %}}") == text
    assert out(f"{{{{ {value} ? 'yes' : 'no' }}}}") == text
    assert out(f"{{{{ {value} and true ? 'yes' : 'no' }}}}") == text
    assert out(f"{{{{ not {value} ? 'no' : 'yes' }}}}") == text


@pytest.mark.parametrize("value", ["list", "m", "date"])
@pytest.mark.parametrize(
    "template", ["{% if @ %}{% endif %}", "{{ @ ? 1 : 2 }}", "{{ @ and t }}", "{{ @ or t }}", "{{ not @ }}"]
)
def test_lists_maps_and_dates_are_neither_true_nor_false(template: str, value: str) -> None:
    assert "is neither true nor false" in fault(template.replace("@", value))


@pytest.mark.parametrize("template", ["{% if nul %}{% endif %}", "{{ nul and t }}", "{{ f or nul }}", "{{ not nul }}"])
def test_null_is_neither_true_nor_false_outside_of_a_ternary(template: str) -> None:
    assert "null is neither true nor false" in fault(template)


def test_and_and_or_give_booleans_and_skip_what_does_not_matter() -> None:
    assert out("{{ s and t }}{{ empty or 5 }}{{ f and nul }}{{ t or missing }}") == "truetruefalsetrue"


@pytest.mark.parametrize(
    "template",
    [
        "{{ t && f }}", "{{ t || f }}", "{{ !t }}", "{{ 'a' in list }}", "{{ 'a' not in list }}", "{{ 2 ** 3 }}", "{{ 5 // 2 }}",
        "{{ s matches 'a' }}", "{{ s[1:2] }}", "{{ 1 if t }}", "{{ list | map(x) => 1 }}",
    ],
)  # fmt: skip
def test_operators_of_other_languages_are_refused(template: str) -> None:
    assert fault(template)


def test_the_advice_for_a_foreign_operator_names_ours() -> None:
    assert "write `and`" in fault("{{ t && f }}")
    assert "use `contains` or `isIn`" in fault("{{ 'a' in list }}")


_small = st.integers(-1000, 1000)


@given(a=_small, b=_small.filter(bool))
def test_division_and_rest_belong_together_as_in_java(a: int, b: int) -> None:
    context = {"a": a, "b": b}
    quotient, rest = (render_typed(t, context, NoPorts()) for t in ("{{ a / b }}", "{{ a % b }}"))

    assert isinstance(quotient, int)
    assert isinstance(rest, int)
    assert quotient * b + rest == a
    assert abs(rest) < abs(b)
    assert rest == 0 or (rest < 0) == (a < 0)


@given(st.lists(st.text(alphabet="ab{}%#'\"~ |", max_size=3), min_size=2, max_size=40))
def test_long_chains_join_all_their_parts(parts: list[str]) -> None:
    context = {f"v{i}": part for i, part in enumerate(parts)}
    template = "{{ " + " ~ ".join(context) + " }}"

    assert render(template, context, NoPorts()) == "".join(parts)


@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))
def test_an_instant_equals_its_own_text(moment: datetime) -> None:
    assert render("{{ (d <= d ~ '') and (d >= d ~ '') }}", {"d": moment}, NoPorts()) == "true"
