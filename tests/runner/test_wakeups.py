"""Without any wake-up everything still finishes: loops that look at rows are the source of liveness."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from namespaces.clock import ManualClock
from namespaces.store.db import Database
from runner.engine.states import State
from runner.renderer import Renderer
from tests.support.instances import ENDED, NS, Instance, Shell

EVERYTHING = f"""
tasks:
  - {{id: a, type: io.kestra.plugin.core.debug.Return, format: x}}
  - {{id: script, type: io.kestra.plugin.scripts.shell.Script, script: 'true',
      taskRunner: {{type: io.kestra.plugin.core.runner.Process}}}}
  - id: fan
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - {{id: p1, type: io.kestra.plugin.core.debug.Return, format: "1"}}
      - {{id: p2, type: io.kestra.plugin.scripts.shell.Script, script: 'true',
          taskRunner: {{type: io.kestra.plugin.core.runner.Process}}}}
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: [1, 2, 3]
    concurrencyLimit: 1
    tasks: [{{id: item, type: io.kestra.plugin.core.debug.Return, format: "{{{{ taskrun.value }}}}"}}]
  - {{id: child, type: io.kestra.plugin.core.flow.Subflow, namespace: {NS}, flowId: leaf}}
  - {{id: wait, type: io.kestra.plugin.core.flow.Pause, pauseDuration: PT1S}}
  - id: flaky
    type: io.kestra.plugin.scripts.shell.Script
    taskRunner: {{type: io.kestra.plugin.core.runner.Process}}
    retry: {{type: constant, interval: PT0.5S, maxAttempts: 3}}
    script: '[ "$LANNER_ATTEMPT" -ge 1 ]'
"""
LEAF = "tasks: [{id: a, type: io.kestra.plugin.core.debug.Return, format: x}]\n"


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer() as made:
        yield made


@pytest.fixture
def shell(database: Database, renderer: Renderer, clock: ManualClock) -> Iterator[Shell]:
    """A shell that forgets: nobody is told of starts and commits."""
    made = Shell(database, renderer, clock=clock, silent=True)
    made.executions.on_start = None
    made.executions.on_commit = None
    yield made
    made.close()


def a_round(shell: Shell, clock: ManualClock) -> None:
    """Half a minute passes, every loop looks once, the worker does what it was told."""
    clock.advance(timedelta(seconds=31))
    shell.reconciler.pass_once()
    shell.outbox.pass_once()
    shell.timers.pass_once()
    waiting, shell.dispatch.waiting = shell.dispatch.waiting, []
    for run_id, epoch in waiting:
        one = _execution_of(shell, run_id)
        if shell.claim(one, run_id, epoch):
            run = next(run for run in shell.runs(one) if run.id == run_id)
            fails = run.task_id == "flaky" and len(run.attempts) < 2
            shell.finish(one, run_id, epoch, State.FAILED if fails else State.SUCCESS)


def _execution_of(shell: Shell, run_id: str) -> str:
    import sqlalchemy as sa

    from runner.rows import run_table

    query = sa.select(run_table.c.execution_id).where(run_table.c.id == run_id)
    return str(shell.database.read(lambda c: c.execute(query).scalar_one()))


def rounds(shell: Shell, clock: ManualClock, *executions: str, most: int = 40) -> None:
    for _ in range(most):
        if all(shell.state(one) in ENDED for one in executions):
            return
        a_round(shell, clock)
    pytest.fail(f"still {[shell.state(one) for one in executions]} after {most} rounds")


def test_a_shell_that_forgets_everything_at_once_still_finishes(shell: Shell, clock: ManualClock) -> None:
    # on_commit carries dispatches that only drive() finds again, so drive() must hand on what it finds.
    shell.executions.on_commit = lambda execution_id, flow, outcome: [
        shell.dispatch.submit(item.task_run_id, item.epoch, "") for item in outcome.dispatches
    ]
    shell.deploy("leaf", LEAF)
    shell.deploy("f", EVERYTHING)
    shell.deploy("limited", "concurrency: {limit: 1, behavior: QUEUE}\n" + LEAF)
    started = [shell.start("f"), *(shell.start("limited") for _ in range(3)), shell.insert("f")]

    rounds(shell, clock, *started)

    assert {shell.state(one) for one in started} == {"SUCCESS"}


def test_a_queued_execution_starts_when_the_release_is_lost(shell: Shell, clock: ManualClock) -> None:
    import sqlalchemy as sa

    from namespaces.store import outbox

    shell.deploy("f", "concurrency: {limit: 1, behavior: QUEUE}\n" + LEAF)
    started = [shell.start("f") for _ in range(3)]
    for _ in range(20):
        a_round(shell, clock)
        shell.database.write(lambda tx: tx.execute(sa.delete(outbox.table)))

    assert {shell.state(one) for one in started} == {"SUCCESS"}


@pytest.mark.parametrize("again", ["restart", "mark"])
def test_a_restart_whose_process_died_is_taken_up(shell: Shell, clock: ManualClock, again: str) -> None:
    shell.deploy(
        "f",
        """
        tasks:
          - {id: fails, type: io.kestra.plugin.core.execution.Fail}
          - {id: after, type: io.kestra.plugin.core.debug.Return, format: x}
        """,
    )
    one = shell.start("f")
    rounds(shell, clock, one)
    assert shell.state(one) == "FAILED"

    if again == "restart":
        shell.executions.restart(one)
        expected = "FAILED"
    else:
        (run,) = shell.runs(one)
        shell.executions.mark_task_run(one, run.id, "SUCCESS")
        expected = "SUCCESS"
    assert shell.state(one) not in ENDED

    rounds(shell, clock, one)
    assert shell.state(one) == expected


def test_a_delayed_start_needs_no_timer_to_be_remembered(shell: Shell, clock: ManualClock) -> None:
    shell.deploy("f", LEAF)
    due = clock.now() + timedelta(minutes=2)
    one = shell.start("f", schedule_date=due)

    a_round(shell, clock)
    assert shell.state(one) == "CREATED"
    rounds(shell, clock, one)

    assert clock.now() >= due


def test_a_resume_whose_process_died_goes_on(shell: Shell, clock: ManualClock) -> None:
    shell.deploy(
        "f",
        """
        tasks:
          - {id: wait, type: io.kestra.plugin.core.flow.Pause}
          - {id: after, type: io.kestra.plugin.core.debug.Return, format: x}
        """,
    )
    one = shell.start("f")
    a_round(shell, clock)
    assert shell.state(one) == "PAUSED"

    shell.executions.resume(one)

    rounds(shell, clock, one)
    assert shell.state(one) == "SUCCESS"


def test_a_kill_whose_process_died_ends_the_children_too(shell: Shell, clock: ManualClock) -> None:
    shell.deploy("leaf", "tasks: [{id: wait, type: io.kestra.plugin.core.flow.Pause}]\n")
    shell.deploy("f", f"tasks: [{{id: c, type: io.kestra.plugin.core.flow.Subflow, namespace: {NS}, flowId: leaf}}]\n")
    one = shell.start("f")
    for _ in range(4):
        a_round(shell, clock)
    (run,) = shell.runs(one)
    assert run.state == "RUNNING"

    shell.executions.kill(one)

    rounds(shell, clock, one)
    assert shell.state(one) == "KILLED"
    assert _states_of(shell, "leaf") == ["KILLED"]


def _states_of(shell: Shell, flow_id: str) -> list[Any]:
    import sqlalchemy as sa

    from runner.rows import execution_table

    query = sa.select(execution_table.c.state).where(execution_table.c.flow_id == flow_id)
    return list(shell.database.read(lambda c: list(c.execute(query).scalars())))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_whole_instance_without_nudges_finishes_everything(tmp_path: Path, database_url: str) -> None:
    instance = Instance(tmp_path / "data", database_url, env={"LANNER_TEST_SILENT": "1"})
    try:
        instance.deploy("leaf", LEAF)
        instance.deploy("f", EVERYTHING)
        instance.deploy("limited", "concurrency: {limit: 1, behavior: QUEUE}\n" + LEAF)
        started = [instance.start("f"), *(instance.start("limited") for _ in range(4))]

        assert {instance.ended(one, 60)["state"]["current"] for one in started} == {"SUCCESS"}
        assert instance.executions.wait(started[0], timeout_s=5)
    finally:
        instance.close()
