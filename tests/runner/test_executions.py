"""Executions from their start to their end, on both databases, with every part real."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from namespaces.errors import BadRequest, Conflict, InvalidInput, NotFound
from namespaces.store.base import metadata
from runner.limits import Limits
from runner.starting import StartRequest, Upload
from tests.support.instances import NS, Instance
from tests.support.waiting import until

SECRET = "correct-horse-battery"


def task_states(one: dict[str, Any]) -> dict[str, str]:
    return {run["taskId"]: run["state"]["current"] for run in one["taskRunList"]}


def words(thing: dict[str, Any]) -> list[str]:
    return [entry["state"] for entry in thing["state"]["histories"]]


def everything_stored(instance: Instance) -> str:
    """All rows of all tables as one text: what a thief of the database would have."""

    def dump(connection: sa.Connection) -> str:
        found = []
        for table in metadata.sorted_tables:
            rows = connection.execute(sa.text(f'SELECT * FROM "{table.name}"')).all()
            found.append(repr(rows))
        return "\n".join(found)

    return instance.database.read(dump)


def test_a_run_has_its_tasks_its_states_and_its_outputs(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        inputs: [{id: who, type: STRING, defaults: you}, {id: n, type: INT}]
        tasks:
          - {id: hello, type: io.kestra.plugin.core.log.Log, message: "hello {{ inputs.who }}"}
          - {id: double, type: io.kestra.plugin.core.debug.Return, format: "{{ inputs.n * 2 }}"}
        outputs: [{id: doubled, type: INT, value: "{{ outputs.double.value }}"}]
        """,
    )

    one = instance.run("f", inputs={"n": "21"})

    assert words(one) == ["CREATED", "RUNNING", "SUCCESS"]
    assert task_states(one) == {"hello": "SUCCESS", "double": "SUCCESS"}
    assert one["inputs"] == {"who": "you", "n": 21}
    assert one["outputs"] == {"doubled": 42}
    assert "hello you" in instance.logs(one["id"])


def test_every_bad_input_is_told_at_once_and_nothing_is_started(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        inputs: [{id: a, type: INT}, {id: b, type: BOOL}, {id: c, type: STRING}]
        tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: x}]
        """,
    )

    with pytest.raises(InvalidInput) as refused:
        instance.start("f", inputs={"a": "one", "b": "perhaps"})

    assert refused.value.status == 422
    assert [name for name in ("`a`", "`b`", "`c`") if name not in refused.value.message] == []
    assert instance.count("f") == 0


def test_an_uploaded_file_is_kept_and_read(instance: Instance, tmp_path: Path) -> None:
    instance.deploy(
        "f",
        """
        inputs: [{id: data, type: FILE}]
        tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: "{{ read(inputs.data) }}"}]
        """,
    )
    (tmp_path / "a.txt").write_bytes(b"abcde")
    upload = Upload(filename="a.txt", size=5, source=tmp_path / "a.txt")

    one = instance.run("f", inputs={"data": upload})

    assert one["taskRunList"][0]["outputs"]["value"] == "abcde"
    assert one["inputs"]["data"].startswith("kestra:///")


def test_a_secret_input_is_sealed_at_rest_and_masked_wherever_it_is_shown(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        inputs: [{id: token, type: SECRET}]
        tasks:
          - {id: log, type: io.kestra.plugin.core.log.Log, message: "token {{ inputs.token }}"}
          - {id: copy, type: io.kestra.plugin.core.debug.Return, format: "{{ inputs.token }}"}
          - id: use
            type: io.kestra.plugin.scripts.shell.Script
            taskRunner: {type: io.kestra.plugin.core.runner.Process}
            env: {TOKEN: "{{ inputs.token }}"}
            script: |
              echo "in the script: $TOKEN"
              echo "::{\\"outputs\\":{\\"length\\":$(printf %s "$TOKEN" | wc -c)}}::"
        outputs: [{id: length, type: INT, value: "{{ outputs.use.vars.length }}"}]
        """,
    )

    one = instance.run("f", inputs={"token": SECRET})

    assert one["state"]["current"] == "SUCCESS"
    assert one["outputs"] == {"length": len(SECRET)}
    assert one["inputs"]["token"] == "******"
    assert "in the script: ******" in instance.logs(one["id"])
    assert SECRET not in json.dumps(one)
    assert SECRET not in everything_stored(instance)


def test_what_cannot_start(instance: Instance) -> None:
    instance.deploy("off", "disabled: true\ntasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: x}]\n")

    with pytest.raises(NotFound):
        instance.start("nothing")
    with pytest.raises(NotFound):
        instance.start("off", revision=7)
    with pytest.raises(Conflict, match="disabled"):
        instance.start("off")


ONE = "tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: x}]\n"


def test_one_key_makes_one_execution_however_many_send_it(instance: Instance) -> None:
    instance.deploy("f", ONE)
    request = StartRequest(namespace=NS, flow_id="f", idempotency_key="k", body_hash="h")

    with ThreadPoolExecutor(50) as pool:
        started = [
            future.result() for future in [pool.submit(instance.executions.start, request) for _ in range(50 * 20)]
        ]

    assert len({one.execution_id for one in started}) == 1
    assert [one.replayed for one in started].count(False) == 1
    assert instance.count("f") == 1


def test_a_key_with_another_body_is_refused(instance: Instance) -> None:
    instance.deploy("f", ONE)
    instance.start("f", idempotency_key="k", body_hash="h")

    with pytest.raises(InvalidInput) as refused:
        instance.start("f", idempotency_key="k", body_hash="other")

    assert (refused.value.status, refused.value.code) == (422, "idempotency_conflict")
    assert instance.start("f", idempotency_key="k", body_hash="h", trigger_id="hook")
    assert instance.count("f") == 2


SLEEPER = """
    - id: NAME
      type: io.kestra.plugin.scripts.shell.Script
      taskRunner: {type: io.kestra.plugin.core.runner.Process}
      script: exec sleep 60
"""


def test_a_kill_ends_the_script_the_children_and_theirs(instance: Instance) -> None:
    instance.deploy("leaf", "tasks:" + SLEEPER.replace("NAME", "t"))
    call = "tasks: [{{id: c, type: io.kestra.plugin.core.flow.Subflow, namespace: {}, flowId: {}}}]\n"
    instance.deploy("middle", call.format(NS, "leaf"))
    instance.deploy("top", call.format(NS, "middle"))
    top = instance.start("top")
    leaf = instance.until(
        top, lambda one: instance.count("leaf") and _only(instance, "leaf")["taskRunList"], "its grandchild"
    )
    instance.until(_only(instance, "leaf")["id"], lambda one: "RUNNING" in task_states(one).values(), "the script")

    instance.executions.kill(top)

    assert instance.ended(top)["state"]["current"] == "KILLED"
    for name in ("middle", "leaf"):
        assert instance.ended(_only(instance, name)["id"])["state"]["current"] == "KILLED"
    assert leaf is not None
    assert instance.lanner.worker.runner.live() == []
    instance.executions.kill(top)  # a second one is harmless
    with pytest.raises(Conflict, match="already KILLED"):
        instance.executions.kill(top, cascade=False)


def _only(instance: Instance, flow_id: str) -> dict[str, Any]:
    from runner.rows import execution_table

    query = sa.select(execution_table.c.id).where(execution_table.c.flow_id == flow_id)
    (found,) = instance.database.read(lambda c: list(c.execute(query).scalars()))
    return instance.get(found)


def limited(behavior: str) -> str:
    return (
        f"concurrency: {{limit: 1, behavior: {behavior}}}\ntasks: [{{id: p, type: io.kestra.plugin.core.flow.Pause}}]\n"
    )


def test_a_limit_queues_and_the_oldest_goes_next(instance: Instance) -> None:
    instance.deploy("f", limited("QUEUE"))
    first = instance.start("f")
    # Starts of the same moment come to the gate in any order.
    instance.in_state(first, "PAUSED")
    second, third = (instance.start("f") for _ in range(2))
    instance.in_state(second, "QUEUED")
    instance.in_state(third, "QUEUED")

    instance.executions.resume(first)

    assert instance.ended(first)["state"]["current"] == "SUCCESS"
    instance.in_state(second, "PAUSED")
    assert instance.get(third)["state"]["current"] == "QUEUED"
    instance.executions.kill(third)
    assert instance.ended(third)["state"]["current"] == "KILLED"


@pytest.mark.parametrize(("behavior", "end"), [("CANCEL", "CANCELLED"), ("FAIL", "FAILED")])
def test_a_limit_may_refuse_instead(instance: Instance, behavior: str, end: str) -> None:
    instance.deploy("f", limited(behavior))
    first = instance.start("f")
    instance.in_state(first, "PAUSED")

    second = instance.run("f")

    assert second["state"]["current"] == end
    assert second["taskRunList"] == []
    instance.executions.resume(first)
    instance.ended(first)
    instance.in_state(instance.start("f"), "PAUSED")


@pytest.mark.slow
def test_slots_are_counted_from_rows_so_a_lost_release_leaks_none(instance: Instance) -> None:
    from namespaces.store import outbox
    from runner.rows import execution_table

    instance.deploy("f", limited("QUEUE"))
    first = instance.start("f")
    instance.in_state(first, "PAUSED")
    second = instance.start("f")
    instance.in_state(second, "QUEUED")

    # The first one's end without its release message: what a crash between them would leave, if there were any.
    def vanish(tx: sa.Connection) -> None:
        values = {"state": "SUCCESS", "finished": True}
        tx.execute(sa.update(execution_table).where(execution_table.c.id == first).values(values))
        tx.execute(sa.delete(outbox.table))

    instance.database.write(vanish)

    instance.in_state(second, "PAUSED")


def test_pause_waits_for_a_resume_and_keeps_what_the_person_said(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        tasks:
          - {id: wait, type: io.kestra.plugin.core.flow.Pause, onResume: [{id: ok, type: BOOL}]}
          - {id: said, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.wait.onResume.ok }}"}
        """,
    )
    one = instance.start("f")
    instance.in_state(one, "PAUSED")

    with pytest.raises(InvalidInput):
        instance.executions.resume(one, inputs={"ok": "perhaps"})
    instance.executions.resume(one, inputs={"ok": "true"}, by="ada")

    ended = instance.ended(one)
    assert ended["taskRunList"][1]["outputs"]["value"] == "true"
    assert words(ended) == ["CREATED", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]
    with pytest.raises(Conflict):
        instance.executions.resume(one)


def test_a_running_execution_can_be_paused_between_tasks(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        tasks:
          - id: slow
            type: io.kestra.plugin.scripts.shell.Script
            taskRunner: {type: io.kestra.plugin.core.runner.Process}
            script: sleep 1
          - {id: after, type: io.kestra.plugin.core.debug.Return, format: x}
        """,
    )
    one = instance.start("f")
    instance.until(one, lambda found: task_states(found).get("slow") == "RUNNING", "the script")

    instance.executions.pause(one)

    paused = instance.in_state(one, "PAUSED")
    assert "after" not in task_states(paused)
    instance.executions.resume(one)
    assert instance.ended(one)["state"]["current"] == "SUCCESS"


FLAKY = """
tasks:
  - {id: before, type: io.kestra.plugin.core.debug.Return, format: x}
  - id: flaky
    type: io.kestra.plugin.core.execution.Fail
    runIf: "{{ (kv('works', errorOnMissing=false) ?? 'no') != 'yes' }}"
  - {id: after, type: io.kestra.plugin.core.debug.Return, format: y}
"""


def make_it_work(instance: Instance) -> None:
    from namespaces import kv

    now = instance.lanner.clock.now()
    instance.database.write(lambda tx: kv.put(tx, NS, "works", "yes", now=now))


def test_a_restart_goes_on_where_it_failed(instance: Instance) -> None:
    instance.deploy("f", FLAKY)
    failed = instance.run("f")
    assert task_states(failed) == {"before": "SUCCESS", "flaky": "FAILED"}
    first_end = next(run for run in failed["taskRunList"] if run["taskId"] == "before")["state"]["endDate"]
    make_it_work(instance)

    instance.executions.restart(failed["id"])

    ended = instance.until(failed["id"], lambda one: one["state"]["current"] == "SUCCESS", "SUCCESS")
    assert task_states(ended)["after"] == "SUCCESS"
    assert next(run for run in ended["taskRunList"] if run["taskId"] == "before")["state"]["endDate"] == first_end
    with pytest.raises(Conflict):
        instance.executions.restart(failed["id"])


def test_a_replay_is_a_new_execution_from_the_start_or_from_a_task(instance: Instance) -> None:
    instance.deploy("f", FLAKY)
    failed = instance.run("f")
    make_it_work(instance)
    flaky = next(run["id"] for run in failed["taskRunList"] if run["taskId"] == "flaky")

    whole = instance.ended(instance.executions.replay(failed["id"]))
    part = instance.ended(instance.executions.replay(failed["id"], task_run_id=flaky))

    assert whole["id"] != failed["id"]
    assert {whole["state"]["current"], part["state"]["current"]} == {"SUCCESS"}
    assert task_states(part)["after"] == "SUCCESS"
    assert instance.get(failed["id"])["state"]["current"] == "FAILED"


def test_subflows_fifty_deep_end_from_the_innermost_out(instance: Instance) -> None:
    instance.deploy("s0", ONE)
    for depth in range(1, 51):
        call = f"[{{id: c, type: io.kestra.plugin.core.flow.Subflow, namespace: {NS}, flowId: s{depth - 1}}}]"
        instance.deploy(f"s{depth}", f"tasks: {call}\n")

    top = instance.run("s50")

    assert top["state"]["current"] == "SUCCESS"
    assert all(instance.count(f"s{depth}") == 1 for depth in range(51))


@pytest.mark.slow
def test_a_subflow_that_calls_itself_ends_with_a_reason(instance: Instance) -> None:
    call = "tasks: [{{id: c, type: io.kestra.plugin.core.flow.Subflow, namespace: {}, flowId: {}}}]\n"
    instance.deploy("ping", ONE)
    instance.deploy("pong", call.format(NS, "ping"))
    instance.lanner.registry.update(NS, "ping", f"id: ping\nnamespace: {NS}\n" + call.format(NS, "pong"))

    one = instance.run("ping")

    assert one["state"]["current"] == "FAILED"
    assert instance.count("ping") + instance.count("pong") == 101


def test_labels_of_an_ended_execution_can_be_changed_and_system_ones_not(instance: Instance) -> None:
    instance.deploy("f", "labels: {team: a}\n" + ONE)
    one = instance.run("f", labels=(("env", "test"),))

    instance.executions.set_labels(one["id"], [("team", "b"), ("more", "c")])

    labels = {label["key"]: label["value"] for label in instance.get(one["id"])["labels"]}
    assert {key: labels[key] for key in ("team", "env", "more")} == {"team": "b", "env": "test", "more": "c"}
    with pytest.raises(InvalidInput, match="System labels"):
        instance.executions.set_labels(one["id"], [("system.correlationId", "x")])
    with pytest.raises(InvalidInput):
        instance.executions.set_labels(one["id"], [("a", "")])


def test_labels_of_a_running_execution_stay(instance: Instance) -> None:
    instance.deploy("f", "tasks: [{id: p, type: io.kestra.plugin.core.flow.Pause}]\n")
    one = instance.start("f")
    instance.in_state(one, "PAUSED")

    with pytest.raises(BadRequest, match="not terminated"):
        instance.executions.set_labels(one, [("a", "b")])


def test_a_deleted_execution_leaves_nothing(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        tasks:
          - {id: write, type: io.kestra.plugin.core.storage.Write, content: hello}
          - id: each
            type: io.kestra.plugin.core.flow.ForEach
            values: [1, 2, 3]
            concurrencyLimit: 1
            tasks: [{id: log, type: io.kestra.plugin.core.log.Log, message: "{{ taskrun.value }}"}]
        """,
    )
    one = instance.run("f")
    folder = next(path for path in (instance.lanner.settings.data_dir).rglob(one["id"]))

    instance.executions.delete(one["id"])

    with pytest.raises(NotFound):
        instance.executions.delete(one["id"])
    assert not folder.exists()
    assert one["id"] not in everything_stored(instance)


def test_an_expression_is_evaluated_where_a_task_ran(instance: Instance) -> None:
    instance.deploy("f", "inputs: [{id: token, type: SECRET}]\n" + ONE)
    one = instance.run("f", inputs={"token": SECRET})

    assert instance.executions.evaluate(one["id"], "{{ outputs.t.value }} {{ inputs.token }}") == "x ******"
    with pytest.raises(NotFound):
        instance.executions.evaluate(one["id"], "x", "nothing")


def test_a_large_output_survives_that_its_task_run_is_marked_by_hand(tmp_path: Path, database_url: str) -> None:
    instance = Instance(tmp_path / "data", database_url, limits={"output_row_bytes": 1_000})
    try:
        instance.deploy(
            "f",
            """
            inputs: [{id: text, type: STRING}]
            tasks:
              - {id: big, type: io.kestra.plugin.core.output.OutputValues, values: {text: "{{ inputs.text }}"}}
              - {id: broken, type: io.kestra.plugin.core.execution.Fail}
              - id: later
                type: io.kestra.plugin.core.log.Log
                message: "{{ outputs.big.values.text | length }} characters"
            """,
        )
        one = instance.run("f", inputs={"text": "x" * 5000})
        runs = {run["taskId"]: run["id"] for run in one["taskRunList"]}
        for task, state in (("big", "WARNING"), ("broken", "SUCCESS")):
            instance.executions.mark_task_run(one["id"], runs[task], state)
            instance.ended(one["id"])

        assert "5000 characters" in instance.logs(one["id"])
    finally:
        instance.close()


def test_deleting_a_running_execution_ends_its_script(instance: Instance, tmp_path: Path) -> None:
    ledger = tmp_path / "pid"
    instance.deploy(
        "f",
        f"""
        tasks:
          - id: sleep
            type: io.kestra.plugin.scripts.shell.Commands
            commands: ["echo $$ > {ledger}.new && mv {ledger}.new {ledger} && exec sleep 600"]
        """,
    )
    one = instance.start("f")
    until(ledger.exists, "the script to run")

    instance.executions.delete(one)

    until(lambda: not Path(f"/proc/{ledger.read_text().strip()}").exists(), "the end of the script")


def test_an_integer_beyond_64_bits_fails_the_task_with_its_place(instance: Instance) -> None:
    instance.deploy(
        "f",
        f"""
        tasks:
          - id: t
            type: io.kestra.plugin.scripts.shell.Commands
            commands: ['echo "::{{\\"outputs\\": {{\\"n\\": {{\\"deep\\": [{2**70}]}}}}}}::"']
        """,
    )
    one = instance.run("f")

    assert one["state"]["current"] == "FAILED"
    (reason,) = [line for line in instance.logs(one["id"]) if line.startswith("number_too_large")]
    assert reason == "number_too_large: outputs.vars.n.deep[0] is an integer of 71 bits, more than 64 cannot be kept"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
def test_inline_tasks_give_no_integer_beyond_64_bits_either(number: int) -> None:
    with pytest.raises(InvalidInput, match=r"outputs\.n is an integer of 6[45] bits"):
        Limits().refuse_large({"n": number})
    Limits().refuse_large({"n": 2**64 - 1})
    Limits().refuse_large({"n": -(2**63)})
