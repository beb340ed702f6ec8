"""When a polling trigger is asked again, and what its answer means (``flows.md`` 7.6). No requests are made here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from namespaces.durations import parse_duration
from namespaces.flows.model import Trigger
from runner.triggers.conditions import ConditionError, Render, rendered, truthy

INTERVAL = timedelta(seconds=60)
SHORTEST = timedelta(seconds=1)
CONDITION = "{{ response.statusCode < 400 }}"


def interval(trigger: Trigger) -> timedelta:
    """The trigger's ``interval``, at least a second. Raises ``ConditionError``."""
    written = trigger.properties.get("interval")
    try:
        return max(SHORTEST, parse_duration(written)) if written is not None else INTERVAL
    except ValueError as error:
        raise ConditionError(f"interval: {error}") from None


def following(started: datetime, every: timedelta, now: datetime) -> datetime:
    """The next evaluation: ``every`` after the last one's start, never in the past."""
    return max(started + every, now)


def response_of(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """What ``responseCondition`` sees."""
    return {"statusCode": outputs.get("code"), "body": outputs.get("body"), "headers": outputs.get("headers")}


def answers(trigger: Trigger, outputs: Mapping[str, Any], context: Mapping[str, Any], render: Render) -> bool:
    """Whether this response starts the flow. Raises ``ConditionError``."""
    condition = trigger.properties.get("responseCondition") or CONDITION
    return truthy(rendered(condition, {**context, "response": response_of(outputs)}, render))
