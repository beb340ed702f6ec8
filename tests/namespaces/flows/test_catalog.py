"""Names, aliases and suggestions; plugins of other packages, also broken ones; the schema made of the same classes."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from namespaces.errors import NotFound
from namespaces.flows.catalog import Catalog, load_entry_points
from namespaces.flows.parse import read_flow
from namespaces.flows.schema import json_schema, type_schema
from namespaces.plugin import DynamicInt, DynamicText, TaskType

CATALOG = Catalog()


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("io.kestra.plugin.core.log.Log", "io.kestra.plugin.core.log.Log"),
        ("core.log.Log", "io.kestra.plugin.core.log.Log"),
        ("scripts.python.Script", "io.kestra.plugin.scripts.python.Script"),
        ("io.kestra.core.tasks.debugs.Return", "io.kestra.plugin.core.debug.Return"),
        ("io.kestra.core.tasks.log.Log", "io.kestra.plugin.core.log.Log"),
        ("io.kestra.core.tasks.flows.Parallel", "io.kestra.plugin.core.flow.Parallel"),
        ("io.kestra.core.tasks.flows.Flow", "io.kestra.plugin.core.flow.Subflow"),
        ("io.kestra.core.tasks.flows.Worker", "io.kestra.plugin.core.flow.WorkingDirectory"),
        ("io.kestra.plugin.core.flow.WaitFor", "io.kestra.plugin.core.flow.LoopUntil"),
        ("io.kestra.core.tasks.executions.Counts", "io.kestra.plugin.core.execution.Count"),
        ("io.kestra.core.tasks.executions.Fail", "io.kestra.plugin.core.execution.Fail"),
        ("io.kestra.core.tasks.storages.Concat", "io.kestra.plugin.core.storage.Concat"),
        ("io.kestra.core.tasks.storages.PurgeExecution", "io.kestra.plugin.core.storage.PurgeCurrentExecutionFiles"),
        ("io.kestra.plugin.core.storage.PurgeExecution", "io.kestra.plugin.core.storage.PurgeCurrentExecutionFiles"),
        ("io.kestra.core.tasks.storages.Purge", "io.kestra.plugin.core.execution.PurgeExecutions"),
        ("io.kestra.plugin.core.storage.Purge", "io.kestra.plugin.core.execution.PurgeExecutions"),
        ("io.kestra.core.tasks.states.Set", "io.kestra.plugin.core.state.Set"),
        ("io.kestra.core.tasks.templating.TemplatedTask", "io.kestra.plugin.core.templating.TemplatedTask"),
        ("io.kestra.core.tasks.trigger.Toggle", "io.kestra.plugin.core.trigger.Toggle"),
        ("io.kestra.plugin.fs.http.Request", "io.kestra.plugin.core.http.Request"),
        ("io.kestra.plugin.fs.http.Trigger", "io.kestra.plugin.core.http.Trigger"),
        ("io.kestra.core.models.triggers.types.Schedule", "io.kestra.plugin.core.trigger.Schedule"),
        (
            "io.kestra.core.models.conditions.types.ExecutionFlowCondition",
            "io.kestra.plugin.core.condition.ExecutionFlow",
        ),
        ("io.kestra.plugin.core.condition.ExecutionStatusCondition", "io.kestra.plugin.core.condition.ExecutionStatus"),
        ("io.kestra.core.models.conditions.types.FlowCondition", "io.kestra.plugin.core.condition.FlowCondition"),
        ("io.kestra.plugin.core.condition.MultipleCondition", "io.kestra.plugin.core.condition.MultipleCondition"),
        ("io.kestra.core.models.conditions.types.VariableCondition", "io.kestra.plugin.core.condition.Expression"),
        ("io.kestra.plugin.kestra.logs.Fetch", "io.kestra.plugin.core.log.Fetch"),
    ],
)
def test_every_older_name_leads_to_the_canonical_type(name: str, canonical: str) -> None:
    entry = CATALOG.resolve(name)

    assert entry is not None
    assert entry.name == canonical


@pytest.mark.parametrize(
    "name", ["", "Log", "io.kestra.plugin.core.log.log", "io.kestra.core.tasks.log.Nope", "x" * 999]
)
def test_an_unknown_name_is_none(name: str) -> None:
    assert CATALOG.resolve(name) is None


def test_the_nearest_name_is_suggested_from_the_whole_or_the_last_part() -> None:
    assert CATALOG.suggest("io.kestra.plugin.core.log.Logg") == ["io.kestra.plugin.core.log.Log"]
    assert CATALOG.suggest("io.kestra.plugin.script.python.Skript", ("task",)) == [
        "io.kestra.plugin.scripts.python.Script"
    ]
    assert CATALOG.suggest("com.example.Zzzzzz") == []


def test_only_types_without_io_run_inline() -> None:
    inline = {entry.short for entry in CATALOG if entry.inline}

    assert inline == {
        "core.log.Log",
        "core.debug.Return",
        "core.debug.Echo",
        "core.output.OutputValues",
        "core.execution.Fail",
        "core.execution.Labels",
        "core.execution.Exit",
        "core.execution.Assert",
        "core.execution.SetVariables",
        "core.execution.UnsetVariables",
    }


def test_every_type_has_a_name_a_title_and_compiles() -> None:
    for entry in CATALOG:
        assert entry.name.count(".") >= 3
        assert entry.cls.title, entry.name
        entry.check({})


class Greet(TaskType):
    type_name = "com.example.Greet"
    title = "Say hello."
    aliases: ClassVar[tuple[str, ...]] = ("com.example.Hello",)
    name: DynamicText
    times: DynamicInt = 1


def test_a_type_of_another_package_is_like_one_of_our_own() -> None:
    catalog = Catalog([Greet])
    flow = "id: f\nnamespace: n\ntasks:\n  - {id: t, type: com.example.Hello, name: 5, times: '{{ inputs.n }}'}\n"
    bad = read_flow("id: f\nnamespace: n\ntasks:\n  - {id: t, type: com.example.Greet, nam: x, times: many}\n", catalog)

    reading = read_flow(flow, catalog)
    assert reading.flow is not None, reading.problems
    assert reading.flow.tasks[0].type == "com.example.Greet"
    assert sorted(p.constraint() for p in bad.errors)[:2] == [
        "tasks[0].nam: Unrecognized field \"nam\" (com.example.Greet): unknown property 'nam', did you mean 'name'?",
        "tasks[0].name: must not be null",
    ]
    assert "com.example.Greet" in json_schema("task", catalog)["definitions"]


def test_one_name_for_two_classes_is_refused() -> None:
    class Other(TaskType):
        type_name = "com.example.Greet"

    with pytest.raises(ValueError, match=r"com\.example\.Greet is declared twice"):
        Catalog([Greet, Other])
    Catalog([Greet, Greet])


def test_a_broken_plugin_is_one_problem_and_the_others_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('needs a licence')\n")
    (tmp_path / "empty_plugin.py").write_text("x = 1\n")
    (tmp_path / "good_plugin.py").write_text(
        textwrap.dedent(
            """
            from namespaces.plugin import TaskType

            class One(TaskType):
                type_name = "com.good.One"

            class Two(TaskType):
                type_name = "com.good.Two"
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        EntryPoint(name, value, "lanner.tasks")
        for name, value in (
            ("missing", "no_such_module"),
            ("broken", "broken_plugin"),
            ("empty", "empty_plugin"),
            ("all", "good_plugin"),
            ("one", "good_plugin:One"),
        )
    ]

    loaded = load_entry_points(points)

    assert [t.type_name for t in loaded.types] == ["com.good.One", "com.good.Two", "com.good.One"]
    assert len(loaded.problems) == 3
    assert "needs a licence" in loaded.problems[1].message
    assert Catalog(loaded.types).resolve("com.good.Two") is not None
    for name in ("broken_plugin", "empty_plugin", "good_plugin"):
        sys.modules.pop(name, None)


def test_a_task_is_read_from_rendered_values_of_any_scalar_type() -> None:
    assert Greet.read({"name": True, "times": "3"}).times == 3
    assert Greet.read({"name": 1.5}).name == "1.5"
    with pytest.raises(ValidationError):
        Greet.read({"name": {"a": 1}})


def test_the_schema_has_every_type_and_no_loose_reference() -> None:
    schema = json_schema("flow", CATALOG)
    text = json.dumps(schema)

    assert {entry.name for entry in CATALOG} <= schema["definitions"].keys()
    assert set(re.findall(r'"#/definitions/([^"]+)"', text)) <= schema["definitions"].keys()
    assert "x-lanner" not in text
    assert schema["$ref"] == "#/definitions/flow"


def test_a_schema_exists_for_each_part_and_as_a_list() -> None:
    assert json_schema("trigger", CATALOG, array_of=True)["items"] == {"$ref": "#/definitions/trigger"}
    with pytest.raises(NotFound, match="no schema of 'nope'"):
        json_schema("nope", CATALOG)


def test_the_documentation_of_a_type_has_properties_outputs_and_common_ones() -> None:
    entry = CATALOG.resolve("core.debug.Return")
    assert entry is not None
    made = type_schema(entry, CATALOG)

    assert {"format", "retry", "timeout", "id"} <= made["properties"]["properties"].keys()
    assert "value" in made["outputs"]["properties"]
