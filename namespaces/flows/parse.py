"""The front door of the language: text in, a flow and all findings out. Never raises because of the content."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from namespaces.errors import Problem, Severity
from namespaces.flows import scalars
from namespaces.flows import tasks as tasks_
from namespaces.flows import triggers as triggers_
from namespaces.flows.bounds import read_checks, read_concurrency, read_quotas, read_sla
from namespaces.flows.catalog import Catalog
from namespaces.flows.declared import read_flow_outputs, read_inputs, read_label_pairs
from namespaces.flows.defaults import Defaults, PluginDefault
from namespaces.flows.findings import Findings
from namespaces.flows.language import check_strict, language_of
from namespaces.flows.limits import DEFAULTS, FlowLimits
from namespaces.flows.model import Flow, Runnable, Task, Trigger
from namespaces.flows.policies import Chain, Policy, refs_of
from namespaces.flows.reader import Document, Path, read_yaml
from namespaces.flows.scope import Scope
from namespaces.flows.tasks import WORKER_LOST, read_retry, read_tasks, read_worker_group
from namespaces.flows.triggers import read_listeners, read_triggers
from namespaces.flows.validate import check_flow, check_task_ids

FLOW_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*", re.ASCII)
NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_-]*)*", re.ASCII)
MAX_FLOW_ID = 100
MAX_NAMESPACE = 150
RESERVED_IDS = (
    "pause",
    "resume",
    "force-run",
    "change-status",
    "kill",
    "executions",
    "search",
    "source",
    "disable",
    "enable",
)


@dataclass(frozen=True, slots=True)
class Reading:
    """``flow`` is None exactly when a problem is an error; warnings and infos come with a flow too."""

    flow: Flow | None
    problems: tuple[Problem, ...]
    document: Document
    language: int = 1
    """The flow's, also of one with errors."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity is Severity.WARNING)


@dataclass(frozen=True, slots=True)
class TaskReading:
    """One task or trigger read by itself."""

    value: Task | Trigger | None
    problems: tuple[Problem, ...]


def read_flow(
    text: str | bytes,
    catalog: Catalog,
    *,
    namespace: str | None = None,
    plugin_defaults: Sequence[Mapping[str, Any] | PluginDefault] = (),
    language_default: str = "auto",
    language_unmarked: int = 1,
    strict: int | None = None,
    policies: Sequence[Policy] = (),
    stored: bool = False,
    limits: FlowLimits = DEFAULTS,
) -> Reading:
    """Read and validate one flow.

    ``namespace`` stands in when the text names none. ``plugin_defaults`` are those of the namespaces, nearest
    first, then the server's. ``language_default`` is the nearest setting (``auto``, ``1`` or ``2``);
    ``strict`` 1 or 2 refuses the constructs of the other version, and expressions that cannot be read. ``policies``
    are the server's; what they forbid is an error, but (``stored``) of a flow that was saved before only a reason not
    to start it: ``Flow.violations``.
    """
    document = read_yaml(text, limits)
    if not document.ok:
        document = replace(document, problems=tuple(_in_kestras_words(p) for p in document.problems))
        if document.value is None:
            return Reading(None, document.problems, document)
    return read_document(
        document,
        catalog,
        namespace=namespace,
        plugin_defaults=plugin_defaults,
        language_default=language_default,
        language_unmarked=language_unmarked,
        strict=strict,
        policies=policies,
        stored=stored,
    )


def read_document(
    document: Document,
    catalog: Catalog,
    *,
    namespace: str | None = None,
    plugin_defaults: Sequence[Mapping[str, Any] | PluginDefault] = (),
    language_default: str = "auto",
    language_unmarked: int = 1,
    strict: int | None = None,
    policies: Sequence[Policy] = (),
    stored: bool = False,
) -> Reading:
    """As ``read_flow``, for a document that was read already; its own problems are kept."""
    findings = Findings(document)
    value = document.value
    if not isinstance(value, dict):
        findings.error("F001", (), "Illegal flow source: expected a mapping with id, namespace, tasks")
        return Reading(None, findings.problems(document), document)
    scope = Scope(catalog, findings)
    if plugin_defaults or value.get("pluginDefaults") or value.get("taskDefaults"):
        scope.defaults = _defaults(scope, value, plugin_defaults)
    named = value.get("namespace") if isinstance(value.get("namespace"), str) else namespace
    scope.lenient = stored
    if policies or "policyRefs" in document.text:
        scope.policies = Chain(policies, named or "", refs_of(value))
    made = _top_level(scope, scope.ruled("FLOW", value, value, FLOW_PROPERTIES, ()), namespace)
    language, reason = language_of(scope, document.text, value, language_default, language_unmarked)
    flow = Flow(**made, written=value, language=language, language_reason=reason, violations=tuple(scope.violations))
    check_flow(scope, flow, document, strict=strict is not None)
    if strict is not None:
        check_strict(findings, scope, strict)
    if scope.defaults is not None:
        _unused_defaults(scope, value)
    problems = findings.problems(document)
    return Reading(None if findings.failed or not document.ok else flow, problems, document, language)


def _in_kestras_words(problem: Problem) -> Problem:
    if problem.severity is not Severity.ERROR:
        return problem
    return replace(problem, message=f"Illegal flow source: {problem.message}")


def read_task(
    text: str | bytes, catalog: Catalog, *, policies: Sequence[Policy] = (), namespace: str = ""
) -> TaskReading:
    """One task by itself: the editor's check and ``TemplatedTask``."""
    return _alone(text, catalog, tasks_.read_task, Chain(policies, namespace))


def read_trigger(text: str | bytes, catalog: Catalog) -> TaskReading:
    """One trigger by itself."""
    return _alone(text, catalog, triggers_.read_trigger)


def _alone(
    text: str | bytes, catalog: Catalog, read: Callable[[Scope, Any, Path], Any], policies: Chain | None = None
) -> TaskReading:
    document = read_yaml(text)
    if not document.ok:
        return TaskReading(None, document.problems)
    scope = Scope(catalog, Findings(document), policies=policies)
    found = read(scope, document.value, ())
    check_task_ids(scope)
    problems = scope.findings.problems(document)
    return TaskReading(None if scope.findings.failed else found, problems)


def runnable_of(reading: TaskReading) -> Runnable | None:
    """The task when it is one that a worker can run."""
    return reading.value if isinstance(reading.value, Runnable) else None


_SEPARATOR = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)


def split_documents(text: str) -> list[str]:
    """The documents of a bulk request, cut at lines ``---``; empty and comment-only ones are left out.

    Cut by text, so that one broken document does not hide the others; a ``---`` inside a block scalar is
    indented and no separator.
    """
    parts = _SEPARATOR.split(text.removeprefix("\ufeff"))
    return [part.strip("\n") + "\n" for part in parts if _has_content(part)]


def _has_content(part: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in part.splitlines())


def _identity(scope: Scope, value: dict[str, Any], namespace: str | None) -> dict[str, Any]:
    findings = scope.findings
    flow_id = scalars.text(findings, value.get("id"), ("id",))
    if flow_id is None:
        if value.get("id") is None:
            findings.required(("id",))
    elif not FLOW_ID.fullmatch(flow_id) or len(flow_id) > MAX_FLOW_ID:
        if not FLOW_ID.fullmatch(flow_id):
            findings.error("F005", ("id",), f'must match "^{FLOW_ID.pattern}", but is {flow_id[:60]!r}')
        if not 1 <= len(flow_id) <= MAX_FLOW_ID:
            findings.error("F005", ("id",), f"size must be between 1 and {MAX_FLOW_ID}, but is {len(flow_id)}")
    elif flow_id in RESERVED_IDS:
        listed = ", ".join(RESERVED_IDS)
        findings.error(
            "F009", ("id",), f"Flow id is a reserved keyword: {flow_id}. List of reserved keywords: {listed}"
        )
    named = scalars.text(findings, value.get("namespace"), ("namespace",))
    if named is None and value.get("namespace") is None:
        named = namespace
        if named is None:
            findings.required(("namespace",))
    if named is not None:
        if not NAMESPACE.fullmatch(named):
            findings.error("F005", ("namespace",), f'must match "^{NAMESPACE.pattern}", but is {named[:60]!r}')
        if not 1 <= len(named) <= MAX_NAMESPACE:
            message = f"size must be between 1 and {MAX_NAMESPACE}, but is {len(named)}"
            findings.error("F005", ("namespace",), message)
    return {"id": flow_id or "", "namespace": named or ""}


_Read = Callable[[Scope, Any, Path], Any]


def _text(scope: Scope, value: Any, path: Path) -> str | None:
    return scalars.text(scope.findings, value, path)


def _flag(scope: Scope, value: Any, path: Path) -> bool:
    return scalars.boolean(scope.findings, value, path, False)


def _map(scope: Scope, value: Any, path: Path) -> dict[str, Any]:
    return scalars.a_map(scope.findings, value, path)


def _texts(scope: Scope, value: Any, path: Path) -> tuple[str, ...]:
    if path[-1] == "policyRefs":
        scope.is_newer("policyRefs", path)
    return scalars.texts(scope.findings, value, path)


def _worker_lost(scope: Scope, value: Any, path: Path) -> str | None:
    scope.findings.info("F203", path, "onWorkerLost is Lanner's own: a Kestra server refuses the flow")
    return scalars.one_of(scope.findings, value, path, WORKER_LOST)


def _labels(scope: Scope, value: Any, path: Path) -> Any:
    return read_label_pairs(scope, value, path, of_flow=True)


def _listeners(scope: Scope, value: Any, path: Path) -> Any:
    scope.is_older("listeners", path)
    scope.findings.warning("F101", path, "listeners is deprecated: use afterExecution")
    return read_listeners(scope, value, path)


# In the order in which findings are most useful, which is the order of the documentation too.
_PROPERTIES: dict[str, tuple[str, _Read]] = {
    "description": ("description", _text),
    "labels": ("labels", _labels),
    "inputs": ("inputs", read_inputs),
    "variables": ("variables", _map),
    "tasks": ("tasks", read_tasks),
    "errors": ("errors", read_tasks),
    "finally": ("finally_", read_tasks),
    "afterExecution": ("after_execution", read_tasks),
    "listeners": ("listeners", _listeners),
    "triggers": ("triggers", read_triggers),
    "outputs": ("outputs", read_flow_outputs),
    "concurrency": ("concurrency", read_concurrency),
    "retry": ("retry", read_retry),
    "sla": ("sla", read_sla),
    "checks": ("checks", read_checks),
    "quotas": ("quotas", read_quotas),
    "quota": ("quotas", read_quotas),
    "disabled": ("disabled", _flag),
    "draft": ("draft", _flag),
    "workerGroup": ("worker_group", read_worker_group),
    "workerSelector": ("worker_group", read_worker_group),
    "policyRefs": ("policy_refs", _texts),
    "onWorkerLost": ("on_worker_lost", _worker_lost),
}
_READ_ELSEWHERE = frozenset(
    {
        "id",
        "namespace",
        "revision",
        "deleted",
        "tenantId",
        "pluginDefaults",
        "taskDefaults",
        "updated",
        "source",
        "pluginDefaultsRef",
    }
)
FLOW_PROPERTIES: frozenset[str] = frozenset(_PROPERTIES) | _READ_ELSEWHERE


def _top_level(scope: Scope, value: dict[str, Any], namespace: str | None) -> dict[str, Any]:
    findings = scope.findings
    made = _identity(scope, value, namespace)
    for key, item in value.items():
        known = _PROPERTIES.get(key)
        if known is None:
            if key not in _READ_ELSEWHERE:
                findings.unknown_property((key,), FLOW_PROPERTIES - {"updated", "source"}, "flow")
        elif item is not None:
            name, read = known
            made[name] = read(scope, item, (key,))
    if not value.get("tasks"):
        findings.error("F023", ("tasks",), "must not be empty")
        made["tasks"] = ()
    if value.get("disabled") is True:
        findings.info("F202", ("disabled",), "the flow is disabled")
    return made


def _defaults(
    scope: Scope, value: dict[str, Any], outer: Sequence[Mapping[str, Any] | PluginDefault]
) -> Defaults | None:
    own: list[PluginDefault] = []
    for key in ("pluginDefaults", "taskDefaults"):
        if value.get(key) is None:
            continue
        scope.is_older(key, (key,))
        if key == "taskDefaults":
            scope.findings.warning("F101", (key,), "taskDefaults is deprecated: it is now pluginDefaults")
        own.extend(_read_defaults(scope, value[key], (key,)))
    given = [d if isinstance(d, PluginDefault) else _default_of(d) for d in outer]
    made = Defaults([own, *([d] for d in given)], lambda name: _canonical(scope.catalog, name))
    return made or None


def _canonical(catalog: Catalog, name: str) -> str:
    entry = catalog.resolve(name)
    return entry.name if entry is not None else name


def _default_of(item: Mapping[str, Any]) -> PluginDefault:
    return PluginDefault(str(item["type"]), item.get("values") or {}, item.get("forced") is True)


def _read_defaults(scope: Scope, value: Any, path: Path) -> Iterator[PluginDefault]:
    findings = scope.findings
    for index, item in enumerate(scalars.a_list(findings, value, path)):
        place = (*path, index)
        if not isinstance(item, dict):
            findings.error(scalars.WRONG_TYPE, place, "must be a plugin default: a map with type and values")
            continue
        for key in item:
            if key not in ("type", "forced", "values"):
                findings.unknown_property((*place, key), ("type", "forced", "values"), "plugin default")
        name = scalars.text(findings, item.get("type"), (*place, "type"))
        if not name:
            findings.required((*place, "type"))
            continue
        if not item.get("values"):
            findings.error("F032", place, "Invalid Plugin Default: No 'values' provided")
            continue
        values = scalars.a_map(findings, item["values"], (*place, "values"))
        entry = scope.catalog.resolve(name)
        for key, one in values.items():
            if one is None:
                message = f"Invalid Plugin Default: No value provided for key '{key}'"
                findings.error("F032", (*place, "values", key), message)
            elif entry is not None and not _has_property(entry.kind, entry.properties, key):
                message = f"Invalid Plugin Default: No property '{key}' exists in plugin '{name}'"
                findings.error("F032", (*place, "values", key), message)
        forced = scalars.boolean(findings, item.get("forced"), (*place, "forced"), False)
        yield PluginDefault(name, values, forced)


def _has_property(kind: str, properties: frozenset[str], key: str) -> bool:
    from namespaces.flows.tasks import COMMON
    from namespaces.flows.triggers import TRIGGER_COMMON

    shared = COMMON.keys() if kind in ("task", "flowable") else TRIGGER_COMMON if kind == "trigger" else ()
    return key in properties or key in shared


def _unused_defaults(scope: Scope, value: dict[str, Any]) -> None:
    assert scope.defaults is not None
    for key in ("pluginDefaults", "taskDefaults"):
        written = value.get(key)
        for index, item in enumerate(written if isinstance(written, list) else ()):
            if isinstance(item, dict) and isinstance(item.get("type"), str) and item["type"] not in scope.defaults.used:
                message = f"no task, trigger, condition or task runner has the type {item['type']}"
                scope.findings.warning("F109", (key, index, "type"), message)


def with_revision(flow: Flow, revision: int) -> Flow:
    """The same flow as that revision."""
    return replace(flow, revision=revision)
