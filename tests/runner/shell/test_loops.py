"""Loop: one execution per value, each end counted once, whatever is lost or done twice (``flows.md`` 4.16)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from namespaces.blobs import execution_folder
from namespaces.errors import Conflict
from namespaces.filters import Filter, Op, Page
from runner import loops, queries
from runner.engine.states import State
from runner.rows import batch_set_table, batch_table, execution_table, iteration_table
from runner.writing import log_table
from tests.runner.shell.house import NS, House
from tests.runner.shell.test_liveness import work
from tests.runner.test_linear import Counted, counting

PAUSE = "{id: p, type: io.kestra.plugin.core.flow.Pause}"


def say(name: str, text: str) -> str:
    return f'{{id: {name}, type: io.kestra.plugin.core.debug.Return, format: "{text}"}}'


def loop(values: Any, *tasks: str, more: str = "", name: str = "loop") -> str:
    inside = ", ".join(tasks)
    return f"{{id: {name}, type: io.kestra.plugin.core.flow.Loop, values: {values}, {more} tasks: [{inside}]}}"


def flow(*tasks: str, more: str = "") -> str:
    return f"tasks: [{', '.join(tasks)}]\n{more}"


def run(house: House, *tasks: str, more: str = "") -> str:
    house.deploy("f", flow(*tasks, more=more))
    return house.start("f")


def iterations(house: House, execution: str) -> list[Any]:
    query = (
        sa.select(execution_table)
        .where(execution_table.c.trigger_execution_id == execution, execution_table.c.kind == "LOOP")
        .order_by(execution_table.c.loop_index, execution_table.c.created_at)
    )
    return list(house.database.read(lambda c: c.execute(query).all()))


def states(house: House, execution: str) -> list[str]:
    return [row.state for row in iterations(house, execution)]


def said(house: House, execution: str, task: str = "r") -> list[str]:
    return [house.run(row.id, task).outputs["value"] for row in iterations(house, execution)]


def outputs(house: House, execution: str, task: str = "loop") -> dict[str, Any]:
    found: dict[str, Any] = house.run(execution, task).outputs
    return found


def logs(house: House, execution: str) -> str:
    query = sa.select(log_table.c.message).where(log_table.c.execution_id == execution)
    return "\n".join(house.database.read(lambda c: list(c.execute(query).scalars())))


def parked(house: House, execution: str, count: int) -> None:
    """Let time pass until so many iterations are PAUSED."""
    house.settle(lambda: states(house, execution).count("PAUSED") == count)


# ---- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deaf", [False, True])
def test_every_value_has_its_execution_and_the_parent_only_the_loop(house: House, deaf: bool):
    house.deaf = deaf
    execution = run(house, loop('["a", "b", "c"]', work("t"), say("r", "{{ item.index }}-{{ item.value }}")))

    assert house.end(execution, seconds=2_000) == "SUCCESS"
    assert house.states(execution) == ["loop SUCCESS"]
    assert outputs(house, execution) == {
        "iterationCount": 3,
        "runningIterations": 0,
        "terminatedIterations": {"SUCCESS": 3},
    }
    assert said(house, execution) == ["0-a", "1-b", "2-c"]
    assert len(house.run(execution, "loop").attempts) == 1


def test_an_iteration_names_its_loop_and_has_revision_and_labels_of_its_execution(house: House):
    execution = run(house, loop('["a"]', say("r", "{{ labels.team }}")), more="labels: {team: blue}\n")
    assert house.end(execution) == "SUCCESS"

    (row,) = iterations(house, execution)
    loop_run = house.run(execution, "loop").id
    assert row.loop_run == {"taskId": "loop", "taskRunId": loop_run, "index": 0, "value": "a", "parents": []}
    assert (row.kind, row.parent_run_id, row.revision) == ("LOOP", loop_run, 1)
    assert row.labels == house.row(execution).labels
    assert said(house, execution) == ["blue"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ("[1, 2.5, true, x]", ["1", "2.5", "true", "x"]),
        ('[{a: {b: 1}}, [1, "z"]]', ['{"a":{"b":1}}', '[1,"z"]']),
        ('"{{ [1, 2] }}"', ["1", "2"]),
        ("""'[{"k": "v"}]'""", ['{"k":"v"}']),
        ('["{{ 1 + 1 }}"]', ["2"]),
        ("[a, b, a]", ["a", "b"]),
    ],
)
def test_values_are_text(house: House, values: str, texts: list[str]):
    execution = run(house, loop(values, say("r", "{{ item.value }}")))

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution) == texts


@pytest.mark.parametrize("values", ['{k1: "{{ 1 + 1 }}", k2: 2}', """'{"k1": "2", "k2": 2}'"""])
def test_of_a_map_each_iteration_has_key_and_value(house: House, values: str):
    execution = run(house, loop(values, say("r", "{{ item.key }}={{ item.value }}")))

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution) == ["k1=2", "k2=2"]
    assert [row.loop_run["key"] for row in iterations(house, execution)] == ["k1", "k2"]


def in_file(house: House, content: bytes, body: str) -> str:
    """An execution that has a file, paused before the Loop that goes through it."""
    house.deploy("f", flow(PAUSE, body))
    execution = house.start("f")
    house.storage.put(f"{execution_folder(NS, 'f', execution)}/rows.ion", content)
    house.settle(lambda: house.row(execution).state == "PAUSED")
    house.executions.resume(execution)
    return execution


FILE = f'"kestra:///{NS.replace(".", "/")}/f/executions/{{{{ execution.id }}}}/rows.ion"'


def test_of_a_file_each_line_is_a_value(house: House):
    rows = b'plain text\n{name:"ion",at:2024-01-01}\n{"name": "json"}\n\n"quoted"\n7\nplain text\n'
    execution = in_file(house, rows, loop(FILE, say("r", "{{ item.value }}")))

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution) == [
        "plain text", '{"name":"ion","at":"2024-01-01T00:00:00Z"}', '{"name":"json"}', "quoted", "7", "plain text",
    ]  # fmt: skip


def test_a_file_of_another_execution_is_refused(house: House):
    uri = house.storage.put(f"{execution_folder('other.team', 'f', 'x1')}/rows.ion", b"a\n")
    execution = run(house, loop(uri, say("r", "1")))

    assert house.end(execution) == "FAILED"
    assert "didn't belong to the current execution" in house.run(execution, "loop").error
    assert iterations(house, execution) == []


@pytest.mark.parametrize("values", ["[1, null]", "'[1, null]'", "{a: null}"])
def test_a_null_value_fails_with_its_values_and_starts_nothing(house: House, values: str):
    execution = run(house, loop(values, say("r", "1")))

    assert house.end(execution) == "FAILED"
    assert "Found a null value inside the iteration values=" in logs(house, execution)
    assert iterations(house, execution) == []


def test_a_null_in_a_file_fails(house: House):
    execution = in_file(house, b"1\nnull\n", loop(FILE, say("r", "1")))
    assert house.end(execution) == "FAILED"
    assert "Found a null value" in logs(house, execution)


@pytest.mark.parametrize("values", ["just text", "7", "true", '"{{ 1 }}"'])
def test_what_is_no_list_map_or_file_is_an_unknown_value_type(house: House, values: str):
    execution = run(house, loop(values, say("r", "1")))

    assert house.end(execution) == "FAILED"
    assert "Unknown value type: " in logs(house, execution)


def test_values_that_cannot_be_rendered_fail_with_the_reason(house: House):
    execution = run(house, loop('"{{ nothing.here }}"', say("r", "1"), more="allowFailure: true,"), say("after", "x"))

    assert house.end(execution) == "WARNING"
    assert house.states(execution) == ["loop WARNING", "after SUCCESS"]
    assert "nothing" in logs(house, execution)


@pytest.mark.parametrize("values", ["[]", "{}", "'[]'"])
def test_no_values_are_a_success(house: House, values: str):
    execution = run(house, loop(values, say("r", "1"), more="outputs: [{id: x, type: STRING, value: y}],"))

    assert house.end(execution) == "SUCCESS"
    assert outputs(house, execution) == {
        "iterationCount": 0, "runningIterations": 0, "terminatedIterations": {}, "outputs": [],
    }  # fmt: skip


# ---- what an iteration sees ----------------------------------------------------------------------------------------


def test_an_iteration_sees_the_execution_it_belongs_to(house: House):
    body = loop(
        "[v]",
        say("own", "o"),
        say("r", "{{ outputs.before.value }} {{ outputs.own.value }} {{ inputs.i }} {{ vars.x }} {{ execution.id }}"),
    )
    house.deploy(
        "f",
        flow(say("before", "b"), body, more="inputs: [{id: i, type: STRING, defaults: d}]\nvariables: {x: y}\n"),
    )
    execution = house.start("f", trigger={"id": "t", "type": "T", "variables": {"a": 1}})

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution) == [f"b o d y {execution}"]


def test_variables_and_trigger_are_those_of_the_execution_until_an_iteration_sets_its_own(house: House):
    one = "{id: set, type: io.kestra.plugin.core.execution.SetVariables, variables: {x: changed}}"
    own = "{id: own, type: io.kestra.plugin.core.execution.SetVariables, variables: {z: mine}}"
    show = say("r", "{{ vars.x }} {{ vars.z ?? 'none' }} {{ trigger.a }}")
    house.deploy(
        "f", flow(one, loop("[1]", own, show), say("after", "{{ vars.z ?? 'none' }}"), more="variables: {x: y}")
    )
    execution = house.start("f", trigger={"id": "t", "type": "T", "variables": {"a": 1}})

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution) == ["changed mine 1"]
    assert outputs(house, execution, "after")["value"] == "none"


def test_a_worker_sees_the_same(house: House):
    """A task that is not inline renders where it was claimed."""
    execution = run(house, say("before", "b"), loop("[v]", work("t")))
    house.errands.run()
    (waiting,) = iterations(house, execution)
    seen: list[str] = []
    for run_id, epoch in house.bell.rung:
        claim = house.reporter.claim(run_id, epoch, "worker")
        assert claim is not None
        scene = house.reporter.scene(claim)
        seen.append(
            scene.place.renderer(scene.value, claim.task_run).text("{{ outputs.before.value }}{{ item.value }}")
        )

    assert seen == ["bv"]
    assert house.states(waiting.id) == ["t RUNNING"]


def test_secret_inputs_are_opened_for_an_iteration_and_masked_in_its_log(house: House):
    log = '{id: r, type: io.kestra.plugin.core.log.Log, message: "got {{ inputs.s }}"}'
    house.deploy("f", flow(loop("[1]", log), more="inputs: [{id: s, type: SECRET}]\n"))
    execution = house.start("f", inputs={"s": "hush-hush"})

    assert house.end(execution) == "SUCCESS"
    line = logs(house, iterations(house, execution)[0].id)
    assert line.startswith("got ")
    assert "hush" not in line


def test_nested_loops_know_their_parents_outermost_first(house: House):
    inner = loop(
        "[x]", say("r", "{{ item.parents[0].value }}{{ item.parents[1].value }}{{ item.parent.value }}"), name="c"
    )
    middle = loop("[m]", inner, name="b")
    execution = run(house, say("before", "b"), loop("[o, p]", say("near", "n{{ item.value }}"), middle, name="a"))

    assert house.end(execution, seconds=2_000) == "SUCCESS"
    leaves = [
        one.id for a in iterations(house, execution) for b in iterations(house, a.id) for one in iterations(house, b.id)
    ]
    assert [house.run(leaf, "r").outputs["value"] for leaf in leaves] == ["omm", "pmm"]
    assert house.row(leaves[0]).loop_run["parents"] == [{"index": 0, "value": "o"}, {"index": 0, "value": "m"}]


def test_a_nested_iteration_sees_tasks_of_every_execution_around_it(house: House):
    inner = loop("[x]", say("r", "{{ outputs.before.value }} {{ outputs.near.value }}"), name="b")
    execution = run(house, say("before", "b"), loop("[o]", say("near", "n{{ item.value }}"), inner, name="a"))

    assert house.end(execution) == "SUCCESS"
    (outer,) = iterations(house, execution)
    assert said(house, outer.id) == ["b no"]


def test_item_is_seen_at_any_depth(house: House):
    sequence = f"{{id: s, type: io.kestra.plugin.core.flow.Sequential, tasks: [{say('r', '{{ item.value }}')}]}}"
    choice = (
        f'{{id: i, type: io.kestra.plugin.core.flow.If, condition: "{{{{ item.index == 0 }}}}", then: [{sequence}]}}'
    )
    execution = run(house, loop("[a]", choice))

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution) == ["a"]


def each(values: str, *tasks: str, name: str = "each") -> str:
    return f"{{id: {name}, type: io.kestra.plugin.core.flow.ForEach, values: {values}, tasks: [{', '.join(tasks)}]}}"


def test_a_foreach_inside_a_loop_has_both_values(house: House):
    inside = each('["x", "y"]', say("r", "{{ taskrun.value }}{{ item.value }}{{ taskrun.iteration }}"))
    show = say("shown", "{{ outputs.r.x.value }} {{ outputs.r['y'].value }}")
    execution = run(house, loop("[a]", inside, show))

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution, "shown") == ["xa0 ya1"]


def test_a_loop_inside_a_foreach_keeps_the_values_around_it(house: House):
    before = "{{ outputs.b[parent.taskrun.value][taskrun.value].value }}"
    text = "{{ taskrun.value }} {{ parent.taskrun.value }} {{ item.value }} " + before
    inside = each('["x"]', say("b", "before {{ taskrun.value }}"), loop("[i]", say("r", text)), name="inner")
    execution = run(house, each('["o"]', inside, name="outer"))

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution) == ["x o i before x"]


def test_a_foreach_inside_a_loop_inside_a_foreach(house: House):
    text = "{{ taskrun.value }} {{ parent.taskrun.value }} {{ item.value }}"
    execution = run(house, each('["o"]', loop("[i]", each('["x"]', say("r", text), name="inner")), name="outer"))

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution) == ["x o i"]


def test_plain_task_runs_have_no_item_and_iterations_no_value(house: House):
    execution = run(house, loop("[1]", say("r", "{{ taskrun.value ?? 'none' }}")), say("after", "{{ item ?? 'none' }}"))

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution) == ["none"]
    assert outputs(house, execution, "after")["value"] == "none"


# ---- concurrencyLimit, transmitFailed, breakWhen -------------------------------------------------------------------


def test_without_a_limit_all_run_at_once(house: House):
    execution = run(house, loop("[1, 2, 3, 4]", PAUSE))
    parked(house, execution, 4)
    assert outputs(house, execution)["runningIterations"] == 4


@pytest.mark.parametrize("limit", [1, 2])
def test_at_most_as_many_run_as_the_limit_says_and_in_order(house: House, limit: int):
    execution = run(house, loop("[1, 2, 3, 4, 5]", PAUSE, more=f"concurrencyLimit: {limit},"))
    for done in range(5):
        parked(house, execution, min(limit, 5 - done))
        assert len(iterations(house, execution)) == min(5, done + limit)
        house.executions.resume(execution)

    assert house.end(execution) == "SUCCESS"
    assert outputs(house, execution)["terminatedIterations"] == {"SUCCESS": 5}


@pytest.mark.parametrize("deaf", [False, True])
def test_a_failure_fails_the_loop_and_nothing_new_starts(house: House, deaf: bool):
    house.deaf = deaf
    house.results["t"] = [State.SUCCESS, State.FAILED]
    execution = run(house, loop("[1, 2, 3, 4]", work("t"), more="concurrencyLimit: 1,"), work("never"))

    assert house.end(execution, seconds=2_000) == "FAILED"
    assert house.states(execution) == ["loop FAILED"]
    assert states(house, execution) == ["SUCCESS", "FAILED"]
    assert outputs(house, execution)["terminatedIterations"] == {"SUCCESS": 1, "FAILED": 1}


def test_a_failure_is_transmitted_at_once_and_what_runs_ends_by_itself(house: House):
    execution = run(house, loop("[1, 2, 3]", PAUSE))
    parked(house, execution, 3)

    house.executions.kill(iterations(house, execution)[1].id)

    assert house.end(execution) == "FAILED"
    assert states(house, execution) == ["PAUSED", "KILLED", "PAUSED"]
    assert outputs(house, execution)["runningIterations"] == 2
    house.executions.resume(iterations(house, execution)[0].id)
    house.settle(lambda: states(house, execution)[0] == "SUCCESS")
    assert house.row(execution).state == "FAILED"


def test_without_transmitting_all_run_and_the_loop_succeeds(house: House):
    house.results["t"] = [State.FAILED, State.WARNING, State.KILLED]
    execution = run(house, loop("[1, 2, 3, 4]", work("t"), more="transmitFailed: false, concurrencyLimit: 1,"))

    assert house.end(execution) == "SUCCESS"
    assert states(house, execution) == ["FAILED", "WARNING", "KILLED", "SUCCESS"]
    assert outputs(house, execution)["terminatedIterations"] == {"SUCCESS": 1, "WARNING": 1, "FAILED": 1, "KILLED": 1}


@pytest.mark.parametrize(
    ("end", "more", "state"),
    [
        (State.FAILED, "allowFailure: true,", "WARNING"),
        (State.FAILED, "allowFailure: true, allowWarning: true,", "SUCCESS"),
        (State.WARNING, "", "WARNING"),
        (State.CANCELLED, "", "SUCCESS"),
    ],
)
def test_what_the_end_of_an_iteration_means(house: House, end: State, more: str, state: str):
    exit_ = f"{{id: x, type: io.kestra.plugin.core.execution.Exit, state: {end.value}}}"
    execution = run(house, loop("[1]", exit_, more=more))
    assert house.end(execution) == state
    assert states(house, execution) == [end.value]


def test_a_break_starts_nothing_more_and_does_not_fail(house: House):
    found = "{{ item.value == '2' and iteration.state == 'SUCCESS' and iteration.outputs.o == '2!' }}"
    more = f'concurrencyLimit: 1, breakWhen: "{found}", {DECLARED.replace("INT", "STRING")}'
    execution = run(house, loop("[1, 2, 3]", say("r", "{{ item.value }}!"), more=more), say("after", "x"))

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution) == ["1!", "2!"]
    assert outputs(house, execution)["iterationCount"] == 3
    assert len(outputs(house, execution)["outputs"]) == 2
    assert house.states(execution) == ["loop SUCCESS", "after SUCCESS"]


def test_a_break_lets_end_what_runs(house: House):
    execution = run(house, loop("[1, 2, 3]", PAUSE, more='concurrencyLimit: 2, breakWhen: "{{ item.index == 0 }}",'))
    parked(house, execution, 2)
    house.executions.resume(execution)
    house.settle(lambda: states(house, execution) == ["SUCCESS", "PAUSED"])
    house.step()
    assert not house.row(execution).finished

    house.executions.resume(execution)
    assert house.end(execution) == "SUCCESS"


def test_a_break_that_cannot_be_rendered_fails_the_loop(house: House):
    execution = run(house, loop("[1, 2]", say("r", "1"), more='concurrencyLimit: 1, breakWhen: "{{ nowhere }}",'))

    assert house.end(execution) == "FAILED"
    assert "breakWhen: " in logs(house, execution)
    assert len(iterations(house, execution)) == 1


# ---- outputs -------------------------------------------------------------------------------------------------------

DECLARED = 'outputs: [{id: o, type: INT, value: "{{ outputs.r.value }}"}],'


def test_outputs_are_a_list_in_the_order_of_the_values(house: House):
    execution = run(
        house,
        loop("{a: 10, b: 20}", say("r", "{{ item.value }}"), more=DECLARED),
        say("all", "{{ loopOutputs(outputs.loop.outputs, 'o') }} {{ outputs.loop.outputs[1].item.key }}"),
    )

    assert house.end(execution) == "SUCCESS"
    assert outputs(house, execution)["outputs"] == [
        {"item": {"value": "10", "iteration": 0, "key": "a"}, "outputs": {"o": 10}},
        {"item": {"value": "20", "iteration": 1, "key": "b"}, "outputs": {"o": 20}},
    ]
    assert outputs(house, execution, "all")["value"] == "[10,20] b"


def test_outputs_that_cannot_be_rendered_fail_their_iteration(house: House):
    execution = run(house, loop("[1, x]", say("r", "{{ item.value }}"), more=f"transmitFailed: false, {DECLARED}"))

    assert house.end(execution) == "SUCCESS"
    assert states(house, execution) == ["SUCCESS", "FAILED"]
    assert [entry["outputs"] for entry in outputs(house, execution)["outputs"]] == [{"o": 1}, {}]


@pytest.mark.parametrize("fetch", ["STORE", "AUTO"])
def test_stored_outputs_are_a_file_each_and_one_of_all(house: House, fetch: str):
    body = loop(FILE, say("r", "{{ item.value }}"), say("s", ""), more=f"fetchType: {fetch}, {DECLARED}")
    execution = in_file(house, b"1\n2\n", body)

    assert house.end(execution) == "SUCCESS"
    found = outputs(house, execution)
    texts = [house.storage.open(entry["outputs"]["uri"]).read() for entry in found["outputs"]]
    assert texts == [b"{o:1}\n", b"{o:2}\n"]
    assert house.storage.open(found["uri"]).read() == b"{o:1}\n{o:2}\n"


@pytest.mark.parametrize("fetch", ["FETCH", "AUTO"])
def test_outputs_of_a_list_are_fetched(house: House, fetch: str):
    execution = run(house, loop("[1]", say("r", "{{ item.value }}"), more=f"fetchType: {fetch}, {DECLARED}"))
    assert house.end(execution) == "SUCCESS"
    assert outputs(house, execution)["outputs"][0]["outputs"] == {"o": 1}


def test_too_large_outputs_fail_the_loop(house: House):
    object.__setattr__(house.executions.rendering.limits, "output_bytes", 100)
    execution = run(house, loop("[1, 2, 3, 4]", say("r", "{{ item.value }}"), more=DECLARED))

    assert house.end(execution) == "FAILED"
    assert "output_too_large" in house.run(execution, "loop").error


# ---- errors, finally, retries --------------------------------------------------------------------------------------


def test_errors_and_finally_run_inside_every_iteration(house: House):
    house.results["t"] = [State.FAILED]
    late = f"errors: [{say('e', 'x')}], finally: [{say('l', 'x')}], transmitFailed: false, concurrencyLimit: 1,"
    execution = run(house, loop("[1, 2]", work("t"), more=late))

    assert house.end(execution) == "SUCCESS"
    assert [house.states(row.id) for row in iterations(house, execution)] == [
        ["t FAILED", "e SUCCESS", "l SUCCESS"],
        ["t SUCCESS", "l SUCCESS"],
    ]
    assert house.states(execution) == ["loop SUCCESS"]


def test_what_belongs_to_the_whole_flow_happens_once(house: House):
    """Its afterExecution, outputs, SLA and concurrency are not an iteration's."""
    more = (
        f"afterExecution: [{say('last', 'x')}]\noutputs: [{{id: w, type: STRING, value: whole}}]\n"
        "concurrency: {limit: 1, behavior: FAIL}\nsla: [{id: s, type: MAX_DURATION, duration: PT1S, behavior: FAIL}]\n"
    )
    execution = run(house, loop("[1, 2]", say("r", "1")), more=more)

    assert house.end(execution) == "SUCCESS"
    assert house.states(execution) == ["loop SUCCESS", "last SUCCESS"]
    assert [(row.state, row.outputs, row.slot) for row in iterations(house, execution)] == [
        ("SUCCESS", None, False)
    ] * 2
    assert house.timer_kinds() == ["sla"]


def test_a_childs_own_retry_works_inside_the_iteration(house: House):
    house.results["t"] = [State.FAILED]
    again = work("t").replace("}", ", retry: {type: constant, interval: PT5S, maxAttempts: 2}}")
    execution = run(house, loop("[1]", again))

    assert house.end(execution) == "SUCCESS"
    assert len(house.run(iterations(house, execution)[0].id, "t").attempts) == 2
    assert len(house.run(execution, "loop").attempts) == 1


def test_a_retry_on_the_loop_is_lent_to_its_tasks(house: House):
    house.results["t"] = [State.FAILED]
    more = "retry: {type: constant, interval: PT5S, maxAttempts: 2},"
    execution = run(house, loop("[1]", work("t"), more=more))

    assert house.end(execution) == "SUCCESS"
    assert len(house.run(iterations(house, execution)[0].id, "t").attempts) == 2
    assert len(house.run(execution, "loop").attempts) == 1


def test_an_iteration_may_be_retried_as_a_new_execution(house: House):
    house.results["t"] = [State.FAILED]
    retry = "{type: constant, interval: PT5S, maxAttempts: 3, behavior: CREATE_NEW_EXECUTION}"
    execution = run(house, loop("[a]", work("t"), say("r", "{{ item.value }}"), more=f"retry: {retry},"))

    assert house.end(execution) == "SUCCESS"
    assert states(house, execution) == ["RETRIED", "SUCCESS"]
    assert house.run(iterations(house, execution)[1].id, "r").outputs["value"] == "a"
    assert outputs(house, execution)["terminatedIterations"] == {"SUCCESS": 1}


# ---- pause, kill, restart, replay ----------------------------------------------------------------------------------


def test_a_pause_shows_on_the_loop_and_the_execution_until_all_are_resumed(house: House):
    execution = run(house, loop("[1, 2]", PAUSE))
    parked(house, execution, 2)
    assert house.row(execution).state == "PAUSED"
    assert house.states(execution) == ["loop PAUSED"]

    house.executions.resume(execution)
    house.settle(lambda: states(house, execution) == ["SUCCESS", "PAUSED"])
    assert house.row(execution).state == "PAUSED"
    house.executions.resume(iterations(house, execution)[1].id)

    assert house.end(execution) == "SUCCESS"


def test_no_iteration_starts_while_the_execution_is_paused_by_hand(house: House):
    execution = run(house, loop("[1, 2]", work("t"), more="concurrencyLimit: 1,"))
    house.errands.run()
    house.executions.pause(execution)
    house.settle(lambda: states(house, execution) == ["SUCCESS"])
    for _ in range(5):
        house.step()
    assert len(iterations(house, execution)) == 1

    house.executions.resume(execution)

    assert house.end(execution) == "SUCCESS"
    assert states(house, execution) == ["SUCCESS"] * 2


def test_a_pause_deep_inside_is_resumed_from_the_outermost(house: House):
    execution = run(house, loop("[1]", loop("[2]", PAUSE, name="inner")))
    house.settle(lambda: house.row(execution).state == "PAUSED")

    house.executions.resume(execution)

    assert house.end(execution) == "SUCCESS"


def test_news_of_a_pause_that_comes_after_its_end_changes_nothing(house: House):
    execution = run(house, loop("[1, 2]", PAUSE))
    parked(house, execution, 2)
    row = iterations(house, execution)[0]
    house.executions.resume(execution)
    house.settle(lambda: states(house, execution)[0] == "SUCCESS")

    loops.iteration_changed(house.executions, row, State.PAUSED)
    house.executions.resume(execution)

    assert house.end(execution) == "SUCCESS"


@pytest.mark.parametrize("limit", [0, 1])
@pytest.mark.parametrize("cascade", [True, False])
def test_a_kill_ends_all_iterations(house: House, limit: int, cascade: bool):
    execution = run(house, loop("[1, 2, 3]", PAUSE, more=f"concurrencyLimit: {limit},"))
    parked(house, execution, limit or 3)

    house.executions.kill(execution, cascade=cascade)

    assert house.end(execution) == "KILLED"
    assert states(house, execution) == ["KILLED"] * (limit or 3)
    assert house.states(execution) == ["loop KILLED"]


def test_a_kill_reaches_nested_iterations(house: House):
    execution = run(house, loop("[1, 2]", loop("[1, 2]", PAUSE, name="inner")))
    house.settle(lambda: [row.state for row in house.executions_of("f")].count("PAUSED") == 7)

    house.executions.kill(execution)

    assert house.end(execution) == "KILLED"
    house.settle(lambda: {row.state for row in house.executions_of("f")} == {"KILLED"})


def test_a_kill_while_they_are_made_leaves_none_behind(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("runner.loops.CHUNK", 1)
    execution = run(house, loop("[1, 2, 3, 4, 5]", PAUSE))
    begin = house.executions.on_start
    made: list[str] = []

    def start(one: str, *given: Any) -> None:
        begin(one, *given)
        made.append(one)
        if len(made) == 2:
            house.executions.kill(execution)

    house.executions.on_start = start

    assert house.end(execution) == "KILLED"
    assert states(house, execution) == ["KILLED"] * 2


def test_an_exit_beside_a_loop_waits_for_what_runs_and_starts_nothing(house: House):
    exit_ = "{id: x, type: io.kestra.plugin.core.execution.Exit, state: SUCCESS, runIf: 'true'}"
    wait = "{id: w, type: io.kestra.plugin.core.flow.Pause, pauseDuration: PT60S}"
    pause = PAUSE.replace("}", ", pauseDuration: PT120S}")
    both = (
        "{id: par, type: io.kestra.plugin.core.flow.Parallel, tasks: ["
        f"{loop('[1, 2, 3]', pause, more='concurrencyLimit: 1,')}, "
        f"{{id: s, type: io.kestra.plugin.core.flow.Sequential, tasks: [{wait}, {exit_}]}}]}}"
    )
    execution = run(house, both)

    assert house.end(execution) == "SUCCESS"
    assert states(house, execution) == ["SUCCESS"]


def test_a_restart_runs_again_what_failed_and_then_what_never_started(house: House):
    house.results["t"] = [State.SUCCESS, State.FAILED]
    execution = run(house, loop("[1, 2, 3]", work("t"), say("r", "{{ item.value }}"), more="concurrencyLimit: 1,"))
    assert house.end(execution) == "FAILED"
    before = [row.id for row in iterations(house, execution)]

    house.executions.restart(execution)

    assert house.end(execution) == "SUCCESS"
    assert [row.id for row in iterations(house, execution)][:2] == before
    assert said(house, execution) == ["1", "2", "3"]
    assert outputs(house, execution)["terminatedIterations"] == {"SUCCESS": 3}


def test_a_restart_of_a_killed_loop_keeps_the_limit(house: House):
    execution = run(house, loop("[1, 2, 3, 4, 5]", PAUSE, more="concurrencyLimit: 2,"))
    parked(house, execution, 2)
    house.executions.resume(execution)
    house.settle(lambda: states(house, execution) == ["SUCCESS", "PAUSED", "PAUSED"])
    house.executions.kill(execution)
    assert house.end(execution) == "KILLED"

    house.executions.restart(execution)

    for done in range(4):
        parked(house, execution, min(2, 4 - done))
        house.executions.resume(execution)
    assert house.end(execution) == "SUCCESS"
    assert states(house, execution) == ["SUCCESS"] * 5


def test_what_waits_for_its_restart_is_not_taken_for_an_end(house: House):
    house.results["t"] = [State.FAILED] * 4
    more = "concurrencyLimit: 1, transmitFailed: false,"
    execution = run(house, loop("[1, 2, 3, 4, 5]", work("t"), PAUSE, more=more))
    parked(house, execution, 1)
    house.executions.kill(execution)
    assert house.end(execution) == "KILLED"

    house.executions.restart(execution)

    for done in range(5):
        parked(house, execution, 1)
        house.clock.advance(timedelta(minutes=5))
        house.step()
        assert states(house, execution).count("SUCCESS") == done
        house.effects.announce_again(iterations(house, execution)[3].id)
        house.executions.resume(execution)
    assert house.end(execution) == "SUCCESS"
    assert outputs(house, execution)["terminatedIterations"] == {"SUCCESS": 5}


def test_a_loop_may_stand_in_any_list(house: House):
    house.results["t"] = [State.FAILED]
    late = {name: loop("[1, 2]", say("r" + name, "x"), name=name) for name in ("errors", "finally", "afterExecution")}
    more = "".join(f"{name}: [{one}]\n" for name, one in late.items())
    execution = run(house, work("t"), more=more)

    assert house.end(execution) == "FAILED"
    assert house.states(execution) == ["t FAILED", "errors SUCCESS", "finally SUCCESS", "afterExecution SUCCESS"]
    assert len(iterations(house, execution)) == 6


def test_a_restart_of_a_paused_execution_restarts_its_paused_iterations(house: House):
    execution = run(house, loop("[1, 2]", PAUSE))
    parked(house, execution, 2)

    house.executions.restart(execution)
    parked(house, execution, 2)
    house.settle(lambda: house.row(execution).state == "PAUSED")
    for _ in range(2):
        house.executions.resume(execution)
        house.step()

    assert house.end(execution) == "SUCCESS"
    assert len(iterations(house, execution)) == 2


def test_a_restart_of_null_values_reads_them_again(house: House):
    execution = run(house, loop("[1, null]", say("r", "1")))
    assert house.end(execution) == "FAILED"
    house.executions.restart(execution)
    assert house.end(execution) == "FAILED"


def test_a_replay_from_the_loop_runs_all_of_it_again(house: House):
    house.results["t"] = [State.FAILED]
    execution = run(house, say("before", "b"), loop("[1, 2]", work("t"), say("r", "{{ outputs.before.value }}")))
    assert house.end(execution) == "FAILED"

    again = house.executions.replay(execution, task_run_id=house.run(execution, "loop").id)

    assert house.end(again) == "SUCCESS"
    assert said(house, again) == ["b", "b"]
    assert len(iterations(house, execution)) == 2


def test_an_iteration_itself_is_not_replayed(house: House):
    execution = run(house, loop("[1]", say("r", "1")))
    assert house.end(execution) == "SUCCESS"
    with pytest.raises(Conflict, match="iteration of a Loop"):
        house.executions.replay(iterations(house, execution)[0].id)


def test_a_loop_until_goes_round_a_loop(house: House):
    inner = loop("[1, 2]", say("r", "1"))
    until = (
        "{id: u, type: io.kestra.plugin.core.flow.LoopUntil, condition: '{{ outputs.u.iterationCount == 3 }}', "
        f"checkFrequency: {{interval: PT10S}}, tasks: [{inner}]}}"
    )
    execution = run(house, until)

    assert house.end(execution) == "SUCCESS"
    assert len(iterations(house, execution)) == 6
    assert house.row(execution).iterations == 2, "what the loop has dropped does not count as its task runs"


# ---- limits, lists, books ------------------------------------------------------------------------------------------


def test_too_many_values_are_refused_before_the_first_starts(house: House):
    object.__setattr__(house.executions.rendering.limits, "task_runs", 3)
    execution = run(house, loop("[1, 2, 3, 4]", say("r", "1")))

    assert house.end(execution) == "FAILED"
    assert "too_many_taskruns" in house.run(execution, "loop").error
    assert iterations(house, execution) == []


def test_iterations_of_all_loops_below_an_execution_count_together(house: House):
    object.__setattr__(house.executions.rendering.limits, "task_runs", 5)
    execution = run(house, loop("[1, 2]", loop("[1, 2]", say("r", "1"), name="inner"), more="concurrencyLimit: 1,"))

    assert house.end(execution) == "FAILED"
    assert states(house, execution) == ["SUCCESS", "FAILED"]


def test_iterations_are_not_counted_as_open_executions(house: House):
    object.__setattr__(house.executions.rendering.limits, "executions_per_flow", 1)
    execution = run(house, loop("[1, 2, 3]", PAUSE))
    parked(house, execution, 3)
    assert len(iterations(house, execution)) == 3


def test_an_end_that_is_told_twice_counts_once(house: House):
    execution = run(house, loop("[1, 2]", PAUSE))
    parked(house, execution, 2)
    house.executions.resume(execution)
    house.settle(lambda: states(house, execution)[0] == "SUCCESS")

    for _ in range(3):
        house.effects.announce_again(iterations(house, execution)[0].id)

    assert outputs(house, execution)["terminatedIterations"] == {"SUCCESS": 1}
    assert outputs(house, execution)["runningIterations"] == 1


def test_a_start_that_is_done_twice_makes_each_iteration_once(house: House):
    execution = run(house, loop("[1, 2]", PAUSE))
    parked(house, execution, 2)
    loop_run = house.run(execution, "loop")

    loops.start(house.executions, execution, loop_run.id, loop_run.epoch, again=False)

    assert len(iterations(house, execution)) == 2


def test_the_cost_of_an_end_does_not_grow_with_the_iterations(house: House):
    execution = run(house, loop(list(range(60)), PAUSE))
    parked(house, execution, 60)
    version = house.row(execution).version
    for row in iterations(house, execution)[:40]:
        house.executions.resume(row.id)
    house.settle(lambda: states(house, execution).count("SUCCESS") == 40)

    assert outputs(house, execution)["terminatedIterations"]["SUCCESS"] >= 30
    assert house.row(execution).version - version <= loops.STEPS + 2


def cost(house: House, size: int, limit: int) -> Counted:
    """What a Loop costs from its start to its end, nothing else going on."""
    name = f"loop{size}"
    body = loop(list(range(size)), say("r", "{{ item.value }}"), more=f"concurrencyLimit: {limit}, {DECLARED}")
    house.deploy(name, flow(body))
    with counting(house.database) as counted:
        execution = house.start(name)
        house.errands.run()
    assert outputs(house, execution)["terminatedIterations"] == {"SUCCESS": size}
    print(f"limit {limit}: {size} iterations, {counted.statements} statements, {counted.commits} commits")
    return counted


@pytest.mark.parametrize("limit", [0, 1, 4])
def test_the_cost_of_an_iteration_is_the_same_among_many_as_among_few(house: House, limit: int):
    few, more, many = (cost(house, size, limit) for size in (10, 40, 130))

    # The 90 further iterations cost at most three times what 30 further ones do.
    assert many.statements - more.statements <= 3 * (more.statements - few.statements) + 30
    assert many.commits - more.commits <= 3 * (more.commits - few.commits) + 30


def search(house: House, *filters: Filter) -> list[dict[str, Any]]:
    found, total = house.database.read(
        lambda c: queries.search_executions(c, filters, Page(1, 100, ()), now=house.clock.now())
    )
    assert total == len(found)
    return found


def test_lists_leave_iterations_out_unless_asked_and_order_them_by_index(house: House):
    execution = run(house, loop(list(range(12)), say("r", "1")))
    assert house.end(execution) == "SUCCESS"

    assert [one["id"] for one in search(house)] == [execution]
    found = search(house, Filter("parentId", Op.EQUALS, execution), Filter("kind", Op.EQUALS, "LOOP"))
    assert [one["loopRun"]["index"] for one in found] == list(range(12))
    assert {(one["parentId"], one["kind"]) for one in found} == {(execution, "LOOP")}


def test_a_deleted_execution_takes_its_iterations_with_it(house: House):
    execution = run(house, loop("[1, 2]", loop("[1]", say("r", "1"), name="inner")))
    assert house.end(execution) == "SUCCESS"

    house.executions.delete(execution)

    for table in (execution_table, batch_table, batch_set_table, iteration_table):
        count = sa.select(sa.func.count()).select_from(table)
        assert house.database.read(lambda c, q=count: c.execute(q).scalar()) == 0


def test_a_deleted_iteration_counts_as_killed(house: House):
    execution = run(house, loop("[1, 2]", PAUSE, more="transmitFailed: false,"))
    parked(house, execution, 2)

    house.executions.delete(iterations(house, execution)[0].id)
    house.executions.resume(execution)

    assert house.end(execution) == "SUCCESS"
    assert outputs(house, execution)["terminatedIterations"] == {"SUCCESS": 1, "KILLED": 1}


def test_a_subflow_in_an_iteration_reports_to_it(house: House):
    house.deploy("child", flow(say("c", "1"), more="outputs: [{id: x, type: STRING, value: y}]\n"))
    sub = f"{{id: sub, type: io.kestra.plugin.core.flow.Subflow, namespace: {NS}, flowId: child}}"
    execution = run(house, loop("[1, 2]", sub, say("r", "{{ outputs.sub.outputs.x }}")))

    assert house.end(execution) == "SUCCESS"
    assert said(house, execution) == ["y", "y"]
