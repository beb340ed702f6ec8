"""From results to states: flags, Subflow's table, the end of a list (``flows.md`` 2.3, 3.4, 4.10). Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from namespaces.flows.model import AllowFailure, Batches, Loop, Retry, Subflow, TaskBase
from runner.engine.states import State

ATTEMPT_ENDS = frozenset({State.SUCCESS, State.WARNING, State.FAILED, State.KILLED, State.SKIPPED, State.CANCELLED})
STOPPING = frozenset({State.FAILED, State.KILLED})
"""Ends after which nothing more of the same list starts."""


def with_flags(task: TaskBase, state: State) -> State:
    """``allowFailure`` first, then ``allowWarning``; KILLED and CANCELLED are untouched by both."""
    if state is State.FAILED and task.allow_failure:
        state = State.WARNING
    if state is State.WARNING and task.allow_warning:
        state = State.SUCCESS
    return state


def of_attempt(task: TaskBase, state: State, tries: int, retry: Retry | None) -> State:
    """The task run's state once no retry is left; ``tries`` counts this attempt too."""
    if retry is not None and retry.warning_on_retry and tries > 1 and state is State.SUCCESS:
        state = State.WARNING
    return with_flags(task, state)


def of_flowable(task: TaskBase, worst: State | None) -> State:
    """The state of a flowable whose children's worst end is ``worst`` (None: it had none)."""
    state = worst or State.SUCCESS
    if isinstance(task, AllowFailure) and state is State.FAILED:
        state = State.WARNING
    return with_flags(task, state)


def of_batches(task: Batches, ended: Mapping[State, int]) -> State:
    """What the ends of its child executions mean for a ForEachItem's middle step, before flags and retries."""
    if task.transmit_failed:
        for state in (State.FAILED, State.KILLED, State.WARNING):
            if ended.get(state):
                return state
    return State.SUCCESS


def of_iterations(task: Loop, ended: Mapping[State, int]) -> State:
    """What the ends of its iterations mean for a Loop, before flags; CANCELLED ones never fail it."""
    if task.transmit_failed:
        if ended.get(State.FAILED) or ended.get(State.KILLED):
            return State.FAILED
        if ended.get(State.WARNING):
            return State.WARNING
    return State.SUCCESS


def of_child_execution(task: Subflow, state: State) -> State:
    """What the end of a child execution means for the Subflow task, before flags and retries."""
    if not task.transmit_failed:
        return State.SUCCESS
    return state if state in (State.WARNING, State.FAILED, State.KILLED) else State.SUCCESS
