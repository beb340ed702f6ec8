"""Events on their way to a decision, with what comes along; and the attempts that workers have after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from namespaces.flows.model import Flow
from runner.engine.events import AnyEvent
from runner.engine.values import Execution, TaskRun
from runner.logs import LogLine
from runner.plugin import Metric
from runner.view import Facts

GoesOn = Callable[[str, int], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An attempt that a worker has taken, with what its claim is made of: its task run, the ones around it."""

    flow: Flow
    facts: Facts
    paths: Mapping[str, tuple[str, ...]]
    value: Execution
    run: TaskRun


@dataclass(slots=True)
class Pending:
    event: AnyEvent
    future: Future[bool]
    worker_id: str | None = None
    """Set on the claim of an attempt, and with ``goes_on``: who takes it."""
    metrics: Sequence[Metric] = ()
    secrets: frozenset[str] = frozenset()
    """Secret texts the attempt has read: they are sealed in its outputs."""
    lines: Sequence[LogLine] = ()
    """The attempt's last log lines, kept together with its end."""
    goes_on: GoesOn | None = None
    """Set on the end of an attempt: whether its worker takes this one next (task run id, epoch)."""
    taken: Taken | None = None
    """The attempt that the worker has once this is committed."""
