"""Tasks of the KV store: Set, Get, GetKeys, Delete, PurgeKV. The store, and its types, are behind ``World``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.plugin import Output, RunContext, RunFailed
from runner.tasks import CORE, Implementation

if TYPE_CHECKING:
    from namespaces.flows.types import tasks_data as types


def put(context: RunContext, task: types.KvSet) -> Output:
    written = task.value
    value = context.render_typed(written) if isinstance(written, str) else context.render(written)
    context.world.kv_set(
        task.namespace or context.flow.namespace,
        task.key,
        value,
        type_=task.kv_type,
        overwrite=task.overwrite,
        ttl_s=task.ttl.total_seconds() if task.ttl is not None else None,
        description=task.kv_description,
    )
    return Output()


def get(context: RunContext, task: types.KvGet) -> Output:
    namespace = task.namespace or context.flow.namespace
    value = context.world.kv_get(namespace, task.key)
    if value is None and task.error_on_missing:
        raise _missing(task.key, namespace)
    return Output(values={"value": value})


def _missing(key: str, namespace: str) -> RunFailed:
    return RunFailed(f"No value found for key '{key}' in namespace '{namespace}' and `errorOnMissing` is set to true")


def keys(context: RunContext, task: types.KvGetKeys) -> Output:
    return Output(values={"keys": context.world.kv_keys(task.namespace or context.flow.namespace, task.prefix)})


def delete(context: RunContext, task: types.KvDelete) -> Output:
    namespace = task.namespace or context.flow.namespace
    deleted = context.world.kv_delete(namespace, task.key)
    if not deleted and task.error_on_missing:
        raise _missing(task.key, namespace)
    return Output(values={"deleted": deleted})


def purge(context: RunContext, task: types.PurgeKV) -> Output:
    if task.namespaces and task.namespace_pattern:
        raise RunFailed("`namespaces` and `namespacePattern` exclude each other")
    behavior = task.behavior
    expired_only = task.expired_only if task.expired_only is not None else behavior is None or behavior.expired_only
    size = context.world.kv_purge(
        {
            "namespaces": task.namespaces,
            "namespacePattern": task.namespace_pattern,
            "keyPattern": task.key_pattern,
            "includeChildNamespaces": task.include_child_namespaces,
            "type": behavior.type if behavior else "key",
            "expiredOnly": expired_only,
            "before": behavior.before if behavior else None,
            "keepAmount": behavior.keep_amount if behavior else None,
        }
    )
    return Output(values={"size": size})


TASKS = {
    CORE + "kv.Set": Implementation(run=put, raw=frozenset({"value"})),
    CORE + "kv.Get": Implementation(run=get),
    CORE + "kv.GetKeys": Implementation(run=keys),
    CORE + "kv.Delete": Implementation(run=delete),
    CORE + "kv.PurgeKV": Implementation(run=purge),
}
