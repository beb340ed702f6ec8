"""Limits of what an instance takes on: refused early, with the reason, and nothing hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from namespaces.clock import ManualClock
from namespaces.errors import TooMany
from namespaces.store.db import Database
from runner.limits import Limits
from runner.renderer import Renderer
from runner.tables import LogRow
from tests.runner.shell.house import NS, House
from tests.runner.shell.test_liveness import INLINE, work

Make = Callable[..., House]


@pytest.fixture
def limited(sqlite_database: Database, clock: ManualClock, renderer: Renderer) -> Iterator[Make]:
    made: list[House] = []

    def make(**limits: Any) -> House:
        made.append(House(sqlite_database, clock, renderer, Limits(**limits)))
        return made[-1]

    yield make
    for house in made:
        house.close()


@pytest.mark.parametrize("limit", ["executions", "executions_per_namespace", "executions_per_flow"])
def test_more_open_executions_than_allowed_are_refused_until_one_ends(limited: Make, limit: str):
    house = limited(**{limit: 2})
    house.deploy("f", f"tasks: [{work('a')}]")
    first = house.start("f")
    house.start("f")

    with pytest.raises(TooMany) as refused:
        house.start("f")
    assert getattr(refused.value, "retry_after_s", 0) > 0
    assert house.end(first) == "SUCCESS"
    house.clock.advance(timedelta(seconds=1))
    house.start("f")


def test_other_flows_and_namespaces_go_on(limited: Make):
    house = limited(executions_per_flow=1)
    house.deploy("f", f"tasks: [{work('a')}]")
    house.deploy("g", f"tasks: [{work('a')}]")
    house.start("f")
    house.start("g")

    with pytest.raises(TooMany, match=rf"1 executions of the flow '{NS}.g' are open"):
        house.start("g")


def test_open_executions_are_counted_once_a_second_whatever_comes(limited: Make):
    house = limited()
    house.deploy("f", f"tasks: [{work('a')}]")
    house.start("f")
    house.executions.open.refuse_more(NS, "f")
    house.database.write(lambda tx: tx.execute(sa.text("UPDATE execution SET finished = 1")))
    for _ in range(9):
        house.executions.open.started(NS, "f")
    assert house.executions.open._fresh() == {(NS, "f"): 10}  # not looked again yet
    house.clock.advance(timedelta(seconds=1))
    assert house.executions.open._fresh() == {}


def test_an_execution_with_too_many_task_runs_fails(limited: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("runner.deciding.GROWTH", 1)
    house = limited(task_runs=20)
    house.deploy(
        "f",
        f"""
        tasks:
          - id: outer
            type: io.kestra.plugin.core.flow.ForEach
            values: [1, 2, 3, 4, 5]
            tasks:
              - id: inner
                type: io.kestra.plugin.core.flow.ForEach
                values: [1, 2, 3, 4, 5]
                tasks: [{INLINE % "a"}]
              - {work("b")}
        """,
    )
    execution = house.start("f")

    assert house.end(execution) == "FAILED"
    assert "too_many_taskruns" in str(house.row(execution).error)
    assert len(house.runs(execution)) < 30
    assert all(row.terminal for row in house.runs(execution))


def test_more_values_than_task_runs_are_not_begun(limited: Make):
    house = limited(task_runs=20)
    house.deploy(
        "f",
        f"""
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            concurrencyLimit: 0
            values: "{{{{ range(1, 30) }}}}"
            tasks: [{work("a")}]
        """,
    )
    execution = house.start("f")

    assert house.end(execution) == "FAILED"
    assert house.states(execution) == ["each FAILED"]


def test_a_loop_that_drops_its_passes_may_go_on(limited: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("runner.deciding.GROWTH", 1)
    house = limited(task_runs=5)
    house.deploy(
        "f",
        f"""
        tasks:
          - id: until
            type: io.kestra.plugin.core.flow.LoopUntil
            condition: "{{{{ outputs.until.iterationCount > 9 }}}}"
            checkFrequency: {{interval: PT1S}}
            tasks: [{INLINE % "pass"}]
        """,
    )
    assert house.end(house.start("f")) == "SUCCESS"


def logs(house: House) -> str:
    table = LogRow.__table__  # type: ignore[attr-defined]
    return "\n".join(house.database.read(lambda c: list(c.execute(sa.select(table.c.message)).scalars())))


def test_outputs_beyond_the_limit_fail_the_task(limited: Make):
    house = limited(output_bytes=50_000)
    house.results["a"] = [{"value": "x" * 60_000}]
    house.deploy("f", f"tasks: [{work('a')}]")
    execution = house.start("f")

    assert house.end(execution) == "FAILED"
    assert house.run(execution, "a").outputs is None
    assert "output_too_large" in house.run(execution, "a").error
    assert "output_too_large" in logs(house)


def test_outputs_of_an_inline_task_and_of_a_flow_have_the_same_limit(limited: Make):
    house = limited(output_bytes=50_000)
    big = "{{ range(1, 20000) }}"
    house.deploy("f", f"tasks: [{{id: a, type: io.kestra.plugin.core.debug.Return, format: '{big}'}}]")
    house.deploy("g", f"tasks: [{work('a')}]\noutputs: [{{id: x, type: STRING, value: '{big}'}}]")
    inline, flow = house.start("f"), house.start("g")

    assert house.end(inline) == "FAILED"
    assert "output_too_large" in house.run(inline, "a").error
    assert house.end(flow) == "FAILED"
    assert "output_too_large" in house.row(flow).error


def test_subflows_deeper_than_allowed_fail(limited: Make):
    house = limited(subflow_depth=3)
    for here, there in (("f", "g"), ("g", "f")):
        house.deploy(
            here,
            f"""
            tasks:
              - id: sub
                type: io.kestra.plugin.core.flow.Subflow
                namespace: company.team
                flowId: {there}
            """,
        )
    execution = house.start("f")

    assert house.end(execution) == "FAILED"
    assert len(house.executions_of("f")) + len(house.executions_of("g")) == 4
    assert "subflow_depth" in logs(house)


def test_deleting_a_running_child_lets_its_parent_go_on(limited: Make):
    house = limited()
    house.deploy("child", "tasks: [{id: wait, type: io.kestra.plugin.core.flow.Pause}]")
    house.deploy(
        "f", "tasks: [{id: s, type: io.kestra.plugin.core.flow.Subflow, namespace: company.team, flowId: child}]"
    )
    parent = house.start("f")
    house.settle(lambda: house.row(parent).state == "PAUSED")

    house.executions.delete(house.executions_of("child")[0].id)

    assert house.end(parent) == "KILLED"
