"""Checks that need more than one part of a flow: ids, dependencies, triggers against inputs, limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from namespaces.flows import model
from namespaces.flows.findings import Findings
from namespaces.flows.language import path_of, texts
from namespaces.flows.lint import check_expressions
from namespaces.flows.model import Flow, Input
from namespaces.flows.reader import Document, Path, scalar_text
from namespaces.flows.scope import Scope

MAX_INPUTS = 1_000
_READS_FILES = re.compile(r"\{[{%][^}]*?\b(read|fileURI|fileSize|fileExists|isFileEmpty)\s*\(")
_SCHEDULES = frozenset(f"io.kestra.plugin.core.trigger.{name}" for name in ("Schedule", "ScheduleOnDates"))


def check_flow(scope: Scope, flow: Flow, document: Document, *, strict: bool = False) -> None:
    """All cross checks of ``flows.md`` 10.2 and 10.3."""
    findings = scope.findings
    most = document.limits.tasks_per_flow
    if len(scope.task_ids) > most:
        message = f"a flow has at most {most:,} tasks, this one has {len(scope.task_ids):,}"
        findings.error("F029", ("tasks",), message, limit="tasks_per_flow")
    check_task_ids(scope)
    _check_self_calls(scope, flow)
    if flow.inputs:
        check_inputs(findings, flow.inputs, flow.written.get("inputs"), ("inputs",))
    _check_preconditions(findings, flow)
    _check_schedules(findings, flow)
    check_expressions(scope, flow, document.text, strict=strict)


def check_task_ids(scope: Scope) -> None:
    """Task ids are unique in the whole flow, at every level."""
    ids = scope.task_ids
    if len({name for name, _ in ids}) == len(ids):
        return
    first: dict[str, Path] = {}
    repeated: dict[str, Path] = {}
    for name, path in ids:
        if name in first:
            repeated.setdefault(name, path)
        else:
            first[name] = path
    names = ", ".join(repeated)
    lines = "; ".join(f"'{name}' is at two places" for name in list(repeated)[:5])
    scope.findings.error(
        "F006", (*next(iter(repeated.values())), "id"), f"Duplicate task id with name [{names}]", lines
    )


def _check_self_calls(scope: Scope, flow: Flow) -> None:
    places = dict(reversed(scope.task_ids))
    for task in flow.walk():
        if isinstance(task, model.Subflow):
            namespace, flow_id = task.namespace, task.flow_id
        elif isinstance(task, model.ForEachItem):
            namespace, flow_id = str(task.properties.get("namespace")), str(task.properties.get("flowId"))
        else:
            continue
        if flow_id == flow.id and namespace == flow.namespace:
            path = places.get(task.id, ("tasks",))
            scope.findings.error("F008", path, f"Recursive call to flow [{flow.namespace}.{flow.id}]")


def members_of_cycles(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """The names that depend on themselves, over others or directly, in the mapping's order."""
    found: list[str] = []
    for start in needs:
        seen: set[str] = set()
        stack = list(needs[start])
        while stack:
            name = stack.pop()
            if name == start:
                found.append(start)
                break
            if name not in seen:
                seen.add(name)
                stack.extend(needs.get(name, ()))
    return found


def check_dag(findings: Findings, depends_on: Mapping[str, tuple[str, ...]], path: Path) -> None:
    """Dependencies of a Dag: to tasks of the same Dag only, and without a cycle."""
    unknown = [name for names in depends_on.values() for name in names if name not in depends_on]
    if unknown:
        listed = ", ".join(dict.fromkeys(unknown))
        findings.error("F012", (*path, "tasks"), f"Not existing task id in dependency: {listed}")
    cyclic = members_of_cycles(depends_on)
    if cyclic:
        findings.error("F012", (*path, "tasks"), f"Cyclic dependency detected: {', '.join(cyclic)}")


def expanded_names(inputs: Iterable[Input]) -> dict[str, Input]:
    """Inputs by full name: the parts of a FORM are ``<form>.<part>``, the FORM itself is no input."""
    found: dict[str, Input] = {}
    for declared in inputs:
        if declared.type == "FORM":
            for part in declared.properties.get("inputs", ()):
                found[f"{declared.id}.{part.id}"] = part
        else:
            found[declared.id] = declared
    return found


def check_inputs(findings: Findings, inputs: tuple[Input, ...], written: Any, path: Path) -> None:
    """Dependencies between inputs, and names that stand in each other's way.

    ``written`` is the list they were read from: one that could not be read is missing in ``inputs``.
    """
    if len(inputs) > MAX_INPUTS:
        findings.error("F029", path, f"a flow has at most {MAX_INPUTS:,} inputs, this one has {len(inputs):,}")
    names = expanded_names(inputs)
    places = {
        scalar_text(item["id"] if item.get("name") is None else item["name"]): (*path, index)
        for index, item in enumerate(written if isinstance(written, list) else ())
        if isinstance(item, dict) and ("id" in item or "name" in item)
    }
    needs = {name: declared.depends_on for name, declared in names.items()}
    for name, wanted in needs.items():
        place = places.get(name, places.get(name.partition(".")[0], path))
        for other in wanted:
            if other not in names:
                message = f"Input with id '{name}' depends on a non-existent input '{other}'."
                findings.error("F010", (*place, "dependsOn"), message)
    cyclic = members_of_cycles(needs)
    for name in cyclic:
        place = places.get(name, path)
        members = ", ".join(needs[name])
        findings.error(
            "F010", (*place, "dependsOn"), f"Cycle dependency detected for input with id '{name}': [{members}]"
        )
    prefixes: set[str] = set()
    for name in names:
        parts = name.split(".")
        prefixes.update(".".join(parts[:n]) for n in range(1, len(parts)))
    for name in prefixes & names.keys():
        findings.error("F034", places.get(name, path), f"input '{name}' is a value and cannot hold '{name}.…' too")


def _check_preconditions(findings: Findings, flow: Flow) -> None:
    ids: list[str] = []
    for trigger in flow.triggers:
        preconditions = trigger.properties.get("preconditions")
        if isinstance(preconditions, dict) and preconditions.get("id") is not None:
            ids.append(str(preconditions["id"]))
    repeated = [name for name in dict.fromkeys(ids) if ids.count(name) > 1]
    if repeated:
        findings.error("F007", ("triggers",), f"Duplicate preconditions with id [{', '.join(repeated)}]")


def _check_schedules(findings: Findings, flow: Flow) -> None:
    for index, trigger in enumerate(flow.triggers):
        if trigger.type not in _SCHEDULES:
            continue
        for written in texts(trigger.written):
            found = _READS_FILES.search(written)
            if found is not None:
                path = ("triggers", index, *path_of(trigger.written, written))
                message = f"{found[1]}() reads a file when the schedule fires: no execution's files exist then"
                findings.warning("F111", path, message)
        missing = [
            name
            for name, declared in expanded_names(flow.inputs).items()
            if declared.defaults is None and not declared.depends_on and name not in trigger.inputs
        ]
        if missing:
            listed = ", ".join(f"'{name}'" for name in missing)
            message = f"Missing inputs for Schedule Trigger '{trigger.id}', missing inputs: {listed}"
            findings.warning("F113", ("triggers", index), message)
