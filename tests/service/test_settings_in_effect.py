"""Settings of whole instances: language of unmarked flows, recursive rendering, pinned subflows, isolation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.instances import NS, Instance, whole

Make = Callable[..., Instance]
LOG = "tasks: [{id: a, type: core.log.Log, message: '%s'}]"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Instance] = []

    def build(**settings: Any) -> Instance:
        made.append(Instance(tmp_path / "data", f"sqlite:///{tmp_path / 'lanner.db'}", **settings))
        return made[-1]

    yield build
    for instance in made:
        instance.close()


@pytest.mark.parametrize("language", [1, 2])
def test_a_flow_without_a_marker_reads_in_the_language_of_the_setting(make: Make, language: int) -> None:
    instance = make(flow_language_unmarked=language)

    reading = instance.lanner.registry.read(whole("f", LOG % "hi"))

    assert reading.flow is not None
    assert reading.flow.language == language


@pytest.mark.parametrize(("recursive", "shown"), [(False, "{{ inputs.i }}"), (True, "deep")])
def test_results_are_rendered_again_when_the_setting_says_so(make: Make, recursive: bool, shown: str) -> None:
    instance = make(recursive_rendering=recursive)
    body = "inputs: [{id: i, type: STRING, defaults: deep}]\nvariables: {v: '{{ inputs.i }}'}\n" + LOG
    instance.deploy("f", body % "{{ vars.v }}")

    assert instance.logs(instance.run("f")["id"])[-1] == shown


@pytest.mark.parametrize(("pin", "shown"), [("run", "old"), ("latest", "new")])
def test_a_subflow_starts_at_the_parents_generation_or_at_the_newest(make: Make, pin: str, shown: str) -> None:
    instance = make(subflow_pin=pin)
    instance.deploy("child", LOG % "old")
    instance.deploy(
        "f",
        f"""
        tasks:
          - {{id: wait, type: core.flow.Pause}}
          - {{id: call, type: core.flow.Subflow, namespace: {NS}, flowId: child, wait: true}}
        """,
    )
    parent = instance.start("f")
    instance.in_state(parent, "PAUSED")
    instance.lanner.registry.update(NS, "child", whole("child", LOG % "new"))

    instance.executions.resume(parent, inputs={})
    run = next(one for one in instance.ended(parent)["taskRunList"] if one["taskId"] == "call")

    assert instance.logs(run["outputs"]["executionId"])[-1] == shown


@pytest.mark.parametrize("least", ["bubblewrap", "container"])
def test_a_script_whose_runner_isolates_too_little_is_refused_with_one_line(make: Make, least: str) -> None:
    instance = make(tasks={"default_task_runner": "process", "minimum_isolation": least})
    instance.deploy("f", "tasks: [{id: a, type: scripts.shell.Commands, commands: [echo ran]}]")

    execution = instance.run("f")

    assert execution["state"]["current"] == "FAILED"
    (line,) = [line for line in instance.logs(execution["id"]) if "isolation" in line]
    assert f"would run as a process (tasks.default_task_runner is process), tasks.minimum_isolation is {least}" in line
    assert not [line for line in instance.logs(execution["id"]) if line == "ran"]
