"""The first and the last step of a ForEachItem, run through a real attempt."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from runner.engine.states import State
from tests.runner.tasks.test_core import given, task
from tests.runner.worker.world import Bench

ROWS = "1\n22\n333\n4444\n"


def run(bench: Bench, step: str, **properties: Any) -> Any:
    written = task("flow.ForEachItem", namespace="company.team", flowId="child", **properties)
    claim = bench.claim(written)
    claim = replace(
        claim, task=claim.flow.by_id[f"t_{step}"], task_run=replace(claim.task_run, task_id=f"t_{step}", parent_id="p")
    )
    bench.reporter.offer(claim)
    assert bench.runner.run(claim.task_run.id, claim.epoch)
    return bench.reporter.ends[claim.task_run.id, claim.epoch]


@pytest.mark.parametrize(
    ("batch", "parts"),
    [
        (None, ["1\n", "22\n", "333\n", "4444\n"]),
        ({"rows": 3}, ["1\n22\n333\n", "4444\n"]),
        ({"rows": "{{ 1 + 1 }}"}, ["1\n22\n", "333\n4444\n"]),
        ({"partitions": 3}, ["1\n4444\n", "22\n", "333\n"]),
        ({"partitions": 9}, ["1\n", "22\n", "333\n", "4444\n"]),
        # Closed before the row that would exceed it; a row that is larger by itself stands alone.
        ({"bytes": "6"}, ["1\n22\n", "333\n", "4444\n"]),
        ({"bytes": "1KB", "partitions": 2, "rows": 1}, [ROWS]),
        ({"partitions": 2, "rows": 1}, ["1\n333\n", "22\n4444\n"]),
    ],
)
def test_a_file_is_cut_into_batches(bench: Bench, batch: dict[str, Any] | None, parts: list[str]) -> None:
    items = given(bench, "rows.txt", ROWS)
    end = run(bench, "split", items=items, **({"batch": batch} if batch is not None else {}))

    found = bench.text(end.outputs["splits"]).splitlines()
    assert [bench.text(uri) for uri in found] == parts
    assert all("/tasks/t-split/" in uri and uri.endswith(".txt") for uri in found)


def test_rows_may_have_another_separator(bench: Bench) -> None:
    end = run(bench, "split", items=given(bench, "x", "a;b;c"), batch={"separator": ";", "rows": 2})
    assert [bench.text(uri) for uri in bench.text(end.outputs["splits"]).split()] == ["a;b;", "c;"]


def test_an_empty_file_has_no_batches(bench: Bench) -> None:
    assert bench.text(run(bench, "split", items=given(bench, "x", "")).outputs["splits"]) == ""


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"items": "/etc/passwd"}, "must be a file of the internal storage"),
        ({"items": "kestra:///company/team/other/executions/1/x"}, "didn't belong to the current execution"),
        ({"items": "KNOWN", "batch": {"rows": "{{ 'many' }}"}}, "`batch.rows` must be a whole number above 0"),
        ({"items": "KNOWN", "batch": {"bytes": "much"}}, "not a size"),
    ],
)
def test_what_cannot_be_cut_is_told(bench: Bench, properties: dict[str, Any], message: str) -> None:
    known = given(bench, "x", ROWS)
    end = run(bench, "split", **json.loads(json.dumps(properties).replace("KNOWN", known)))

    assert end.state is State.FAILED
    assert message in end.error


def test_the_outputs_of_all_batches_are_one_file(bench: Bench) -> None:
    bench.world.outputs_of_batches = [{"a": 1}, {}, {"a": "x"}]
    end = run(bench, "merge", items="kestra:///x")

    assert bench.text(end.outputs["subflowOutputs"]).splitlines() == ["{a:1}", "{}", '{a:"x"}']
    assert ("batch_outputs", "p", "t_items") in bench.world.calls


@pytest.mark.parametrize(("outputs", "wait"), [([{}, {}], True), ([], True), ([{"a": 1}], False)])
def test_without_outputs_there_is_no_file(bench: Bench, outputs: list[Any], wait: bool) -> None:
    bench.world.outputs_of_batches = outputs
    end = run(bench, "merge", items="kestra:///x", wait=wait)
    assert (end.state, end.outputs) == (State.SUCCESS, {}) or end.outputs is None
