"""The JSON Schema of the language (draft 2019-09), generated from the classes that validation uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from namespaces.errors import NotFound
from namespaces.flows.bounds import CHECK_KEYS, SLA_KEYS
from namespaces.flows.catalog import Catalog, TypeEntry
from namespaces.flows.declared import INPUT_COMMON, INPUT_ID, INPUT_TYPES
from namespaces.flows.model import ConcurrencyBehavior, RetryBehavior, RetryType
from namespaces.flows.parse import FLOW_ID, NAMESPACE
from namespaces.flows.tasks import COMMON, LEVELS, TASK_ID, WORKER_LOST
from namespaces.flows.triggers import STATES, TRIGGER_COMMON
from namespaces.flows.types.fields import NESTED_KEY

DRAFT = "https://json-schema.org/draft/2019-09/schema"
Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_BOOLEAN: Schema = {"type": "boolean"}
_DURATION: Schema = {"type": "string", "format": "duration", "examples": ["PT30S"]}
_LABELS: Schema = {
    "oneOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"key": _TEXT, "value": {"type": ["string", "number", "boolean"]}},
                "required": ["key", "value"],
            },
        },
        {"type": "string", "pattern": r"\{[{%]"},
    ]
}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _list_of(name: str) -> Schema:
    return {"type": ["array", "null"], "items": _ref(name)}


def _anything(names: Iterable[str]) -> Schema:
    """Names without a word about their values: the parser checks those."""
    made: Schema = {}
    for name in sorted(names):
        made[name] = {}
    return made


def _pattern(compiled: Any) -> str:
    return f"^{compiled.pattern}$"


def json_schema(kind: str, catalog: Catalog, *, array_of: bool = False) -> Schema:
    """The schema of ``flow``, ``task``, ``trigger``, ``condition``, ``taskrunner``, ``input`` or ``plugindefault``.

    Raises ``NotFound`` for another kind.
    """
    if kind.lower() not in _ROOTS:
        raise NotFound(f"there is no schema of '{kind}'", hint="known: " + ", ".join(_ROOTS))
    definitions = _definitions(catalog)
    root = _ref(_ROOTS[kind.lower()])
    if array_of:
        root = {"type": "array", "items": root}
    return {"$schema": DRAFT, **root, "definitions": definitions}


_ROOTS = {
    "flow": "flow",
    "task": "task",
    "trigger": "trigger",
    "condition": "condition",
    "taskrunner": "taskRunner",
    "input": "input",
    "plugindefault": "pluginDefault",
}


def type_schema(entry: TypeEntry, catalog: Catalog) -> Schema:
    """Properties, outputs and definitions of one type, for its documentation page."""
    definitions: Schema = {}
    properties = _type(entry, definitions)
    made: Schema = {"properties": properties, "definitions": definitions}
    outputs = entry.cls.outputs
    if outputs is not None:
        made["outputs"] = outputs.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
        definitions.update(made["outputs"].pop("$defs", {}))
    else:
        made["outputs"] = {"type": "object", "properties": {}}
    definitions.update({name: make(catalog) for name, make in _SHARED.items()})
    return made


def _definitions(catalog: Catalog) -> Schema:
    definitions: Schema = {name: make(catalog) for name, make in _SHARED.items()}
    for entry in catalog:
        definitions[entry.name] = _type(entry, definitions)
    return definitions


def _type(entry: TypeEntry, definitions: Schema) -> Schema:
    """One type's schema; the maps inside it become definitions of their own."""
    own = entry.cls.model_json_schema(by_alias=True, ref_template=f"#/definitions/{entry.name}-{{model}}")
    for name, part in own.pop("$defs", {}).items():
        definitions[f"{entry.name}-{name}"] = _linked(part)
    own = dict(_linked(own))
    own.pop("title", None)
    shared = _COMMON_OF.get(entry.kind, {})
    names = [entry.name, entry.short, *entry.cls.aliases]
    own["properties"] = {"type": {"enum": names}, **shared, **own.get("properties", {})}
    own["required"] = sorted({"type", *own.get("required", ()), *(("id",) if shared else ())})
    if entry.cls.title:
        own["title"] = entry.cls.title
    if entry.cls.examples:
        own["$examples"] = list(entry.cls.examples)
    if entry.cls.deprecated:
        own["deprecated"] = True
    return own


def _linked(schema: Any) -> Any:
    """The schema with references where other parts of the language stand."""
    if isinstance(schema, list):
        return [_linked(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get(NESTED_KEY)
    if kind is not None:
        return dict(_NESTED[kind])
    return {key: _linked(item) for key, item in schema.items()}


_NESTED: dict[str, Schema] = {
    "tasks": _list_of("task"),
    "task": _ref("task"),
    "cases": {"type": "object", "additionalProperties": _list_of("task")},
    "dag": _list_of("dagTask"),
    "inputs": _list_of("input"),
    "outputs": _list_of("output"),
    "labels": _LABELS,
    "conditions": _list_of("condition"),
    "conditionMap": {"type": "object", "additionalProperties": _ref("condition")},
    "taskRunner": _ref("taskRunner"),
}

_ID: Schema = {"type": "string", "pattern": _pattern(TASK_ID), "minLength": 1, "maxLength": 256}
_WORKERS: dict[str, Schema] = {
    "workerGroup": {
        "type": "object",
        "properties": {"key": _TEXT, "fallback": {"enum": ["FAIL", "WAIT", "CANCEL"]}},
        "additionalProperties": False,
    },
    "workerSelector": {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": _TEXT},
            "match": {"enum": ["ALL", "ANY"]},
            "fallback": {"enum": ["FAIL", "WAIT", "CANCEL", "IGNORE"]},
        },
        "additionalProperties": False,
    },
}
_KNOWN: dict[str, Schema] = {
    "id": _ID,
    "version": _TEXT,
    "description": {"type": "string", "description": "Markdown"},
    "retry": _ref("retry"),
    "timeout": {"type": "string", "description": "a duration, or an expression that gives one"},
    "disabled": _BOOLEAN,
    "runIf": _TEXT,
    "when": _TEXT,
    "allowFailure": _BOOLEAN,
    "allowWarning": _BOOLEAN,
    "logLevel": {"enum": list(LEVELS)},
    "minLogLevel": {"enum": list(LEVELS), "deprecated": True},
    "logToFile": _BOOLEAN,
    "taskCache": {
        "type": "object",
        "properties": {"enabled": _BOOLEAN, "ttl": _DURATION},
        "required": ["enabled"],
        "additionalProperties": False,
    },
    "assets": {"type": "object"},
    "pluginDefaultsRef": {},
    "policyRefs": {"type": "array", "items": _TEXT},
    "onWorkerLost": {"enum": list(WORKER_LOST), "description": "Lanner only"},
    "conditions": _list_of("condition"),
    "inputs": {"type": ["object", "array"]},
    "labels": _LABELS,
    "stopAfter": {"type": "array", "items": {"enum": list(STATES)}},
    "allowConcurrent": _BOOLEAN,
    "failOnTriggerError": _BOOLEAN,
    **_WORKERS,
}
_TASK_COMMON = {name: _KNOWN[name] for name in COMMON if name != "type"}
_COMMON_OF: dict[str, dict[str, Schema]] = {
    "task": _TASK_COMMON,
    "flowable": _TASK_COMMON,
    "trigger": {name: _KNOWN[name] for name in sorted(TRIGGER_COMMON - {"type"})},
}


def _any_of(*kinds: str) -> Callable[[Catalog], Schema]:
    def make(catalog: Catalog) -> Schema:
        return {
            "type": "object",
            "properties": {"type": _TEXT},
            "required": ["type"],
            "anyOf": [_ref(entry.name) for entry in catalog.of_kind(*kinds)],
        }

    return make


def _fixed(schema: Schema) -> Callable[[Catalog], Schema]:
    return lambda _catalog: schema


def _input(_catalog: Catalog) -> Schema:
    forms = [
        {
            "properties": {
                **_anything((INPUT_COMMON | own) - {"type"}),
                "type": {"const": kind},
            },
            "additionalProperties": False,
        }
        for kind, own in INPUT_TYPES.items()
    ]
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": _pattern(INPUT_ID)},
            "type": {"enum": list(INPUT_TYPES)},
            "description": _TEXT,
            "displayName": {"type": "string", "maxLength": 64},
            "required": {"type": "boolean", "default": True},
            "dependsOn": {
                "type": "object",
                "properties": {"inputs": {"type": "array", "items": _TEXT}, "condition": _TEXT},
                "additionalProperties": False,
            },
        },
        "required": ["type"],
        "anyOf": forms,
    }


def _output(_catalog: Catalog) -> Schema:
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": _pattern(INPUT_ID)},
            "type": {"enum": list(INPUT_TYPES)},
            "value": {},
            "itemType": _TEXT,
            "description": _TEXT,
            "displayName": _TEXT,
            "required": {"type": "boolean", "default": True},
        },
        "required": ["id", "type"],
        "additionalProperties": False,
    }


_RETRY: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": [kind.value for kind in RetryType]},
        **dict.fromkeys(("interval", "minInterval", "maxInterval", "maxDuration"), _DURATION),
        "delayFactor": {"type": "number", "exclusiveMinimum": 0, "default": 2},
        "maxAttempts": {"type": "integer", "minimum": 1, "description": "the first try counts"},
        "maxAttempt": {"type": "integer", "minimum": 1, "deprecated": True},
        "warningOnRetry": _BOOLEAN,
        "behavior": {"enum": [behavior.value for behavior in RetryBehavior]},
    },
    "required": ["type"],
    "additionalProperties": False,
}
_DAG_TASK: Schema = {
    "type": "object",
    "properties": {"task": _ref("task"), "dependsOn": {"type": "array", "items": _TEXT}},
    "required": ["task"],
    "additionalProperties": False,
}
_PLUGIN_DEFAULT: Schema = {
    "type": "object",
    "properties": {"type": _TEXT, "forced": {"type": "boolean", "default": False}, "values": {"type": "object"}},
    "required": ["type", "values"],
    "additionalProperties": False,
}
_QUOTA: Schema = {
    "type": "object",
    "properties": {
        "duration": _DURATION,
        "limit": {"type": "integer", "minimum": 1},
        "behavior": {"enum": ["FAIL", "CANCEL"]},
    },
    "required": ["duration", "limit"],
}


def _flow(_catalog: Catalog) -> Schema:
    tasks = _list_of("task")
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": _pattern(FLOW_ID), "minLength": 1, "maxLength": 100},
            "namespace": {"type": "string", "pattern": _pattern(NAMESPACE), "minLength": 1, "maxLength": 150},
            "description": _KNOWN["description"],
            "labels": _LABELS,
            "inputs": _list_of("input"),
            "variables": {"type": "object"},
            "tasks": {**tasks, "minItems": 1},
            "errors": tasks,
            "finally": tasks,
            "afterExecution": tasks,
            "triggers": _list_of("trigger"),
            "outputs": _list_of("output"),
            "pluginDefaults": _list_of("pluginDefault"),
            "taskDefaults": {**_list_of("pluginDefault"), "deprecated": True},
            "concurrency": {
                "type": "object",
                "properties": {
                    "limit": {"type": "integer", "minimum": 1},
                    "behavior": {"enum": [behavior.value for behavior in ConcurrencyBehavior]},
                },
                "required": ["limit"],
                "additionalProperties": False,
            },
            "retry": _ref("retry"),
            "sla": {"type": "array", "items": {"type": "object", "properties": _anything(SLA_KEYS)}},
            "checks": {"type": "array", "items": {"type": "object", "properties": _anything(CHECK_KEYS)}},
            "quotas": {"type": "array", "items": _QUOTA},
            "quota": _QUOTA,
            "disabled": {"type": "boolean", "default": False},
            "draft": _BOOLEAN,
            "policyRefs": _KNOWN["policyRefs"],
            "onWorkerLost": _KNOWN["onWorkerLost"],
            "listeners": {"type": "array", "items": {"type": "object"}, "deprecated": True},
            **_WORKERS,
            "revision": {"type": "integer", "minimum": 1},
            "deleted": _BOOLEAN,
            "tenantId": _TEXT,
            "pluginDefaultsRef": {},
        },
        "required": ["id", "namespace", "tasks"],
        "additionalProperties": False,
    }


_SHARED: dict[str, Callable[[Catalog], Schema]] = {
    "flow": _flow,
    "task": _any_of("task", "flowable"),
    "trigger": _any_of("trigger"),
    "condition": _any_of("condition"),
    "taskRunner": _any_of("runner"),
    "input": _input,
    "output": _output,
    "retry": _fixed(_RETRY),
    "dagTask": _fixed(_DAG_TASK),
    "pluginDefault": _fixed(_PLUGIN_DEFAULT),
}
