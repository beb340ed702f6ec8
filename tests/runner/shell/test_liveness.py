"""Nothing hangs although every wake-up is lost: the loops find by themselves what is to be done."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from runner.engine.states import State
from runner.rows import run_table
from tests.runner.shell.house import House

WORK = "{id: %s, type: io.kestra.plugin.core.log.Log, message: hi, timeout: PT1H}"
"""Not inline because of its time limit: it needs a worker."""
INLINE = "{id: %s, type: io.kestra.plugin.core.log.Log, message: hi}"


def work(name: str) -> str:
    return WORK % name


@pytest.fixture(autouse=True)
def deaf(house: House) -> None:
    house.deaf = True


def test_tasks_in_sequence(house: House):
    house.deploy("f", f"tasks: [{work('a')}, {INLINE % 'b'}, {work('c')}]")
    assert house.end(house.start("f")) == "SUCCESS"


def test_tasks_after_the_execution(house: House):
    house.deploy("f", f"tasks: [{work('a')}]\nafterExecution: [{work('x')}, {INLINE % 'y'}, {work('z')}]")
    execution = house.start("f")

    assert house.end(execution) == "SUCCESS"
    assert house.states(execution) == ["a SUCCESS", "x SUCCESS", "y SUCCESS", "z SUCCESS"]


def test_the_task_that_tells_of_a_pause(house: House):
    house.deploy(
        "f",
        f"""
        tasks:
          - id: wait
            type: io.kestra.plugin.core.flow.Pause
            pauseDuration: PT5M
            onPause: {work("tell")}
          - {work("after")}
        """,
    )
    execution = house.start("f")
    house.settle(lambda: "tell SUCCESS" in house.states(execution), seconds=240)
    assert house.row(execution).state == "PAUSED"

    assert house.end(execution) == "SUCCESS"


def test_siblings_of_a_loop_that_waits(house: House):
    house.deploy(
        "f",
        f"""
        tasks:
          - id: side
            type: io.kestra.plugin.core.flow.Parallel
            tasks:
              - id: until
                type: io.kestra.plugin.core.flow.LoopUntil
                condition: "{{{{ outputs.until.iterationCount > 1 }}}}"
                checkFrequency: {{interval: PT10M}}
                tasks: [{work("pass")}]
              - id: list
                type: io.kestra.plugin.core.flow.Sequential
                tasks: [{work("a")}, {work("b")}, {work("c")}]
        """,
    )
    execution = house.start("f")
    house.settle(lambda: house.states(execution).count("c SUCCESS") == 1, seconds=500)
    assert house.row(execution).state == "PAUSED"

    assert house.end(execution, seconds=2_000) == "SUCCESS"


def test_a_retry(house: House):
    house.results["a"] = [State.FAILED, State.FAILED]
    house.deploy(
        "f",
        """
        tasks:
          - id: a
            type: io.kestra.plugin.core.log.Log
            message: hi
            timeout: PT1H
            retry: {type: constant, interval: PT20S, maxAttempts: 3}
        """,
    )
    execution = house.start("f")
    house.settle(lambda: house.row(execution).state == "RETRYING")
    assert house.timer_kinds() == ["retry"]

    assert house.end(execution) == "SUCCESS"
    assert house.timer_kinds() == []


def test_a_retry_that_makes_a_new_execution(house: House):
    house.results["a"] = [State.FAILED]
    house.deploy(
        "f",
        f"""
        retry: {{type: constant, interval: PT20S, maxAttempts: 3, behavior: CREATE_NEW_EXECUTION}}
        tasks: [{work("a")}]
        """,
    )
    assert house.end(house.start("f")) == "RETRIED"

    house.settle(lambda: [row.state for row in house.executions_of("f")] == ["RETRIED", "SUCCESS"])


def test_a_subflow(house: House):
    house.deploy("child", f"tasks: [{work('c')}]\noutputs: [{{id: x, type: STRING, value: '1'}}]")
    house.deploy(
        "f",
        f"""
        tasks:
          - id: sub
            type: io.kestra.plugin.core.flow.Subflow
            namespace: company.team
            flowId: child
          - {work("a")}
        """,
    )
    execution = house.start("f")

    assert house.end(execution) == "SUCCESS"
    assert house.run(execution, "sub").outputs["outputs"] == {"x": "1"}
    assert len(house.executions_of("child")) == 1


def test_a_restart(house: House):
    house.results["b"] = [State.FAILED]
    house.deploy("f", f"tasks: [{work('a')}, {work('b')}]")
    execution = house.start("f")
    assert house.end(execution) == "FAILED"

    house.executions.restart(execution)

    assert house.end(execution) == "SUCCESS"
    assert len(house.runs(execution)) == 2


def test_a_queued_execution_runs_when_its_turn_comes(house: House):
    house.deploy("f", f"concurrency: {{limit: 1, behavior: QUEUE}}\ntasks: [{work('a')}]")
    first, second = house.start("f"), house.start("f")

    assert house.end(first) == "SUCCESS"
    assert house.end(second) == "SUCCESS"


def test_an_execution_that_is_held_is_left_alone(house: House):
    house.deploy(
        "f",
        f"""
        tasks:
          - id: side
            type: io.kestra.plugin.core.flow.Parallel
            tasks:
              - {{id: wait, type: io.kestra.plugin.core.flow.Pause}}
              - id: list
                type: io.kestra.plugin.core.flow.Sequential
                tasks: [{work("a")}, {work("b")}]
        """,
    )
    execution = house.start("f")
    house.settle(lambda: "a SUCCESS" in house.states(execution))

    for _ in range(10):
        house.step()
        house.clock.advance(timedelta(seconds=30))
    assert "b SUCCESS" not in house.states(execution)

    house.executions.resume(execution)
    assert house.end(execution) == "SUCCESS"


def test_many_that_wait_are_all_found_however_many_there_are(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("runner.rescue.BATCH", 3)
    house.deploy("f", f"tasks: [{work('a')}]")
    started = [house.start("f") for _ in range(8)]

    house.settle(lambda: all(house.row(execution).finished for execution in started))


def test_after_a_start_everything_is_found_in_one_pass(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("runner.rescue.BATCH", 3)
    house.deploy("f", f"tasks: [{work('a')}]")
    started = [house.start("f") for _ in range(8)]
    for execution in started:
        house.driver.begin(execution)

    house.reconciler.pass_once(after_start=True)
    ready = house.database.read(lambda c: set(c.execute(sa.select(run_table.c.id)).scalars()))
    assert {run_id for run_id, _ in house.bell.rung} == ready
