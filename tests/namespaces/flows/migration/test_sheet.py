"""Edits keep what they do not mean to change, and refuse what they cannot prove."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from namespaces.flows.catalog import Catalog
from namespaces.flows.migration import SourceFile, Status, migrate
from namespaces.flows.migration.nodes import read_nodes, value_of
from namespaces.flows.migration.offsets import spans
from namespaces.flows.migration.sheet import Sheet, Unprovable
from namespaces.flows.reader import read_yaml

CATALOG = Catalog()
HEAD = "id: f\nnamespace: n\n"


def one(text: str) -> Any:
    return migrate([SourceFile("f.yaml", text)], CATALOG)[0]


@pytest.mark.parametrize(
    "written",
    [
        "plain text",
        "'it''s'",
        '"a \\"b\\" \\u00e9 c"',
        "|\n  one\n\n  two\n    three\n",
        ">\n  one\n  two\n\n  three\n",
        "|2-\n    indented\n  less\n",
        "'folded\n  over lines'",
    ],
)
def test_each_character_of_a_scalar_is_found_in_the_text(written: str) -> None:
    text = f"k: {written}\n"
    root = read_nodes(text)
    assert root is not None
    node = root.entries[0][1]

    where = spans(text, node)

    assert where is not None
    assert len(where) == len(node.text)
    for (start, end), character in zip(where, node.text, strict=True):
        if character.isalpha() and character.isascii():
            assert text[start:end] == character


@pytest.mark.parametrize(
    ("style", "after"),
    [
        ("'{{ vars.a | json }} it''s'", "'{{ vars.a | toJson }} it''s'"),
        ('"{{ json(\\"x\\") }}"', '"{{ fromJson(\\"x\\") }}"'),
        ("|-\n      a\n      {{ vars.a | json }}", "|-\n      a\n      {{ vars.a | toJson }}"),
        (">\n      a\n      {{ vars.a | json }}\n      b", ">\n      a\n      {{ vars.a | toJson }}\n      b"),
        ('"{{ vars.a | json }}\\n \\\n      \\ b"', '"{{ vars.a | toJson }}\\n \\\n      \\ b"'),
        ("a {{ vars.a |\n      json }} b", "a {{ vars.a |\n      toJson }} b"),
    ],
)
def test_an_expression_is_edited_in_every_style_of_text(style: str, after: str) -> None:
    text = f"{HEAD}tasks:\n  - id: t\n    type: io.kestra.plugin.core.log.Log\n    message: {{}}\n    level: INFO\n"

    assert one(text.replace("{}", style)).text == text.replace("{}", after)


def test_an_anchor_is_edited_once_for_all_who_use_it() -> None:
    text = HEAD + (
        "tasks:\n"
        "  - &log\n    id: a\n    type: io.kestra.plugin.core.log.Log\n    message: x\n    runIf: '{{ true }}'\n"
        "  - {<<: *log, id: b}\n"
    )

    outcome = one(text)

    assert outcome.text == text.replace("runIf", "when")
    assert outcome.status is Status.CONVERTIBLE


def test_an_anchor_with_two_meanings_is_left_to_a_person() -> None:
    """`taskrun.value` is the loop's in one place and unknown in the other."""
    text = HEAD + (
        "tasks:\n"
        "  - {id: o, type: io.kestra.plugin.core.log.Log, message: &m '{{ taskrun.value }}'}\n"
        "  - id: each\n    type: io.kestra.plugin.core.flow.ForEach\n    values: [a]\n    tasks:\n"
        "      - {id: i, type: io.kestra.plugin.core.log.Log, message: *m}\n"
    )

    outcome = one(text)

    assert (outcome.status, outcome.text) == (Status.NEEDS_YOU, text)
    assert "anchor" in outcome.remarks[0].message


def test_json_stays_json() -> None:
    flow = {
        "id": "f",
        "namespace": "n",
        "tasks": [
            {"id": "t", "type": "io.kestra.plugin.core.log.Log", "message": "x", "runIf": "{{ true }}"},
            {"id": "p", "type": "io.kestra.plugin.core.kv.PurgeKV", "expiredOnly": True},
        ],
    }

    made = json.loads(one(json.dumps(flow, indent=2)).text)

    assert made["tasks"][0]["when"] == "{{ true }}"
    assert made["tasks"][1]["behavior"] == {"type": "key", "expiredOnly": True}


def test_line_ends_and_a_mark_at_the_beginning_stay() -> None:
    text = HEAD + "tasks:\n  - id: p\n    type: io.kestra.plugin.core.kv.PurgeKV\n    expiredOnly: true\n"

    outcome = one("\ufeff" + text.replace("\n", "\r\n"))

    assert outcome.text.startswith("\ufeff")
    assert outcome.text.count("\r\n") == outcome.text.count("\n") == 8


def test_what_would_mean_something_else_is_refused() -> None:
    sheet = Sheet("a: [1, 2]\nb: x\n")
    sheet.edits.add(type(next(iter(_renamed().edits)))(0, 1, "z"))

    with pytest.raises(Unprovable):
        sheet.finish()


def _renamed() -> Sheet:
    sheet = Sheet("a: 1\n")
    sheet.rename(("a",), "b")
    return sheet


def test_unreadable_files_are_told_and_others_converted() -> None:
    good = HEAD + "tasks:\n  - {id: t, type: io.kestra.plugin.core.log.Log, message: x, runIf: a}\n"
    bad, fine = migrate([SourceFile("bad.yaml", "id: ["), SourceFile("good.yaml", good)], CATALOG)

    assert (bad.status, fine.status) == (Status.UNREADABLE, Status.CONVERTIBLE)
    assert bad.problems[0].code == "G001"


_TEXTS = st.one_of(
    st.sampled_from(
        [
            "{{ taskrun.value }}", "{{ outputs.a[taskrun.value].value }}", "{{ json(inputs.x) | json }}",
            "{{ schedule.date }}", "{{ parent.taskrun.value ~ 'x' }}", "plain: # text", "it's \"both\"\nlines\n",
            "{{ outputs.a.value }}", "{{ read('f', version=2) }}",
        ]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20),
)  # fmt: skip
_CORE = "io.kestra.plugin.core."


def _leaf(draw: Any) -> dict[str, Any]:
    task: dict[str, Any] = {"id": "", "type": _CORE + draw(st.sampled_from(["log.Log", "debug.Echo", "debug.Return"]))}
    task["message" if task["type"].endswith("Log") else "format"] = draw(_TEXTS)
    if draw(st.booleans()):
        task["runIf"] = draw(_TEXTS)
    if draw(st.booleans()):
        task["retry"] = {"type": "constant", "interval": "PT1S", "maxAttempt": 2}
    if draw(st.booleans()):
        task["workerGroup"] = {"key": draw(st.sampled_from(["gpu", "Big"]))}
    return task


@st.composite
def _tasks(draw: Any, depth: int = 0) -> list[dict[str, Any]]:
    made = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["leaf", "leaf", "ForEach", "EachParallel", "Pause", "If", "ForEachItem"]))
        if kind == "leaf" or depth > 2:
            made.append(_leaf(draw))
            continue
        task: dict[str, Any] = {"id": "", "type": f"{_CORE}flow.{kind}"}
        if kind == "ForEachItem":
            task |= {"items": draw(_TEXTS) or "x", "namespace": "n", "flowId": "c", "inputs": {"i": draw(_TEXTS)}}
        elif kind == "If":
            task |= {"condition": "{{ true }}", "then": draw(_tasks(depth + 1))}
        elif kind == "Pause":
            task |= {"delay": "PT1S", "tasks": draw(_tasks(depth + 1))}
        else:
            values = draw(st.sampled_from([["a", "b"], '["a"]', "{{ inputs.x }}"]))
            task |= {"values" if kind == "ForEach" else "value": values, "tasks": draw(_tasks(depth + 1))}
        made.append(task)
    return made


@st.composite
def _flows(draw: Any) -> dict[str, Any]:
    flow: dict[str, Any] = {"id": "f", "namespace": "n", "tasks": draw(_tasks())}
    if draw(st.booleans()):
        flow["pluginDefaults"] = [{"type": _CORE + "log", "values": {"timeout": "PT1M", "retry": {"type": "constant"}}}]
    if draw(st.booleans()):
        flow["inputs"] = [{"name": "x", "type": "BOOLEAN", "defaults": True, "required": False}]
    _number(flow["tasks"], iter("abcdefghijklmnopqrstuvwxyz" * 4), [0])
    return flow


def _number(tasks: list[dict[str, Any]], letters: Any, count: list[int]) -> None:
    for task in tasks:
        count[0] += 1
        letter = next(letters)
        task["id"] = letter if count[0] <= 26 else f"{letter}{count[0]}"
        for key in ("tasks", "then"):
            _number(task.get(key, []), letters, count)


@settings(deadline=None, max_examples=60)
@given(_flows(), st.sampled_from([True, False, None]), st.booleans())
def test_a_second_run_changes_nothing_and_nothing_is_left_behind(
    flow: dict[str, Any], in_brackets: bool | None, keep_1: bool
) -> None:
    text = yaml.safe_dump(flow, sort_keys=False, default_flow_style=in_brackets, allow_unicode=True, width=60)

    first = migrate([SourceFile("f", text)], CATALOG, keep_1=keep_1)[0]
    second = migrate([SourceFile("f", first.text)], CATALOG, keep_1=keep_1)[0]

    assert second.text == first.text
    assert not second.changed
    if first.status is Status.CONVERTIBLE:
        assert second.status is Status.OK


@settings(deadline=None, max_examples=60)
@given(_flows(), st.sampled_from([True, False, None]))
def test_the_tree_of_nodes_means_what_the_reader_reads(flow: dict[str, Any], in_brackets: bool | None) -> None:
    text = yaml.safe_dump(flow, sort_keys=False, default_flow_style=in_brackets, allow_unicode=True, width=60)
    root = read_nodes(text)

    assert root is not None
    assert value_of(root) == read_yaml(text).value


@pytest.mark.parametrize(
    "part",
    ["listeners: [true]", "triggers: [{id: t, type: no.such.Type, conditions: [1]}]", "checks: x", "outputs: {a: b}"],
)
def test_what_is_no_valid_flow_is_left_alone_and_told(part: str) -> None:
    text = f"{HEAD}tasks: [{{id: t, type: no.such.Type, runIf: a}}]\n{part}\n"

    outcome = one(text)

    assert outcome.status in (Status.NEEDS_YOU, Status.CONVERTIBLE)
    assert one(outcome.text).text == outcome.text
