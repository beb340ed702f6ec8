"""M03: ForEachItem becomes a Split, and a Loop over its parts around a Subflow."""

from __future__ import annotations

from typing import Any

from namespaces.flows.migration.draft import Draft
from namespaces.flows.migration.expressions import Chain, step
from namespaces.flows.migration.loops import OLD
from namespaces.flows.migration.places import FLOW, Task
from namespaces.flows.reader import Path

_CARRIED = (
    "namespace", "flowId", "revision", "inputs", "labels", "wait", "transmitFailed", "inheritLabels", "scheduleDate",
    "restartBehavior",
)  # fmt: skip
_OWN = frozenset((*_CARRIED, "id", "type", "description", "items", "batch"))
_AROUND = ("disabled", "runIf", "when", "allowFailure", "allowWarning")
"""What a block around the new tasks carries for all of them."""
_STORAGE = "io.kestra.plugin.core.storage."


class _Manual(Exception):
    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def batches(draft: Draft) -> None:
    """M03: one task after the other."""
    refused: set[str] = set()
    while True:
        found = (task for task in draft.tasks() if task.type == FLOW + "ForEachItem" and task.id not in refused)
        task = next(found, None)
        if task is None:
            return
        try:
            _convert(draft, task)
        except _Manual as manual:
            draft.drop()
            draft.ask("M03", manual.path, str(manual))
            refused.add(task.id)
        draft.commit()


def _convert(draft: Draft, task: Task) -> None:
    foreign = [key for key in task.value if key not in _OWN and key not in _AROUND]
    if foreign:
        raise _Manual((*task.path, foreign[0]), f"'{foreign[0]}' would belong to three tasks: decide to which")
    if any(one.type in OLD for one in task.above):
        raise _Manual(task.path, "the loop around it is not converted yet: see there first")
    ids = {one.id for one in draft.tasks()}
    taken = [name for name in (f"{task.id}_split", f"{task.id}_items", f"{task.id}_merge") if name in ids]
    if taken:
        raise _Manual(task.path, f"the id {taken[0]} is taken")
    merged = _references(draft, task)
    # First the expressions where they stand, then the text is moved as it is.
    for path, text, found in draft.found(task.value, task.path):
        if path[len(task.path)] not in _CARRIED:
            continue
        for chain in found.chains:
            if chain.root not in found.own:
                _item(draft, path, text, chain)
    draft.commit()
    task = next(one for one in draft.tasks() if one.id == task.id)
    _restructure(draft, task, merged=merged)
    draft.tell("M03", task.path, "ForEachItem is now Split, Loop and Subflow")


def _item(draft: Draft, path: Path, text: str, chain: Chain) -> None:
    made = {"items": "item.value", "iteration": "item.index"}
    name = chain.names[1] if len(chain.names) > 1 else None
    if chain.root == "taskrun" and name in made:
        draft.sheet.write_in(path, chain.at, chain.keys[0].to, made[str(name)])
    elif chain.root == "item":
        if name in ("parent", "parents"):
            raise _Manual(path, f"`{text[chain.at : chain.to]}` counts one loop more after the conversion")
        draft.sheet.write_in(path, chain.at, chain.root_to, "item.parent")


def _references(draft: Draft, task: Task) -> bool:
    """Whether the merged outputs are used; they are renamed on the way. Raises ``_Manual`` for other uses."""
    used = False
    for path, text, found in draft.found():
        for chain in found.chains:
            if chain.root not in ("outputs", "tasks") or len(chain.names) < 2 or chain.root in found.own:
                continue
            written = text[chain.at : chain.to]
            if chain.names[1] in (f"{task.id}_split", f"{task.id}_items", task.id):
                raise _Manual(path, f"`{written}`: the tasks behind ForEachItem are others now, see the Loop's outputs")
            if chain.names[1] != f"{task.id}_merge":
                continue
            if chain.root == "tasks" or chain.names[2:] != ("subflowOutputs",):
                raise _Manual(path, f"`{written}`: read the Loop's outputs instead")
            if any(call.at < chain.at < call.to for call in found.calls) or found.filters:
                raise _Manual(path, f"`{written}`: its rows become JSON: read them with loopOutputs()")
            draft.sheet.write_in(path, chain.keys[1].at, chain.keys[1].to, ".uri")
            used = True
    return used


def _restructure(draft: Draft, task: Task, *, merged: bool) -> None:
    sheet, value, name = draft.sheet, task.value, task.id

    def kept(*keys: str) -> Any:
        return sheet.kept((*task.path, *keys))

    batch = value.get("batch")
    batch = batch if isinstance(batch, dict) else {}
    split: dict[str, Any] = {"id": f"{name}_split", "type": _STORAGE + "Split", "from": kept("items")}
    split.update({key: kept("batch", key) for key in ("bytes", "partitions", "rows", "separator") if key in batch})
    if not {"bytes", "partitions", "rows"} & batch.keys():
        split["rows"] = 1
    call: dict[str, Any] = {"id": f"{name}_items", "type": FLOW + "Subflow"}
    call.update({key: kept(key) for key in _CARRIED if key in value})
    around = [key for key in _AROUND if key in value]
    wrapped = bool(around) or not task.in_list
    loop: dict[str, Any] = {"id": f"{name}_loop" if wrapped else name, "type": FLOW + "Loop"}
    if "description" in value and not wrapped:
        loop["description"] = kept("description")
    loop["values"] = f"{{{{ outputs{step(split['id'])}.uris }}}}"
    if "transmitFailed" in value:
        loop["transmitFailed"] = kept("transmitFailed")
    loop["tasks"] = [call]
    made = [split, loop]
    if merged:
        write = f"{name}_write"
        content = f"{{{{ outputs{step(call['id'])}.outputs | toJson }}}}\n"
        call_and_write = [call, {"id": write, "type": _STORAGE + "Write", "content": content}]
        loop["tasks"] = call_and_write
        loop["outputs"] = [{"id": "uri", "type": "STRING", "value": f"{{{{ outputs{step(write)}.uri }}}}"}]
        files = f"{{{{ loopOutputs(outputs{step(str(loop['id']))}.outputs, 'uri') }}}}"
        made.append({"id": f"{name}_merge", "type": _STORAGE + "Concat", "files": files})
    if wrapped:
        outer: dict[str, Any] = {"id": name, "type": FLOW + "Sequential"}
        outer.update({key: kept(key) for key in ("description", *around) if key in value})
        outer["tasks"] = made
        made = [outer]
    if isinstance(task.path[-1], int):
        sheet.splice(task.path, made)
    else:
        sheet.write(task.path, made[0])
