"""Which listeners of a flow hold for an execution of its own that has ended (``flows.md`` 1.7, 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from namespaces.errors import LannerError
from runner.engine.values import Execution
from runner.rendering import Place
from runner.rows import run_table
from runner.triggers.conditions import ConditionError, Subject, Upstream, holds


def listening(place: Place, value: Execution) -> list[int]:
    """Numbers of the listeners all of whose conditions hold. Raises ``LannerError`` for one that cannot be told."""
    roots = place.context(value, None)
    facts = place.facts
    upstream = Upstream(
        id=facts.id,
        namespace=facts.namespace,
        flow_id=facts.flow_id,
        revision=value.revision,
        state=value.state.value,
        labels=value.labels,
        outputs=place.opened(value.outputs),
        attempt_states=_attempt_states(place, value),
        kind=facts.kind,
    )
    subject = Subject(upstream=upstream, variables=roots)

    def render(text: str, context: Mapping[str, Any]) -> str:
        try:
            engine, ports = place.shared.engine, place.shared.ports_of(place, value, None, context)
            return engine.render(text, context, ports) if "{" in text else text
        except LannerError as error:
            raise ConditionError(error.message) from error

    return [
        index
        for index, listener in enumerate(place.flow.listeners)
        if all(holds(condition, subject, render) for condition in listener.conditions)
    ]


def _attempt_states(place: Place, value: Execution) -> frozenset[str]:
    """States that attempts ended in; looked up only when some listener asks for retries."""
    if "HasRetryAttempt" not in repr([listener.conditions for listener in place.flow.listeners]):
        return frozenset()
    query = sa.select(run_table.c.attempts).where(run_table.c.execution_id == value.id)
    stored = place.shared.database.read(lambda c: list(c.execute(query).scalars()))
    states = {str(attempt["state"]) for listed in stored for attempt in listed or ()}
    return frozenset(states | {attempt.state.value for run in value.runs.values() for attempt in run.attempts})
