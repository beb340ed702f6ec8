"""The JSON Schema of the language (draft-07), generated from the classes that validation uses.

Types are told apart by ``if``/``then`` on ``type``: an editor then shows the faults of the one type that is meant, and
a validator looks at one type instead of a hundred at every level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from namespaces.errors import NotFound
from namespaces.flows.catalog import Catalog, TypeEntry
from namespaces.flows.declared import INPUT_COMMON, INPUT_ID, INPUT_TYPES
from namespaces.flows.model import ConcurrencyBehavior, RetryBehavior, RetryType
from namespaces.flows.parse import FLOW_ID, NAMESPACE
from namespaces.flows.tasks import COMMON, LEVELS, TASK_ID, WORKER_LOST
from namespaces.flows.triggers import STATES, TRIGGER_COMMON
from namespaces.flows.types.fields import NESTED_KEY

DRAFT = "http://json-schema.org/draft-07/schema#"
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
        for name, words in entry.described(outputs=True).items():
            if words:
                made["outputs"]["properties"][name] = _beside(
                    made["outputs"]["properties"][name], {"description": words}
                )
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
    own["properties"] = {"type": {"enum": list(entry.names)}, **shared, **own.get("properties", {})}
    for name, words in entry.described().items():
        if words and "description" not in own["properties"][name]:
            own["properties"][name] = _beside(own["properties"][name], {"description": words})
    own["required"] = sorted({"type", *own.get("required", ()), *(("id",) if shared else ())})
    if entry.cls.title:
        own["title"] = entry.cls.title
    if entry.examples:
        own["$examples"] = list(entry.examples)
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
        described = {key: schema[key] for key in ("description", "deprecated") if key in schema}
        return _beside(_NESTED[kind], described)
    made = {key: _linked(item) for key, item in schema.items()}
    return _beside({"$ref": made.pop("$ref")}, made) if "$ref" in made and len(made) > 1 else made


def _beside(schema: Schema, others: Schema) -> Schema:
    """The schema with more words: in draft-07 whatever stands beside a ``$ref`` is overlooked."""
    return {"allOf": [schema], **others} if "$ref" in schema and others else {**schema, **others}


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
        entries = catalog.of_kind(*kinds)
        present = [entry.name for entry in entries if not entry.cls.deprecated]
        others = [name for entry in entries for name in entry.names if name not in present]
        return {
            "type": "object",
            "properties": {"type": {"anyOf": [{"enum": present}, {"enum": others, "deprecated": True}]}},
            "required": ["type"],
            "allOf": [_when(entry.names, _ref(entry.name)) for entry in entries],
        }

    return make


def _when(types: Iterable[str], then: Schema) -> Schema:
    return {"if": {"properties": {"type": {"enum": list(types)}}, "required": ["type"]}, "then": then}


def _fixed(schema: Schema) -> Callable[[Catalog], Schema]:
    return lambda _catalog: schema


_ANY_TEXT: Schema = {"type": ["string", "number", "boolean"]}
_INPUT_PROPERTIES: dict[str, Schema] = {
    "id": {"type": "string", "pattern": _pattern(INPUT_ID), "description": "name in `inputs.*`; dots make maps"},
    "name": {"type": "string", "deprecated": True, "description": "older name of `id`"},
    "description": {"type": ["string", "null"], "description": "Markdown"},
    "displayName": {"type": ["string", "null"], "maxLength": 64, "description": "label in the form"},
    "required": {"type": ["boolean", "string"], "default": True, "description": "a value must be given, or a default"},
    "defaults": {"description": "value when none is given; may be an expression"},
    "prefill": {"description": "first value in the form, which a person may clear"},
    "dependsOn": {
        "type": ["object", "null"],
        "description": "ask only when the condition over other inputs holds",
        "properties": {"inputs": {"type": "array", "items": _TEXT}, "condition": _ANY_TEXT},
        "additionalProperties": False,
    },
    "validator": {"type": "string", "description": "regular expression that the whole text must match"},
    "min": {"description": "smallest value, itself allowed"},
    "max": {"description": "largest value, itself allowed"},
    "after": {"description": "earliest moment"},
    "before": {"description": "latest moment"},
    "extension": {"type": "string", "deprecated": True, "description": "older form of `allowedFileExtensions`"},
    "allowedFileExtensions": {"type": "array", "items": _TEXT, "examples": [[".csv"]], "description": "ends of names"},
    "accept": {"description": "what the file dialog offers"},
    "values": {"description": "the choices"},
    "options": {"deprecated": True, "description": "older name of `values`"},
    "expression": {"description": "expression that gives the choices, or the value"},
    "itemType": {"enum": [kind for kind in INPUT_TYPES if kind != "ARRAY"], "description": "type of each item"},
    "allowCustomValue": {"type": ["boolean", "string"], "default": False, "description": "other values are fine too"},
    "isRadio": {"type": ["boolean", "string"], "default": False, "description": "show radio buttons"},
    "autoSelectFirst": {"type": ["boolean", "string"], "default": False, "description": "the first choice is given"},
    "inputs": {"type": "array", "items": _ref("input"), "description": "the parts of the form"},
    "properties": {"description": "the parts of the object, which are inputs"},
    "columns": {"description": "the columns of the table, which are inputs"},
    "rows": {"type": "object", "description": "how many rows: `min` and `max`"},
    "ref": {"type": "string", "description": "name of the shared inputs"},
}


def _input(_catalog: Catalog) -> Schema:
    return {
        "type": "object",
        "properties": {"type": {"enum": list(INPUT_TYPES), "description": "type of the value"}},
        "required": ["type"],
        "anyOf": [{"required": ["id"]}, {"required": ["name"]}],
        "allOf": [
            _when(
                [kind],
                {
                    "properties": {
                        "type": {},
                        **{name: _INPUT_PROPERTIES.get(name, {}) for name in sorted((INPUT_COMMON | own) - {"type"})},
                    },
                    "additionalProperties": False,
                },
            )
            for kind, own in INPUT_TYPES.items()
        ],
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


_SLA: Schema = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "type": {"enum": ["MAX_DURATION", "EXECUTION_ASSERTION"]},
        "duration": _DURATION,
        "assert": _ANY_TEXT,
        "behavior": {"enum": ["FAIL", "CANCEL", "NONE"]},
        "labels": _LABELS,
    },
    "required": ["id", "type", "behavior"],
    "additionalProperties": False,
}
_CHECK: Schema = {
    "type": "object",
    "properties": {
        "when": _ANY_TEXT,
        "condition": {**_ANY_TEXT, "deprecated": True},
        "message": _ANY_TEXT,
        "style": {"enum": ["ERROR", "SUCCESS", "WARNING", "INFO"]},
        "behavior": {"enum": ["BLOCK_EXECUTION", "FAIL_EXECUTION", "CREATE_EXECUTION"]},
    },
    "required": ["message"],
    "additionalProperties": False,
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
            "sla": {"type": ["array", "null"], "items": _SLA},
            "checks": {"type": ["array", "null"], "items": _CHECK},
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
