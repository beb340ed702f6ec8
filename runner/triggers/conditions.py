"""Conditions of triggers (``flows.md`` 8) and ``when``: do they hold for this date, request or upstream execution?

Texts are rendered by a function passed in; what a false or failing condition leads to is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from namespaces.errors import InvalidInput, LannerError
from namespaces.flows.model import Condition

Render = Callable[[str, Mapping[str, Any]], str]
"""Renders one text with the given variables; raises a ``LannerError`` when that fails."""

WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
FALSY = frozenset({"", "false", "0", "-0"})
KEEPS_ITS_NAME = frozenset({"FlowCondition", "FlowNamespaceCondition", "MultipleCondition"})
BY_DATE = frozenset({"DateTimeBetween", "TimeBetween", "DayWeek", "DayWeekInMonth", "Weekend", "PublicHoliday"})


class ConditionError(InvalidInput):
    """A condition could not be evaluated: an expression that does not render, a date that is none."""

    code = "condition_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The execution that a Flow trigger looks at, in the state it was announced in.

    ``outputs`` are the flow's outputs, ``task_outputs`` those of its tasks as expressions see them;
    ``attempt_states`` holds every state in which an attempt of any task run ended.
    """

    id: str
    namespace: str
    flow_id: str
    revision: int
    state: str
    labels: tuple[tuple[str, str], ...] = ()
    outputs: Mapping[str, Any] | None = None
    task_outputs: Mapping[str, Any] = field(default_factory=dict)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    first_failed_task_id: str | None = None
    last_task_id: str | None = None
    attempt_states: frozenset[str] = frozenset()
    kind: str = "NORMAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What conditions are asked about: the slot of a schedule, a webhook's request, an upstream execution.

    ``date`` is aware and in the trigger's zone. ``variables`` is the context of expressions, ``trigger`` included.
    ``country`` is the ISO code that PublicHoliday takes when it names none.
    """

    date: datetime | None = None
    upstream: Upstream | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    country: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``error`` says why it could not be told; ``holds`` is false then."""

    holds: bool
    error: str | None = None


def judge(conditions: Iterable[Condition], when: str | None, subject: Subject, render: Render) -> Verdict:
    """Whether all conditions and ``when`` hold; never raises for what a flow can get wrong."""
    try:
        for condition in conditions:
            if not holds(condition, subject, render):
                return Verdict(False)
        return Verdict(when is None or truthy(rendered(when, subject.variables, render)))
    except ConditionError as error:
        return Verdict(False, error.message)


def holds(condition: Condition, subject: Subject, render: Render) -> bool:
    """Whether one condition holds. Raises ``ConditionError``.

    MultipleCondition remembers over several executions (``flow.py``); asked here it holds when all its parts do.
    """
    kind = kind_of(condition.type)
    evaluate = _EVALUATORS.get(kind)
    if evaluate is None:
        raise ConditionError(f"unknown condition type '{condition.type}'")
    return evaluate(condition, subject, render)


def kind_of(type_name: str) -> str:
    """``DayWeek`` for any spelling of its type name (``flows.md`` 11)."""
    name = type_name.rsplit(".", 1)[-1]
    if name == "VariableCondition":
        return "Expression"
    return name if name in KEEPS_ITS_NAME else name.removesuffix("Condition")


def condition_of(written: Mapping[str, Any]) -> Condition:
    """A condition from its written map, for those that stand inside another one's properties."""
    properties = {key: value for key, value in written.items() if key not in ("type", "conditions")}
    inner = written.get("conditions")
    nested: tuple[Condition, ...] = ()
    if isinstance(inner, Mapping):
        properties["conditions"] = inner
    elif isinstance(inner, Sequence):
        nested = tuple(condition_of(part) for part in inner)
    return Condition(type=str(written.get("type", "")), properties=properties, conditions=nested)


def parts_of(condition: Condition) -> dict[str, Condition]:
    """The named conditions of a MultipleCondition; ``conditions`` holds them in the order of the map."""
    named = condition.properties.get("conditions")
    if not isinstance(named, Mapping):
        return {str(index): part for index, part in enumerate(condition.conditions)}
    if len(named) == len(condition.conditions):
        return dict(zip((str(name) for name in named), condition.conditions, strict=True))
    return {str(name): condition_of(written) for name, written in named.items()}


def cheap(conditions: Iterable[Condition], when: str | None) -> bool:
    """Whether they need no rendering at all, so that many dates may be tried."""
    return when is None and all(
        (kind_of(c.type) in BY_DATE or kind_of(c.type) in ("Not", "Or"))
        and not any(_is_template(v) for v in c.properties.values())
        and cheap(c.conditions, None)
        for c in conditions
    )


def truthy(text: str | None) -> bool:
    """The rule for ``when`` and ``if`` (``flows.md`` 0): exactly '', 'false', '0' and '-0' are falsy."""
    return text is not None and text not in FALSY


def rendered(value: Any, variables: Mapping[str, Any], render: Render) -> str:
    """The text of a property. Raises ``ConditionError`` when it does not render."""
    if not isinstance(value, str):
        return "" if value is None else ("true" if value is True else "false" if value is False else str(value))
    if not _is_template(value):
        return value
    try:
        return render(value, variables)
    except ConditionError:
        raise
    except LannerError as error:
        raise ConditionError(error.message, hint=error.hint) from error


def read_moment(text: str) -> datetime:
    """An ISO instant with ``Z``, an offset, or a zone in brackets. Raises ``ConditionError``."""
    plain, _, zone = text.strip().partition("[")
    try:
        moment = datetime.fromisoformat(plain.replace("z", "Z"))
    except ValueError:
        raise ConditionError(f"'{text}' is not a date-time, expected such as 2024-01-01T00:00:00Z") from None
    if zone:
        from zoneinfo import ZoneInfo

        try:
            return moment.astimezone(ZoneInfo(zone.rstrip("]")))
        except (KeyError, ValueError):
            raise ConditionError(f"'{text}' names an unknown time zone") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_offset_time(text: str) -> timedelta:
    """A time of day with an offset (``10:15:00+02:00``, without one: UTC) as time since midnight UTC.

    Not folded into one day: Java's ``OffsetTime`` compares like this. Raises ``ConditionError``.
    """
    try:
        value = time.fromisoformat(text.strip().replace("z", "Z"))
    except ValueError:
        raise ConditionError(f"'{text}' is not a time, expected such as 10:15:00+02:00") from None
    return _since_midnight(value) - (value.utcoffset() or timedelta())


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and "{" in value and ("{{" in value or "{%" in value or "{#" in value)


def _since_midnight(value: time) -> timedelta:
    return timedelta(hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond)


def _date(condition: Condition, subject: Subject, render: Render) -> datetime:
    written = condition.properties.get("date")
    if written is None or (isinstance(written, str) and written.replace(" ", "") == "{{trigger.date}}"):
        if subject.date is not None:
            return subject.date
        written = "{{ trigger.date }}"
    return read_moment(rendered(written, subject.variables, render))


def _property(condition: Condition, name: str, subject: Subject, render: Render) -> str | None:
    value = condition.properties.get(name)
    return None if value is None else rendered(value, subject.variables, render)


def _needed(condition: Condition, name: str, subject: Subject, render: Render) -> str:
    value = _property(condition, name, subject, render)
    if value is None:
        raise ConditionError(f"condition {kind_of(condition.type)} needs '{name}'")
    return value


def _date_time_between(condition: Condition, subject: Subject, render: Render) -> bool:
    moment = _date(condition, subject, render)
    after = _property(condition, "after", subject, render)
    before = _property(condition, "before", subject, render)
    return (after is None or moment > read_moment(after)) and (before is None or moment < read_moment(before))


def _time_between(condition: Condition, subject: Subject, render: Render) -> bool:
    moment = _date(condition, subject, render)
    value = _since_midnight(moment.time()) - (moment.utcoffset() or timedelta())
    after = _property(condition, "after", subject, render)
    before = _property(condition, "before", subject, render)
    return (after is None or value > read_offset_time(after)) and (before is None or value < read_offset_time(before))


def _weekday(condition: Condition, subject: Subject, render: Render) -> int:
    name = _needed(condition, "dayOfWeek", subject, render)
    if name not in WEEKDAYS:
        raise ConditionError(f"dayOfWeek '{name}' is not one of {', '.join(WEEKDAYS)}")
    return WEEKDAYS.index(name)


def _day_week(condition: Condition, subject: Subject, render: Render) -> bool:
    return _date(condition, subject, render).weekday() == _weekday(condition, subject, render)


def _day_week_in_month(condition: Condition, subject: Subject, render: Render) -> bool:
    day = _date(condition, subject, render).date()
    which = _needed(condition, "dayInMonth", subject, render)
    if day.weekday() != _weekday(condition, subject, render):
        return False
    if which == "LAST":
        return (day + timedelta(days=7)).month != day.month
    order = ("FIRST", "SECOND", "THIRD", "FOURTH")
    if which not in order:
        raise ConditionError(f"dayInMonth '{which}' is not one of {', '.join(order)}, LAST")
    return (day.day - 1) // 7 == order.index(which)


def _weekend(condition: Condition, subject: Subject, render: Render) -> bool:
    return _date(condition, subject, render).weekday() >= 5


def _public_holiday(condition: Condition, subject: Subject, render: Render) -> bool:
    day = _date(condition, subject, render).date()
    country = _property(condition, "country", subject, render) or subject.country
    if not country:
        raise ConditionError("PublicHoliday needs 'country': the server's locale names none")
    return is_public_holiday(day, country, _property(condition, "subDivision", subject, render))


def is_public_holiday(day: date, country: str, sub_division: str | None = None) -> bool:
    """Whether the day is a public holiday there. Raises ``ConditionError`` for an unknown country or subdivision."""
    try:
        import holidays
    except ImportError:
        raise ConditionError("public holidays need the package 'holidays'", hint="pip install holidays") from None
    try:
        return day in holidays.country_holidays(country.upper(), subdiv=sub_division or None, years=day.year)
    except NotImplementedError:
        place = f"{country}-{sub_division}" if sub_division else country
        raise ConditionError(f"public holidays of '{place}' are not known") from None


def _expression(condition: Condition, subject: Subject, render: Render) -> bool:
    return not_false(_needed(condition, "expression", subject, render))


def not_false(text: str) -> bool:
    """The rule of Expression: not blank and not ``false`` (``0`` is true here, other than for ``when``)."""
    stripped = text.strip()
    return stripped not in ("", "false")


def _upstream(condition: Condition, subject: Subject) -> Upstream:
    if subject.upstream is None:
        raise ConditionError(f"condition {kind_of(condition.type)} needs an execution: it is for Flow triggers")
    return subject.upstream


def _execution_flow(condition: Condition, subject: Subject, render: Render) -> bool:
    seen = _upstream(condition, subject)
    return (seen.namespace, seen.flow_id) == (
        _needed(condition, "namespace", subject, render),
        _needed(condition, "flowId", subject, render),
    )


def _execution_namespace(condition: Condition, subject: Subject, render: Render) -> bool:
    seen = _upstream(condition, subject).namespace
    wanted = _needed(condition, "namespace", subject, render)
    comparison = _property(condition, "comparison", subject, render)
    if comparison is None:
        comparison = "PREFIX" if _flag(condition, "prefix", subject, render) else "EQUALS"
    if comparison == "PREFIX":
        return seen.startswith(wanted)
    if comparison == "SUFFIX":
        return seen.endswith(wanted)
    return seen == wanted


def _flow_namespace(condition: Condition, subject: Subject, render: Render) -> bool:
    seen = _upstream(condition, subject).namespace
    wanted = _needed(condition, "namespace", subject, render)
    return seen.startswith(wanted) if _flag(condition, "prefix", subject, render) else seen == wanted


def _flag(condition: Condition, name: str, subject: Subject, render: Render) -> bool:
    return (_property(condition, name, subject, render) or "").lower() == "true"


def states(value: Any) -> frozenset[str]:
    """A list of states as a set; both spellings of CANCELLED mean the same."""
    listed = [value] if isinstance(value, str) else (value or ())
    return frozenset("CANCELLED" if state == "CANCELED" else str(state) for state in listed)


def _within(condition: Condition, state: str) -> bool:
    wanted, unwanted = condition.properties.get("in"), condition.properties.get("notIn")
    return (wanted is None or state in states(wanted)) and (unwanted is None or state not in states(unwanted))


def _execution_status(condition: Condition, subject: Subject, render: Render) -> bool:  # noqa: ARG001
    return _within(condition, _upstream(condition, subject).state)


def _has_retry_attempt(condition: Condition, subject: Subject, render: Render) -> bool:  # noqa: ARG001
    return any(_within(condition, state) for state in _upstream(condition, subject).attempt_states)


def label_pairs(value: Any) -> list[tuple[str, Any]]:
    """Labels in any form, a map, a list of ``{key, value}`` or of pairs, as pairs."""
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in value.items()]
    found: list[tuple[str, Any]] = []
    for entry in value if isinstance(value, list | tuple) else ():
        if isinstance(entry, Mapping):
            found.append((str(entry.get("key")), entry.get("value")))
        elif isinstance(entry, list | tuple) and len(entry) == 2:
            found.append((str(entry[0]), entry[1]))
    return found


def _execution_labels(condition: Condition, subject: Subject, render: Render) -> bool:
    seen = set(_upstream(condition, subject).labels)
    wanted = label_pairs(condition.properties.get("labels"))
    return all((key, rendered(value, subject.variables, render)) in seen for key, value in wanted)


def _execution_outputs(condition: Condition, subject: Subject, render: Render) -> bool:
    seen = _upstream(condition, subject)
    if not seen.outputs:
        return False
    trigger = {**(subject.variables.get("trigger") or {}), "outputs": seen.outputs}
    expression = condition.properties.get("expression")
    return not_false(rendered(expression, {**subject.variables, "trigger": trigger}, render))


def _not(condition: Condition, subject: Subject, render: Render) -> bool:
    return not any(holds(part, subject, render) for part in condition.conditions)


def _or(condition: Condition, subject: Subject, render: Render) -> bool:
    return any(holds(part, subject, render) for part in condition.conditions)


def _multiple(condition: Condition, subject: Subject, render: Render) -> bool:
    return all(holds(part, subject, render) for part in parts_of(condition).values())


_EVALUATORS: Mapping[str, Callable[[Condition, Subject, Render], bool]] = {
    "DateTimeBetween": _date_time_between,
    "TimeBetween": _time_between,
    "DayWeek": _day_week,
    "DayWeekInMonth": _day_week_in_month,
    "Weekend": _weekend,
    "PublicHoliday": _public_holiday,
    "Expression": _expression,
    "ExecutionFlow": _execution_flow,
    "ExecutionNamespace": _execution_namespace,
    "ExecutionStatus": _execution_status,
    "ExecutionLabels": _execution_labels,
    "ExecutionOutputs": _execution_outputs,
    "HasRetryAttempt": _has_retry_attempt,
    "FlowCondition": _execution_flow,
    "FlowNamespaceCondition": _flow_namespace,
    "Not": _not,
    "Or": _or,
    "MultipleCondition": _multiple,
}
