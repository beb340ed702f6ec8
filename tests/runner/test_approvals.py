"""Approvals on a whole instance, both databases: what a person may say, what is kept of it, and expiry."""

from __future__ import annotations

import pytest

from namespaces.errors import Conflict, InvalidInput, NotFound
from tests.support.instances import Instance

ASKS = """
    tasks:
      - id: ask
        type: io.kestra.plugin.core.flow.Approval
        timeout: PT1H
        decisions: {approve: "Ship {{ flow.id }}"}
        commentRequired: ON_DENY
        inputs: [{id: reason, type: STRING}, {id: count, type: INT, defaults: 2}]
        onWait: [{id: told, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.ask.url }}"}]
        onApprove: [{id: yes, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.ask.inputs.reason }}"}]
        onDeny: [{id: no, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.ask.comment }}"}]
      - {id: last, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.ask.decision }}"}
"""


def value(execution: dict[str, object], task_id: str) -> object:
    return next(run["outputs"]["value"] for run in execution["taskRunList"] if run["taskId"] == task_id)


def test_an_approval_keeps_what_the_person_said(instance: Instance) -> None:
    instance.deploy("f", ASKS)
    one = instance.start("f")
    waiting = instance.in_state(one, "PAUSED")
    instance.executions.review(one, decision="APPROVED", inputs={"reason": "urgent", "count": "3"}, by="ada")

    ended = instance.ended(one)
    outputs = ended["taskRunList"][0]["outputs"]
    assert ended["state"]["current"] == "SUCCESS"
    assert {key: outputs[key] for key in ("decision", "auto", "by", "comment", "inputs")} == {
        "decision": "APPROVED", "auto": False, "by": "ada", "comment": None, "inputs": {"reason": "urgent", "count": 3},
    }  # fmt: skip
    assert outputs["due"] == waiting["taskRunList"][0]["outputs"]["due"]
    assert value(ended, "told") == outputs["url"]
    assert f"/executions/{ended['namespace']}/f/{one}" in outputs["url"]
    assert (value(ended, "yes"), value(ended, "last")) == ("urgent", "APPROVED")


def test_a_denial_needs_its_comment_and_ends_the_execution(instance: Instance) -> None:
    instance.deploy("f", ASKS)
    one = instance.start("f")
    instance.in_state(one, "PAUSED")

    with pytest.raises(InvalidInput, match="requires a comment"):
        instance.executions.review(one, decision="DENIED", comment="  ", inputs={"reason": "x"})
    instance.executions.review(one, decision="DENIED", comment="too late", inputs={"reason": "x"})

    ended = instance.ended(one)
    assert ended["state"]["current"] == "CANCELLED"
    assert value(ended, "no") == "too late"
    assert [run["taskId"] for run in ended["taskRunList"]] == ["ask", "told", "no"]


def test_what_is_refused_leaves_the_approval_waiting(instance: Instance) -> None:
    instance.deploy("f", ASKS)
    one = instance.start("f")
    instance.in_state(one, "PAUSED")
    review = instance.executions.review

    with pytest.raises(InvalidInput, match="`reason`"):
        review(one, decision="APPROVED")
    with pytest.raises(InvalidInput, match="APPROVED or DENIED"):
        review(one, decision="YES", inputs={"reason": "x"})
    with pytest.raises(NotFound):
        review(one, decision="APPROVED", task_run_id="none", inputs={"reason": "x"})
    told = instance.get(one)["taskRunList"][1]["id"]
    with pytest.raises(Conflict):
        review(one, decision="APPROVED", task_run_id=told, inputs={"reason": "x"})
    with pytest.raises(Conflict, match="waits for a decision"):
        instance.executions.resume(one)
    assert instance.get(one)["state"]["current"] == "PAUSED"

    review(one, decision="APPROVED", inputs={"reason": "x"})
    with pytest.raises(Conflict):
        review(one, decision="DENIED", comment="c", inputs={"reason": "x"})
    assert instance.ended(one)["taskRunList"][0]["outputs"]["decision"] == "APPROVED"


def test_of_several_the_task_run_must_be_named(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        tasks:
          - id: both
            type: io.kestra.plugin.core.flow.Parallel
            tasks:
              - {id: a, type: io.kestra.plugin.core.flow.Approval}
              - {id: b, type: io.kestra.plugin.core.flow.Approval}
        """,
    )
    one = instance.start("f")
    paused = instance.until(
        one, lambda e: sum(r["state"]["current"] == "PAUSED" for r in e["taskRunList"]) == 2, "both"
    )

    with pytest.raises(InvalidInput, match="2 approvals wait"):
        instance.executions.review(one, decision="APPROVED")
    for run in paused["taskRunList"][1:]:
        instance.executions.review(one, decision="APPROVED", task_run_id=run["id"])

    assert instance.ended(one)["state"]["current"] == "SUCCESS"


def test_an_approval_expires_and_may_go_on(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        tasks:
          - {id: ask, type: io.kestra.plugin.core.flow.Approval, timeout: PT0.1S, expireBehavior: "{{ 'WARN' }}"}
          - {id: last, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.ask.decision }}"}
        """,
    )

    ended = instance.run("f")

    assert ended["state"]["current"] == "WARNING"
    assert value(ended, "last") == "EXPIRED"


def test_terms_are_rendered_and_a_wrong_one_fails_the_task(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        inputs: [{id: behavior, type: STRING}]
        tasks:
          - id: ask
            type: io.kestra.plugin.core.flow.Approval
            autoApprove: "{{ inputs.behavior != '' }}"
            approveBehavior: "{{ inputs.behavior }}"
        """,
    )

    assert instance.run("f", inputs={"behavior": "cancel"})["state"]["current"] == "CANCELLED"
    wrong = instance.run("f", inputs={"behavior": "LATER"})
    assert wrong["state"]["current"] == "FAILED"
    assert any("approveBehavior is 'LATER'" in line for line in instance.logs(wrong["id"]))
