"""Restart and replay as the shell does them: new executions, their rows, their outputs."""

from __future__ import annotations

import pytest

from namespaces.errors import Conflict, NotFound
from runner.engine.states import State
from tests.runner.shell.house import House
from tests.runner.shell.test_liveness import work


def test_a_restart_under_another_revision_is_a_new_execution(house: House):
    house.results["b"] = [State.FAILED]
    house.results["a"] = [{"value": "kept", "large": "x" * 300_000}]
    house.deploy("f", f"tasks: [{work('a')}, {work('b')}]")
    old = house.start("f")
    assert house.end(old) == "FAILED"
    house.deploy(
        "f",
        f"""
        tasks: [{work("a")}, {work("b")}, {work("c")}]
        outputs: [{{id: x, type: STRING, value: "{{{{ outputs.a.value }}}} {{{{ outputs.a.large | length }}}}"}}]
        """,
    )

    new = house.executions.restart(old, revision=2)

    assert new != old
    assert house.end(new) == "SUCCESS"
    assert house.states(new) == ["a SUCCESS", "b SUCCESS", "c SUCCESS"]
    assert house.row(new).outputs == {"x": "kept 300000"}
    row, kept = house.row(new), house.row(old)
    assert (row.revision, row.parent_id, row.original_id) == (2, old, kept.original_id)
    assert ["system.restarted", "true"] in row.labels
    assert (kept.state, kept.revision, house.states(old)) == ("FAILED", 1, ["a SUCCESS", "b FAILED"])


def test_a_restart_under_its_own_revision_keeps_the_execution(house: House):
    house.results["a"] = [State.FAILED]
    house.deploy("f", f"tasks: [{work('a')}]")
    execution = house.start("f")
    assert house.end(execution) == "FAILED"

    assert house.executions.restart(execution, revision=1) == execution
    assert house.end(execution) == "SUCCESS"
    assert len(house.executions_of("f")) == 1


def test_a_loop_restarted_under_another_revision_goes_on_with_the_values_that_are_left(house: House):
    house.results["a"] = [State.SUCCESS, State.FAILED]
    body = f"""
        tasks:
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            values: [1, 2, 3, 4]
            tasks: [{work("a")}]
        """
    house.deploy("f", body)
    old = house.start("f")
    assert house.end(old) == "FAILED"
    house.deploy("f", body + "description: newer\n")

    new = house.executions.restart(old, revision=2)

    assert house.end(new) == "SUCCESS"
    assert [row.value for row in house.runs(new) if row.task_id == "a"] == ["1", "2", "3", "4"]


def test_what_cannot_be_restarted_is_refused(house: House):
    house.deploy("f", f"tasks: [{work('a')}]")
    execution = house.start("f")
    with pytest.raises(Conflict):
        house.executions.restart(execution)
    assert house.end(execution) == "SUCCESS"

    with pytest.raises(NotFound):
        house.executions.restart(execution, revision=7)
    house.deploy("f", f"tasks: [{work('a')}, {work('b')}]")
    with pytest.raises(Conflict, match="No task found to restart"):
        house.executions.restart(execution, revision=2)
