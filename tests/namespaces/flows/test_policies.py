"""Policies (``flows.md`` 1.8): each rule, where it applies, and what wins over what."""

from __future__ import annotations

from typing import Any

import pytest

from namespaces.errors import ConfigurationError
from namespaces.flows.catalog import Catalog
from namespaces.flows.model import Runnable
from namespaces.flows.parse import Reading, read_flow, read_task
from namespaces.flows.policies import read_policies

CATALOG = Catalog()
LOG = "io.kestra.plugin.core.log.Log"
RETURN = "io.kestra.plugin.core.debug.Return"
FLOW = f"""\
id: f
namespace: a.b
tasks:
  - {{id: log, type: {LOG}, message: hi}}
  - id: wrap
    type: io.kestra.plugin.core.flow.Sequential
    tasks: [{{id: back, type: {RETURN}, format: x, labels: {{}}}}]
""".replace(", labels: {}", "")


def rule(kind: str, where: Any = (), **given: Any) -> dict[str, Any]:
    return {"type": f"io.kestra.plugin.ee.rules.{kind}", "on": "PLUGIN", "where": list(where), **given}


def of(value: str, operator: str = "EQUAL_TO", field: str = "type") -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": value}


def read(*rules: dict[str, Any], text: str = FLOW, stored: bool = False, **policy: Any) -> Reading:
    policies = read_policies([{"id": "p", "rules": list(rules), **policy}])
    return read_flow(text, CATALOG, policies=policies, stored=stored)


def task(reading: Reading, task_id: str) -> Runnable:
    assert reading.flow is not None, reading.problems
    found = reading.flow.by_id[task_id]
    assert isinstance(found, Runnable)
    return found


def codes(reading: Reading) -> list[str]:
    return [problem.code for problem in reading.problems]


def test_add_fills_what_was_left_out_and_with_override_replaces() -> None:
    filled = read(rule("Add", [of(LOG)], values={"level": "WARN", "message": "no", "timeout": "PT1M"}))
    replaced = read(rule("Add", [of(LOG)], values={"message": "yes"}, override=True))

    log = task(filled, "log")
    assert (log.properties["level"], log.properties["message"], log.timeout) == ("WARN", "hi", "PT1M")
    assert task(filled, "back").timeout is None
    assert task(replaced, "log").properties["message"] == "yes"
    assert replaced.flow is not None
    assert replaced.flow.written["tasks"][0]["message"] == "hi", "the stored source is never changed"


def test_properties_that_a_type_does_not_have_are_not_added() -> None:
    reading = read(rule("Add", values={"level": "DEBUG"}))

    assert task(reading, "log").properties["level"] == "DEBUG"
    assert "level" not in task(reading, "back").properties


def test_the_order_of_override_forced_task_and_defaults() -> None:
    """policies with override > forced defaults > task > flow > namespace > server > policies that fill."""
    text = FLOW + f"pluginDefaults: [{{type: {LOG}, values: {{level: INFO}}}}]\n"
    server = [{"type": LOG, "values": {"level": "ERROR", "timeout": "PT2M"}}]
    forced = [{"type": LOG, "values": {"message": "forced", "logLevel": "WARN"}, "forced": True}]
    policies = read_policies(
        [
            {"id": "outer", "rules": [rule("Add", values={"logLevel": "ERROR"}, override=True)]},
            {"id": "inner", "rules": [rule("Add", values={"logLevel": "TRACE"}, override=True)]},
            {"id": "fill", "rules": [rule("Add", values={"level": "DEBUG", "timeout": "PT9M", "description": "d"})]},
        ]
    )

    reading = read_flow(text, CATALOG, plugin_defaults=[*forced, *server], policies=policies)

    log = task(reading, "log")
    assert log.log_level == "ERROR", "override, outermost wins"
    assert log.properties["message"] == "forced"
    assert log.properties["level"] == "INFO", "the flow's own default"
    assert log.timeout == "PT2M", "the server's default"
    assert log.description == "d", "what a policy fills comes last"


def test_maps_are_merged_and_lists_replaced() -> None:
    text = (
        "id: f\nnamespace: a\ntasks: [{id: s, type: io.kestra.plugin.scripts.shell.Script, script: x, env: {A: 1}}]\n"
    )
    reading = read(rule("Add", values={"env": {"A": "2", "B": "3"}, "outputFiles": ["a"]}, override=True), text=text)

    properties = task(reading, "s").properties
    assert properties["env"] == {"A": "2", "B": "3"}
    assert properties["outputFiles"] == ["a"]


def test_delete_removes_and_both_add_and_delete_is_refused() -> None:
    assert task(read(rule("Delete", [of(RETURN)], properties=["format"])), "back").properties == {}
    both = read(rule("Delete", properties=["timeout"]), rule("Add", values={"timeout": "PT1M"}))
    assert both.flow is None
    assert "deletes 'timeout', which another rule adds" in both.errors[0].message


def test_deny_names_the_place_and_the_policy() -> None:
    reading = read(rule("Deny", [of(RETURN)], errorMessage="no returns"))

    assert reading.flow is None
    assert [(p.code, p.line, p.message) for p in reading.errors] == [("F035", 7, "no returns (policy 'p')")]


def test_a_flow_that_was_saved_before_reads_but_says_that_it_must_not_run() -> None:
    reading = read(rule("Deny", [of(RETURN)]), stored=True)

    assert reading.flow is not None
    assert reading.flow.violations == (f"the type {RETURN} is not allowed here (policy 'p')",)


@pytest.mark.parametrize(
    ("given", "value", "fits"),
    [
        ({"min": 2}, 2, True), ({"min": 2}, 1, False), ({"max": 3}, 4, False), ({"max": "PT1H"}, "PT30M", True),
        ({"max": "PT1H"}, "PT2H", False), ({"enum": ["a", "b"]}, "b", True), ({"enum": ["a"]}, "c", False),
        ({"regex": "a+"}, "aa", True), ({"regex": "a+"}, "aab", False), ({"equals": "x"}, "x", True),
        ({"equals": "x"}, "y", False), ({"max": 3}, "{{ 1 }}", False),
    ],
)  # fmt: skip
def test_restrict(given: dict[str, Any], value: Any, fits: bool) -> None:
    text = f"id: f\nnamespace: a\ntasks: [{{id: t, type: {RETURN}, format: '{value}'}}]\n"

    assert (codes(read(rule("Restrict", property="format", **given), text=text)) == []) is fits


def test_restrict_passes_when_absent_and_require_does_not() -> None:
    text = f"id: f\nnamespace: a\ntasks: [{{id: t, type: {LOG}, message: ' '}}]\n"

    assert codes(read(rule("Restrict", property="level", enum=["INFO"]), text=text)) == []
    assert codes(read(rule("Require", properties=["level"]), text=text)) == ["F035"]
    assert codes(read(rule("Require", properties=["message"]), text=text)) == ["F035"], "blank text is missing"
    assert codes(read(rule("Require", properties=["level"]), rule("Add", values={"level": "INFO"}), text=text)) == []


def test_false_and_zero_are_there() -> None:
    text = f"id: f\nnamespace: a\ntasks: [{{id: t, type: {RETURN}, allowFailure: false}}]\n"

    assert codes(read(rule("Require", properties=["allowFailure"]), text=text)) == []


def test_warnings_let_the_flow_be_saved() -> None:
    assert codes(read(rule("Deny", [of(RETURN)], action="warn"))) == ["F118"]
    assert codes(read(rule("Deny", [of(RETURN)]), enforcement="EVALUATE")) == ["F118"]


def test_enforcement() -> None:
    rules = (rule("Add", values={"timeout": "PT1M"}), rule("Deny", [of(RETURN)]))
    evaluated = read(*rules, enforcement="EVALUATE")
    assert task(evaluated, "log").timeout is None, "mutate rules are off"
    assert codes(read(*rules, enforcement="DISABLED")) == []
    unnamed = read(*rules, enforcement="REFERENCE")
    assert (codes(unnamed), task(unnamed, "log").timeout) == ([], None)
    named = read(*rules, enforcement="REFERENCE", text=FLOW + "policyRefs: [p]\n")
    assert (codes(named), task(named, "back").timeout) == ([], "PT1M")
    one = read(*rules, enforcement="REFERENCE", text=FLOW.replace("message: hi", "message: hi, policyRefs: [p]"))
    assert (task(one, "log").timeout, task(one, "back").timeout) == ("PT1M", None)


def test_an_unknown_reference_is_only_a_warning() -> None:
    assert codes(read_flow(FLOW + "policyRefs: [nobody]\n", CATALOG)) == ["F117"]  # type: ignore[arg-type]


def test_targets_are_namespaces_with_their_children() -> None:
    deny = rule("Deny", [of(RETURN)])
    for namespaces, count in ((["a"], 1), (["a.b"], 1), (["a.b.c"], 0), (["ab"], 0)):
        assert len(codes(read(deny, target={"namespaces": namespaces}))) == count
    assert codes(read(deny, target={"tenants": ["other"]})) == []


def test_rules_on_the_flow() -> None:
    added = read({"type": "Add", "on": "FLOW", "values": {"labels": {"team": "data"}, "retry": None}})
    missing = read({"type": "Require", "on": "FLOW", "properties": ["description"]})

    assert added.flow is not None
    assert added.flow.labels == (("team", "data"),)
    assert codes(missing) == ["F035"]


@pytest.mark.parametrize(
    ("operator", "value", "fits"),
    [
        ("EQUAL_TO", "hi", True), ("NOT_EQUAL_TO", "hi", False), ("STARTS_WITH", "h", True), ("ENDS_WITH", "h", False),
        ("CONTAINS", "i", True), ("IN", ["hi"], True), ("NOT_IN", ["hi"], False), ("REGEX", "h.", True),
        ("IS_NULL", None, False), ("IS_NOT_NULL", None, True),
    ],
)  # fmt: skip
def test_operators(operator: str, value: Any, fits: bool) -> None:
    reading = read(rule("Deny", [of(LOG), of(value, operator, "message")]))

    assert (codes(reading) == ["F035"]) is fits


def test_aliases_are_not_resolved_in_where() -> None:
    text = "id: f\nnamespace: a\ntasks: [{id: t, type: io.kestra.core.tasks.log.Log, message: x}]\n"

    assert "F035" not in codes(read(rule("Deny", [of(LOG)]), text=text))
    assert "F035" in codes(read(rule("Deny", [of("io.kestra.core", "STARTS_WITH")]), text=text))


def test_a_task_that_is_rendered_first_is_ruled_as_well() -> None:
    policies = read_policies([{"id": "p", "rules": [rule("Deny", [of(RETURN)])]}])

    assert read_task(f"id: t\ntype: {RETURN}\n", CATALOG, policies=policies, namespace="a").value is None


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"rules": []}, "policies[0]: a policy needs an id"),
        ({"id": "p", "rulez": []}, "there is no property 'rulez', did you mean 'rules'"),
        ({"id": "p", "enforcement": "ON"}, "'ON' is not one of ACTIVE"),
        ({"id": "p", "rules": [{"type": "Adder"}]}, "policies[0].rules[0].type: 'Adder' is not one of"),
        ({"id": "p", "rules": [{"type": "Add"}]}, "Add needs 'values'"),
        ({"id": "p", "rules": [{"type": "Restrict", "property": "a"}]}, "Restrict needs one of"),
        ({"id": "p", "rules": [{"type": "Deny", "on": "FLOW"}]}, "Deny is for rules on PLUGIN only"),
        ({"id": "p", "rules": [{"type": "Deny", "where": [{"field": "a", "operator": "IS"}]}]}, "'IS' is not one of"),
        ({"id": "p", "rules": [{"type": "Restrict", "property": "a", "regex": "("}]}, "cannot be read"),
    ],
)
def test_a_wrong_policy_refuses_the_start_and_names_the_place(policy: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_policies([policy])

    assert message in refused.value.message
