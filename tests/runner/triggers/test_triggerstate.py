"""What API and Toggle see and do (``api.md`` 4.7)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from namespaces.errors import BadRequest, Conflict, InvalidInput, NotFound
from runner.triggerstate import TriggerQuery, fires, keys, of_flow, one, search
from tests.runner.triggers.conftest import NS, House, at, key

TWO = """
- id: schedule-every-min
  type: io.kestra.plugin.core.trigger.Schedule
  cron: "* * * * *"
  stopAfter: [FAILED]
- id: schedule-5-min
  type: io.kestra.plugin.core.trigger.Schedule
  cron: "*/5 * * * *"
"""


def test_rows_carry_the_names_of_both_generations(house: House) -> None:
    house.deploy(TWO)
    house.scheduler.run_once()
    house.clock.advance(timedelta(minutes=1))
    house.scheduler.run_once()

    rows, total = house.database.read(lambda c: search(c, TriggerQuery(namespace=NS), sort=[("triggerId", True)]))

    assert total == 2
    first = rows[0]
    assert first["abstractTrigger"]["cron"] == "* * * * *"
    assert first["trigger"] == first["abstractTrigger"]
    context = first["triggerContext"]
    assert context == first["state"]
    assert context["triggerId"] == "schedule-every-min"
    assert context["tenantId"] == "main"
    assert context["locked"] is True
    assert context["executionId"] == house.executions_of()[0].id
    assert context["stopAfter"] == ["FAILED"]
    assert context["date"] == context["lastTriggeredDate"] == "2026-01-01T00:01:00.000000Z"
    assert context["nextExecutionDate"] == context["nextEvaluationDate"] == "2026-01-01T00:02:00.000000Z"
    assert "executionId" not in rows[1]["state"]


def test_a_trigger_is_listed_before_the_scheduler_has_seen_it(house: House) -> None:
    house.deploy(TWO)

    rows = house.database.read(lambda c: of_flow(c, NS, "f"))

    assert [row["triggerId"] for row in rows] == ["schedule-5-min", "schedule-every-min"]
    assert rows[0]["disabled"] is False


def test_search_filters_sorts_and_pages(house: House) -> None:
    house.deploy(TWO)
    house.deploy(TWO, flow_id="other", namespace=NS + ".deep")
    house.scheduler.run_once()
    house.triggers.states.set_disabled(key("schedule-5-min"), True)

    def found(query: TriggerQuery, **options: int) -> list[str]:
        rows, _ = house.database.read(lambda c: search(c, query, sort=[("nextExecutionDate", False)], **options))
        return [f"{row['state']['flowId']}.{row['state']['triggerId']}" for row in rows]

    assert len(found(TriggerQuery(namespace=NS))) == 4
    assert len(found(TriggerQuery(namespace="company"))) == 4
    assert found(TriggerQuery(namespace="comp")) == []
    assert len(found(TriggerQuery(q="5-MIN"))) == 2
    assert found(TriggerQuery(flow_id="other", q="every")) == ["other.schedule-every-min"]
    assert found(TriggerQuery(disabled=True)) == ["f.schedule-5-min"]
    assert len(found(TriggerQuery(disabled=False))) == 3
    assert found(TriggerQuery(locked=True)) == []
    assert len(found(TriggerQuery(), page=2, size=3)) == 1
    assert house.database.read(lambda c: keys(c, TriggerQuery(flow_id="f"))) == [
        key("schedule-5-min"),
        key("schedule-every-min"),
    ]


def test_unlock_frees_a_locked_trigger_only(house: House) -> None:
    house.deploy(TWO)
    house.scheduler.run_once()
    house.clock.advance(timedelta(minutes=1))
    house.scheduler.run_once()
    states = house.triggers.states

    row = states.unlock(key("schedule-every-min"))

    assert row["locked"] is False
    with pytest.raises(Conflict, match="Trigger is not locked"):
        states.unlock(key("schedule-every-min"))
    with pytest.raises(NotFound):
        states.unlock(("bad.namespace", "some-flow-id", "some-trigger-id"))


def test_a_new_trigger_can_be_switched_before_the_scheduler_has_seen_it(house: House) -> None:
    house.deploy(TWO)

    row = house.triggers.states.set_disabled(key("schedule-every-min"), True)
    house.scheduler.run_once()
    house.clock.advance(timedelta(minutes=2))
    house.scheduler.run_once()

    assert row["disabled"] is True
    assert house.executions_of() == []


def test_an_unknown_recovery_is_refused(house: House) -> None:
    house.deploy(TWO)

    with pytest.raises(InvalidInput, match="SOME"):
        house.triggers.states.set_disabled(key("schedule-every-min"), False, recover="SOME")


def test_deleting_the_state_starts_anew(house: House) -> None:
    house.deploy(TWO)
    house.scheduler.run_once()
    house.clock.advance(timedelta(minutes=3, seconds=30))

    house.triggers.states.delete(key("schedule-every-min"))
    house.scheduler.run_once()

    assert house.executions_of() == []
    assert house.state("schedule-every-min").next_at == at("00:04:00")


def test_restart_frees_and_looks_again(house: House) -> None:
    house.deploy(TWO)
    house.scheduler.run_once()
    house.clock.advance(timedelta(minutes=2))
    house.scheduler.run_once()

    row = house.triggers.states.restart(key("schedule-every-min"))
    house.scheduler.run_once()

    assert row["locked"] is False
    assert len(house.executions_of()) == 2


def test_backfills_are_made_paused_resumed_and_deleted(house: House) -> None:
    house.deploy(TWO)
    house.scheduler.run_once()
    states, name = house.triggers.states, key("schedule-5-min")

    with pytest.raises(BadRequest):
        states.pause_backfill(name)
    created = states.create_backfill(name, start=at("00:00:00") - timedelta(hours=1))
    with pytest.raises(Conflict):
        states.create_backfill(name, start=at("00:00:00"))
    paused = states.pause_backfill(name)
    house.scheduler.run_once()
    nothing = house.executions_of()
    resumed = states.pause_backfill(name, paused=False)
    house.scheduler.run_once()
    deleted = states.delete_backfill(name)

    assert created["backfill"]["end"] == "2026-01-01T00:00:00.000000Z"
    assert paused["backfill"]["paused"] is True
    assert nothing == []
    assert resumed["backfill"]["paused"] is False
    assert house.dates() == ["2025-12-31T23:00:00Z"]
    assert "backfill" not in deleted
    assert deleted["nextExecutionDate"] == "2026-01-01T00:05:00.000000Z"
    with pytest.raises(BadRequest):
        states.delete_backfill(name)


def test_only_schedules_have_backfills(house: House) -> None:
    house.deploy("- {id: h, type: io.kestra.plugin.core.trigger.Webhook, key: some-key-of-more-than-32-characters}")

    with pytest.raises(BadRequest):
        house.triggers.states.create_backfill(key("h"), start=at("00:00:00"))


def test_next_dates_satisfy_the_conditions(house: House) -> None:
    house.deploy(
        """
        - id: s
          type: io.kestra.plugin.core.trigger.Schedule
          cron: "0 9 * * *"
          conditions: [{type: io.kestra.plugin.core.condition.DayWeek, dayOfWeek: MONDAY}]
        """
    )

    assert house.triggers.states.next_dates(key("s"), 2) == [
        "2026-01-05T09:00:00.000000Z",
        "2026-01-12T09:00:00.000000Z",
    ]


def test_decisions_are_listed_newest_first(house: House) -> None:
    house.deploy(TWO)
    house.scheduler.run_once()
    house.clock.advance(timedelta(minutes=1))
    house.scheduler.run_once()

    [row] = house.database.read(lambda c: fires(c, key("schedule-every-min")))

    assert row["scheduledFor"] == "2026-01-01T00:01:00.000000Z"
    assert row["decision"] == "started"
    assert house.database.read(lambda c: one(c, key("schedule-every-min")))["locked"]
