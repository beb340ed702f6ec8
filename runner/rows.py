"""Rows to engine values and back. Only the encoding lives here; who loads and writes what is decided elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from namespaces.store.base import dump_json, from_micros, to_micros
from runner.engine.states import State
from runner.engine.values import Attempt, Execution, History, Scope, TaskRun
from runner.tables import BatchRow, BatchSetRow, ExecutionLabelRow, ExecutionRow, IterationRow, TaskRunRow, TimerRow

execution_table = ExecutionRow.__table__  # type: ignore[attr-defined]
label_table = ExecutionLabelRow.__table__  # type: ignore[attr-defined]
run_table = TaskRunRow.__table__  # type: ignore[attr-defined]
iteration_table = IterationRow.__table__  # type: ignore[attr-defined]
batch_set_table = BatchSetRow.__table__  # type: ignore[attr-defined]
batch_table = BatchRow.__table__  # type: ignore[attr-defined]
timer_table = TimerRow.__table__  # type: ignore[attr-defined]

ENDS = {
    State.SUCCESS: "success",
    State.WARNING: "warning",
    State.FAILED: "failed",
    State.KILLED: "killed",
    State.CANCELLED: "cancelled",
}
"""Ends of child executions that are counted, and the columns of ``batch_set`` that count them."""


def address(path: Sequence[str]) -> str:
    """The short name of a loop path; equal paths have equal names."""
    if not path:
        return ""
    return hashlib.blake2b(dump_json(list(path)).encode(), digest_size=12).hexdigest()


def encode_history(history: History) -> list[list[Any]]:
    return [[state.value, to_micros(at)] for state, at in history]


def decode_history(value: Sequence[Sequence[Any]] | None) -> History:
    return tuple((State(state), from_micros(at)) for state, at in value or ())


def _moment(value: int | None) -> datetime | None:
    return None if value is None else from_micros(value)


def _micros(value: datetime | None) -> int | None:
    return None if value is None else to_micros(value)


_SCOPE_DEFAULT = Scope()


def encode_scope(scope: Scope | None) -> dict[str, Any] | None:
    """Only what differs from an untouched scope: most flowables write a handful of members."""
    if scope is None:
        return None
    encoded: dict[str, Any] = {}
    for name in ("branch", "active", "next", "size", "halted", "iterations"):
        value = getattr(scope, name)
        if value != getattr(_SCOPE_DEFAULT, name):
            encoded[name] = value
    for name in ("started", "done"):
        value = getattr(scope, name)
        if value:
            # Bit sets may be wider than JSON numbers of other readers.
            encoded[name] = format(value, "x")
    if scope.worst is not None:
        encoded["worst"] = scope.worst.value
    if scope.since is not None:
        encoded["since"] = to_micros(scope.since)
    if scope.extra:
        encoded["extra"] = dict(scope.extra)
    return encoded


def decode_scope(value: Mapping[str, Any] | None) -> Scope | None:
    if value is None:
        return None
    members = dict(value)
    for name in ("started", "done"):
        if name in members:
            members[name] = int(members[name], 16)
    if "worst" in members:
        members["worst"] = State(members["worst"])
    if "since" in members:
        members["since"] = from_micros(members["since"])
    return Scope(**members)


def encode_attempts(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    return [
        {
            "n": attempt.number,
            "state": attempt.state.value,
            "start": _micros(attempt.started_at),
            "end": _micros(attempt.ended_at),
            **({"info": dict(attempt.info)} if attempt.info else {}),
        }
        for attempt in attempts
    ]


def decode_attempts(value: Sequence[Mapping[str, Any]] | None) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(
            number=item["n"],
            state=State(item["state"]),
            started_at=_moment(item.get("start")),
            ended_at=_moment(item.get("end")),
            info=item.get("info") or {},
        )
        for item in value or ()
    )


def task_run(row: Any, outputs: Mapping[str, Any] | None) -> TaskRun:
    """The engine's value of a row; ``outputs`` are given because they may live elsewhere."""
    return TaskRun(
        id=row.id,
        task_id=row.task_id,
        parent_id=row.parent_id,
        value=row.value,
        iteration=row.iteration,
        state=State(row.state),
        epoch=row.epoch,
        history=decode_history(row.history),
        attempts=decode_attempts(row.attempts),
        outputs=outputs,
        scope=decode_scope(row.progress),
        error=row.error,
        sequence=row.sequence,
    )


def task_run_changes(run: TaskRun) -> dict[str, Any]:
    """The columns that change while a task run lives, outputs apart."""
    return {
        "state": run.state.value,
        "terminal": run.state.terminal,
        "epoch": run.epoch,
        "history": encode_history(run.history),
        "attempts": encode_attempts(run.attempts),
        "progress": encode_scope(run.scope),
        "error": run.error,
    }


def execution(row: Any, runs: Mapping[str, TaskRun]) -> Execution:
    progress = row.progress or {}
    return Execution(
        id=row.id,
        namespace=row.namespace,
        flow_id=row.flow_id,
        revision=row.revision,
        state=State(row.state),
        history=decode_history(row.history),
        labels=tuple((key, value) for key, value in row.labels or ()),
        variables=row.variables,
        outputs=row.outputs,
        scope=decode_scope(progress.get("scope")) or Scope(),
        runs=runs,
        waiting=progress.get("waiting", 0),
        retrying=progress.get("retrying", 0),
        created=progress.get("created", 0),
        attempt_number=row.attempt_number,
        original_created_at=row.original_created_at,
        error=row.error,
        finished=bool(row.finished),
    )


def execution_changes(value: Execution) -> dict[str, Any]:
    """The columns that an event may change, labels apart."""
    started = next((at for state, at in value.history if state is State.RUNNING), None)
    return {
        "revision": value.revision,
        "state": value.state.value,
        "finished": value.finished,
        "history": encode_history(value.history),
        "labels": [list(pair) for pair in value.labels],
        "variables": value.variables,
        "outputs": value.outputs,
        "progress": {
            "scope": encode_scope(value.scope),
            "waiting": value.waiting,
            "retrying": value.retrying,
            "created": value.created,
        },
        "attempt_number": value.attempt_number,
        "error": value.error,
        "started_at": started,
        "ended_at": value.history[-1][1] if value.state.terminal and value.history else None,
    }
