"""Older type names (``flows.md`` 11): rules by prefix and suffix. Single aliases stand at the types themselves."""

from __future__ import annotations

CORE = "io.kestra.plugin.core."
SHORT = "io.kestra.plugin."

_PREFIXES: tuple[tuple[str, str], ...] = (
    ("io.kestra.core.tasks.debugs.", CORE + "debug."),
    ("io.kestra.core.tasks.log.", CORE + "log."),
    ("io.kestra.core.tasks.flows.", CORE + "flow."),
    ("io.kestra.core.tasks.executions.", CORE + "execution."),
    ("io.kestra.core.tasks.storages.", CORE + "storage."),
    ("io.kestra.core.tasks.states.", CORE + "state."),
    ("io.kestra.core.tasks.templating.", CORE + "templating."),
    ("io.kestra.core.tasks.trigger.", CORE + "trigger."),
    ("io.kestra.plugin.fs.http.", CORE + "http."),
    ("io.kestra.core.models.triggers.types.", CORE + "trigger."),
    ("io.kestra.core.models.conditions.types.", CORE + "condition."),
)
_CONDITION = CORE + "condition."
_SUFFIX = "Condition"
_KEEP_SUFFIX = frozenset({"FlowCondition", "FlowNamespaceCondition", "MultipleCondition"})


def older_names(name: str) -> tuple[str, ...]:
    """Every name that ``candidates`` leads from to ``name``."""
    found = [name.removeprefix(SHORT)] if name.startswith(SHORT) else []
    ends = [name]
    if name.startswith(_CONDITION) and name[len(_CONDITION) :] not in _KEEP_SUFFIX:
        ends.append(name + _SUFFIX)
        found.append(name + _SUFFIX)
    for old, new in _PREFIXES:
        found += [old + end[len(new) :] for end in ends if end.startswith(new)]
    return tuple(found)


def candidates(name: str) -> tuple[str, ...]:
    """Names that ``name`` may stand for, itself left out, most likely first."""
    found: list[str] = []
    current = name
    if not name.startswith("io."):
        current = SHORT + name
        found.append(current)
    for old, new in _PREFIXES:
        if current.startswith(old):
            current = new + current[len(old) :]
            found.append(current)
            break
    if current.startswith(_CONDITION) and current.endswith(_SUFFIX):
        last = current[len(_CONDITION) :]
        if last not in _KEEP_SUFFIX:
            found.append(_CONDITION + last[: -len(_SUFFIX)])
    return tuple(found)
