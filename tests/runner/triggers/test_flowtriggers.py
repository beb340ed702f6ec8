"""Flow triggers on both databases: from an upstream's end to the execution it causes, once."""

from __future__ import annotations

import threading

from runner import declared
from tests.runner.triggers.conftest import NS, House, key

TYPE = "io.kestra.plugin.core.trigger.Flow"
CONDITION = "io.kestra.plugin.core.condition"


def upstreams(house: House, *names: str) -> None:
    for name in names:
        house.deploy("", flow_id=name, more="labels: {team: data}")


def listener(house: House, rest: str, *, flow_id: str = "listen", more: str = "") -> None:
    house.deploy(f"- id: up\n  type: {TYPE}\n{rest}", flow_id=flow_id, more=more)


def test_an_upstreams_end_starts_the_listener_with_its_facts(house: House) -> None:
    upstreams(house, "a")
    listener(house, f"  conditions:\n    - {{type: {CONDITION}.ExecutionFlow, namespace: {NS}, flowId: a}}\n")

    run = house.run("a", "FAILED", tasks={"first": {}, "boom": {"state": "FAILED"}})

    [row] = house.executions_of("listen")
    variables = row.trigger["variables"]
    assert row.trigger["id"] == "up"
    assert row.trigger_execution_id == run
    assert ["system.correlationId", run] in row.labels
    assert variables["executionId"] == run
    assert (variables["namespace"], variables["flowId"], variables["state"]) == (NS, "a", "FAILED")
    assert (variables["firstFailedTaskId"], variables["lastTaskId"]) == ("boom", "boom")
    assert variables["executionLabels"]["team"] == "data"


def test_other_flows_and_states_do_not_start_it(house: House) -> None:
    upstreams(house, "a", "b")
    listener(
        house,
        f"  states: [FAILED]\n  conditions:\n    - {{type: {CONDITION}.ExecutionFlow, namespace: {NS}, flowId: a}}\n",
    )

    house.run("a", "SUCCESS")
    house.run("b", "FAILED")

    assert house.executions_of("listen") == []
    interested = house.triggers.flow_triggers.interested
    assert interested(NS, "a", "FAILED")
    assert not interested(NS, "a", "SUCCESS")
    assert not interested(NS, "b", "FAILED")


def test_inputs_see_the_upstreams_task_outputs(house: House) -> None:
    upstreams(house, "a")
    listener(
        house,
        '  inputs: {from-parent: "{{ outputs.only.value }}", label: "{{ trigger.flowId }}"}\n'
        '  labels: {source: "{{ trigger.flowId }}"}\n',
        more="inputs: [{id: from-parent, type: STRING}, {id: label, type: STRING}]",
    )

    house.run("a", tasks={"only": {"outputs": {"value": "hello"}}})

    [row] = house.executions_of("listen")
    assert row.inputs == {"from-parent": "hello", "label": "a"}
    assert ["source", "a"] in row.labels


def test_inputs_that_do_not_render_make_a_failed_execution(house: House) -> None:
    upstreams(house, "a")
    listener(
        house,
        '  inputs: {x: "{{ trigger.outputs.nope }}"}\n',
        more="inputs: [{id: x, type: STRING, required: false}]",
    )

    house.run("a")

    [row] = house.executions_of("listen")
    assert row.state == "FAILED"


def test_a_trigger_without_inputs_starts_even_a_flow_that_requires_one(house: House) -> None:
    upstreams(house, "a")
    listener(house, "  states: [SUCCESS]\n", more="inputs: [{id: x, type: STRING}, {id: y, type: INT, defaults: 3}]")

    house.run("a")

    [row] = house.executions_of("listen")
    assert row.state == "CREATED"
    assert row.inputs["y"] == 3


def test_an_announcement_that_comes_twice_starts_one_execution(house: House) -> None:
    upstreams(house, "a")
    listener(house, "  states: [SUCCESS]\n")

    run = house.run("a")
    house.triggers.flow_triggers.announce(run, "SUCCESS", 2)

    assert len(house.executions_of("listen")) == 1


def test_what_ends_while_the_scheduler_follows_a_new_trigger_is_remembered(house: House) -> None:
    upstreams(house, "a", "b")
    listener(house, f"  dependsOn: [{{namespace: {NS}, flowId: a}}, {{namespace: {NS}, flowId: b}}]\n")
    known = house.database.read(declared.changes)
    [change] = [one for one in known.changes if one.key == key("up", "listen")]
    flow = house.database.read(lambda c: house.registry.flow(c, NS, "listen", change.revision))
    planned = declared.plan(change, flow, house.scheduler._schedules, house.clock.now())

    house.run("a")
    house.database.write(lambda tx: declared.apply(tx, [planned], house.clock.now()))
    house.run("b")

    assert len(house.executions_of("listen")) == 1


def test_all_of_depends_on_are_awaited_and_their_outputs_scoped(house: House) -> None:
    upstreams(house, "a", "b")
    listener(
        house,
        f'  inputs:\n    a: "{{{{ trigger.outputs[\'{NS}\'].a.val }}}}"\n    b: "{{{{ trigger.outputs.val }}}}"\n'
        f"  dependsOn:\n    - {{namespace: {NS}, flowId: a, states: [SUCCESS]}}\n"
        f"    - {{namespace: {NS}, flowId: b, states: [SUCCESS]}}\n",
        more="inputs: [{id: a, type: STRING}, {id: b, type: STRING}]",
    )

    house.run("a", outputs={"val": "from a"})
    early = house.executions_of("listen")
    house.run("b", outputs={"val": "from b"})

    assert early == []
    [row] = house.executions_of("listen")
    assert row.inputs == {"a": "from a", "b": "from b"}


def test_when_sees_labels_and_outputs_of_the_upstream(house: House) -> None:
    upstreams(house, "a")
    listener(house, "  when: \"{{ labels.team == 'data' and outputs.only.value == 'x' }}\"\n")

    house.run("a", tasks={"only": {"outputs": {"value": "y"}}})
    house.run("a", tasks={"only": {"outputs": {"value": "x"}}})

    assert len(house.executions_of("listen")) == 1


def test_a_condition_that_raises_does_not_fire_and_is_visible(house: House) -> None:
    upstreams(house, "a")
    listener(house, '  when: "{{ nope.x }}"\n')

    house.run("a")

    assert house.executions_of("listen") == []
    assert "nope" in house.state("up", "listen").error


def test_a_flow_does_not_start_itself(house: House) -> None:
    listener(house, "  states: [SUCCESS]\n")

    house.run("listen")

    assert len(house.executions_of("listen")) == 1


def test_a_switched_off_deleted_or_disabled_listener_is_silent(house: House) -> None:
    upstreams(house, "a")
    for name in ("off", "gone", "disabled", "on"):
        listener(house, "  states: [SUCCESS]\n", flow_id=name)
    house.run("a")
    house.triggers.states.set_disabled(key("up", "off"), True)
    house.remove("gone")
    listener(house, "  states: [SUCCESS]\n  disabled: true\n", flow_id="disabled")
    before = {name: len(house.executions_of(name)) for name in ("off", "gone", "disabled", "on")}

    house.run("a")

    after = {name: len(house.executions_of(name)) for name in before}
    assert {name: after[name] - before[name] for name in before} == {"off": 0, "gone": 0, "disabled": 0, "on": 1}


def test_a_listener_deployed_a_moment_ago_hears(house: House) -> None:
    upstreams(house, "a")
    house.run("a")

    listener(house, "  states: [SUCCESS]\n")
    house.run("a")

    assert len(house.executions_of("listen")) == 1


def test_many_upstreams_at_once_lose_nothing_of_the_memory(house: House) -> None:
    names = [f"u{n}" for n in range(8)]
    upstreams(house, *names)
    entries = "".join(f"    - {{namespace: {NS}, flowId: {name}}}\n" for name in names)
    listener(house, f"  dependsOn:\n{entries}")
    threads = [threading.Thread(target=house.run, args=(name,)) for name in names]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(house.executions_of("listen")) == 1


def test_a_window_that_passes_unsatisfied_makes_a_failed_execution_once(house: House) -> None:
    from datetime import timedelta

    upstreams(house, "a", "b")
    listener(
        house,
        f"  dependsOn:\n    - {{namespace: {NS}, flowId: a}}\n    - {{namespace: {NS}, flowId: b}}\n"
        '  window: {deadline: "09:00:00"}\n  onMiss: {behavior: FAIL, labels: {missed: "yes"}}\n',
    )
    house.scheduler.run_once()
    house.clock.advance(timedelta(hours=1))
    for name in ("a", "b"):
        house.run(name)
    house.clock.advance(timedelta(hours=9))
    house.scheduler.run_once()
    met = [row.state for row in house.executions_of("listen")]
    house.run("a")
    house.clock.advance(timedelta(hours=24))

    house.scheduler.run_once()
    house.scheduler.run_once()

    assert met == ["CREATED"]
    last = house.executions_of("listen")[-1]
    assert [row.state for row in house.executions_of("listen")] == ["CREATED", "FAILED"]
    assert ["missed", "yes"] in last.labels
    assert "waits for" in last.error


def test_a_check_that_blocks_is_told_on_the_trigger(house: House) -> None:
    upstreams(house, "a")
    listener(house, "", more="checks: [{condition: \"{{ trigger.state == 'FAILED' }}\", message: only failures}]")

    house.run("a", "SUCCESS")
    assert house.executions_of("listen") == []
    assert house.state("up", "listen").error == "only failures"
    house.run("a", "FAILED")
    assert len(house.executions_of("listen")) == 1
