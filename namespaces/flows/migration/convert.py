"""The rules in their order over a set of files, and what came of each file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from namespaces.errors import Problem
from namespaces.flows.catalog import Catalog
from namespaces.flows.migration import (
    batches,
    defaults,
    dependencies,
    loops,
    moves,
    names,
    removed,
    schedules,
    spelling,
)
from namespaces.flows.migration.draft import Draft, Remark, Rule, Surroundings
from namespaces.flows.migration.sheet import Unprovable
from namespaces.flows.parse import read_flow
from namespaces.flows.reader import read_yaml


class Status(StrEnum):
    """What is to be done about a file."""

    OK = "ok"
    CONVERTIBLE = "can be converted"
    NEEDS_YOU = "needs you"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file by the name that is shown."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file afterwards. ``text`` is what it should hold, the old text when nothing is to be changed."""

    name: str
    status: Status
    old: str
    text: str
    remarks: tuple[Remark, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def changed(self) -> bool:
        return self.text != self.old


_RULES: tuple[tuple[Rule, bool], ...] = (
    (defaults.plugin_defaults, True),
    (names.type_names, True),
    (names.inputs, True),
    (names.spellings, True),
    (names.scripts, True),
    (names.deletes, True),
    (spelling.json, True),
    (spelling.schedule, True),
    (moves.pauses, True),
    (spelling.ion, True),
    (moves.listeners, False),
    (names.run_if, False),
    (names.checks, False),
    (names.workers, False),
    (names.purges, False),
    (spelling.revisions, False),
    (loops.loops, False),
    (batches.batches, False),
    (schedules.conditions, False),
    (dependencies.flow_triggers, False),
    (dependencies.trigger_outputs, False),
    (removed.removed, False),
    (removed.manual, False),
)
"""Each rule with whether its result is also valid on 1.3 (the mark ① of ``versions.md`` 6)."""
_ROUNDS = 50
_CONVERTED_ALL_THE_SAME = frozenset(("F002", "F009"))
"""Errors of valid flows: a type of a plugin that is not installed here, an id that only 2.x reserves."""


def migrate(files: Sequence[SourceFile], catalog: Catalog, *, keep_1: bool = False) -> list[Outcome]:
    """Convert every flow among the files, knowing all of them. Never raises because of a file's content.

    ``keep_1`` leaves out every rule whose result Kestra 1.3 does not know.
    """
    read = [(file, read_yaml(file.text)) for file in files]
    flows = {
        (str(document.value.get("namespace", "")), str(document.value["id"])): document.value
        for _, document in read
        if document.ok and _is_flow(document.value)
    }
    around = Surroundings(catalog, flows, keep_1)
    outcomes = []
    for file, document in read:
        if not document.ok:
            outcomes.append(Outcome(file.name, Status.UNREADABLE, file.text, file.text, problems=document.problems))
        elif _is_flow(document.value):
            outcomes.append(_converted(file, around))
        else:
            outcomes.append(_other(file, document.value))
    return outcomes


def _is_flow(value: Any) -> bool:
    return isinstance(value, dict) and "id" in value and isinstance(value.get("tasks"), list)


def _converted(file: SourceFile, around: Surroundings) -> Outcome:
    mark = "\ufeff" if file.text.startswith("\ufeff") else ""
    text = file.text.removeprefix("\ufeff")
    windows = "\r\n" in text and text.count("\r\n") == text.count("\n")
    text = text.replace("\r\n", "\n") if windows else text
    before = read_flow(text, around.catalog)
    wrong = next((problem for problem in before.errors if problem.code not in _CONVERTED_ALL_THE_SAME), None)
    if wrong is not None:
        remark = Remark(wrong.line or 1, "proof", "needs you", f"left alone, not a valid flow: {wrong.message}")
        return Outcome(file.name, Status.NEEDS_YOU, file.text, file.text, (remark,))
    draft = Draft(text, around, language=before.language)
    try:
        _settle(draft, [rule for rule, on_1 in _RULES if on_1 or not around.keep_1])
        _prove(draft, sound=before.flow is not None)
    except Unprovable as reason:
        remark = Remark(1, "proof", "needs you", f"left alone: {reason}")
        return Outcome(file.name, Status.NEEDS_YOU, file.text, file.text, (remark,))
    remarks = _with_lines(draft.remarks, text)
    if any(remark.kind == "needs you" for remark in remarks):
        status = Status.NEEDS_YOU
    else:
        status = Status.CONVERTIBLE if draft.text != text else Status.OK
    if draft.text == text:
        return Outcome(file.name, status, file.text, file.text, remarks)
    made = draft.text.replace("\n", "\r\n") if windows else draft.text
    return Outcome(file.name, status, file.text, mark + made, remarks)


def _settle(draft: Draft, rules: Sequence[Rule]) -> None:
    """Apply all rules until none finds anything to do, because one may clear the way for another.

    Only then is it known what is left for a person, so only then is it marked.
    """
    for _ in range(_ROUNDS):
        before = draft.text
        draft.begin()
        for rule in rules:
            rule(draft)
            draft.commit()
        if draft.text == before:
            break
    else:
        raise Unprovable("the rules do not come to an end")
    draft.begin(marking=True)
    for rule in rules:
        rule(draft)
        draft.commit()


def _prove(draft: Draft, *, sound: bool) -> None:
    """The new text must be a flow that language 2 accepts wherever the old one was a flow."""
    if not sound:
        return
    after = read_flow(draft.text, draft.around.catalog, language_default="2")
    if after.flow is None:
        problem = after.errors[0]
        raise Unprovable(f"the converted flow would not be valid: {problem.message} (line {problem.line})")


def _with_lines(remarks: Sequence[Remark], text: str) -> tuple[Remark, ...]:
    """Remarks hold offsets while rules run; lines are for people."""
    placed = {
        Remark(text.count("\n", 0, remark.line) + 1, remark.rule, remark.kind, remark.message) for remark in remarks
    }
    return tuple(sorted(placed))


_OUTER_DEFAULTS = ("pluginDefaults", "plugin_defaults", "taskDefaults")


def _other(file: SourceFile, value: Any) -> Outcome:
    """A file that is no flow: only the defaults of a namespace or server are of interest."""
    keys = [key for key in _OUTER_DEFAULTS if isinstance(value, dict) and value.get(key)]
    if not keys:
        return Outcome(file.name, Status.OK, file.text, file.text)
    message = f"{keys[0]} of a namespace or server stay in Lanner; a 2.x server wants policies: " + "; ".join(
        _policy(item) for item in value[keys[0]] if isinstance(item, dict)
    )
    line = next((n for n, one in enumerate(file.text.split("\n"), 1) if one.startswith(keys[0])), 1)
    return Outcome(file.name, Status.NEEDS_YOU, file.text, file.text, (Remark(line, "M13", "needs you", message),))


def _policy(item: dict[str, Any]) -> str:
    where = [{"field": "type", "operator": "STARTS_WITH", "value": item.get("type")}]
    rule = {"type": "Add", "where": where, "values": item.get("values")}
    if item.get("forced") is True:
        rule["override"] = True
    return json.dumps({"rules": [rule]}, ensure_ascii=False)
