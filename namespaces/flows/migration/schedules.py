"""M07: the conditions of triggers that do not listen to flows become one ``when``."""

from __future__ import annotations

from typing import Any

from namespaces.flows.migration import expressions, places
from namespaces.flows.migration.conditions import Part, Refused, calendar, joined, kind_of
from namespaces.flows.migration.draft import Draft
from namespaces.flows.migration.places import TRIGGER
from namespaces.flows.reader import Path


def conditions(draft: Draft) -> None:
    """M07: one trigger after the other; a trigger with one condition that has no counterpart stays as it is."""
    for path, trigger in list(places.triggers(draft.value)):
        if draft.around.canonical(trigger["type"]) == TRIGGER + "Flow":
            continue
        lists = [key for key in ("conditions", "scheduleConditions") if isinstance(trigger.get(key), list)]
        if lists:
            _convert(draft, path, trigger, lists)
            draft.commit()


def _convert(draft: Draft, path: Path, trigger: dict[str, Any], lists: list[str]) -> None:
    parts: list[Part] = []
    if trigger.get("when") is not None:
        found = expressions.find(str(trigger["when"]))
        node = expressions.printed(found)
        if found.whole is None or node is None:
            draft.ask("M07", (*path, "when"), "`when` is not one {{ }} alone: join it with the conditions by hand")
            return
        parts.append(Part(found.whole, expressions.is_boolean(node)))
    days: list[str] = []
    for key in lists:
        for index, one in enumerate(trigger[key]):
            try:
                parts.append(calendar(one, draft.around.canonical))
            except Refused as refused:
                draft.ask("M07", (*path, key, index), str(refused))
                return
            if kind_of(one, draft.around.canonical) == "DayWeek":
                days.append(str(one.get("dayOfWeek")))
    try:
        text = joined(parts)
    except Refused as refused:
        draft.ask("M07", (*path, lists[0]), str(refused))
        return
    first, *others = lists
    if trigger.get("when") is not None:
        draft.sheet.write((*path, "when"), text)
        others = lists
    else:
        draft.sheet.rename((*path, first), "when")
        draft.sheet.write((*path, first), text)
    for key in others:
        draft.sheet.remove((*path, key))
    draft.tell("M07", (*path, first), f"{' and '.join(lists)} is now when: {text}")
    if len(set(days)) > 1:
        draft.tell("M07", (*path, first), f"{' and '.join(days)} cannot both hold, as before: never fires", "note")
    if len(parts) == 1 and not parts[0].boolean:
        draft.tell("M07", (*path, first), "a rendered 0 held in 1.x and does not in a `when`", "note")
