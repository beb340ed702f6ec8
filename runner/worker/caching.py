"""``taskCache`` of a task (``flows.md`` 2.6): the key under which its outputs are kept. Where they are kept is the
reporter's business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson
from pydantic import BaseModel

from namespaces.errors import LannerError, Unavailable
from runner.engine.states import State
from runner.plugin import Output
from runner.tasks import Implementation
from runner.worker.reporter import Reporter
from runner.worker.running import Running


def wanted(running: Running) -> bool:
    """Whether this task wants its outputs kept and used again."""
    return bool((running.task.task_cache or {}).get("enabled"))


def run(reporter: Reporter, running: Running, implementation: Implementation, properties: Any) -> Output:
    """The outputs kept for these properties, else those of a run, which are kept when it ends SUCCESS.

    A cache that cannot be reached is no reason to fail: the task runs.
    """
    key = key_of(running, implementation, properties)
    try:
        known = reporter.recall(running.claim, key)
    except Unavailable as error:
        running.log("WARN", f"the cache cannot be read: {error.message}")
        known = None
    if known is not None:
        running.learn_secrets()
        running.log("INFO", f"Hit cache for task {running.task.id}")
        return Output(values=known)
    output = implementation.run(running, properties)
    # An Update (labels, variables, Exit) is more than outputs can give back.
    if output.state is State.SUCCESS and output.update is None and not running.cancelled.is_set():
        ttl: timedelta | None = (running.task.task_cache or {}).get("ttl")
        try:
            reporter.remember(running.claim, key, output.values or {}, ttl)
        except Unavailable as error:
            running.log("WARN", f"the outputs cannot be kept in the cache: {error.message}")
    return output


def key_of(running: Running, implementation: Implementation, properties: Any) -> str:
    """Hash of flow, task, loop value and the rendered properties.

    ``properties`` are the task's own as it gets them. What the implementation renders itself is rendered here once
    more; what can only be rendered there (an expression per row) counts as written.
    """
    given: dict[str, Any] = {}
    if isinstance(properties, BaseModel):
        given = properties.model_dump(mode="json", by_alias=True, exclude_none=True)
    elif isinstance(properties, Mapping):
        given = dict(properties)
    written = running.task.properties
    for name in written if not implementation.render else implementation.raw & written.keys():
        given[name] = _rendered(running, written[name])
    flow, task = running.flow, running.task
    names = ["main", flow.namespace, flow.id, task.id, task.type, running.claim.task_run.value]
    text = orjson.dumps([names, given], default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(text).hexdigest()


def _rendered(running: Running, written: Any) -> Any:
    try:
        return running.render(written)
    except LannerError:
        return written
