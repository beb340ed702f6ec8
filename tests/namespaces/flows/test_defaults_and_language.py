"""Plugin defaults of all levels, and which language a flow is written in."""

from __future__ import annotations

from typing import Any

import pytest

from namespaces.flows import model
from namespaces.flows.catalog import Catalog
from namespaces.flows.defaults import PluginDefault, deep_merge
from namespaces.flows.parse import read_flow

CATALOG = Catalog()
HEAD = "id: f\nnamespace: n\n"
LOG = "tasks: [{id: t, type: core.log.Log, message: x}]\n"


def read(text: str, **options: Any) -> model.Flow:
    reading = read_flow(HEAD + text, CATALOG, **options)
    assert reading.flow is not None, reading.problems
    return reading.flow


def test_a_default_fills_what_the_task_left_out_and_the_task_wins() -> None:
    flow = read(
        """
pluginDefaults:
  - {type: io.kestra.plugin.core.log.Log, values: {level: WARN, timeout: PT1M}}
tasks:
  - {id: a, type: core.log.Log, message: x}
  - {id: b, type: io.kestra.core.tasks.log.Log, message: x, level: ERROR}
"""
    )

    assert [t.properties["level"] for t in flow.tasks] == ["WARN", "ERROR"]
    assert [t.timeout for t in flow.tasks] == ["PT1M", "PT1M"]
    assert "level" not in flow.tasks[0].written


def test_maps_merge_deeply_and_lists_are_replaced() -> None:
    assert deep_merge({"a": {"x": 1, "y": [1]}, "b": 1}, {"a": {"y": [2], "z": 3}}) == {
        "a": {"x": 1, "y": [2], "z": 3},
        "b": 1,
    }


def test_a_prefix_hits_all_types_below_and_leaves_out_what_they_do_not_have() -> None:
    flow = read(
        """
pluginDefaults:
  - {type: io.kestra.plugin.scripts, values: {containerImage: a, failFast: false}}
  - {type: io.kestra.plugin.scripts.python.Script, values: {containerImage: b}}
  - {type: io.kestra.plugin.core, values: {message: from default, uri: nowhere}}
tasks:
  - {id: p, type: scripts.python.Script, script: x}
  - {id: s, type: scripts.shell.Commands, commands: [x]}
  - {id: l, type: core.log.Log}
"""
    )

    assert flow.tasks[0].properties["containerImage"] == "b"
    assert flow.tasks[1].properties["containerImage"] == "a"
    assert flow.tasks[2].properties == {"message": "from default"}


def test_forced_values_win_over_the_task_the_outermost_most() -> None:
    outer = (
        PluginDefault("io.kestra.plugin.core.log.Log", {"level": "ERROR"}, forced=True),
        {"type": "io.kestra.plugin.core.log.Log", "values": {"level": "TRACE", "message": "server"}, "forced": True},
    )
    text = "pluginDefaults: [{type: core.log.Log, forced: true, values: {level: WARN, logToFile: true}}]\n" + LOG

    task = read(text, plugin_defaults=outer).tasks[0]

    assert task.properties == {"level": "TRACE", "message": "server"}
    assert task.log_to_file


def test_the_nearest_level_wins_among_defaults_that_are_not_forced() -> None:
    outer = (PluginDefault("core.log.Log", {"level": "ERROR"}), PluginDefault("core.log.Log", {"level": "TRACE"}))

    assert read(LOG, plugin_defaults=outer).tasks[0].properties["level"] == "ERROR"
    near = "taskDefaults: [{type: core.log.Log, values: {level: WARN}}]\n"
    assert read(near + LOG, plugin_defaults=outer).tasks[0].properties["level"] == "WARN"


def test_defaults_reach_triggers_conditions_and_task_runners() -> None:
    flow = read(
        """
pluginDefaults:
  - {type: io.kestra.plugin.core.trigger.Schedule, values: {timezone: Europe/Paris}}
  - {type: io.kestra.plugin.core.condition.DayWeek, values: {dayOfWeek: MONDAY}}
  - {type: io.kestra.plugin.scripts.runner.docker.Docker, values: {pullPolicy: NEVER}}
tasks:
  - {id: p, type: scripts.python.Script, script: x, taskRunner: {type: scripts.runner.docker.Docker, user: me}}
triggers:
  - {id: s, type: core.trigger.Schedule, cron: "@daily", conditions: [{type: core.condition.DayWeek}]}
"""
    )

    assert flow.tasks[0].properties["taskRunner"] == {
        "type": "io.kestra.plugin.scripts.runner.docker.Docker",
        "pullPolicy": "NEVER",
        "user": "me",
    }
    assert flow.triggers[0].properties["timezone"] == "Europe/Paris"
    assert flow.triggers[0].conditions[0].properties == {"dayOfWeek": "MONDAY"}


LOOP = "tasks: [{id: l, type: core.flow.Loop, values: [1], tasks: [{id: t, type: core.log.Log, message: '%s'}]}]\n"
EACH = "tasks: [{id: l, type: core.flow.ForEach, values: [1], tasks: [{id: t, type: core.log.Log, message: '%s'}]}]\n"
SAYS = 'tasks: [{id: t, type: core.log.Log, message: "%s"}]\n'


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (LOG, 1),
        (LOOP % "x", 2),
        (EACH % "x", 1),
        (LOOP.replace("tasks: [{id: t", "policyRefs: [p], tasks: [{id: t") % "x", 2),
        (LOOP % "x" + "listeners: []\n", 2),
        (LOG + "policyRefs: [a]\n", 2),
        (LOG + "quotas: [{duration: PT1H, limit: 1}]\n", 2),
        (LOG + "inputs: [{id: a, type: BOOLEAN}]\n", 1),
        (LOG + "inputs: [{id: a, type: FORM, inputs: [{id: b, type: INT}]}]\n", 2),
        (LOG.replace("message: x", "message: x, when: 'true'"), 2),
        (LOG.replace("message: x", "message: x, runIf: 'true'"), 1),
        (LOG + "triggers: [{id: a, type: core.trigger.Flow, dependsOn: [{flowId: x}]}]\n", 2),
        (LOG + "triggers: [{id: a, type: core.trigger.Flow, preconditions: {id: p, flows: [{namespace: n}]}}]\n", 1),
        (SAYS % "{{ hourOfDay(x) }}", 2),
        (SAYS % "{{ loopOutputs(a, 'b') }}", 2),
        (SAYS % "{{ read(a, revision=2) }}", 2),
        (SAYS % "{{ read(a, version=2) }}", 1),
        (SAYS % "{{ x | json }}", 1),
        (SAYS % "hourOfDay( without braces )", 1),
    ],
)
def test_the_language_is_told_by_what_only_one_version_has(text: str, language: int) -> None:
    # Told apart from "no marker" by the setting for unmarked flows.
    flow = read(text, language_unmarked=1)

    assert flow.language == language, flow.language_reason


@pytest.mark.parametrize(
    "marked", [EACH % "x", SAYS % "{{ json(x) }}", SAYS % "{{ x | json }}", SAYS % "{{ taskrun.value }}"]
)
def test_a_marker_of_version_1_is_seen(marked: str) -> None:
    assert read(marked, language_unmarked=2).language == 1


def test_json_and_item_outside_of_expressions_are_no_markers() -> None:
    assert read(SAYS % "json(x) | json taskrun.value", language_unmarked=2).language == 2
    assert read(SAYS % "{{ item.value }}", language_unmarked=1).language_reason == "no marker of either version"


@pytest.mark.parametrize(("comment", "language"), [("# lanner: language=2\n", 2), ("#lanner:language = 1\n", 1)])
def test_a_comment_before_the_first_key_decides(comment: str, language: int) -> None:
    for text in (LOOP % "x", EACH % "x"):
        reading = read_flow("# about\n" + comment + HEAD + text, CATALOG)
        assert reading.flow is not None
        assert reading.flow.language == language


def test_a_comment_further_down_decides_nothing_and_a_setting_does() -> None:
    assert read(LOG + "# lanner: language=2\n").language == 1
    assert read(LOOP % "x", language_default="1").language == 1


def test_strict_refuses_the_constructs_of_the_other_version() -> None:
    reading = read_flow(HEAD + EACH % "x", CATALOG, strict=2)

    assert [p.code for p in reading.errors] == ["F033"]
    assert read_flow(HEAD + EACH % "x", CATALOG, strict=1).flow is not None


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("tasks: [{id: t, type: core.log.Log, message: x, runIf: a}]", "M05"),
        (
            "tasks: [{id: t, type: core.flow.ForEach, values: [1], tasks: [{id: u, type: core.log.Log, message: x}]}]",
            "M01",
        ),
        ("pluginDefaults: [{type: core.log.Log, values: {level: WARN}}]\n" + LOG, "M13"),
        ("inputs: [{id: a, type: BOOLEAN}]\n" + LOG, "M16"),
        ("tasks: [{id: t, type: core.log.Log, message: '{{ json(vars.x) }}'}]", "M15"),
        ("checks: [{condition: a, message: b}]\n" + LOG, "M06"),
    ],
)
def test_strict_names_the_rule_that_converts_what_it_refuses(body: str, rule: str) -> None:
    problems = read_flow(HEAD + body, CATALOG, strict=2).errors

    assert [(p.code, rule in p.message, p.hint) for p in problems] == [("F033", True, f"lanner check --explain {rule}")]
