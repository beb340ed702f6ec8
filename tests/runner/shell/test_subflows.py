"""Subflow tasks and the executions they wait for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from runner.engine.states import State
from tests.runner.shell.house import House
from tests.runner.shell.test_liveness import work

PARENT = """
tasks:
  - id: sub
    type: io.kestra.plugin.core.flow.Subflow
    namespace: company.team
    flowId: child
"""


def child(house: House, interval: str = "PT20S") -> None:
    house.deploy(
        "child",
        f"""
        retry: {{type: constant, interval: {interval}, maxAttempts: 4, behavior: CREATE_NEW_EXECUTION}}
        tasks: [{work("c")}]
        outputs: [{{id: x, type: STRING, value: "{{{{ execution.id }}}}"}}]
        """,
    )


@pytest.mark.parametrize("deaf", [False, True])
def test_a_parent_waits_for_the_last_execution_of_a_retried_child(house: House, deaf: bool):
    house.deaf = deaf
    house.results["c"] = [State.FAILED, State.FAILED]
    child(house)
    house.deploy("f", PARENT)
    parent = house.start("f")

    assert house.end(parent) == "SUCCESS"
    children = house.executions_of("child")
    assert [row.state for row in children] == ["RETRIED", "RETRIED", "SUCCESS"]
    outputs = house.run(parent, "sub").outputs
    assert outputs == {"executionId": children[-1].id, "state": "SUCCESS", "outputs": {"x": children[-1].id}}


def test_a_parent_fails_with_the_last_of_the_chain(house: House):
    house.results["c"] = [State.FAILED] * 4
    child(house)
    house.deploy("f", PARENT)
    parent = house.start("f")

    assert house.end(parent) == "FAILED"
    assert [row.state for row in house.executions_of("child")] == ["RETRIED", "RETRIED", "RETRIED", "FAILED"]


def test_killing_a_parent_ends_the_wait_for_the_next_of_the_chain(house: House):
    house.results["c"] = [State.FAILED]
    child(house, "PT1H")
    house.deploy("f", PARENT)
    parent = house.start("f")
    house.settle(lambda: [row.state for row in house.executions_of("child")] == ["RETRIED"])

    house.executions.kill(parent)

    assert house.end(parent) == "KILLED"
    house.clock.advance(timedelta(hours=2))
    house.step()
    assert len(house.executions_of("child")) == 1


def test_a_parent_follows_the_chain_of_its_own_child_only(house: House):
    house.results["c"] = [State.FAILED]
    child(house, "PT1H")
    house.deploy("f", PARENT)
    parent = house.start("f")
    house.settle(lambda: [row.state for row in house.executions_of("child")] == ["RETRIED"])
    old = house.executions_of("child")[0]
    house.driver._follow("nobody", old.id, "x")
    house.driver._follow(house.run(parent, "sub").id, "another", "x")

    assert house.run(parent, "sub").outputs["executionId"] == old.id
