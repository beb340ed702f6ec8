"""ForEachItem: one child execution per batch, each end counted once, whatever is lost or done twice."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from namespaces.blobs import execution_folder
from runner import batches
from runner.engine.states import State
from runner.rows import batch_set_table, batch_table, execution_table
from tests.runner.shell.house import NS, House
from tests.runner.shell.test_liveness import work

EACH = """
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEachItem
    items: kestra:///x
    namespace: company.team
    flowId: child
    inputs: {file: "{{ taskrun.items }}", number: "{{ taskrun.iteration }}"}
"""
CHILD = f"""
inputs: [{{id: file, type: STRING}}, {{id: number, type: INT}}]
tasks: [{work("c")}]
outputs: [{{id: x, type: STRING, value: "{{{{ inputs.number }}}}"}}]
"""


def begin(house: House, count: int, more: str = "", child: str = CHILD) -> str:
    """An execution whose split has given so many batches."""
    house.deploy("child", child)
    house.deploy("f", EACH + more)
    execution = house.start("f")
    folder = execution_folder(NS, "f", execution)
    splits = house.storage.put(
        f"{folder}/splits.txt", "".join(f"kestra:///{folder}/{n}\n" for n in range(count)).encode()
    )
    house.results["each_split"] = [{"splits": splits}]
    return execution


def states(house: House) -> list[str]:
    return sorted(row.state for row in house.executions_of("child"))


def items(house: House, execution: str) -> dict[str, Any]:
    found: dict[str, Any] = house.run(execution, "each_items").outputs
    return found


@pytest.mark.parametrize("deaf", [False, True])
def test_every_batch_has_its_execution(house: House, deaf: bool):
    house.deaf = deaf
    execution = begin(house, 7)

    assert house.end(execution, seconds=2_000) == "SUCCESS"
    assert house.states(execution) == [
        "each SUCCESS", "each_split SUCCESS", "each_items SUCCESS", "each_merge SUCCESS",
    ]  # fmt: skip
    assert items(house, execution) == {
        "iterations": {"CREATED": 0, "RUNNING": 0, "SUCCESS": 7},
        "numberOfBatches": 7,
    }
    children = house.executions_of("child")
    assert sorted(row.inputs["number"] for row in children) == list(range(7))
    assert {row.inputs["file"].rpartition("/")[2] for row in children} == {str(n) for n in range(7)}
    assert all(row.trigger_execution_id == execution for row in children)
    run = house.run(execution, "each_items")
    assert [value["x"] for value in house.database.read(lambda c: list(batches.outputs(c, run.id)))] == list("0123456")


def test_an_empty_file_has_no_batches(house: House):
    execution = begin(house, 0)
    assert house.end(execution) == "SUCCESS"
    assert items(house, execution)["numberOfBatches"] == 0
    assert states(house) == []


def test_what_fails_fails_the_task_with_all_counted(house: House):
    house.results["c"] = [State.SUCCESS, State.FAILED, State.WARNING]
    execution = begin(house, 4, f"    errors: [{work('e')}]\n")

    assert house.end(execution) == "FAILED"
    assert items(house, execution)["iterations"] == {
        "CREATED": 0, "RUNNING": 0, "SUCCESS": 2, "WARNING": 1, "FAILED": 1,
    }  # fmt: skip
    assert house.states(execution)[2:] == ["each_items FAILED", "e SUCCESS"]


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ("    transmitFailed: false\n", "SUCCESS"),
        ("    allowFailure: true\n", "WARNING"),
        ("    allowFailure: true\n    allowWarning: true\n", "SUCCESS"),
    ],
)
def test_a_failure_may_be_allowed(house: House, more: str, state: str):
    house.results["c"] = [State.FAILED]
    assert house.end(begin(house, 2, more)) == state


def test_without_waiting_the_task_ends_when_all_are_created(house: House):
    execution = begin(house, 3, "    wait: false\n", CHILD.replace(work("c"), "{id: c, type: core.flow.Pause}"))

    assert house.end(execution) == "SUCCESS"
    assert items(house, execution)["iterations"] == {"CREATED": 0, "RUNNING": 0, "SUCCESS": 3}
    house.step()
    assert states(house) == ["PAUSED"] * 3


def test_a_restart_runs_what_failed_again(house: House):
    house.results["c"] = [State.FAILED, State.FAILED]
    execution = begin(house, 5)
    assert house.end(execution) == "FAILED"

    house.executions.restart(execution)

    assert house.end(execution) == "SUCCESS"
    assert len(house.executions_of("child")) == 5
    assert items(house, execution)["iterations"] == {"CREATED": 0, "RUNNING": 0, "SUCCESS": 5}


def test_a_restart_may_begin_with_new_executions(house: House):
    house.results["c"] = [State.FAILED]
    execution = begin(house, 2, "    restartBehavior: NEW_EXECUTION\n")
    assert house.end(execution) == "FAILED"

    house.executions.restart(execution)

    assert house.end(execution) == "SUCCESS"
    assert states(house) == ["FAILED", "SUCCESS", "SUCCESS", "SUCCESS"]
    assert items(house, execution)["iterations"] == {"CREATED": 0, "RUNNING": 0, "SUCCESS": 2}


def test_a_kill_ends_all_of_them(house: House):
    execution = begin(house, 3, child=CHILD.replace(work("c"), "{id: c, type: core.flow.Pause}"))
    house.settle(lambda: states(house) == ["PAUSED"] * 3)

    house.executions.kill(execution)

    assert house.end(execution) == "KILLED"
    assert states(house) == ["KILLED"] * 3


def test_a_kill_while_they_are_made_leaves_none_behind(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("runner.batches.CHUNK", 1)
    execution = begin(house, 5, child=CHILD.replace(work("c"), "{id: c, type: core.flow.Pause}"))
    create = batches.Starter._create
    made: list[int] = []

    def killing(self: batches.Starter, *args: Any) -> None:
        create(self, *args)
        made.append(1)
        if len(made) == 2:
            house.executions.kill(execution)

    monkeypatch.setattr("runner.batches.Starter._create", killing)

    assert house.end(execution) == "KILLED"
    assert states(house) == ["KILLED"] * 2


PAUSING = CHILD.replace(work("c"), "{id: c, type: core.flow.Pause}")


def test_while_a_batch_is_paused_the_task_and_the_execution_show_it(house: House):
    execution = begin(house, 3, child=PAUSING)
    house.settle(lambda: states(house) == ["PAUSED"] * 3)
    house.settle(lambda: house.row(execution).state == "PAUSED")
    assert house.run(execution, "each_items").state == "PAUSED"
    first, *others = house.executions_of("child")

    house.executions.resume(first.id)
    house.settle(lambda: bool(house.row(first.id).finished))
    for row in (first, *others):
        house.effects.announce_again(row.id)
    assert house.row(execution).state == "PAUSED"
    for row in others:
        house.executions.resume(row.id)

    assert house.end(execution) == "SUCCESS"
    assert items(house, execution)["iterations"] == {"CREATED": 0, "RUNNING": 0, "SUCCESS": 3}
    query = sa.select(batch_set_table.c.paused)
    assert house.database.read(lambda c: list(c.execute(query).scalars())) == [0]


def test_batches_that_go_on_let_the_execution_run_again(house: House):
    tasks = f"{{id: p, type: core.flow.Pause}}, {work('c')}"
    execution = begin(house, 2, child=CHILD.replace(work("c"), tasks))
    house.settle(lambda: house.row(execution).state == "PAUSED")
    for row in house.executions_of("child"):
        house.executions.resume(row.id)

    assert house.end(execution) == "SUCCESS"
    shown = [entry[0] for entry in house.run(execution, "each_items").history]
    assert shown[-3:] == ["PAUSED", "RUNNING", "SUCCESS"]


def test_without_transmit_failed_a_paused_batch_is_not_shown(house: House):
    execution = begin(house, 2, "    transmitFailed: false\n", child=PAUSING)
    house.settle(lambda: states(house) == ["PAUSED"] * 2)
    house.step()
    assert house.row(execution).state == "RUNNING"


def test_an_end_that_is_told_twice_counts_once(house: House):
    execution = begin(house, 2, child=CHILD.replace(work("c"), "{id: c, type: core.flow.Pause}"))
    house.settle(lambda: states(house) == ["PAUSED"] * 2)
    child = house.executions_of("child")[0]
    house.executions.resume(child.id)
    house.settle(lambda: bool(house.row(child.id).finished))

    for _ in range(3):
        house.effects.announce_again(child.id)

    assert items(house, execution)["iterations"] == {"CREATED": 0, "RUNNING": 1, "SUCCESS": 1}
    assert not house.row(execution).finished


def test_a_retried_child_is_followed_to_the_last_of_its_chain(house: House):
    house.results["c"] = [State.FAILED, State.FAILED]
    retry = "retry: {type: constant, interval: PT20S, maxAttempts: 4, behavior: CREATE_NEW_EXECUTION}\n"
    execution = begin(house, 1, child=CHILD + retry)

    assert house.end(execution) == "SUCCESS"
    assert states(house) == ["RETRIED", "RETRIED", "SUCCESS"]
    assert items(house, execution)["iterations"] == {"CREATED": 0, "RUNNING": 0, "SUCCESS": 1}


def test_the_cost_of_an_end_does_not_grow_with_the_batches(house: House):
    execution = begin(house, 60, child=CHILD.replace(work("c"), "{id: c, type: core.flow.Pause}"))
    house.settle(lambda: states(house) == ["PAUSED"] * 60)
    version = house.row(execution).version
    for row in house.executions_of("child")[:40]:
        house.executions.resume(row.id)
    house.settle(lambda: states(house).count("SUCCESS") == 40)

    assert items(house, execution)["iterations"]["SUCCESS"] >= 30
    assert house.row(execution).version - version <= batches.STEPS + 2


def test_too_many_batches_are_refused_before_the_first_is_made(house: House):
    object.__setattr__(house.executions.rendering.limits, "executions_per_flow", 3)
    execution = begin(house, 4)

    assert house.end(execution) == "FAILED"
    assert states(house) == []
    assert "too_many_executions" in house.run(execution, "each_items").error


def test_inputs_that_the_flow_refuses_fail_the_task(house: House):
    execution = begin(house, 2, child=CHILD.replace("type: INT", "type: INT, min: 100"))
    assert house.end(execution) == "FAILED"
    assert states(house) == []


def test_a_deleted_execution_takes_its_batches_with_it(house: House):
    execution = begin(house, 2)
    assert house.end(execution) == "SUCCESS"

    house.executions.delete(execution)

    for table in (batch_table, batch_set_table):
        assert (
            house.database.read(lambda c, t=table: c.execute(sa.select(sa.func.count()).select_from(t)).scalar()) == 0
        )
    assert (
        house.database.read(lambda c: c.execute(sa.select(sa.func.count()).select_from(execution_table)).scalar()) == 2
    )


def test_a_missing_flow_fails_the_task_with_its_name(house: House):
    execution = begin(house, 1, f"  - {work('never')}\n")
    other = house.start("f")
    house.deploy("f", EACH.replace("flowId: child", "flowId: nowhere"))
    missing = house.start("f")
    house.results["each_split"] *= 3

    assert house.end(missing) == "FAILED"
    assert "nowhere" in house.run(missing, "each_items").error
    assert house.end(execution) == house.end(other) == "SUCCESS"
