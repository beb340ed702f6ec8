"""Quotas of a flow (``flows.md`` 1.9): at most so many starts in a moving window, counted from rows.

The rows are kept apart from executions: a restart counts as a start too, and a purge does not make room. Counting
begins when the flow gets its quotas.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.durations import format_duration
from namespaces.flows.model import Flow
from runner.engine.events import Refused
from runner.engine.states import State
from runner.tables import QuotaStartRow

start_table = QuotaStartRow.__table__  # type: ignore[attr-defined]


def take(tx: Connection, flow: Flow, execution_id: str, attempt: int, now: datetime) -> Refused | None:
    """Count this start (None), or say how it ends because a quota is used up. The flow must be locked.

    ``attempt`` is the execution's attempt number. Harmless twice: what was counted before is not asked again.
    """
    mine = (start_table.c.execution_id == execution_id, start_table.c.attempt == attempt)
    if tx.execute(sa.select(start_table.c.at).where(*mine)).first() is not None:
        return None
    of_flow = (start_table.c.namespace == flow.namespace, start_table.c.flow_id == flow.id)
    longest = max(quota.duration for quota in flow.quotas)
    tx.execute(sa.delete(start_table).where(*of_flow, start_table.c.at <= now - longest))
    for quota in flow.quotas:
        count = sa.select(sa.func.count()).where(*of_flow, start_table.c.at > now - quota.duration)
        if tx.execute(count).scalar_one() >= quota.limit:
            state = State.CANCELLED if quota.behavior == "CANCEL" else State.FAILED
            allowed = f"{quota.limit} in {format_duration(quota.duration)}"
            return Refused(at=now, state=state, reason=f"Execution is {state} due to quota exceeded: {allowed}")
    tx.execute(
        sa.insert(start_table).values(
            execution_id=execution_id, attempt=attempt, namespace=flow.namespace, flow_id=flow.id, at=now
        )
    )
    return None
