"""What one instance takes on at most (``reliability.md`` R21, ``limits.*``), and the count of what is open.

Only the limits of this room's own state are here; those of scripts are the worker's, those of requests the web's.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.clock import Clock
from namespaces.errors import InvalidInput, LannerError, TooMany, Unavailable
from namespaces.hits import Hits
from namespaces.store.base import dump_json
from namespaces.store.db import Database
from runner.rows import execution_table
from runner.worker.limits import TEXT_INSTEAD, number_too_large

RECOUNT_S = 1.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    executions: int = 100_000
    executions_per_namespace: int = 20_000
    executions_per_flow: int = 10_000
    task_runs: int = 50_000
    """Task runs that an execution has at a time."""
    subflow_depth: int = 100
    output_row_bytes: int = 256 * 1024
    """Larger outputs of a task run are kept in the internal storage."""
    output_bytes: int = 10 * 1024 * 1024
    task_cache_entries: int = 1_000
    """Kept outputs of one task with ``taskCache``; the oldest go first."""
    input_bytes: int = 1024 * 1024
    upload_bytes: int = 1024**3
    memory_bytes: int | None = None
    """Resident memory of this process above which nothing new is taken on; None: not looked at."""
    hits: Hits = field(default_factory=Hits, compare=False, repr=False)

    def refuse_large(self, outputs: object) -> None:
        """Raise ``InvalidInput`` for outputs of more bytes of JSON than allowed (``output_too_large``), and for
        integers that JSON cannot keep here (``number_too_large``)."""
        if not may_be_large(outputs, self.output_bytes):
            return
        try:
            size = len(dump_json(outputs))
        except TypeError:
            problem = number_too_large(outputs)
            if problem is None:
                raise
            raise InvalidInput(problem, code="number_too_large", hint=TEXT_INSTEAD) from None
        if size > self.output_bytes:
            self.hits.note("output_bytes")
            raise InvalidInput(
                f"output_too_large: the outputs are {size} bytes, more than {self.output_bytes}",
                code="output_too_large",
                hint="write a file and give its URI",
            )

    def refuse_deep(self, depth: int) -> None:
        """Raise ``LannerError`` (``subflow_depth``) for a subflow below too many others."""
        if depth > self.subflow_depth:
            self.hits.note("subflow_depth")
            raise LannerError(f"subflow_depth: subflows are deeper than {self.subflow_depth}", code="subflow_depth")

    def too_many_task_runs(self, count: int) -> str:
        """The reason for the end of an execution that would have so many."""
        self.hits.note("task_runs_per_execution")
        return f"too_many_taskruns: {count} task runs, more than {self.task_runs} are not allowed in one execution"


def may_be_large(outputs: object, most: int) -> bool:
    """A cheap look before ``most`` bytes are counted: most outputs are a few short texts, encoding them twice costs."""
    if isinstance(outputs, Mapping) and len(outputs) <= 8:
        return any(
            not isinstance(v, str | int | float | bool | None)
            or (isinstance(v, str) and len(v) > most // 16)
            or (isinstance(v, int) and v.bit_length() > 63)
            for v in outputs.values()
        )
    return outputs is not None


class OpenExecutions:
    """How many executions are not finished, counted at most once a second; own starts are added in between."""

    def __init__(self, database: Database, clock: Clock, limits: Limits) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._counted_at: float | None = None
        self._memory = 0

    def refuse_more(self, namespace: str, flow_id: str, more: int = 1) -> None:
        """Raise ``TooMany`` when ``more`` are too many for the instance, the namespace or the flow."""
        counts = self._fresh()
        limits = self._limits
        if sum(counts.values()) + more > limits.executions:
            self._full("executions", f"more than {limits.executions} executions would be open on this instance")
        if sum(n for (space, _), n in counts.items() if space == namespace) + more > limits.executions_per_namespace:
            what = f"more than {limits.executions_per_namespace} executions would be open in '{namespace}'"
            self._full("executions_per_namespace", what)
        if counts.get((namespace, flow_id), 0) + more > limits.executions_per_flow:
            what = f"more than {limits.executions_per_flow} executions of '{namespace}.{flow_id}' would be open"
            self._full("executions_per_flow", what)

    def refuse_without_memory(self) -> None:
        """Raise ``Unavailable`` while this process is larger than it should be: for work that comes from outside."""
        self._fresh()
        most = self._limits.memory_bytes
        if most is not None and self._memory > most:
            self._limits.hits.note("memory_bytes")
            raise OutOfMemory(self._memory, most)

    def _full(self, limit: str, what: str) -> NoReturn:
        self._limits.hits.note(limit)
        raise Full(what)

    def used(self) -> Mapping[str, int]:
        """How near the limits are: all open executions, those of the fullest namespace and of the fullest flow."""
        counts = self._fresh()
        spaces: Counter[str] = Counter()
        for (namespace, _), count in counts.items():
            spaces[namespace] += count
        return {
            "executions": sum(counts.values()),
            "executions_per_namespace": max(spaces.values(), default=0),
            "executions_per_flow": max(counts.values(), default=0),
        }

    def started(self, namespace: str, flow_id: str, count: int = 1) -> None:
        """Note what this process has started since the last count."""
        with self._lock:
            self._counts[namespace, flow_id] = self._counts.get((namespace, flow_id), 0) + count

    def _fresh(self) -> Mapping[tuple[str, str], int]:
        with self._lock:
            now = self._clock.monotonic()
            if self._counted_at is None or now - self._counted_at >= RECOUNT_S:
                self._counted_at = now  # the others go on with the old numbers meanwhile
            else:
                return dict(self._counts)
        counts = self._database.read(_count)
        self._memory = resident_bytes()
        with self._lock:
            self._counts = counts
            return dict(counts)


def _count(connection: Connection) -> dict[tuple[str, str], int]:
    """Open executions by flow; iterations of loops count as task runs instead."""
    query = (
        sa.select(execution_table.c.namespace, execution_table.c.flow_id, sa.func.count())
        .where(execution_table.c.finished.is_(False), execution_table.c.kind != "LOOP")
        .group_by(execution_table.c.namespace, execution_table.c.flow_id)
    )
    return {(namespace, flow_id): int(count) for namespace, flow_id, count in connection.execute(query)}


def resident_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * _PAGE


class OutOfMemory(Unavailable):
    """The process is larger than its soft limit: nothing new until it has shrunk (HTTP 503)."""

    code = "memory_limit"
    retry_after_s = 5

    def __init__(self, used: int, most: int) -> None:
        super().__init__(
            f"the server uses {used >> 20} MiB of memory, new work waits above {most >> 20} MiB",
            hint="try again later; an operator may raise limits.memory_bytes",
        )


class Full(TooMany):
    """The backlog limit is reached."""

    code = "too_many_executions"
    retry_after_s = 5

    def __init__(self, what: str) -> None:
        super().__init__(f"too_many_executions: {what}", hint="try again when some have ended")
