"""The gate an execution passes before it runs (``flows.md`` 1.9). Counting is the shell's business."""

from __future__ import annotations

from dataclasses import dataclass

from namespaces.flows.model import Concurrency, ConcurrencyBehavior
from runner.engine.states import State


@dataclass(frozen=True, slots=True)
class Admission:
    """``state`` is RUNNING (send Started), QUEUED (Queued) or CANCELLED, FAILED (Refused with ``reason``)."""

    state: State
    reason: str = ""


def admit(running: int, concurrency: Concurrency | None) -> Admission:
    """Decide on one execution while ``running`` others of its flow hold a slot."""
    if concurrency is None or running < concurrency.limit:
        return Admission(State.RUNNING)
    match concurrency.behavior:
        case ConcurrencyBehavior.QUEUE:
            return Admission(State.QUEUED, f"Execution is queued due to concurrency limit exceeded, {running} running")
        case ConcurrencyBehavior.CANCEL:
            return Admission(State.CANCELLED, "Execution is CANCELLED due to concurrency limit exceeded")
        case ConcurrencyBehavior.FAIL:
            return Admission(State.FAILED, "Execution is FAILED due to concurrency limit exceeded")
