"""Rules that only tell what a person must do: M18 and M27."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from namespaces.expressions import tree
from namespaces.flows.migration import places
from namespaces.flows.migration.draft import Draft
from namespaces.flows.migration.places import FLOW, TRIGGER
from namespaces.flows.parse import RESERVED_IDS
from namespaces.flows.reader import Path
from namespaces.labels import read_labels

_REMOVED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (r"io\.kestra\.plugin\.core\.execution\.Count", "ask GET /api/v1/executions/search with http.Request"),
        (r"io\.kestra\.plugin\.core\.execution\.Resume", "call POST /api/v1/executions/{id}/resume with http.Request"),
        (r"io\.kestra\.plugin\.core\.trigger\.Toggle", "call PUT /api/v1/triggers with http.Request"),
        (r"io\.kestra\.plugin\.git\.Push", "use git.PushFlows and git.PushNamespaceFiles"),
        (r"io\.kestra\.plugin\.scripts?\.nashorn\..+", "use scripts.node.Script or graalvm.js"),
        (r"io\.kestra\.plugin\.core\.storage\.LocalFiles", "use inputFiles and outputFiles of the tasks around it"),
        (
            r"io\.kestra\.plugin\.core\.state\.\w+",
            "use kv.Set and kv.Get with one key per state; a state merges maps, so merge them before kv.Set",
        ),
        (
            r"io\.kestra\.core\.tasks\.scripts\.\w+",
            "use io.kestra.plugin.scripts.<language>.Script or Commands",
        ),
    )
)


def removed(draft: Draft) -> None:
    """M18: what 2.x has no substitute for."""
    for task in draft.tasks():
        for pattern, advice in _REMOVED:
            if pattern.fullmatch(task.type):
                draft.ask("M18", task.path, f"{'.'.join(task.type.split('.')[-2:])} does not exist in 2.x: {advice}")
        if "outputDirectory" in task.value:
            draft.ask("M18", (*task.path, "outputDirectory"), "name the files in outputFiles instead")
    for path, _, found in draft.found():
        if any(True for _ in found.free("outputDir")):
            draft.ask("M18", path, "outputDir does not exist in 2.x: write into the working directory, use outputFiles")


def manual(draft: Draft) -> None:
    """M27: what reads the same and is refused, or means another thing, in 2.x."""
    _subflow_outputs(draft)
    _schedules(draft)
    _identity(draft)
    for path, trigger in places.triggers(draft.value):
        if isinstance(trigger.get("inputs"), list):
            draft.ask("M27", (*path, "inputs"), "write the inputs of a trigger as a map: name: value")
    for path, value in _labelled(draft):
        for fault in read_labels(value)[1]:
            if fault.warning and "{{" not in fault.message:
                draft.ask("M27", path, fault.message)
    _expressions(draft)


def _subflow_outputs(draft: Draft) -> None:
    for task in draft.tasks():
        if task.type == FLOW + "Subflow" and task.value.get("outputs") is not None:
            draft.ask("M27", (*task.path, "outputs"), "declare outputs in the flow that is called, and read those")


def _schedules(draft: Draft) -> None:
    declared = draft.value.get("inputs")
    for path, trigger in places.triggers(draft.value):
        if draft.around.canonical(trigger["type"]) not in (TRIGGER + "Schedule", TRIGGER + "ScheduleOnDates"):
            continue
        given = trigger.get("inputs") or {}
        missing = [
            str(one.get("id", one.get("name")))
            for one in (declared if isinstance(declared, list) else ())
            if isinstance(one, dict)
            and one.get("defaults") is None
            and one.get("dependsOn") is None
            and one.get("type") != "FORM"
            and str(one.get("id", one.get("name"))) not in given
        ]
        if missing:
            draft.ask("M27", path, f"2.x wants every input answered: give {', '.join(missing)} here, or a default")


def _identity(draft: Draft) -> None:
    if draft.value.get("id") in RESERVED_IDS:
        draft.ask("M27", ("id",), f"'{draft.value['id']}' is a reserved flow id in 2.x: rename the flow")


def _labelled(draft: Draft) -> Iterator[tuple[Path, Any]]:
    owners: list[tuple[Path, Any]] = [((), draft.value)]
    owners += [(task.path, task.value) for task in draft.tasks()]
    owners += list(places.triggers(draft.value))
    for path, owner in owners:
        if isinstance(owner.get("labels"), dict | list):
            yield (*path, "labels"), owner["labels"]


_INCLUDE = re.compile(r"\[\[\s*>")


def _expressions(draft: Draft) -> None:
    collections = _collections(draft)
    for path, _, found in draft.found():
        if found.template is None:
            continue
        for node in tree.walk(found.template):
            if draft.language == 1 and _asks_for_absence(node, collections):
                draft.ask("M27", path, "an empty list or map is there in 2.x: ask `is empty` instead")
            if isinstance(node, tree.Binary) and node.op in ("??", "???") and _is_secret(node.left):
                draft.ask("M27", path, "secret() of something missing fails in 2.x: add errorOnMissing=false")
    for path, text in _all_texts(draft.value):
        if _INCLUDE.search(text):
            draft.ask("M27", path, "[[> ]] includes nothing in 2.x: use read('path') of a namespace file")


def _is_secret(node: tree.Node) -> bool:
    return isinstance(node, tree.Call) and node.name == "secret" and "errorOnMissing" not in dict(node.named)


def _asks_for_absence(node: tree.Node, collections: set[tuple[str, str]]) -> bool:
    asked: tree.Node | None = None
    if isinstance(node, tree.Test) and node.name in ("defined", "null"):
        asked = node.target
    elif isinstance(node, tree.Binary) and node.op in ("??", "???"):
        asked = node.left
    if not isinstance(asked, tree.Path) or asked.root != "outputs" or len(asked.keys) != 2:
        return False
    return (str(asked.keys[0]), str(asked.keys[1])) in collections


def _collections(draft: Draft) -> set[tuple[str, str]]:
    """Outputs of tasks that are lists or maps, as far as their types say so."""
    found: set[tuple[str, str]] = set()
    for task in draft.tasks():
        entry = draft.around.catalog.resolve(task.type)
        declared = entry.cls.outputs if entry is not None else None
        for name, field in declared.model_fields.items() if declared is not None else ():
            if str(field.annotation).startswith(("dict[", "list[")):
                found.add((task.id, field.alias or name))
    return found


def _all_texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _all_texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _all_texts(item, (*path, index))
