"""Listeners of older flows on a whole instance, both databases: conditions on the execution that has ended."""

from __future__ import annotations

from tests.support.instances import NS, Instance

C = "io.kestra.plugin.core.condition"
R = "type: io.kestra.plugin.core.debug.Return"


def test_listeners_ask_for_state_labels_outputs_and_expressions(instance: Instance) -> None:
    instance.deploy(
        "f",
        f"""
        labels: {{team: data}}
        inputs: [{{id: fail, type: BOOL}}]
        tasks: [{{id: t, type: io.kestra.plugin.core.execution.Fail, condition: "{{{{ inputs.fail }}}}"}}]
        outputs: [{{id: o, type: STRING, value: "{{{{ inputs.fail }}}}"}}]
        listeners:
          - description: after a failure
            conditions: [{{type: {C}.ExecutionStatus, in: [FAILED]}}]
            tasks: [{{id: failed, {R}, format: "{{{{ execution.state }}}}"}}]
          - conditions:
              - {{type: {C}.ExecutionStatus, notIn: [FAILED]}}
              - {{type: {C}.ExecutionLabels, labels: {{team: data}}}}
              - {{type: {C}.ExecutionFlow, namespace: {NS}, flowId: f}}
              - {{type: {C}.ExecutionOutputs, expression: "{{{{ trigger.outputs.o == 'false' }}}}"}}
              - {{type: {C}.Expression, expression: "{{{{ flow.id == 'f' }}}}"}}
            tasks: [{{id: fine, {R}}}]
          - conditions: [{{type: {C}.HasRetryAttempt, in: [KILLED]}}]
            tasks: [{{id: never, {R}}}]
        afterExecution: [{{id: last, {R}}}]
        """,
    )

    def tasks_of(fail: str) -> list[str]:
        started = instance.start("f", inputs={"fail": fail})
        one = instance.until(started, lambda e: "last" in str(e["taskRunList"]), "afterExecution")
        return [run["taskId"] for run in one["taskRunList"]]

    assert tasks_of("true") == ["t", "failed", "last"]
    assert tasks_of("false") == ["t", "fine", "last"]


def test_a_condition_that_cannot_be_evaluated_leaves_the_listeners_out(instance: Instance) -> None:
    instance.deploy(
        "f",
        f"""
        tasks: [{{id: t, {R}}}]
        listeners:
          - conditions: [{{type: {C}.Expression, expression: "{{{{ nothing.like.that }}}}"}}]
            tasks: [{{id: never, {R}}}]
        """,
    )

    one = instance.run("f")

    assert one["state"]["current"] == "SUCCESS"
    assert any("The listeners are left out" in line for line in instance.logs(one["id"]))
