"""M13: what ``pluginDefaults`` gave is written where it was given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from namespaces.flows.defaults import Defaults, PluginDefault
from namespaces.flows.migration import places
from namespaces.flows.migration.draft import Draft
from namespaces.flows.reader import Path
from namespaces.flows.tasks import COMMON
from namespaces.flows.triggers import TRIGGER_COMMON


def plugin_defaults(draft: Draft) -> None:
    """M13: values go into every matching task, trigger, condition and task runner, then the block goes."""
    written = [(key, draft.value[key]) for key in ("pluginDefaults", "taskDefaults") if key in draft.value]
    if not written:
        return
    own = []
    for key, listed in written:
        for index, item in enumerate(listed if isinstance(listed, list) else ()):
            if not isinstance(item, dict) or not isinstance(item.get("values"), dict):
                draft.ask("M13", (key, index), "a default has a type and values")
                return
            own.append(PluginDefault(str(item.get("type")), item["values"], item.get("forced") is True))
    known = Defaults([own], draft.around.canonical)
    _into(draft, known, _outer(draft))
    draft.commit()
    # Task runners may have come with the defaults of their task.
    _into(draft, known, _runners(draft))
    for key, _ in written:
        draft.sheet.remove((key,))
        draft.tell("M13", (key,), f"{key} is written into what it is for")
    draft.commit()


_Typed = tuple[Path, dict[str, Any], frozenset[str]]


def _outer(draft: Draft) -> Iterator[_Typed]:
    for task in draft.tasks():
        yield task.path, task.value, frozenset(COMMON)
    for path, trigger in places.triggers(draft.value):
        yield path, trigger, TRIGGER_COMMON
    for path, condition in places.conditions(draft.value):
        yield path, condition, frozenset()


def _runners(draft: Draft) -> Iterator[_Typed]:
    for task in draft.tasks():
        runner = task.value.get("taskRunner")
        if isinstance(runner, dict) and isinstance(runner.get("type"), str):
            yield (*task.path, "taskRunner"), runner, frozenset()


def _into(draft: Draft, known: Defaults, typed: Iterator[_Typed]) -> None:
    for path, value, shared in typed:
        entry = draft.around.catalog.resolve(str(value["type"]))
        if entry is None:
            # A plugin that is not installed here: its own properties are unknown, so all are taken.
            name = str(value["type"])
            under, over = known.for_type(name)
            properties = {*shared, *under, *over, *value}
        else:
            name, properties = entry.name, {*shared, *entry.properties}
        _difference(draft, path, value, known.apply(name, value, properties))


def _difference(draft: Draft, path: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    for key, value in after.items():
        if key not in before:
            draft.sheet.add(path, key, value)
        elif isinstance(value, dict) and isinstance(before[key], dict) and before[key]:
            _difference(draft, (*path, key), before[key], value)
        elif value != before[key]:
            draft.sheet.write((*path, key), value)
