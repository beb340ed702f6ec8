"""Tasks that count and remove what ran before, on a real instance: their dates are text when they arrive."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from namespaces.errors import NotFound
from runner.purging import revision_table
from runner.starting import StartRequest
from runner.world import namespace_table
from tests.support.instances import NS, Instance

LOGGING = "tasks: [{id: t, type: io.kestra.plugin.core.log.Log, message: hi}]\n"
CORE = "io.kestra.plugin.core."


def test_executions_are_counted_between_two_dates(instance: Instance) -> None:
    instance.deploy("old", LOGGING)
    instance.run("old")
    instance.deploy(
        "count",
        f"""
        tasks:
          - id: count
            type: {CORE}execution.Count
            flows: [{{namespace: {NS}, flowId: old}}]
            startDate: "{{{{ now() | dateAdd(-1, 'DAYS') }}}}"
            expression: "{{{{ count >= 1 }}}}"
          - id: none
            type: {CORE}execution.Count
            flows: [{{namespace: {NS}, flowId: old}}]
            startDate: "2020-01-01T00:00:00Z"
            endDate: "2020-01-02T00:00:00+02:00"
            expression: "{{{{ count >= 1 }}}}"
        """,
    )

    runs = {run["taskId"]: run for run in instance.run("count")["taskRunList"]}

    assert runs["count"]["outputs"]["total"] == 1
    assert runs["none"]["outputs"].get("results", []) == []


def test_logs_and_executions_are_purged_up_to_a_date(instance: Instance) -> None:
    instance.deploy("old", LOGGING)
    old = instance.run("old")["id"]
    instance.deploy(
        "purge",
        f"""
        tasks:
          - {{id: logs, type: {CORE}log.PurgeLogs, namespace: {NS}, flowId: old, endDate: "{{{{ now() }}}}"}}
          - {{id: runs, type: {CORE}execution.PurgeExecutions, flowId: old, endDate: "{{{{ now() }}}}"}}
        """,
    )

    runs = {run["taskId"]: run for run in instance.run("purge")["taskRunList"]}

    assert runs["logs"]["outputs"] == {"count": 1}
    assert runs["runs"]["outputs"] == {"executionsCount": 1, "logsCount": 0, "metricsCount": 0, "storagesCount": 0}
    with pytest.raises(NotFound):
        instance.executions.kill(old)


def test_logs_and_files_are_purged_and_the_execution_kept(instance: Instance) -> None:
    instance.deploy("old", f"tasks: [{{id: w, type: {CORE}storage.Write, content: x}}, {LOGGING.split('[')[1]}")
    old = instance.run("old")["id"]
    instance.deploy(
        "purge",
        f"""
        tasks:
          - id: runs
            type: {CORE}execution.PurgeExecutions
            namespace: {NS}
            flowId: old
            endDate: "{{{{ now() }}}}"
            purgeExecution: false
        """,
    )

    outputs = instance.run("purge")["taskRunList"][0]["outputs"]

    assert (outputs["executionsCount"], outputs["logsCount"], outputs["storagesCount"]) == (0, 1, 1)
    assert instance.get(old)["state"]["current"] == "SUCCESS"
    assert instance.logs(old) == []


def test_a_date_that_cannot_be_read_is_named(instance: Instance) -> None:
    instance.deploy("bad", f"tasks: [{{id: t, type: {CORE}log.PurgeLogs, namespace: x, endDate: tomorrow}}]\n")

    assert any("endDate" in line for line in instance.logs(instance.run("bad")["id"]))


def test_expired_keys_old_versions_and_chosen_keys_are_purged(instance: Instance) -> None:
    instance.deploy(
        "kv",
        f"""
        tasks:
          - {{id: gone, type: {CORE}kv.Set, key: gone, value: "1", ttl: PT0.01S}}
          - {{id: one, type: {CORE}kv.Set, key: kept, value: "1"}}
          - {{id: two, type: {CORE}kv.Set, key: kept, value: "2"}}
          - {{id: three, type: {CORE}kv.Set, key: tmp_a, value: "2"}}
          - {{id: sleep, type: {CORE}flow.Sleep, duration: PT0.05S}}
          - {{id: expired, type: {CORE}kv.PurgeKV}}
          - {{id: versions, type: {CORE}kv.PurgeKV, behavior: {{type: version, keepAmount: 1}}}}
          - id: chosen
            type: {CORE}kv.PurgeKV
            namespaces: [{NS}]
            keyPattern: "tmp_*"
            behavior: {{type: key, expiredOnly: false}}
          - {{id: left, type: {CORE}kv.GetKeys}}
        """,
    )

    runs = {run["taskId"]: run.get("outputs") for run in instance.run("kv")["taskRunList"]}

    sizes = {name: runs[name]["size"] for name in ("expired", "versions", "chosen")}
    assert sizes == {"expired": 1, "versions": 1, "chosen": 1}
    assert runs["left"]["keys"] == ["kept"]


@pytest.mark.parametrize(
    "task",
    [
        "log.PurgeLogs, namespace: other.team",
        "log.PurgeLogs",
        "execution.PurgeExecutions, namespace: other",
        "execution.PurgeExecutions",
    ],
)
def test_what_another_source_owns_is_not_purged(instance: Instance, task: str) -> None:
    text = f"id: theirs\nnamespace: other.team\n{LOGGING}"
    instance.lanner.registry.create(text)
    request = StartRequest(namespace="other.team", flow_id="theirs")
    theirs = instance.ended(instance.executions.start(request).execution_id)["id"]
    own = sa.update(namespace_table).where(namespace_table.c.name == "other.team").values(source="their-source")
    assert instance.database.write(lambda tx: tx.execute(own).rowcount) == 1
    instance.deploy("purge", f'tasks: [{{id: t, type: {CORE}{task}, endDate: "{{{{ now() }}}}"}}]\n')

    one = instance.run("purge")

    assert one["state"]["current"] == "FAILED"
    assert any("'other.team' belongs to another source" in line for line in instance.logs(one["id"]))
    assert instance.logs(theirs) == ["hi"]


def test_logs_of_another_source_are_not_fetched(instance: Instance) -> None:
    instance.lanner.registry.create(f"id: theirs\nnamespace: other.team\n{LOGGING}")
    request = StartRequest(namespace="other.team", flow_id="theirs")
    theirs = instance.ended(instance.executions.start(request).execution_id)["id"]
    fetch = f"{CORE}log.Fetch, executionId: {theirs}, namespace: other.team, flowId: theirs"
    instance.deploy("fetch", f"tasks: [{{id: t, type: {fetch}}}]\n")
    assert instance.run("fetch")["taskRunList"][0]["outputs"]["size"] == 1
    own = sa.update(namespace_table).where(namespace_table.c.name == "other.team").values(source="their-source")
    assert instance.database.write(lambda tx: tx.execute(own).rowcount) == 1

    one = instance.run("fetch")

    assert one["state"]["current"] == "FAILED"
    assert any("'other.team' belongs to another source" in line for line in instance.logs(one["id"]))


def test_logs_of_the_execution_that_started_this_one_are_fetched_whoever_owns_it(instance: Instance) -> None:
    fetch = f"{CORE}log.Fetch, executionId: '{{{{ trigger.executionId }}}}'"
    child = f"id: child\nnamespace: other.team\ntasks: [{{id: t, type: {fetch}}}]\noutputs:\n"
    size = "- {id: size, type: INT, value: '{{ outputs.t.size }}'}\n"
    instance.lanner.registry.create(child + size)
    own = sa.update(namespace_table).where(namespace_table.c.name == "other.team").values(source="their-source")
    assert instance.database.write(lambda tx: tx.execute(own).rowcount) == 1
    call = f"{{id: sub, type: {CORE}flow.Subflow, namespace: other.team, flowId: child, wait: true}}"
    instance.deploy("parent", f"{LOGGING.strip().removesuffix(']')}, {call}]\n")

    runs = {run["taskId"]: run for run in instance.run("parent")["taskRunList"]}

    assert runs["sub"]["state"]["current"] == "SUCCESS"
    assert runs["sub"]["outputs"]["outputs"]["size"] >= 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("namespace: elsewhere", f"is of the namespace '{NS}', not 'elsewhere'"),
        ("flowId: another", "is of the flow 'paused', not 'another'"),
    ],
)
@pytest.mark.parametrize("kind", ["log.Fetch", "execution.Resume"])
def test_an_execution_of_another_flow_than_named_is_left_alone(
    instance: Instance, kind: str, given: str, said: str
) -> None:
    instance.deploy("paused", f"tasks: [{{id: w, type: {CORE}flow.Pause}}]")
    paused = instance.start("paused")
    instance.in_state(paused, "PAUSED")
    instance.deploy("act", f"tasks: [{{id: t, type: {CORE}{kind}, executionId: {paused}, {given}}}]\n")

    one = instance.run("act")

    assert one["state"]["current"] == "FAILED"
    assert any(said in line for line in instance.logs(one["id"]))
    assert instance.get(paused)["state"]["current"] == "PAUSED"


def test_old_revisions_go_but_not_those_that_ran_or_are_the_newest(instance: Instance) -> None:
    for number in (1, 2, 3, 4):
        text = f"id: old\nnamespace: {NS}\n{LOGGING.replace('hi', str(number))}"
        if number == 1:
            instance.lanner.registry.create(text)
        else:
            instance.lanner.registry.update(NS, "old", text)
        if number == 2:
            instance.run("old")
    instance.deploy("purge", f"tasks: [{{id: p, type: {CORE}flow.PurgeFlows, flowId: old}}]")

    run = instance.run("purge")["taskRunList"][0]

    query = sa.select(revision_table.c.revision).where(revision_table.c.flow_id == "old")
    left = sorted(instance.database.read(lambda c: list(c.execute(query).scalars())))
    assert run["outputs"] == {"count": 2}
    assert left == [2, 4]


def test_revisions_that_an_open_execution_may_start_are_kept(instance: Instance) -> None:
    instance.deploy("old", LOGGING)
    instance.deploy("open", f"tasks: [{{id: w, type: {CORE}flow.Pause}}]")
    instance.in_state(instance.start("open"), "PAUSED")
    text = f"id: old\nnamespace: {NS}\n{LOGGING.replace('hi', 'ho')}"
    instance.lanner.registry.update(NS, "old", text)
    instance.deploy("purge", f"tasks: [{{id: p, type: {CORE}flow.PurgeFlows, namespace: {NS}}}]")

    assert instance.run("purge")["taskRunList"][0]["outputs"] == {"count": 0}


def test_iterations_of_a_loop_are_not_counted_and_go_with_their_execution(instance: Instance) -> None:
    loop = f"{{id: l, type: {CORE}flow.Loop, values: [1, 2], {LOGGING.strip()}}}"
    instance.deploy("old", f"tasks: [{loop}]\n")
    old = instance.run("old")["id"]
    instance.deploy(
        "purge",
        f"""
        tasks:
          - id: count
            type: {CORE}execution.Count
            flows: [{{namespace: {NS}, flowId: old}}]
            startDate: "{{{{ now() | dateAdd(-1, 'DAYS') }}}}"
            expression: "{{{{ true }}}}"
          - {{id: runs, type: {CORE}execution.PurgeExecutions, flowId: old, endDate: "{{{{ now() }}}}"}}
        """,
    )

    runs = {run["taskId"]: run for run in instance.run("purge")["taskRunList"]}

    assert runs["count"]["outputs"]["total"] == 1
    assert runs["runs"]["outputs"] == {"executionsCount": 1, "logsCount": 2, "metricsCount": 0, "storagesCount": 0}
    assert instance.count("old") == 0
    with pytest.raises(NotFound):
        instance.executions.kill(old)
