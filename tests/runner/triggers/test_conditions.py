"""Every condition of ``flows.md`` 8, and what an evaluation error does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from namespaces import expressions
from namespaces.flows.model import Condition
from runner.triggers.conditions import (
    ConditionError,
    Subject,
    Upstream,
    condition_of,
    holds,
    judge,
    kind_of,
    truthy,
)

PARIS = ZoneInfo("Europe/Paris")
MONDAY = datetime(2024, 1, 1, 10, 30, tzinfo=PARIS)


def render(text: str, context: Mapping[str, Any]) -> str:
    return expressions.render(text, context, expressions.NoPorts())


def on(date: datetime) -> Subject:
    return Subject(date=date, variables={"trigger": {"date": date.isoformat()}})


def after(**changes: Any) -> Subject:
    values: dict[str, Any] = {
        "id": "e1",
        "namespace": "company.team",
        "flow_id": "load",
        "revision": 3,
        "state": "SUCCESS",
        "labels": (("team", "data"), ("env", "prod")),
        **changes,
    }
    return Subject(upstream=Upstream(**values), variables={"trigger": {"outputs": {}}})


def check(subject: Subject, kind: str, **properties: Any) -> bool:
    written = {"type": f"io.kestra.plugin.core.condition.{kind}", **properties}
    return holds(condition_of(written), subject, render)


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"after": "2024-01-01T09:29:59Z"}, True),
        ({"after": "2024-01-01T09:30:00Z"}, False),
        ({"before": "2024-01-01T10:30:00+01:00"}, False),
        ({"before": "2024-01-01T10:30:01+01:00"}, True),
        ({"after": "2023-01-01T00:00:00Z", "before": "2025-01-01T00:00:00Z"}, True),
        ({"date": "2020-01-01T00:00:00Z", "after": "2023-01-01T00:00:00Z"}, False),
        ({"date": "{{ trigger.date }}", "after": "2024-01-01T00:00:00Z"}, True),
        ({"after": "2024-01-01T10:00:00+01:00[Europe/Paris]"}, True),
    ],
)
def test_a_date_is_between_two_instants_exclusively(properties: dict[str, str], expected: bool) -> None:
    assert check(on(MONDAY), "DateTimeBetween", **properties) is expected


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"after": "10:30:00+01:00"}, False),
        ({"after": "10:29:59+01:00"}, True),
        ({"before": "10:30:01+01:00"}, True),
        ({"after": "09:00:00Z", "before": "10:00:00Z"}, True),
        ({"after": "16:19:12+02:00"}, False),
    ],
)
def test_a_time_of_day_is_between_two_times_exclusively(properties: dict[str, str], expected: bool) -> None:
    assert check(on(MONDAY), "TimeBetween", **properties) is expected


def test_weekday_and_weekend_are_those_of_the_triggers_zone() -> None:
    late_sunday_utc = datetime.fromisoformat("2024-01-07T23:30:00+00:00").astimezone(PARIS)

    assert check(on(MONDAY), "DayWeek", dayOfWeek="MONDAY")
    assert not check(on(MONDAY), "DayWeek", dayOfWeek="SUNDAY")
    assert check(on(late_sunday_utc), "DayWeek", dayOfWeek="MONDAY")
    assert not check(on(late_sunday_utc), "Weekend")
    assert check(on(datetime(2024, 1, 6, tzinfo=PARIS)), "Weekend")


@pytest.mark.parametrize(
    ("day", "which", "expected"),
    [
        (1, "FIRST", True),
        (8, "FIRST", False),
        (8, "SECOND", True),
        (15, "THIRD", True),
        (22, "FOURTH", True),
        (22, "LAST", False),
        (29, "LAST", True),
        (2, "FIRST", False),
    ],
)
def test_the_nth_monday_of_a_month(day: int, which: str, expected: bool) -> None:
    date = datetime(2024, 1, day, tzinfo=PARIS)

    assert check(on(date), "DayWeekInMonth", dayOfWeek="MONDAY", dayInMonth=which) is expected


def test_public_holidays_by_country_and_subdivision() -> None:
    epiphany = datetime(2025, 1, 6, tzinfo=PARIS)

    assert check(on(MONDAY), "PublicHoliday", country="FR")
    assert not check(on(MONDAY.replace(day=3)), "PublicHoliday", country="FR")
    assert check(on(epiphany), "PublicHoliday", country="DE", subDivision="BY")
    assert not check(on(epiphany), "PublicHoliday", country="DE", subDivision="BE")
    with pytest.raises(ConditionError, match="'XX' are not known"):
        check(on(MONDAY), "PublicHoliday", country="XX")
    with pytest.raises(ConditionError, match="needs 'country'"):
        check(on(MONDAY), "PublicHoliday")


@pytest.mark.parametrize(
    ("text", "expected"), [("0", True), ("false", False), (" false ", False), ("  ", False), ("no", True)]
)
def test_an_expression_condition_takes_zero_for_true(text: str, expected: bool) -> None:
    assert check(Subject(variables={"x": text}), "Expression", expression="{{ x }}") is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", False), ("false", False), ("0", False), ("-0", False), (" ", True), ("False", True), ("0.0", True)],
)
def test_when_has_the_strict_list_of_falsy_texts(text: str, expected: bool) -> None:
    assert truthy(text) is expected


def test_conditions_on_the_upstream_flow_and_namespace() -> None:
    assert check(after(), "ExecutionFlow", namespace="company.team", flowId="load")
    assert not check(after(), "ExecutionFlow", namespace="company.team", flowId="other")
    assert check(after(), "FlowCondition", namespace="company.team", flowId="load")
    assert check(after(), "ExecutionNamespace", namespace="company.team")
    assert not check(after(), "ExecutionNamespace", namespace="company")
    assert check(after(), "ExecutionNamespace", namespace="comp", prefix=True)
    assert check(after(), "ExecutionNamespace", namespace="comp", comparison="PREFIX")
    assert check(after(), "ExecutionNamespace", namespace=".team", comparison="SUFFIX")
    assert not check(after(), "ExecutionNamespace", namespace="comp", comparison="EQUALS", prefix=True)
    assert check(after(), "FlowNamespaceCondition", namespace="company", prefix=True)
    assert not check(after(), "FlowNamespaceCondition", namespace="company")


def test_conditions_on_the_upstream_state_and_attempts() -> None:
    assert check(after(), "ExecutionStatus", **{"in": ["SUCCESS"], "notIn": ["FAILED"]})
    assert not check(after(), "ExecutionStatus", **{"in": ["FAILED"]})
    assert not check(after(), "ExecutionStatus", notIn=["SUCCESS"])
    assert check(after(state="CANCELLED"), "ExecutionStatus", **{"in": ["CANCELED"]})
    assert check(after(attempt_states=frozenset({"FAILED", "SUCCESS"})), "HasRetryAttempt", **{"in": ["FAILED"]})
    assert not check(after(attempt_states=frozenset({"SUCCESS"})), "HasRetryAttempt", **{"in": ["FAILED"]})
    assert not check(after(), "HasRetryAttempt", **{"in": ["FAILED"]})


def test_conditions_on_the_upstream_labels_and_outputs() -> None:
    assert check(after(), "ExecutionLabels", labels={"team": "data"})
    assert check(after(), "ExecutionLabels", labels=[{"key": "team", "value": "data"}, {"key": "env", "value": "prod"}])
    assert not check(after(), "ExecutionLabels", labels={"team": "data", "env": "dev"})
    assert check(after(outputs={"n": 5}), "ExecutionOutputs", expression="{{ trigger.outputs.n == 5 }}")
    assert not check(after(outputs={"n": 4}), "ExecutionOutputs", expression="{{ trigger.outputs.n == 5 }}")
    assert not check(after(), "ExecutionOutputs", expression="{{ trigger.outputs.n == 5 }}")


def test_not_is_true_when_none_holds_and_or_when_any_does() -> None:
    monday = {"type": "io.kestra.plugin.core.condition.DayWeek", "dayOfWeek": "MONDAY"}
    weekend = {"type": "io.kestra.plugin.core.condition.Weekend"}

    assert not check(on(MONDAY), "Not", conditions=[monday, weekend])
    assert check(on(MONDAY), "Not", conditions=[weekend])
    assert check(on(MONDAY), "Or", conditions=[weekend, monday])
    assert not check(on(MONDAY), "Or", conditions=[weekend])


def test_a_multiple_condition_reads_its_parts_by_name() -> None:
    written = {
        "type": "io.kestra.plugin.core.condition.MultipleCondition",
        "id": "m",
        "conditions": {
            "flow": {
                "type": "io.kestra.plugin.core.condition.ExecutionFlow", "namespace": "company.team", "flowId": "load",
            },
            "state": {"type": "io.kestra.plugin.core.condition.ExecutionStatus", "in": ["SUCCESS"]},
        },
    }  # fmt: skip

    assert holds(condition_of(written), after(), render)
    assert not holds(condition_of(written), after(state="FAILED"), render)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("io.kestra.core.models.conditions.types.VariableCondition", "Expression"),
        ("io.kestra.core.models.conditions.types.DayWeekCondition", "DayWeek"),
        ("io.kestra.plugin.core.condition.ExecutionStatusCondition", "ExecutionStatus"),
        ("io.kestra.plugin.core.condition.FlowNamespaceCondition", "FlowNamespaceCondition"),
        ("io.kestra.plugin.core.condition.MultipleCondition", "MultipleCondition"),
    ],
)
def test_old_names_of_conditions_mean_the_same(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_condition_that_raises_is_told_and_does_not_hold() -> None:
    broken = Condition(type="io.kestra.plugin.core.condition.Expression", properties={"expression": "{{ nope.a }}"})

    verdict = judge((broken,), None, Subject(), render)

    assert not verdict.holds
    assert verdict.error
    assert "nope" in verdict.error


def test_conditions_and_when_must_both_hold() -> None:
    monday = Condition(type="io.kestra.plugin.core.condition.DayWeek", properties={"dayOfWeek": "MONDAY"})

    assert judge((monday,), "{{ 1 == 1 }}", on(MONDAY), render).holds
    assert not judge((monday,), "{{ 1 == 2 }}", on(MONDAY), render).holds
    assert not judge((monday,), "{{ 1 == 1 }}", on(MONDAY.replace(day=2)), render).holds


def test_an_execution_condition_on_a_schedule_is_an_error() -> None:
    with pytest.raises(ConditionError, match="is for Flow triggers"):
        check(on(MONDAY), "ExecutionStatus", **{"in": ["SUCCESS"]})
