"""Flow triggers: what they hear, what they remember, when they fire, what they pass on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from namespaces import expressions
from namespaces.flows.model import Trigger
from runner.triggers import flow
from runner.triggers.conditions import Subject, Upstream, condition_of
from runner.triggers.flow import Combined
from runner.triggers.listening import Listening, read

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
CONDITION = "io.kestra.plugin.core.condition."


def render(text: str, context: Mapping[str, Any]) -> str:
    return expressions.render(text, context, expressions.NoPorts())


def listening(conditions: list[dict[str, Any]] | None = None, when: str | None = None, **properties: Any) -> Listening:
    trigger = Trigger(
        id="t",
        type="io.kestra.plugin.core.trigger.Flow",
        properties=properties,
        conditions=tuple(condition_of(c) for c in conditions or ()),
        when=when,
    )
    return read("own.ns", "listener", trigger)


def upstream(flow_id: str = "a", state: str = "SUCCESS", **changes: Any) -> Upstream:
    values = {"id": f"run-{flow_id}", "namespace": "ns", "flow_id": flow_id, "revision": 1, "state": state, **changes}
    return Upstream(**values)


class Told:
    """Plays announcements against one trigger and keeps its memory."""

    def __init__(self, listener: Listening) -> None:
        self.listener = listener
        self.memory: Mapping[str, Any] | None = None
        self.count = 0

    def of(
        self,
        flow_id: str = "a",
        state: str = "SUCCESS",
        *,
        at: datetime = NOON,
        event: str | None = None,
        **changes: Any,
    ) -> Combined:
        self.count += 1
        self.seen = upstream(flow_id, state, **changes)
        variables = {
            "state": state,
            "namespace": "ns",
            "flowId": flow_id,
            "labels": dict(self.seen.labels),
            "trigger": {},
        }
        matched = flow.match(self.listener, Subject(upstream=self.seen, variables=variables), variables, render)
        combined = flow.combine(
            self.listener, self.memory, matched, self.seen, at=at, event=event or f"event-{self.count}"
        )
        self.memory = combined.memory
        return combined

    def fires(self, *told: Any, **changes: Any) -> bool:
        return self.of(*told, **changes).fires


def test_without_conditions_every_execution_in_a_final_state_or_paused_fires() -> None:
    told = Told(listening())

    assert told.fires("a")
    assert told.fires("b", "PAUSED")
    assert not told.fires("a", "RUNNING")
    assert not told.fires("a", "CREATED")


def test_the_own_flows_executions_are_never_heard() -> None:
    assert not Told(listening()).fires("listener", namespace="own.ns")


@pytest.mark.parametrize("kind", ["LOOP", "TEST", "PLAYGROUND"])
def test_iterations_and_trials_are_never_heard(kind: str) -> None:
    assert not Told(listening()).fires("a", kind=kind)


def test_states_and_conditions_narrow_what_fires() -> None:
    told = Told(
        listening(
            [
                {"type": CONDITION + "ExecutionFlow", "namespace": "ns", "flowId": "a"},
                {"type": CONDITION + "ExecutionStatus", "in": ["FAILED"]},
            ],
            states=["FAILED", "SUCCESS"],
        )
    )

    assert told.fires("a", "FAILED")
    assert not told.fires("a", "SUCCESS")
    assert not told.fires("b", "FAILED")
    assert not told.fires("a", "KILLED")


def test_when_sees_the_upstream_at_the_root_and_an_error_does_not_fire() -> None:
    told = Told(listening(when="{{ labels.team == 'data' }}"))

    assert told.fires(labels=(("team", "data"),))
    assert not told.fires(labels=(("team", "ops"),))
    matched = flow.match(told.listener, Subject(upstream=upstream(), variables={}), {"labels": {}}, render)
    assert matched.error
    assert not matched.hears


def flows(*names: str, **more: Any) -> dict[str, Any]:
    return {"id": "p", "flows": [{"namespace": "ns", "flowId": name} for name in names], **more}


def test_preconditions_fire_once_all_flows_are_met_and_start_again() -> None:
    told = Told(listening(preconditions=flows("a", "b")))

    assert [told.fires(name) for name in ("a", "a", "b")] == [False, False, True]
    assert [told.fires(name) for name in ("b", "a")] == [False, True]


def test_without_reset_every_later_match_in_the_window_fires() -> None:
    told = Told(listening(preconditions=flows("a", "b", resetOnSuccess=False)))

    assert [told.fires(name) for name in ("a", "b", "a", "b", "c")] == [False, True, True, True, False]
    assert not told.fires("a", at=NOON + timedelta(days=1))


def test_an_announcement_that_comes_twice_counts_once() -> None:
    told = Told(listening(preconditions=flows("a", "b")))

    told.of("a", event="one")
    assert told.fires("b", event="two")
    assert not told.fires("b", event="two")
    assert not told.fires("a", event="three")
    assert not told.fires("b", event="two")


@pytest.mark.parametrize(
    ("window", "gap", "fires"),
    [
        ({}, timedelta(hours=11), True),
        ({}, timedelta(hours=12), False),
        ({"window": "PT6H"}, timedelta(hours=5), True),
        ({"window": "PT6H"}, timedelta(hours=6), False),
        ({"type": "SLIDING_WINDOW", "window": "PT1H"}, timedelta(minutes=59), True),
        ({"type": "SLIDING_WINDOW", "window": "PT1H"}, timedelta(minutes=60), False),
        ({"type": "DAILY_TIME_DEADLINE", "deadline": "13:00:00"}, timedelta(minutes=60), True),
        ({"type": "DAILY_TIME_DEADLINE", "deadline": "13:00:00"}, timedelta(minutes=61), False),
        ({"type": "DAILY_TIME_WINDOW", "startTime": "11:00:00", "endTime": "14:00:00"}, timedelta(hours=2), True),
        ({"type": "DAILY_TIME_WINDOW", "startTime": "11:00:00", "endTime": "14:00:00"}, timedelta(hours=3), False),
        ({"type": "DAILY_TIME_WINDOW", "startTime": "12:30:00", "endTime": "14:00:00"}, timedelta(hours=1), False),
    ],
)
def test_flows_must_be_met_within_one_window(window: dict[str, Any], gap: timedelta, fires: bool) -> None:
    told = Told(listening(preconditions=flows("a", "b", timeWindow=window)))

    told.of("a", at=NOON)

    assert told.fires("b", at=NOON + gap) is fires


def test_preconditions_check_states_and_labels_of_each_flow() -> None:
    entry = {"namespace": "ns", "flowId": "a", "states": ["WARNING"], "labels": {"team": "data"}}
    told = Told(listening(preconditions={"id": "p", "flows": [entry]}))

    assert not told.fires("a", "SUCCESS", labels=(("team", "data"),))
    assert not told.fires("a", "WARNING")
    assert told.fires("a", "WARNING", labels=(("team", "data"), ("x", "y")))


@pytest.mark.parametrize(
    ("filters", "operand", "fires"),
    [
        ([{"field": "FLOW_ID", "type": "EQUAL_TO", "value": "a"}], "AND", True),
        ([{"field": "FLOW_ID", "type": "NOT_EQUAL_TO", "value": "a"}], "AND", False),
        ([{"field": "FLOW_ID", "type": "IN", "values": ["a", "b"]}], "AND", True),
        ([{"field": "STATE", "type": "NOT_IN", "values": ["SUCCESS"]}], "AND", False),
        ([{"field": "NAMESPACE", "type": "STARTS_WITH", "value": "n"}], "AND", True),
        ([{"field": "NAMESPACE", "type": "ENDS_WITH", "value": "x"}], "AND", False),
        ([{"field": "FLOW_ID", "type": "REGEX", "value": "[abc]"}], "AND", True),
        ([{"field": "FLOW_ID", "type": "CONTAINS", "value": "z"}], "AND", False),
        ([{"field": "EXPRESSION", "type": "IS_TRUE", "value": "{{ flowId == 'a' }}"}], "AND", True),
        ([{"field": "EXPRESSION", "type": "IS_FALSE", "value": "{{ flowId == 'a' }}"}], "AND", False),
        ([{"field": "EXPRESSION", "type": "IS_NULL", "value": "{{ null }}"}], "AND", True),
        ([{"field": "EXPRESSION", "type": "IS_NOT_NULL", "value": "{{ flowId }}"}], "AND", True),
        (
            [
                {"field": "FLOW_ID", "type": "EQUAL_TO", "value": "z"},
                {"field": "NAMESPACE", "type": "EQUAL_TO", "value": "ns"},
            ],
            "OR",
            True,
        ),
    ],
)  # fmt: skip
def test_where_filters(filters: list[dict[str, Any]], operand: str, fires: bool) -> None:
    told = Told(listening(preconditions={"id": "p", "where": [{"id": "w", "operand": operand, "filters": filters}]}))

    assert told.fires("a") is fires


def test_a_multiple_condition_remembers_each_of_its_parts() -> None:
    told = Told(
        listening(
            [
                {
                    "type": CONDITION + "MultipleCondition",
                    "id": "m",
                    "window": "P1D",
                    "windowAdvance": "P0D",
                    "conditions": {
                        "success": {"type": CONDITION + "ExecutionStatus", "in": ["SUCCESS"]},
                        "a": {"type": CONDITION + "ExecutionFlow", "namespace": "ns", "flowId": "a"},
                        "b": {"type": CONDITION + "ExecutionFlow", "namespace": "ns", "flowId": "b"},
                    },
                }
            ]
        )
    )

    assert [told.fires(name) for name in ("a", "b")] == [False, True]


def depends(*names: str, **more: Any) -> Listening:
    return listening(dependsOn=[{"namespace": "ns", "flowId": name, "states": ["SUCCESS"]} for name in names], **more)


def test_depends_on_needs_all_any_or_at_least_some() -> None:
    every, some, two = (
        Told(depends("a", "b")),
        Told(depends("a", "b", mode="ANY")),
        Told(depends("a", "b", "c", mode="AT_LEAST", minSatisfied=2)),
    )

    assert [every.fires(name) for name in ("a", "a", "b", "a", "b")] == [False, False, True, False, True]
    assert [some.fires(name) for name in ("a", "b")] == [True, True]
    assert [two.fires(name) for name in ("a", "c", "b")] == [False, True, False]


def test_depends_on_remembers_without_end_when_it_has_no_window() -> None:
    told = Told(depends("a", "b"))

    told.of("a", at=NOON)

    assert told.fires("b", at=NOON + timedelta(days=400))


def test_a_window_that_fires_once_is_quiet_until_the_next() -> None:
    once, again = (
        Told(depends("a", "b", window={"every": "P1D", "fireOnce": True})),
        Told(depends("a", "b", window={"every": "P1D"})),
    )

    assert [once.fires(name) for name in ("a", "b", "a", "b")] == [False, True, False, False]
    assert [again.fires(name) for name in ("a", "b", "a", "b")] == [False, True, False, True]
    tomorrow = NOON + timedelta(days=1)
    assert [once.fires(name, at=tomorrow) for name in ("a", "b")] == [False, True]


def test_an_entry_of_depends_on_may_ask_with_when() -> None:
    told = Told(listening(dependsOn=[{"when": "{{ namespace == 'ns' and state == 'WARNING' }}"}]))

    assert told.fires("a", "WARNING")
    assert not told.fires("a", "SUCCESS")


def test_editing_one_entry_forgets_only_that_one() -> None:
    told = Told(depends("a", "b", "c"))
    told.of("a")
    told.of("b")

    told.listener = depends("c", "x", "a")

    assert not told.fires("c")
    assert told.fires("x")


def test_outputs_are_merged_for_preconditions_and_scoped_for_depends_on() -> None:
    merged, scoped = Told(listening(preconditions=flows("a", "b"))), Told(depends("a", "b"))
    found = []
    for told in (merged, scoped):
        told.of("a", outputs={"val": "from a", "only": 1})
        fired = told.of("b", outputs={"val": "from b"}, at=NOON + timedelta(minutes=1))
        found.append(flow.variables(told.listener, told.seen, fired.sources, datetime.isoformat)["outputs"])

    assert found[0] == {"val": "from b", "only": 1}
    assert found[1] == {
        "val": "from b",
        "a": {"val": "from a", "only": 1},
        "b": {"val": "from b"},
        "ns": {"a": {"val": "from a", "only": 1}, "b": {"val": "from b"}},
    }


def test_variables_are_those_of_the_last_upstream() -> None:
    seen = upstream(
        "a", "FAILED", labels=(("team", "data"), ("team", "late")), started_at=NOON, first_failed_task_id="boom",
        last_task_id="boom",
    )  # fmt: skip

    found = flow.variables(listening(), seen, (), lambda moment: moment.isoformat())

    assert found == {
        "executionId": "run-a",
        "namespace": "ns",
        "flowId": "a",
        "flowRevision": 1,
        "state": "FAILED",
        "executionLabels": {"team": "data"},
        "outputs": {},
        "firstFailedTaskId": "boom",
        "lastTaskId": "boom",
        "startDate": NOON.isoformat(),
    }


def test_literally_named_flows_are_known_and_anything_else_listens_to_all() -> None:
    named = listening([{"type": CONDITION + "ExecutionFlow", "namespace": "ns", "flowId": "a"}])

    assert named.flows == {("ns", "a")}
    assert depends("a", "b").flows == {("ns", "a"), ("ns", "b")}
    assert listening(preconditions=flows("a")).flows == {("ns", "a")}
    assert listening().flows is None
    assert listening(dependsOn=[{"namespace": "ns"}]).flows is None
    assert listening([{"type": CONDITION + "ExecutionFlow", "namespace": "ns", "flowId": "{{ x }}"}]).flows is None
