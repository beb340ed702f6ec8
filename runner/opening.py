"""Opening: the first decision about a plain execution, taken before its row exists, so that one commit holds both.

What needs an answer from a template waits for a decision of its own: no flow makes its callers wait for its templates.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from namespaces.flows.model import (
    AllowFailure,
    Dag,
    Flow,
    Parallel,
    Runnable,
    Sequential,
    Subflow,
    Task,
    WorkingDirectory,
)
from runner import view
from runner.deciding import Decision, Outcome
from runner.engine.events import Started
from runner.inline import INLINE
from runner.pending import Pending
from runner.rendering import Rendering
from runner.writing import Change

log = logging.getLogger("lanner.executions")

INLINE_SECONDS = 0.005
"""How long a caller waits for inline tasks at most; what is left runs after the commit."""
QUIET = (Runnable, Sequential, AllowFailure, Parallel, Dag, WorkingDirectory, Subflow)
"""Kinds of tasks that ask nothing when they begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    change: Change
    outcome: Outcome

    @property
    def ended(self) -> bool:
        """The execution is over in the transaction that makes it: it locks no trigger."""
        return self.change.after.finished


def open_execution(rendering: Rendering, flow: Flow, row: Mapping[str, Any], now: datetime) -> Opening | None:
    """Decide the start of the execution that ``row`` will be, its first inline tasks included.

    None for a flow whose start may need a template, and when deciding fails: the start is decided after the commit.
    """
    if not quiet(flow):
        return None
    try:
        decision = Decision(rendering, flow, view.of_new(row))
        decision.take(Pending(Started(at=now), Future()))
        decision.run_inline(INLINE_SECONDS)
        if decision.value.finished and not _stops_trigger(flow, row):
            decision.facts = replace(decision.facts, locks=False)
        change, outcome = decision.change()
    except Exception:
        log.exception("execution %s is opened later", row["id"], extra={"action": "opening_failed"})
        return None
    outcome.unfinished = decision.inline_waits
    return Opening(change=change, outcome=outcome)


def quiet(flow: Flow) -> bool:
    """Whether nothing of the flow must be rendered before its tasks run, or for those that run here."""
    return not flow.outputs and not flow.sla and all(_quiet(task) for task in flow.by_id.values())


def _quiet(task: Task) -> bool:
    if task.run_if is not None or not isinstance(task, QUIET):
        return False
    return task.type not in INLINE or not _templated(task.properties)


def _templated(value: Any) -> bool:
    if isinstance(value, str):
        return "{" in value
    if isinstance(value, Mapping):
        return any(_templated(key) or _templated(item) for key, item in value.items())
    return isinstance(value, list | tuple) and any(map(_templated, value))


def _stops_trigger(flow: Flow, row: Mapping[str, Any]) -> bool:
    trigger = flow.trigger(str((row["trigger"] or {}).get("id")))
    return trigger is not None and bool(trigger.stop_after)
