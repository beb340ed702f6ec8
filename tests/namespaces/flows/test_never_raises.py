"""Whatever a document holds, reading it gives a flow or findings, and every finding has a place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.errors import Severity
from namespaces.flows.catalog import Catalog
from namespaces.flows.declared import INPUT_TYPES
from namespaces.flows.graph import flow_graph
from namespaces.flows.parse import FLOW_PROPERTIES, read_flow, read_task, read_trigger
from namespaces.flows.tasks import COMMON
from namespaces.flows.triggers import TRIGGER_COMMON

CATALOG = Catalog()
NAMES = sorted(entry.name for entry in CATALOG)
OWN = sorted({name for entry in CATALOG for name in entry.properties})
KEYS = sorted(FLOW_PROPERTIES | COMMON.keys() | TRIGGER_COMMON | set(OWN))

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", "PT1S", "P1Y", "a", "a.b", "{{ x }}", "{{ x", "{% if %}", "0 0 * * *", "x" * 300, "🚀", "-5", "yes"]
    ),
    st.sampled_from(NAMES),
    st.sampled_from(sorted(INPUT_TYPES)),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*KEYS, "x", "key", "value"]), inner, max_size=5)
    ),
    max_leaves=12,
)


def typed(kinds: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """A part with a real type and real property names, but any values."""

    def of(entry: Any) -> st.SearchStrategy[dict[str, Any]]:
        own = st.dictionaries(st.sampled_from(sorted(entry.properties | {"zzz"})), values, max_size=5)
        return own.map(lambda given_: {"id": "a", **given_, "type": entry.name})

    return st.sampled_from(CATALOG.of_kind(*kinds)).flatmap(of)


task = typed(("task", "flowable"))
trigger = typed(("trigger",))
INPUT_NAMES = ["defaults", "dependsOn", "values", "inputs", "properties", "columns", "min", "validator", "itemType"]
declared = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b", "a.b", ""]), "type": st.sampled_from(sorted(INPUT_TYPES))},
    optional=dict.fromkeys(INPUT_NAMES, values),
)
flows = st.fixed_dictionaries(
    {"id": st.just("f"), "namespace": st.just("n"), "tasks": st.lists(task, max_size=3)},
    optional={
        **dict.fromkeys(sorted(FLOW_PROPERTIES - {"id", "namespace", "tasks"}), values),
        "triggers": st.lists(trigger, max_size=2),
        "inputs": st.lists(declared, max_size=3),
        "errors": st.lists(task, max_size=1),
        "pluginDefaults": st.lists(
            st.fixed_dictionaries({"type": st.sampled_from(NAMES), "values": values}), max_size=2
        ),
    },
)


@given(flows)
def test_a_flow_of_real_names_and_any_values_never_raises(document: dict[str, Any]) -> None:
    reading = read_flow(json.dumps(document, ensure_ascii=False), CATALOG)

    assert (reading.flow is None) == any(p.severity is Severity.ERROR for p in reading.problems)
    for problem in reading.problems:
        assert problem.message
        assert problem.line >= 1 or not problem.path
    if reading.flow is not None:
        flow_graph(reading.flow).as_json()
        assert reading.flow.by_id.keys() == {t.id for t in reading.flow.walk()}


@given(values)
def test_any_document_never_raises(document: Any) -> None:
    read_flow(json.dumps(document, ensure_ascii=False), CATALOG)


@given(task, trigger)
def test_a_task_and_a_trigger_alone_never_raise(one: dict[str, Any], other: dict[str, Any]) -> None:
    read_task(json.dumps(one), CATALOG)
    read_trigger(json.dumps(other), CATALOG)


TRIGGER = "triggers: [{{id: t, type: core.trigger.Flow, preconditions: {}}}]\n"


@pytest.mark.parametrize(
    "part",
    [
        TRIGGER.format("{id: p, timeWindow: {type: [x]}, flows: []}"),
        TRIGGER.format("{id: p, where: [{id: w, filters: [{field: STATE, type: {a: b}}]}]}"),
        TRIGGER.format("{id: p, where: true}"),
        TRIGGER.format("{id: p, where: [{id: w, filters: 1}]}"),
        "retry: {type: exponential, interval: x, maxInterval: PT1S}\n",
    ],
)
def test_what_a_random_change_of_a_real_flow_found(part: str) -> None:
    text = f"id: f\nnamespace: n\ntasks: [{{id: t, type: core.log.Log, message: x}}]\n{part}"

    assert read_flow(text, CATALOG).errors
