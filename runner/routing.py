"""Which workers an attempt may go to (``flows.md`` 1.13): worker groups, their tags, and what happens without one.

A group is a word that a worker says it serves; work without a group is the group "". Deciding is pure; the rows of
workers say who exists and who is alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from runner.engine.states import State
from runner.tables import WorkerRow

worker_table = WorkerRow.__table__  # type: ignore[attr-defined]

DEFAULT = "default"
"""How the group "" is written in the configuration."""
MOST = 5
"""Groups of one worker: it listens to a queue for each combination of them."""
ALIVE = timedelta(seconds=90)
"""A worker whose last sign of life is older takes no work."""


@dataclass(frozen=True, slots=True)
class Known:
    """The groups that a worker serves, and whether it is there at present."""

    groups: frozenset[str]
    alive: bool


@dataclass(frozen=True, slots=True)
class Route:
    """``queue`` of the dispatch; without one ``end`` says how the task run ends, None: it waits."""

    queue: str | None = None
    end: State | None = None
    reason: str = ""


def decide(wanted: Mapping[str, Any], workers: Iterable[Known]) -> Route:
    """Where work with this ``workerGroup`` or ``workerSelector`` goes (both in the shape of the parser, rendered)."""
    tags = tuple(tag for tag in wanted.get("tags") or () if tag)
    fallback = wanted.get("fallback")
    if not tags:
        return Route(queue="")
    together = wanted.get("match") != "ANY"
    choices = [frozenset(tags)] if together else [frozenset({tag}) for tag in tags]
    exists = False
    for choice in choices:
        serving = [worker for worker in workers if choice <= worker.groups]
        exists = exists or bool(serving)
        if any(worker.alive for worker in serving):
            return Route(queue=queue_of(choice))
    names = ", ".join(tags)
    if fallback == "IGNORE":
        return Route(queue="")
    if wanted.get("group") and not exists:
        return Route(end=State.FAILED, reason=f"Cannot run task. No worker group exist for key '{names}'.")
    reason = f"Cannot run task. No worker is available for '{names}'."
    match fallback:
        case "FAIL":
            return Route(end=State.FAILED, reason=reason)
        case "CANCEL":
            return Route(end=State.CANCELLED, reason=reason)
        case _:
            return Route(reason=reason)


def queue_of(groups: Iterable[str]) -> str:
    return "+".join(sorted(groups))


def queues(groups: Sequence[str]) -> tuple[str, ...]:
    """Every queue that a worker of these groups listens to: one for each combination, "" for work without a group."""
    named = sorted(set(groups) - {""})
    combined = [queue_of(some) for size in range(1, len(named) + 1) for some in combinations(named, size)]
    return (*(("",) if "" in groups else ()), *combined)


def served(written: Sequence[str], *, alone: bool) -> tuple[str, ...]:
    """The groups a process serves, from its configuration.

    ``alone``: it is the only worker (attempts run in the server's own process), so that it serves the rest as well.
    """
    groups = tuple(dict.fromkeys("" if one == DEFAULT else one for one in written))
    return ("", *(one for one in groups if one)) if alone or not groups else groups


def known_workers(connection: Connection, now: datetime) -> list[Known]:
    """All workers that ever signed in, by what they serve."""
    columns = (worker_table.c.groups, worker_table.c.state, worker_table.c.heartbeat_at)
    return [
        Known(frozenset(row.groups or ()), row.state == "RUNNING" and row.heartbeat_at > now - ALIVE)
        for row in connection.execute(sa.select(*columns))
    ]
