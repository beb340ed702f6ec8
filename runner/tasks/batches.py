"""First and last step of a ForEachItem: the file cut into batches, the outputs of all batches in one file."""

from __future__ import annotations

from typing import Any

from namespaces.blobs import SCHEME
from runner.plugin import Output, RunFailed
from runner.tasks import CORE, Implementation
from runner.tasks.rows import cut, write_rows
from runner.worker.running import Running


def split(context: Running, _nothing: None) -> Output:
    """``splits``: a file that names one batch file a line; ``bytes`` before ``partitions`` before ``rows``."""
    written = context.task.properties
    items = str(context.render(written["items"])).strip()
    if not items.startswith(SCHEME):
        raise RunFailed(f"`items` must be a file of the internal storage (kestra:///…), not {items[:200]!r}")
    batch = {key: context.render(value) for key, value in written["batch"].items() if value is not None}
    size = batch.get("bytes")
    found = cut(
        context,
        items,
        separator=str(batch.get("separator", "\n")),
        size=str(size) if size is not None else None,
        partitions=None if size is not None else _number(batch, "partitions"),
        rows=_number(batch, "rows"),
        within=True,
    )
    return Output(values={"splits": context.store("splits.txt", "".join(f"{uri}\n" for uri in found).encode())})


def _number(batch: dict[str, Any], name: str) -> int | None:
    value = batch.get(name)
    if value is None:
        return None
    try:
        number = int(str(value).strip())
    except ValueError:
        number = 0
    if number < 1:
        raise RunFailed(f"`batch.{name}` must be a whole number above 0, not {value!r}")
    return number


def merge(context: Running, _nothing: None) -> Output:
    """``subflowOutputs``: one map of flow outputs a batch; nothing when no batch had any, or nobody waited."""
    properties = context.task.properties
    parent = context.claim.task_run.parent_id
    if not properties["wait"] or parent is None:
        return Output()
    rows = context.world.batch_outputs(parent, properties["items"])
    if not any(rows):
        return Output()
    return Output(values={"subflowOutputs": context.store("outputs.ion", write_rows(rows))})


_STEP = CORE + "flow.ForEachItem$ForEachItem"

TASKS = {
    _STEP + "Split": Implementation(run=split, render=False),
    _STEP + "MergeOutputs": Implementation(run=merge, render=False),
}
