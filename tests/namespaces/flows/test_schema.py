"""The JSON Schema that editors get says the same as the validator, as far as a schema can."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from namespaces.flows.catalog import Catalog
from namespaces.flows.parse import read_flow
from namespaces.flows.reader import read_yaml
from namespaces.flows.schema import json_schema

CATALOG = Catalog()
EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
HEAD = "id: f\nnamespace: n\n"
TASK = "tasks:\n  - {id: t, type: io.kestra.plugin.core.log.Log, message: x}\n"


@cache
def validator() -> Draft7Validator:
    schema = json_schema("flow", CATALOG)
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def refused(text: str) -> list[str]:
    return [error.message for error in validator().iter_errors(read_yaml(text).value)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_accepted(path: Path) -> None:
    assert refused(path.read_text()) == []


ACCEPTED = {
    "older names of types": "tasks: [{id: t, type: io.kestra.core.tasks.log.Log, message: x}]\n",
    "short names of types": "tasks: [{id: t, type: core.log.Log, message: x}]\n",
    "older names of conditions": TASK
    + "triggers: [{id: s, type: io.kestra.plugin.core.trigger.Schedule, cron: '0 0 * * *', "
    "conditions: [{type: io.kestra.core.models.conditions.types.WeekendCondition}]}]\n",
    "expressions for booleans": "tasks: [{id: t, type: core.execution.Kill, executionId: x, propagateKill: '{{ a }}'}]",
    "inputs of all kinds": "inputs: [{id: a, type: SELECT, values: [x]}, {name: b, type: BOOLEAN}, "
    "{id: c, type: FORM, inputs: [{id: d, type: INT, min: 1}]}]\n" + TASK,
    "nested lists of tasks": "tasks: [{id: s, type: core.flow.Switch, value: a, cases: {x: "
    "[{id: d, type: core.flow.Dag, tasks: [{task: {id: t, type: core.log.Log, message: x}}]}]}}]\n",
    "labels of both forms": "labels: [{key: a, value: 1}]\n" + TASK,
    "task runners": "tasks: [{id: t, type: io.kestra.plugin.scripts.shell.Script, script: x, "
    "taskRunner: {type: io.kestra.plugin.core.runner.Process}}]\n",
}
REFUSED = {
    "an unknown property of the flow": TASK + "colour: red\n",
    "an unknown property of a task": "tasks: [{id: t, type: core.log.Log, message: x, colour: red}]\n",
    "an unknown property of a task inside": "tasks: [{id: s, type: core.flow.Sequential, "
    "tasks: [{id: t, type: core.log.Log, message: x, colour: red}]}]\n",
    "an unknown type": "tasks: [{id: t, type: io.kestra.plugin.core.log.Lgo, message: x}]\n",
    "a missing required property": "tasks: [{id: t, type: core.kv.Get}]\n",
    "a task without an id": "tasks: [{type: core.log.Log, message: x}]\n",
    "a task without a type": "tasks: [{id: t, message: x}]\n",
    "no tasks": "description: x\n",
    "an id that is none": "tasks: [{id: 'a b', type: core.log.Log, message: x}]\n",
    "text where a list of tasks belongs": "tasks: x\n",
    "a word that is no state": TASK + "triggers: [{id: s, type: io.kestra.plugin.core.trigger.Flow, states: [DONE]}]\n",
    "a retry without a kind": "tasks: [{id: t, type: core.log.Log, message: x, retry: {maxAttempts: 3}}]\n",
    "an unknown type of input": "inputs: [{id: a, type: STR}]\n" + TASK,
    "a property of another input": "inputs: [{id: a, type: STRING, min: 1}]\n" + TASK,
    "an SLA of an unknown kind": "sla: [{id: a, type: SOON, behavior: FAIL}]\n" + TASK,
    "a check without a message": "checks: [{when: x}]\n" + TASK,
    "no limit of concurrency": "concurrency: {behavior: QUEUE}\n" + TASK,
    "a condition that is none": TASK
    + "triggers: [{id: s, type: core.trigger.Schedule, cron: '0 0 * * *', conditions: [{type: core.log.Log}]}]\n",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_validator_takes_the_schema_takes(name: str) -> None:
    text = HEAD + ACCEPTED[name]

    assert read_flow(text, CATALOG).errors == ()
    assert refused(text) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_validator_refuses_the_schema_refuses(name: str) -> None:
    text = HEAD + REFUSED[name]

    assert read_flow(text, CATALOG).errors
    assert refused(text)


def test_nothing_stands_beside_a_reference() -> None:
    """Readers of draft-07 overlook it."""

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            assert "$ref" not in value or len(value) == 1, value
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(json_schema("flow", CATALOG)["definitions"])
