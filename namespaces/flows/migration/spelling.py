"""Rules about expressions alone: M15, M20 (``schedule.x``), M22 and M23."""

from __future__ import annotations

import re

from namespaces.flows.migration import places
from namespaces.flows.migration.draft import Draft
from namespaces.flows.migration.expressions import Call, Chain, Found


def json(draft: Draft) -> None:
    """M15: ``json()`` and ``| json``; the test ``is json`` stays."""
    for path, _, found in draft.found():
        for call in found.calls:
            if call.name == "json" and "json" not in found.own:
                draft.sheet.write_in(path, call.at, call.name_to, "fromJson")
                draft.tell("M15", path, "json() is now fromJson()")
        for one in found.filters:
            if one.name == "json":
                draft.sheet.write_in(path, one.at, one.to, "toJson")
                draft.tell("M15", path, "| json is now | toJson")


def schedule(draft: Draft) -> None:
    """M20: ``schedule.x`` is ``trigger.x``."""
    for path, _, found in draft.found():
        for chain in found.free("schedule"):
            draft.sheet.write_in(path, chain.at, chain.root_to, "trigger")
            draft.tell("M20", path, "schedule is now trigger")


def revisions(draft: Draft) -> None:
    """M22: ``version=`` of ``read`` and ``fileURI`` is ``revision=``."""
    for path, _, found in draft.found():
        for call in found.calls:
            for name, at, to in call.named:
                if call.name in ("read", "fileURI") and name == "version":
                    draft.sheet.write_in(path, at, to, "revision")
                    draft.tell("M22", path, "version= is now revision=")


_ION = re.compile(
    r"io\.kestra\.plugin\.(?:serdes\.[\w.]*ToIon|jdbc\.[\w.]+\.(?:Query|Queries)|core\.log\.Fetch|kestra\.logs\.Fetch"
    r"|core\.storage\.(?:FilterItems|DeduplicateItems))"
)


def ion(draft: Draft) -> None:
    """M23: a file that a task wrote as ION is decoded when it is read."""
    writers = {task.id for task in draft.tasks() if _writes_ion(task)}
    if not writers:
        return
    for path, text, found in draft.found():
        for call in found.calls:
            chain = _argument(found, call)
            if call.name != "read" or chain is None or (chain.names[1:2] and chain.names[1] not in writers):
                continue
            if chain.root != "outputs" or len(chain.keys) < 2 or _decoded(found, call):
                continue
            if found.whole == text[call.at : call.to]:
                draft.sheet.write_in(path, call.at, call.at, "fromIon(")
                draft.sheet.write_in(path, call.to, call.to, ", allRows=true)")
                draft.tell("M23", path, "a file of ION is read as bytes in 2.x: fromIon() decodes it")
            else:
                draft.ask("M23", path, "a file of ION is read as bytes in 2.x: decode it with fromIon(…, allRows=true)")


def _writes_ion(task: places.Task) -> bool:
    if _ION.fullmatch(task.type) is None:
        return False
    if ".jdbc." not in task.type:
        return True
    return task.value.get("fetchType") == "STORE" or task.value.get("store") is True


def _argument(found: Found, call: Call) -> Chain | None:
    inside = [chain for chain in found.chains if call.name_to < chain.at and chain.to < call.to]
    return inside[0] if len(inside) == 1 and not call.named else None


def _decoded(found: Found, call: Call) -> bool:
    return any(
        other.name in ("fromIon", "ionDecode") and other.name_to < call.at and call.to < other.to
        for other in found.calls
    )
