"""Conditions of 1.x as parts of a ``when`` (M07 and M08): each becomes an expression, or a reason why not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from namespaces.flows.migration import expressions
from namespaces.flows.migration.expressions import literal, step
from namespaces.flows.migration.places import CONDITION

Condition = dict[str, Any]


class Refused(Exception):
    """The condition has no counterpart; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Part:
    """An expression that holds when the condition does. ``boolean``: it can be nothing but true or false."""

    text: str
    boolean: bool = True


def kind_of(condition: Condition, canonical: Any) -> str:
    """The last part of the type's name. Raises ``Refused`` for what is no condition at all."""
    if not isinstance(condition, dict):
        raise Refused("a condition is a map with a type")
    name = str(canonical(str(condition.get("type", ""))))
    return name.removeprefix(CONDITION) if name.startswith(CONDITION) else name


def as_text(value: Any) -> str:
    """A property as an operand: what stands in ``{{ }}``, or a string."""
    text = str(value)
    inside = expressions.find(text).whole
    if inside is not None:
        return inside
    if "{{" in text or "{%" in text:
        raise Refused("text around an expression: write it as one expression")
    return literal(text)


def joined(parts: list[Part]) -> str:
    """The parts as the text of one ``when``."""
    if len(parts) == 1:
        return f"{{{{ {parts[0].text} }}}}"
    for part in parts:
        if not part.boolean:
            raise Refused(f"`{part.text}` is not known to be true or false: write it as a comparison")
    return "{{ " + " and ".join(f"({part.text})" for part in parts) + " }}"


def _negated(parts: list[Part]) -> Part:
    return Part(" and ".join(f"not ({part.text})" for part in _all_boolean(parts)))


def _any(parts: list[Part]) -> Part:
    return Part(" or ".join(f"({part.text})" for part in _all_boolean(parts)))


def _all_boolean(parts: list[Part]) -> list[Part]:
    for part in parts:
        if not part.boolean:
            raise Refused(f"`{part.text}` is not known to be true or false: write it as a comparison")
    return parts


def _nested(condition: Condition) -> list[Condition]:
    found = condition.get("conditions")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


# -- M07


def calendar(condition: Condition, canonical: Any) -> Part:
    """A condition of a Schedule or polling trigger. Raises ``Refused``."""
    kind = kind_of(condition, canonical)
    day = "trigger.date" if condition.get("date") is None else as_text(condition["date"])
    match kind:
        case "DayWeek":
            return Part(f"dayOfWeek({day}) == {as_text(condition.get('dayOfWeek'))}")
        case "DayWeekInMonth":
            wanted = f"{as_text(condition.get('dayOfWeek'))}, {as_text(condition.get('dayInMonth'))}"
            return Part(f"isDayWeekInMonth({day}, {wanted})")
        case "Weekend":
            return Part(f"isWeekend({day})")
        case "PublicHoliday":
            if condition.get("country") is None:
                raise Refused("the country was the server's: write isPublicHoliday(trigger.date, 'XX') with yours")
            region = "" if condition.get("subDivision") is None else f", {as_text(condition['subDivision'])}"
            return Part(f"isPublicHoliday({day}, {as_text(condition['country'])}{region})")
        case "DateTimeBetween":
            sides = [
                f"{day} {sign} {as_text(condition[key])}"
                for key, sign in (("after", ">"), ("before", "<"))
                if condition.get(key) is not None
            ]
            return Part(" and ".join(sides))
        case "TimeBetween":
            return _time_between(condition, day)
        case "Expression":
            return expression(condition)
        case "Not":
            return _negated([calendar(one, canonical) for one in _nested(condition)])
        case "Or":
            return _any([calendar(one, canonical) for one in _nested(condition)])
    raise Refused(f"{kind} has no counterpart on this trigger: write a `when` that says what is meant")


_CLOCK = re.compile(r"(\d{2}:\d{2})(?::(\d{2}))?(?:\.\d+)?(Z|[+-]\d{2}:\d{2})?")


def _time_between(condition: Condition, day: str) -> Part:
    sides = []
    for key, sign in (("after", ">"), ("before", "<")):
        if condition.get(key) is None:
            continue
        bound = _CLOCK.fullmatch(str(condition[key]))
        if bound is None:
            raise Refused(f"'{key}' is not a time of day: write the comparison with | date('HH:mm:ss')")
        zone = {None: "", "Z": ", timeZone='UTC'"}.get(bound[3], f", timeZone='{bound[3]}'")
        sides.append(f"({day} | date('HH:mm:ss'{zone})) {sign} '{bound[1]}:{bound[2] or '00'}'")
    return Part(" and ".join(sides))


def expression(condition: Condition) -> Part:
    """The text of an ``Expression`` condition."""
    written = str(condition.get("expression", ""))
    found = expressions.find(written)
    node = expressions.printed(found)
    if found.whole is None or node is None:
        raise Refused("the condition is not one {{ }} alone: write one expression that is true or false")
    return Part(found.whole, expressions.is_boolean(node))


# -- M08

_TRIGGER_NAMES = {"namespace": "namespace", "flowId": "flowId", "state": "state", "outputs": "outputs"}


def upstream(condition: Condition, canonical: Any) -> Part:
    """A condition of a Flow trigger as an expression over the upstream execution. Raises ``Refused``."""
    kind = kind_of(condition, canonical)
    match kind:
        case "ExecutionFlow":
            names = as_text(condition.get("namespace")), as_text(condition.get("flowId"))
            return Part(f"namespace == {names[0]} and flowId == {names[1]}")
        case "ExecutionNamespace":
            return Part(of_namespace(condition))
        case "ExecutionStatus":
            return Part(_states(condition))
        case "ExecutionLabels":
            labels = label_pairs(condition.get("labels"))
            return Part(" and ".join(f"(labels{_label(key)} ?? '') == {as_text(value)}" for key, value in labels))
        case "HasRetryAttempt":
            return Part("hasRetryAttempt" if condition.get("in") is not None else "not hasRetryAttempt")
        case "ExecutionOutputs" | "Expression":
            return of_upstream(expression(condition))
        case "Not":
            return _negated([upstream(one, canonical) for one in _nested(condition)])
        case "Or":
            return _any([upstream(one, canonical) for one in _nested(condition)])
    raise Refused(f"{kind} has no counterpart in dependsOn: write a `when` that says what is meant")


def _label(key: str) -> str:
    return "".join(step(part) for part in key.split("."))


def of_namespace(condition: Condition) -> str:
    """``ExecutionNamespace`` as an expression."""
    wanted = as_text(condition.get("namespace"))
    comparison = condition.get("comparison") or ("PREFIX" if condition.get("prefix") is True else "EQUALS")
    match comparison:
        case "PREFIX":
            return f"namespace | startsWith({wanted})"
        case "SUFFIX":
            return f"namespace | endsWith({wanted})"
    return f"namespace == {wanted}"


def _states(condition: Condition) -> str:
    sides = []
    for key in ("in", "notIn"):
        states = condition.get(key)
        if isinstance(states, list):
            part = f"[{', '.join(literal(str(state)) for state in states)}] contains state"
            sides.append(f"not ({part})" if key == "notIn" else part)
    if not sides:
        raise Refused("neither 'in' nor 'notIn' is a list of states")
    return " and ".join(sides)


def label_pairs(value: Any) -> list[tuple[str, Any]]:
    """Labels of either form as pairs."""
    if isinstance(value, dict):
        return list(value.items())
    return [(str(one.get("key")), one.get("value")) for one in value or () if isinstance(one, dict)]


def of_upstream(part: Part) -> Part:
    """``trigger.x`` of 1.x is the upstream's own name in a ``when``."""
    text = f"{{{{ {part.text} }}}}"
    found = expressions.find(text)
    made = text
    for chain in sorted(found.chains, key=lambda one: one.at, reverse=True):
        if chain.root in found.own:
            continue
        name = chain.names[1] if chain.root == "trigger" and chain.keys else None
        if name not in _TRIGGER_NAMES and name != "executionLabels":
            raise Refused(f"`{text[chain.at : chain.to]}` is not known in the `when` of an entry: only the upstream's "
                          "namespace, flowId, state, labels, outputs and hasRetryAttempt are")  # fmt: skip
        newer = "labels" if name == "executionLabels" else _TRIGGER_NAMES[str(name)]
        made = made[: chain.at] + newer + made[chain.keys[0].to :]
    return Part(made[3:-3], part.boolean)
