"""From a request to start a flow to the row of a new execution: inputs, labels, checks, idempotency."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.errors import Conflict, InvalidFlow, InvalidInput, NotFound
from namespaces.flows.model import Flow
from namespaces.ids import new_id
from namespaces.inputs import Resolved, Upload
from namespaces.store.base import to_micros
from namespaces.store.outbox import Message
from namespaces.store.statements import InsertNew
from runner import checks, writing
from runner.engine.states import State
from runner.logs import LEVELS, LogLine
from runner.opening import Opening
from runner.tables import IdempotencyRow

idempotency_table = IdempotencyRow.__table__  # type: ignore[attr-defined]

_INSERT_KEY = InsertNew(idempotency_table)
CORRELATION = "system.correlationId"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """``inputs`` are raw values: text, native values, ``Upload``. ``trigger`` is ``{id, type, variables}``.

    ``generation`` pins the revision that is looked up (subflows of a run); ``trusted_labels`` may be ``system.*``.
    ``values`` are inputs that were resolved before (replay, retry): they are taken as they are.
    """

    namespace: str
    flow_id: str
    revision: int | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] | None = None
    labels: tuple[tuple[str, str], ...] = ()
    trusted_labels: tuple[tuple[str, str], ...] = ()
    schedule_date: datetime | None = None
    trigger: Mapping[str, Any] | None = None
    trigger_id: str = "api"
    idempotency_key: str | None = None
    body_hash: str = ""
    breakpoints: tuple[str, ...] = ()
    kind: str = "NORMAL"
    execution_id: str | None = None
    parent_run_id: str | None = None
    trigger_execution_id: str | None = None
    correlation_id: str | None = None
    depth: int = 0
    generation: int | None = None
    refuse_inputs_as_failed: bool = False
    """A trigger's bad inputs make a FAILED execution instead of an error (``flows.md`` 7.1)."""
    failed_reason: str | None = None
    """Create the execution in FAILED with this reason (a trigger whose inputs or conditions do not render)."""


@dataclass(frozen=True, slots=True)
class Started:
    execution_id: str
    replayed: bool = False
    prepared: Prepared | None = None
    """What was written; None for a repeat."""
    messages: Sequence[Message] = ()
    """What its opening put into the outbox."""

    @property
    def row(self) -> Mapping[str, Any] | None:
        """The columns at its creation, so that an answer needs no second look; None for a repeat."""
        return self.prepared.row if self.prepared is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything that needs rendering or files is done; what is left is one short write."""

    flow: Flow
    request: StartRequest
    row: Mapping[str, Any]
    failed: str | None = None
    """The execution is made FAILED at once, with this reason."""
    lines: tuple[LogLine, ...] = ()
    """What its log begins with: the messages of checks that did not pass."""
    opening: Opening | None = None
    """How far its first decision took it; None when its start is decided after the commit."""

    @property
    def ended(self) -> bool:
        """Over as soon as it is written."""
        return self.failed is not None or (self.opening is not None and self.opening.ended)

    @property
    def plain(self) -> bool:
        """Nothing stands between CREATED and RUNNING: no start date, no quota, no limit."""
        flow = self.flow
        waits = flow.concurrency or flow.quotas or self.request.schedule_date
        return self.failed is None and not waits


Resolve = Callable[[Flow, Mapping[str, Any], str], Resolved]
Judge = Callable[[Flow, Mapping[str, Any], str, Mapping[str, Any] | None], Sequence[checks.Failing]]
"""The checks that do not pass, from flow, inputs, execution id and trigger."""


def find_flow(connection: Connection, registry: Any, request: StartRequest) -> tuple[Flow, revisions.Stored]:
    """The flow a request means. Raises ``NotFound``, and ``Conflict`` for a disabled or broken one."""
    if request.revision is not None:
        stored = revisions.at_revision(connection, request.namespace, request.flow_id, request.revision)
    elif request.generation is not None:
        stored = revisions.at_generation(connection, request.namespace, request.flow_id, request.generation)
    else:
        stored = revisions.latest(connection, request.namespace, request.flow_id)
    if stored is None:
        raise NotFound(
            f"Unable to find flow '{request.namespace}'.'{request.flow_id}' with revision "
            f"'{request.revision if request.revision is not None else 'latest'}'"
        )
    if stored.deleted and request.revision is None:
        raise NotFound(f"flow '{request.namespace}.{request.flow_id}' was deleted")
    try:
        flow = registry.parsed(stored)
    except InvalidFlow as error:
        raise Conflict(f"Cannot execute an invalid flow: {error.message}", code="broken_flow") from error
    if flow.violations:
        raise Conflict(f"Cannot execute a flow that a policy forbids: {flow.violations[0]}", code="policy_forbids")
    if flow.disabled or stored.disabled:
        raise Conflict("Cannot execute a flow which is disabled", code="disabled_flow")
    return flow, stored


def labels_of(flow: Flow, request: StartRequest, execution_id: str) -> tuple[tuple[str, str], ...]:
    """Flow labels (without ``system.``), trigger labels, the caller's, then the correlation id; later ones win."""
    for key, value in request.labels:
        if key.startswith("system.") and key != CORRELATION:
            raise InvalidInput(f"System labels can only be set by Kestra itself, offending label: {key}={value}")
    own = ((key, value) for key, value in flow.labels if not key.startswith("system."))
    merged = dict((*own, *request.trusted_labels, *request.labels))
    merged.setdefault(CORRELATION, request.correlation_id or execution_id)
    return tuple(merged.items())


def prepare(
    flow: Flow,
    stored: revisions.Stored,
    request: StartRequest,
    *,
    now: datetime,
    generation: int,
    resolve: Resolve,
    judge: Judge,
) -> Prepared:
    """Resolve inputs, look at the checks and make the row.

    Raises ``InvalidInput`` with every bad input, one a line, and ``CheckFailed`` for a check that blocks.
    """
    execution_id = request.execution_id or new_id()
    failed = request.failed_reason
    inputs: Mapping[str, Any] | None = request.values
    if inputs is None and failed is None:
        resolved = resolve(flow, request.inputs, execution_id)
        if resolved.problems:
            if not request.refuse_inputs_as_failed:
                resolved.require()
            failed = "\n".join(problem.message for problem in resolved.problems)
        else:
            inputs = resolved.values
    lines: tuple[LogLine, ...] = ()
    if inputs is not None and flow.checks:
        found = judge(flow, inputs, execution_id, request.trigger)
        checks.refuse(found)
        failed = checks.failure(found)
        lines = tuple(_line(flow, execution_id, now, one) for one in found)
    state = State.FAILED if failed is not None else State.CREATED
    history = [[State.CREATED.value, to_micros(now)]]
    if failed is not None:
        history.append([State.FAILED.value, to_micros(now)])
    origin = stored.origin
    row = {
        "id": execution_id,
        "version": 0,
        "namespace": flow.namespace,
        "flow_id": flow.id,
        "revision": flow.revision,
        "generation": generation,
        "state": state.value,
        "finished": failed is not None,
        "slot": False,
        "kind": request.kind,
        "created_at": now,
        "ended_at": now if failed is not None else None,
        "schedule_date": request.schedule_date,
        "history": history,
        "labels": [list(pair) for pair in labels_of(flow, request, execution_id)],
        "inputs": dict(inputs) if inputs is not None and (inputs or flow.inputs) else None,
        "trigger": dict(request.trigger) if request.trigger is not None else None,
        "error": failed,
        "parent_run_id": request.parent_run_id,
        "trigger_execution_id": request.trigger_execution_id,
        "depth": request.depth,
        "original_id": execution_id,
        "attempt_number": 1,
        "original_created_at": now,
        "breakpoints": list(request.breakpoints) or None,
        "commit": origin.commit if origin else None,
        "source": origin.source if origin else None,
        "recoveries": 0,
    }
    return Prepared(flow=flow, request=request, row=row, failed=failed, lines=lines)


def _line(flow: Flow, execution_id: str, now: datetime, one: checks.Failing) -> LogLine:
    return LogLine(
        at=now,
        level=LEVELS[one.level],
        message=one.message,
        namespace=flow.namespace,
        flow_id=flow.id,
        execution_id=execution_id,
    )


def insert(tx: Connection, prepared: Prepared, *, now: datetime) -> Started:
    """Write the execution; a repeated idempotency key gives back the execution of the first call.

    Raises ``InvalidInput`` (``idempotency_conflict``) for a known key with another body.
    """
    request = prepared.request
    if request.idempotency_key is not None:
        known = _remember(tx, prepared, now)
        if known is not None:
            return Started(known, replayed=True)
    writing.write_logs(tx, prepared.lines)
    messages: Sequence[Message] = ()
    if prepared.opening is not None:
        messages = writing.write_new(tx, prepared.row, prepared.opening.change, now=now)
    else:
        writing.insert_execution(tx, prepared.row)
    return Started(str(prepared.row["id"]), prepared=prepared, messages=messages)


def _remember(tx: Connection, prepared: Prepared, now: datetime) -> str | None:
    request = prepared.request
    key = {
        "namespace": prepared.flow.namespace,
        "flow_id": prepared.flow.id,
        "trigger_id": request.trigger_id,
        "key": request.idempotency_key,
    }
    mine = {**key, "execution_id": prepared.row["id"], "body_hash": request.body_hash, "created_at": now}
    if _INSERT_KEY.run(tx, mine):
        return None
    row = tx.execute(
        sa.select(idempotency_table).where(*(idempotency_table.c[name] == value for name, value in key.items()))
    ).one()
    if row.body_hash != request.body_hash:
        raise InvalidInput(
            "this idempotency key was used with another body",
            code="idempotency_conflict",
            hint="send a new key for a new request; a repeat must be byte for byte the same",
        )
    return str(row.execution_id)


def body_hash(parts: Sequence[bytes]) -> str:
    """Names the content of a request for the idempotency check."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


__all__ = ["Prepared", "StartRequest", "Started", "Upload", "body_hash", "find_flow", "insert", "prepare"]
