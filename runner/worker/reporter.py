"""What a worker needs from the rest: a claim to start with, places to report to. The database today, HTTP later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from namespaces.flows.model import Flow, Task
from runner.engine.events import AttemptFinished, AttemptStarted, BlockFinished
from runner.engine.values import TaskRun
from runner.logs import LogLine
from runner.plugin import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One attempt that this worker owns until it reports or its lease ends.

    ``execution`` holds what expressions see of it: id, startDate, originalId, inputs, labels, variables, trigger
    (the shapes of ``expressions.md`` 3). ``ancestors`` are the enclosing task runs, closest first.
    """

    flow: Flow
    task: Task
    task_run: TaskRun
    epoch: int
    attempt: int
    ancestors: tuple[TaskRun, ...]
    execution: Mapping[str, Any]
    generation: int
    secrets: frozenset[str] = field(default_factory=frozenset)
    """Secret texts known so far, to be masked in everything that is written."""


class Reporter(Protocol):
    def claim(self, task_run_id: str, epoch: int, worker_id: str) -> Claim | None:
        """Take the attempt, or None when it is somebody else's, out of date or no longer wanted."""
        ...

    def adopted(self, task_run_id: str, epoch: int) -> Claim | None:
        """The claim of an attempt that an earlier process of this worker had taken; None when it is out of date."""
        ...

    def started(self, claim: Claim, event: AttemptStarted) -> None:
        """Note what became known after the claim: process, task runner. The claim itself made the attempt RUNNING."""
        ...

    def finished(
        self,
        claim: Claim,
        event: AttemptFinished | BlockFinished,
        metrics: Sequence[Metric] = (),
        lines: Sequence[LogLine] = (),
        goes_on: Callable[[str, int], bool] | None = None,
    ) -> Claim | None:
        """Record the end exactly once; a stale epoch is kept as ``late_result`` and changes nothing.

        ``lines`` are the attempt's last ones: they are kept with the end or not at all, like those of ``logs``.
        ``goes_on`` is asked for what follows (task run id, epoch) whether this worker takes it: its claim is then
        recorded with the end, and is the answer. It may be asked more than once, and for nothing: only the answer
        counts.

        Raises ``Unavailable`` while the database is down: keep the result in the spool and try again.
        """
        ...

    def lost(self, claim: Claim, reason: str) -> None:
        """Nobody knows how the attempt ended (its supervisor was killed): ``onWorkerLost`` decides what follows."""
        ...

    def recall(self, claim: Claim, key: str) -> Mapping[str, Any] | None:
        """Outputs that were kept under this key of ``taskCache``, None when there are none any more."""
        ...

    def remember(self, claim: Claim, key: str, outputs: Mapping[str, Any], ttl: timedelta | None) -> None:
        """Keep the outputs of a task with ``taskCache`` for later executions."""
        ...

    def logs(self, lines: Sequence[LogLine]) -> None:
        """Keep lines; one that comes twice (same task run, attempt, seq) is kept once."""
        ...
