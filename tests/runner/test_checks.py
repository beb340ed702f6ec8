"""Checks of a flow on a whole instance, both databases: who asks, what is created, what is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.checks import CheckFailed
from runner.starting import Upload
from tests.support.instances import NS, Instance

BODY = """
    inputs: [{{id: env, type: STRING, defaults: dev}}, {{id: file, type: FILE, required: false}}]
    checks:
      - {{condition: "{{{{ inputs.env == 'prod' }}}}", message: only prod, behavior: {behavior}, style: WARNING}}
      - {{condition: "{{{{ inputs.env != 'odd' }}}}", message: odd is odd, behavior: CREATE_EXECUTION}}
    tasks: [{{id: t, type: io.kestra.plugin.core.debug.Return, format: ran}}]
"""


def test_a_blocking_check_creates_nothing_and_keeps_no_file(instance: Instance, tmp_path: Path) -> None:
    instance.deploy("f", BODY.format(behavior="BLOCK_EXECUTION"))
    (tmp_path / "a.txt").write_bytes(b"abc")
    upload = Upload(filename="a.txt", size=3, source=tmp_path / "a.txt")

    with pytest.raises(CheckFailed) as refused:
        instance.start("f", inputs={"env": "dev", "file": upload})

    assert (refused.value.message, refused.value.status, refused.value.code) == ("only prod", 422, "check_failed")
    assert instance.count("f") == 0
    assert instance.executions.rendering.storage.list(f"/{NS.replace('.', '/')}") == []
    assert instance.run("f", inputs={"env": "prod"})["state"]["current"] == "SUCCESS"


def test_a_failing_check_creates_a_failed_execution(instance: Instance) -> None:
    instance.deploy("f", BODY.format(behavior="FAIL_EXECUTION"))

    one = instance.run("f")

    assert one["state"]["current"] == "FAILED"
    assert one.get("taskRunList", []) == []
    assert one["inputs"] == {"env": "dev", "file": None}
    assert instance.logs(one["id"]) == ["only prod"]


def test_a_creating_check_only_says_its_message(instance: Instance) -> None:
    instance.deploy("f", BODY.format(behavior="CREATE_EXECUTION"))

    one = instance.run("f", inputs={"env": "odd"})

    assert one["state"]["current"] == "SUCCESS"
    assert instance.logs(one["id"]) == ["only prod", "odd is odd"]


def test_of_several_the_strictest_decides(instance: Instance) -> None:
    checks = [f'{{condition: "false", message: {name}, behavior: {name}_EXECUTION}}' for name in ("CREATE", "FAIL")]
    tasks = "tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: ran}]"
    instance.deploy("f", f"checks: [{', '.join(checks)}]\n{tasks}")
    instance.deploy("g", f"checks: [{', '.join(checks)}, {{when: 'false', message: block}}]\n{tasks}")

    assert instance.run("f")["state"]["current"] == "FAILED"
    with pytest.raises(CheckFailed, match=r"^block$"):
        instance.start("g")


def test_a_check_that_cannot_be_evaluated_blocks_with_its_reason(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        checks: [{condition: "{{ inputs.nothing }}", message: say why, behavior: CREATE_EXECUTION}]
        tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: ran}]
        """,
    )

    with pytest.raises(CheckFailed, match=r"say why \(the check cannot be evaluated: .*nothing"):
        instance.start("f")


def test_checks_see_secrets_and_the_trigger(instance: Instance) -> None:
    instance.deploy(
        "f",
        """
        inputs: [{id: token, type: SECRET}]
        checks: [{condition: "{{ inputs.token == 'open-sesame' and trigger is not defined }}", message: wrong}]
        tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: ran}]
        """,
    )

    assert instance.run("f", inputs={"token": "open-sesame"})["state"]["current"] == "SUCCESS"
    with pytest.raises(CheckFailed):
        instance.start("f", inputs={"token": "closed"})


def test_a_blocked_subflow_fails_its_task(instance: Instance) -> None:
    instance.deploy("f", BODY.format(behavior="BLOCK_EXECUTION"))
    instance.deploy(
        "parent",
        f"""
        tasks: [{{id: call, type: io.kestra.plugin.core.flow.Subflow, namespace: {NS}, flowId: f}}]
        """,
    )

    parent = instance.run("parent")

    assert parent["state"]["current"] == "FAILED"
    assert "only prod" in instance.logs(parent["id"])
    assert instance.count("f") == 0


def test_checks_are_told_before_anything_is_started(instance: Instance) -> None:
    instance.deploy("f", BODY.format(behavior="BLOCK_EXECUTION"))
    flow, resolved = instance.executions.validate_inputs(NS, "f", None, {"env": "odd"})

    found = instance.executions.failing_checks(flow, resolved)

    assert [(one.message, one.style, one.behavior) for one in found] == [
        ("only prod", "WARNING", "BLOCK_EXECUTION"), ("odd is odd", "INFO", "CREATE_EXECUTION"),
    ]  # fmt: skip
