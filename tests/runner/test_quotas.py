"""Quotas of a flow (``flows.md`` 1.9) on both databases: a moving window, before the concurrency gate, restarts too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from namespaces.flows.model import Flow, Quota
from namespaces.store.db import Database
from runner import quotas
from runner.engine.states import State
from tests.support.instances import Instance

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TASKS = "tasks: [{{id: t, type: io.kestra.plugin.core.{what}}}]"


def flow(*rules: Quota) -> Flow:
    return Flow(namespace="a", id="f", quotas=rules)


def test_the_window_moves(database: Database) -> None:
    two_an_hour = flow(Quota(duration=timedelta(hours=1), limit=2))

    def start(minute: int, name: str = "") -> State | None:
        at = NOON + timedelta(minutes=minute)
        refused = database.write(lambda tx: quotas.take(tx, two_an_hour, name or f"x{minute}", 1, at))
        return refused.state if refused is not None else None

    found = [start(minute) for minute in (0, 30, 59, 60, 61, 90)]

    assert found == [None, None, State.FAILED, None, State.FAILED, None]
    assert start(90, "x60") is None, "a start that was counted is not asked again"


def test_every_quota_must_hold_and_other_flows_do_not_count(database: Database) -> None:
    rules = flow(
        Quota(duration=timedelta(minutes=1), limit=1, behavior="CANCEL"), Quota(duration=timedelta(hours=1), limit=2)
    )
    other = Flow(namespace="a", id="g", quotas=rules.quotas)

    def start(which: Flow, second: int) -> State | None:
        at = NOON + timedelta(seconds=second)
        refused = database.write(lambda tx: quotas.take(tx, which, f"{which.id}{second}", 1, at))
        return refused.state if refused is not None else None

    assert [start(rules, 0), start(rules, 30), start(rules, 60), start(rules, 120)] == [
        None, State.CANCELLED, None, State.FAILED,
    ]  # fmt: skip
    assert start(other, 30) is None


@pytest.mark.parametrize(("behavior", "end"), [("FAIL", "FAILED"), ("CANCEL", "CANCELLED")])
def test_a_start_over_the_quota_ends_at_once_and_takes_no_slot(instance: Instance, behavior: str, end: str) -> None:
    instance.deploy(
        "f",
        f"""
        concurrency: {{limit: 1}}
        quotas: [{{duration: PT1H, limit: 2, behavior: {behavior}}}]
        tasks: [{{id: wait, type: io.kestra.plugin.core.flow.Pause}}]
        """,
    )
    running, queued = instance.start("f"), instance.start("f")
    instance.in_state(running, "PAUSED")
    instance.in_state(queued, "QUEUED")

    over = instance.run("f")

    assert over["state"]["current"] == end
    assert [entry["state"] for entry in over["state"]["histories"]] == ["CREATED", end]
    assert over.get("taskRunList", []) == []
    assert instance.logs(over["id"]) == [f"Execution is {end} due to quota exceeded: 2 in PT1H"]
    instance.executions.resume(running)
    instance.in_state(queued, "PAUSED")


def test_a_restart_counts_like_a_fresh_start(instance: Instance) -> None:
    instance.deploy("f", "quotas: {duration: PT1H, limit: 2}\n" + TASKS.format(what="execution.Fail"))
    one = instance.run("f")

    instance.executions.restart(one["id"])
    again = instance.until(one["id"], lambda e: len(e["state"]["histories"]) >= 6, "the end of the restart")
    over = instance.run("f")

    assert again["taskRunList"][0]["state"]["current"] == "FAILED"
    assert over.get("taskRunList", []) == []
