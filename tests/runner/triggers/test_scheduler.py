"""The scheduler on both databases: following declarations, firing once, locks, errors, downtime."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from namespaces.store import outbox
from runner.scheduler import Planned
from tests.runner.triggers.conftest import NS, House, at, key

EVERY_MINUTE = """
- id: s
  type: io.kestra.plugin.core.trigger.Schedule
  cron: "* * * * *"
"""


def decided(house: House, row: Any) -> Planned:
    found = house.database.read(lambda c: house.scheduler._flow_of(c, row))
    return house.scheduler._decide(row, found, house.clock.now())


def tick(house: House, minutes: float = 1) -> None:
    house.clock.advance(timedelta(minutes=minutes))
    house.scheduler.run_once()


def test_a_new_schedule_fires_at_its_next_slot_and_not_before(house: House) -> None:
    house.deploy(EVERY_MINUTE)
    house.scheduler.run_once()

    tick(house, 0.5)
    before = house.executions_of()
    tick(house, 0.5)

    assert before == []
    [row] = house.executions_of()
    assert row.trigger == {
        "id": "s",
        "type": "io.kestra.plugin.core.trigger.Schedule",
        "variables": {
            "date": "2026-01-01T00:01:00Z",
            "next": "2026-01-01T00:02:00Z",
            "previous": "2026-01-01T00:00:00Z",
        },
    }
    assert row.schedule_date is None
    assert house.state("s").execution_id == row.id
    assert house.decisions() == [("00:01:00", "started")]


def test_the_pass_tells_how_long_nothing_is_due(house: House) -> None:
    house.deploy(EVERY_MINUTE)
    house.clock.advance(timedelta(seconds=20))

    assert house.scheduler.run_once() == 40


def test_one_execution_at_a_time_then_the_missed_slots_in_order(house: House) -> None:
    house.deploy(EVERY_MINUTE)
    house.scheduler.run_once()

    for _ in range(4):
        tick(house)
    held = len(house.executions_of())
    for _ in range(5):
        house.end_all()
        house.scheduler.run_once()

    assert held == 1
    assert house.dates() == [f"2026-01-01T00:0{n}:00Z" for n in (1, 2, 3, 4)]


def test_inputs_labels_and_zone_of_a_schedule(house: House) -> None:
    house.deploy(
        """
        - id: s
          type: io.kestra.plugin.core.trigger.Schedule
          cron: "0 * * * *"
          timezone: Europe/Paris
          inputs: {day: "{{ trigger.date | date('yyyy-MM-dd') }}"}
          labels: {kind: "{{ flow.id }}-run", broken: "{{ nope }}"}
        """,
        more="""
        inputs:
          - {id: day, type: STRING}
        """,
    )
    house.scheduler.run_once()

    tick(house, 60)

    [row] = house.executions_of()
    assert row.trigger["variables"]["date"] == "2026-01-01T02:00:00+01:00"
    assert row.inputs == {"day": "2026-01-01"}
    assert ["kind", "f-run"] in row.labels
    assert not any(name == "broken" for name, _ in row.labels)


def test_inputs_that_do_not_render_make_a_failed_execution_that_locks_nothing(house: House) -> None:
    house.deploy(
        """
        - id: s
          type: io.kestra.plugin.core.trigger.Schedule
          cron: "* * * * *"
          inputs: {x: "{{ trigger.nope }}"}
        """,
        more="inputs: [{id: x, type: STRING}]",
    )
    house.scheduler.run_once()

    tick(house)
    tick(house)

    assert [row.state for row in house.executions_of()] == ["FAILED", "FAILED"]
    assert "nope" in house.executions_of()[0].error
    assert house.state("s").execution_id is None


def test_a_missing_required_input_makes_a_failed_execution(house: House) -> None:
    house.deploy(EVERY_MINUTE, more="inputs: [{id: x, type: STRING}]")
    house.scheduler.run_once()

    tick(house)

    assert [row.state for row in house.executions_of()] == ["FAILED"]


def test_conditions_and_when_skip_slots_and_a_raising_one_fails_visibly(house: House) -> None:
    house.deploy(
        """
        - id: odd
          type: io.kestra.plugin.core.trigger.Schedule
          cron: "* * * * *"
          allowConcurrent: true
          when: "{{ trigger.date | date('m') | number('INT') == 2 }}"
        """
    )
    house.deploy(
        """
        - id: bad
          type: io.kestra.plugin.core.trigger.Schedule
          cron: "* * * * *"
          conditions:
            - {type: io.kestra.plugin.core.condition.Expression, expression: "{{ nope }}"}
        """,
        flow_id="g",
    )
    house.scheduler.run_once()

    for _ in range(3):
        tick(house)

    assert house.decisions() == [("00:01:00", "condition"), ("00:02:00", "started"), ("00:03:00", "condition")]
    assert [row.state for row in house.executions_of("g")] == ["FAILED"] * 3


def test_a_changed_cron_counts_from_now_and_another_edit_keeps_the_time(house: House) -> None:
    house.deploy(EVERY_MINUTE)
    house.scheduler.run_once()
    house.deploy(EVERY_MINUTE + "  description: other words\n")
    house.scheduler.run_once()
    same = house.state("s").next_at

    house.deploy(EVERY_MINUTE.replace('"* * * * *"', '"0 * * * *"'))
    house.clock.advance(timedelta(minutes=5))
    house.scheduler.run_once()

    assert same == at("00:01:00")
    assert house.state("s").next_at == at("01:00:00")
    assert house.executions_of() == []
    assert house.decisions() == [("00:05:00", "edited")]


def test_a_deleted_flow_fires_no_more_and_comes_back_without_a_past(house: House) -> None:
    house.deploy(EVERY_MINUTE)
    house.scheduler.run_once()

    house.remove()
    tick(house, 3)
    gone = house.state("s")
    house.deploy(EVERY_MINUTE)
    house.scheduler.run_once()

    assert gone is None
    assert house.executions_of() == []
    assert house.state("s").next_at == at("00:04:00")


def test_a_trigger_deleted_and_declared_again_between_two_looks_has_no_past(house: House) -> None:
    house.deploy(EVERY_MINUTE)
    house.scheduler.run_once()

    house.clock.advance(timedelta(minutes=5))
    house.remove()
    house.deploy(EVERY_MINUTE)
    house.scheduler.run_once()

    assert house.executions_of() == []
    assert house.state("s").next_at == at("00:06:00")


def test_a_disabled_flow_is_idle_and_makes_up_for_the_time_when_enabled(house: House) -> None:
    house.deploy(EVERY_MINUTE + "  allowConcurrent: true\n", more="disabled: true")
    house.scheduler.run_once()
    tick(house, 3)
    idle = house.executions_of()

    house.deploy(EVERY_MINUTE + "  allowConcurrent: true\n")
    house.scheduler.run_once()

    assert idle == []
    assert house.dates() == [f"2026-01-01T00:0{n}:00Z" for n in (1, 2, 3)]


def test_switching_off_and_on_applies_the_recovery_of_the_call(house: House) -> None:
    house.deploy(EVERY_MINUTE + "  allowConcurrent: true\n")
    house.scheduler.run_once()

    off = house.triggers.states.set_disabled(key("s"), True)
    tick(house, 4)
    on = house.triggers.states.set_disabled(key("s"), False, recover="LAST")
    house.scheduler.run_once()

    assert off["disabled"]
    assert "nextExecutionDate" not in off
    assert not on["disabled"]
    assert house.decisions() == [
        ("00:01:00", "disabled"),
        ("00:02:00", "disabled"),
        ("00:03:00", "disabled"),
        ("00:04:00", "started"),
    ]


def test_stop_after_switches_the_trigger_off(house: House) -> None:
    house.deploy(EVERY_MINUTE + "  stopAfter: [FAILED]\n")
    house.scheduler.run_once()
    tick(house)

    house.end(house.executions_of()[0].id, "FAILED")
    tick(house, 2)

    assert house.state("s").disabled
    assert len(house.executions_of()) == 1


def test_a_lock_without_its_execution_is_freed(house: House) -> None:
    house.deploy(EVERY_MINUTE)
    house.scheduler.run_once()
    tick(house)
    import sqlalchemy as sa

    from runner.rows import execution_table

    house.database.write(lambda tx: tx.execute(sa.delete(execution_table)))
    tick(house)

    assert len(house.executions_of()) == 1


def test_one_broken_trigger_does_not_stop_the_others(house: House) -> None:
    import sqlalchemy as sa

    from tests.runner.triggers.conftest import state_table

    house.deploy(EVERY_MINUTE)
    house.deploy(EVERY_MINUTE, flow_id="poison")
    house.scheduler.run_once()
    poisoned = sa.update(state_table).where(state_table.c.flow_id == "poison")
    house.database.write(lambda tx: tx.execute(poisoned.values(memory={"eligible": {"why": "?"}})))

    tick(house)

    assert len(house.executions_of()) == 1
    row = house.state("s", "poison")
    assert row.failures == 1
    assert row.error
    assert row.next_at == at("00:01:02")


def test_a_broken_text_shows_its_reason_and_fires_nothing(house: House) -> None:
    house.deploy(EVERY_MINUTE)
    house.scheduler.run_once()
    import sqlalchemy as sa

    from namespaces.tables import RevisionRow

    table = RevisionRow.__table__  # type: ignore[attr-defined]
    broken = sa.update(table).values(text="id: f\nnamespace: company.team\ntasks: [{id: t, type: io.gone.Task}]\n")
    house.database.write(lambda tx: tx.execute(broken))
    other = House(house.database, house.clock, house.executions.rendering.engine)  # type: ignore[arg-type]

    house.clock.advance(timedelta(minutes=2))
    other.scheduler.run_once()

    assert other.executions_of() == []
    assert "io.gone.Task" in other.state("s").error
    other.close()


def test_downtime_is_made_up_for_after_a_restart(house: House) -> None:
    house.deploy(EVERY_MINUTE + "  allowConcurrent: true\n  recoverMissedSchedules: LAST\n")
    house.scheduler.run_once()
    tick(house)

    house.clock.advance(timedelta(minutes=5))
    after = House(house.database, house.clock, house.executions.rendering.engine)  # type: ignore[arg-type]
    after.scheduler.run_once()

    assert [decision for _, decision in after.decisions()] == ["started", *["missed"] * 4, "started"]
    after.close()


def test_a_clock_jump_forward_is_like_downtime_and_a_jump_back_repeats_nothing(house: House) -> None:
    house.deploy(EVERY_MINUTE + "  allowConcurrent: true\n  recoverMissedSchedules: NONE\n")
    house.scheduler.run_once()

    tick(house)
    house.clock.jump(at("03:00:30"))
    house.scheduler.run_once()
    house.clock.jump(at("01:00:30"))
    house.scheduler.run_once()
    house.clock.jump(at("03:01:00"))
    house.scheduler.run_once()

    assert house.dates()[0] == "2026-01-01T00:01:00Z"
    started = [row for row in house.fires() if row.decision == "started"]
    assert [row.scheduled_for for row in started][:1] == [at("00:01:00")]
    assert sum(row.count for row in house.fires()) == 181


def test_given_dates_start_once_each(house: House) -> None:
    house.deploy(
        """
        - id: d
          type: io.kestra.plugin.core.trigger.ScheduleOnDates
          timezone: Europe/Paris
          dates: ["2026-01-01T01:01:00", "2026-01-01T00:02:00Z", "2025-01-01T00:00:00Z"]
        """
    )
    house.scheduler.run_once()

    for _ in range(4):
        tick(house)
        house.end_all()

    assert house.dates() == ["2026-01-01T01:01:00+01:00", "2026-01-01T01:02:00+01:00"]
    assert house.state("d").next_at is None


def test_a_backfill_runs_its_slots_with_its_inputs_and_labels_and_then_the_schedule_goes_on(house: House) -> None:
    house.deploy(EVERY_MINUTE, more="inputs: [{id: who, type: STRING, required: false}]")
    house.scheduler.run_once()
    states = house.triggers.states

    begun = states.create_backfill(
        key("s"), start=at("00:00:00") - timedelta(minutes=2), end=at("00:00:00"), inputs={"who": "me"},
        labels=[("why", "repair")],
    )  # fmt: skip
    for _ in range(5):
        house.scheduler.run_once()
        house.end_all()
    tick(house)

    assert begun["backfill"]["paused"] is False
    assert begun["backfill"]["previousNextExecutionDate"] == "2026-01-01T00:01:00.000000Z"
    assert house.dates() == [
        "2025-12-31T23:58:00Z",
        "2025-12-31T23:59:00Z",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:01:00Z",
    ]
    first = house.executions_of()[0]
    assert first.inputs == {"who": "me"}
    assert ["backfill", "true"] in first.labels
    assert ["why", "repair"] in first.labels
    assert ["backfill", "true"] not in house.executions_of()[-1].labels
    assert house.state("s").backfill is None


def test_a_fire_checks_that_the_trigger_is_still_declared(house: House) -> None:
    house.deploy(EVERY_MINUTE)
    house.scheduler.run_once()
    house.clock.advance(timedelta(minutes=1))
    now = house.clock.now()
    due = house.database.read(lambda c: house.scheduler._due(c, now, 10))
    plan = decided(house, due[0])

    house.remove()
    house.scheduler._fire([plan], now)

    assert len(plan.fires) == 1
    assert house.executions_of() == []
    assert house.fires() == []


def test_the_same_plan_written_twice_starts_one_execution(house: House) -> None:
    house.deploy(EVERY_MINUTE)
    house.scheduler.run_once()
    house.clock.advance(timedelta(minutes=1))
    now = house.clock.now()
    due = house.database.read(lambda c: house.scheduler._due(c, now, 10))
    plans = [decided(house, due[0]) for _ in range(2)]

    for plan in plans:
        house.scheduler._fire([plan], now)

    assert len(house.executions_of()) == 1
    assert NS == "company.team"


CHECKED = 'checks: [{condition: "{{ false }}", message: not today}]'


def test_a_check_that_blocks_skips_the_slot_and_is_told_on_the_trigger(house: House) -> None:
    house.deploy(EVERY_MINUTE, more=CHECKED)
    house.scheduler.run_once()

    tick(house)
    tick(house)

    assert house.executions_of() == []
    assert house.decisions() == [("00:01:00", "check"), ("00:02:00", "check")]
    assert house.state("s").error == "not today"
    assert house.state("s").next_at == at("00:03:00")


def quick(house: House, *, more: str = "") -> None:
    """A schedule whose executions end in the transaction that makes them, announced as in a real server."""
    house.executions.rendering.listens = lambda facts, value, state: house.triggers.listens(facts, state)
    house.deploy_text(
        f"id: f\nnamespace: {NS}\ntasks:\n  - {{id: t, type: io.kestra.plugin.core.log.Log, message: hi}}\n"
        f'triggers:\n  - {{id: s, type: io.kestra.plugin.core.trigger.Schedule, cron: "* * * * *"{more}}}\n',
        "f",
    )
    house.scheduler.run_once()


def announced(house: House) -> list[Any]:
    return [row.payload for row in house.database.read(lambda c: c.execute(sa.select(outbox.table)).all())]


def test_an_execution_that_ends_with_its_fire_locks_nothing_and_is_announced_to_nobody(house: House) -> None:
    quick(house)

    tick(house)
    locked = house.state("s").execution_id
    tick(house)

    assert locked is None
    assert [row.state for row in house.executions_of()] == ["SUCCESS", "SUCCESS"]
    assert house.decisions() == [("00:01:00", "started"), ("00:02:00", "started")]
    assert announced(house) == []


def test_an_execution_that_ends_with_its_fire_still_obeys_stop_after(house: House) -> None:
    quick(house, more=", stopAfter: [SUCCESS]")

    tick(house)

    assert announced(house) == [{"do": "announce", "state": "SUCCESS", "at": 3}]
