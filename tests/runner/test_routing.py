"""Worker groups (``flows.md`` 1.13): who may take work, and what happens when nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from runner.engine.states import State
from runner.routing import Known, Route, decide, queues, served, worker_table
from tests.support.instances import Instance

GPU = Known(frozenset({"gpu"}), True)
BOTH = Known(frozenset({"gpu", "big"}), True)
GONE = Known(frozenset({"old"}), False)
R = "type: io.kestra.plugin.core.debug.Return"


def group(key: str, fallback: str = "WAIT") -> dict[str, Any]:
    return {"tags": (key,), "match": "ALL", "fallback": fallback, "group": True}


def selector(*tags: str, match: str = "ALL", fallback: str = "FAIL") -> dict[str, Any]:
    return {"tags": tags, "match": match, "fallback": fallback, "group": False}


@pytest.mark.parametrize(
    ("wanted", "queue", "end"),
    [
        (group("gpu"), "gpu", None),
        (group(""), "", None),
        (group("nobody"), None, State.FAILED),
        (group("nobody", "CANCEL"), None, State.FAILED),
        (group("old", "WAIT"), None, None),
        (group("old", "FAIL"), None, State.FAILED),
        (group("old", "CANCEL"), None, State.CANCELLED),
        (selector("gpu", "big"), "big+gpu", None),
        (selector("gpu", "old"), None, State.FAILED),
        (selector("old", "gpu", match="ANY"), "gpu", None),
        (selector("nobody", fallback="WAIT"), None, None),
        (selector("nobody", fallback="CANCEL"), None, State.CANCELLED),
        (selector("nobody", fallback="IGNORE"), "", None),
        (selector("old", fallback="IGNORE"), "", None),
        (selector(), "", None),
    ],
)
def test_where_work_goes(wanted: dict[str, Any], queue: str | None, end: State | None) -> None:
    route = decide(wanted, [GPU, BOTH, GONE])

    assert (route.queue, route.end) == (queue, end)


def test_an_unknown_key_is_told_in_kestras_words() -> None:
    assert decide(group("k"), []) == Route(
        end=State.FAILED, reason="Cannot run task. No worker group exist for key 'k'."
    )


def test_a_worker_listens_to_every_combination_of_its_groups() -> None:
    assert queues(("b", "a")) == ("a", "b", "a+b")
    assert queues(("",)) == ("",)
    assert queues(("", "a")) == ("", "a")


def test_what_a_process_serves() -> None:
    assert served([], alone=False) == ("",)
    assert served(["gpu"], alone=False) == ("gpu",)
    assert served(["gpu", "default"], alone=False) == ("gpu", "")
    assert served(["gpu"], alone=True) == ("", "gpu")


@pytest.fixture
def instance(tmp_path: Path, database_url: str) -> Iterator[Instance]:
    made = Instance(tmp_path / "data", database_url, dispatch={"groups": ["gpu"]})
    yield made
    made.close()


def states(one: dict[str, Any]) -> dict[str, str]:
    return {run["taskId"]: run["state"]["current"] for run in one["taskRunList"]}


def test_tasks_of_a_group_run_where_it_is_served_and_fail_where_it_is_unknown(instance: Instance) -> None:
    instance.deploy(
        "f",
        f"""
        inputs: [{{id: key, type: STRING}}]
        tasks:
          - {{id: here, {R}, workerGroup: {{key: "{{{{ inputs.key }}}}"}}}}
          - {{id: plain, {R}}}
        """,
    )

    assert states(instance.run("f", inputs={"key": "gpu"})) == {"here": "SUCCESS", "plain": "SUCCESS"}
    failed = instance.run("f", inputs={"key": "tpu"})
    assert states(failed) == {"here": "FAILED"}
    assert "Cannot run task. No worker group exist for key 'tpu'." in instance.logs(failed["id"])


def test_the_task_comes_before_the_flow_and_a_fallback_may_cancel(instance: Instance) -> None:
    instance.deploy(
        "f",
        f"""
        workerSelector: {{tags: [tpu], fallback: CANCEL}}
        tasks:
          - {{id: own, {R}, workerSelector: {{tags: [gpu]}}}}
          - {{id: inherited, {R}}}
          - {{id: ignoring, {R}, workerSelector: {{tags: [tpu], fallback: IGNORE}}}}
        """,
    )

    assert states(instance.run("f")) == {"own": "SUCCESS", "inherited": "CANCELLED", "ignoring": "SUCCESS"}


def test_work_waits_for_a_group_whose_worker_is_away(instance: Instance) -> None:
    gone = sa.insert(worker_table).from_select(
        [column.name for column in worker_table.c],
        sa.select(
            *(
                sa.literal("gone").label("id") if column.name == "id"
                else sa.literal("STOPPED").label("state") if column.name == "state"
                else sa.literal(["tpu"], type_=worker_table.c.groups.type).label("groups") if column.name == "groups"
                else column
                for column in worker_table.c
            )
        ).limit(1),
    )  # fmt: skip
    instance.database.write(lambda tx: tx.execute(gone))
    instance.deploy("f", f"tasks: [{{id: t, {R}, workerGroup: {{key: tpu}}}}]")
    one = instance.start("f")
    waiting = instance.until(one, lambda e: states(e) == {"t": "CREATED"}, "waiting")
    assert waiting["state"]["current"] == "RUNNING"

    back = sa.update(worker_table).where(worker_table.c.id == "gone").values(state="RUNNING")
    instance.database.write(lambda tx: tx.execute(back))
    instance.executions.applier.drive(one)

    assert instance.ended(one)["state"]["current"] == "SUCCESS"
