"""M01 and M02: ForEach, EachSequential and EachParallel become Loop, with the paths that lead into and out of them.

A loop and the loops inside it are converted together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from namespaces.flows.migration import places
from namespaces.flows.migration.draft import Draft
from namespaces.flows.migration.expressions import Call, Chain, Found, step
from namespaces.flows.migration.places import FLOW, Task
from namespaces.flows.reader import Path

OLD = {FLOW + "ForEach": "M01", FLOW + "EachSequential": "M02", FLOW + "EachParallel": "M02"}
LOOP = FLOW + "Loop"
_LOOPS = frozenset((*OLD, LOOP))
_ACTS_ON_EXECUTION = frozenset(
    f"io.kestra.plugin.core.execution.{name}" for name in ("Exit", "SetVariables", "UnsetVariables", "Labels")
)
_OUTPUT_TYPES = {"<class 'int'>": "INT", "<class 'float'>": "FLOAT", "<class 'bool'>": "BOOL", "dict": "JSON"}
_CHANGING = ("runIf", "when", "disabled", "allowFailure", "retry")


class _Manual(Exception):
    """A person must decide; where, and the message."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True, slots=True)
class _Piece:
    """Replace part of the text at a path."""

    path: Path
    start: int
    end: int
    text: str


def loops(draft: Draft) -> None:
    """M01, M02: every outermost loop in turn."""
    refused: set[str] = set()
    while True:
        task = next((one for one in draft.tasks() if _is_outermost(one) and one.id not in refused), None)
        if task is None:
            return
        try:
            _Conversion(draft, task).run()
        except _Manual as manual:
            draft.drop()
            draft.ask(OLD[task.type], manual.path, str(manual))
            refused.add(task.id)
        draft.commit()


def _is_outermost(task: Task) -> bool:
    return task.type in OLD and not any(one.type in OLD for one in task.above)


class _Conversion:
    """One outermost loop. First everything is looked at, then everything is edited."""

    def __init__(self, draft: Draft, task: Task) -> None:
        self.draft = draft
        self.tasks = draft.tasks()
        self.known = {one.path: one for one in self.tasks}
        self.task = task = self.known[task.path]
        self.inside = [one for one in self.tasks if one.path[: len(task.path)] == task.path]
        self.by_id = {one.id: one for one in self.tasks}
        self.changed = [one for one in self.inside if one.type in OLD]
        self.children = {one.id for one in self.inside if one is not task}
        self.declared: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        for one in self.changed:
            self._check(one)
        self._check_callers()
        pieces = list(dict.fromkeys(self._pieces()))
        sheet = self.draft.sheet
        for piece in pieces:
            sheet.write_in(piece.path, piece.start, piece.end, piece.text)
        for one in self.changed:
            self._rename(one)
        if self.declared:
            sheet.add(self.task.path, "outputs", list(self.declared.values()))
        for one in self.changed:
            self.draft.tell(OLD[one.type], one.path, f"{one.type.rpartition('.')[2]} is now Loop")
        self.draft.commit()
        self._wrap()

    # -- what cannot be converted

    def _check(self, task: Task) -> None:
        value = task.value
        parallel = task.type.endswith("EachParallel")
        if value.get("concurrent"):
            raise _Manual((*task.path, "concurrent"), "concurrent counts task runs, a Loop counts iterations")
        if value.get("finally"):
            raise _Manual((*task.path, "finally"), "finally of a Loop runs in every iteration: put it behind the Loop")
        if value.get("errors") and (parallel or value.get("concurrencyLimit", 1) != 1):
            raise _Manual((*task.path, "errors"), "errors of a Loop runs in every iteration: decide where it belongs")
        if task.path[-1] == "onPause":
            raise _Manual(task.path, "a Loop cannot stand here")
        if parallel and f"{task.id}_parallel" in self.by_id:
            raise _Manual(task.path, f"the id {task.id}_parallel is taken")
        for one in self.inside:
            if one.type in _ACTS_ON_EXECUTION:
                name = one.type.rpartition(".")[2]
                raise _Manual(one.path, f"{name} in a Loop acts on the iteration only: move it behind")

    def _check_callers(self) -> None:
        """Task ids inside a loop are not found from another file any more."""
        here = self.draft.flow_id
        for flow_id, flow in self.draft.around.flows.items():
            if flow_id == here:
                continue
            for _, _, found in self.draft.found(flow):
                for chain in found.free("outputs"):
                    if chain.names[1:2] and here[1] in _called(flow, chain.names[1]) and _names(chain) & self.children:
                        named = ", ".join(sorted(_names(chain) & self.children))
                        raise _Manual(self.task.path, f"{'.'.join(flow_id)} reads outputs of {named} inside the loop")

    # -- paths

    def _pieces(self) -> Iterator[_Piece]:
        for path, text, found in self.draft.found():
            owner = places.owner(path, self.known)
            if owner is not None and (owner not in self.inside or not self._is_inside(path, owner)):
                owner = None
            replaced: list[tuple[int, int]] = []
            if owner is not None:
                for call in found.calls:
                    if call.name == "currentEachOutput":
                        yield self._current_output(path, text, found, call)
                        replaced.append((call.at, call.to))
            for chain in found.chains:
                if chain.root in found.own or any(a <= chain.at < b for a, b in replaced):
                    continue
                made = self._outer(path, text, chain) if owner is None else self._inner(path, text, chain, owner)
                if made is not None:
                    yield made
                    replaced.append((made.start, made.end))

    def _is_inside(self, path: Path, owner: Task) -> bool:
        """Whether a text is rendered within an iteration: the loop's own ``values`` are not."""
        return owner is not self.task or path[len(self.task.path) : len(self.task.path) + 1] == ("errors",)

    def _enclosing(self, task: Task) -> list[Task]:
        """The loops around a task, innermost first."""
        return [one for one in task.above if one.type in _LOOPS]

    def _loop_of(self, chain: Chain, owner: Task) -> Task | None:
        """The loop whose value or index the path names; None when it names another thing."""
        names = chain.names
        if names[:1] == ("taskrun",):
            return _direct_loop(owner)
        if chain.starts("parent", "taskrun"):
            number = 0
        elif names[0] == "parents" and isinstance(names[1], int) and names[2:3] == ("taskrun",):
            number = names[1]
        else:
            return None
        told = [one for one in owner.above if _direct_loop(one) is not None or _has_outputs(one)]
        return _direct_loop(told[number]) if number < len(told) else None

    def _item(self, loop: Task, owner: Task) -> str:
        """How the loop's item is named in a task."""
        enclosing = self._enclosing(owner)
        index = enclosing.index(loop)
        if index == 0:
            return "item"
        if index == 1:
            return "item.parent"
        return f"item.parents[{len(enclosing) - 1 - index}]"

    def _inner(self, path: Path, text: str, chain: Chain, owner: Task) -> _Piece | None:
        names = chain.names
        last = {"value": "value", "iteration": "index"}
        depth = {"taskrun": 1, "parent": 2, "parents": 3}.get(chain.root)
        if depth is not None and len(names) > depth and names[depth] in last and "taskrun" in names[:depth]:
            loop = self._loop_of(chain, owner)
            if loop is None:
                raise _Manual(path, f"`{text[chain.at : chain.to]}` names no loop here: say which iteration is meant")
            end = chain.keys[depth - 1].to
            return _Piece(path, chain.at, end, f"{self._item(loop, owner)}.{last[str(names[depth])]}")
        if chain.root == "item" and names[1:2] in (("parent",), ("parents",)):
            raise _Manual(path, f"`{text[chain.at : chain.to]}` counts one loop more after the conversion")
        if chain.root == "tasks" and names[1:2] and names[1] in self.children:
            raise _Manual(path, f"`{text[chain.at : chain.to]}` is not there in an iteration")
        if chain.root == "outputs" and names[1:2] and names[1] in self.children:
            return self._inner_output(path, text, chain, owner)
        return None

    def _inner_output(self, path: Path, text: str, chain: Chain, owner: Task) -> _Piece | None:
        """``outputs.t[taskrun.value].x`` of the same iteration is ``outputs.t.x``."""
        child = self.by_id[str(chain.names[1])]
        around = [one for one in reversed(self._enclosing(child)) if one in self.changed]
        keys = chain.keys[1 : 1 + len(around)]
        for key, loop in zip(keys, around, strict=False):
            if key.inner is None or self._loop_of(key.inner, owner) is not loop or key.inner.names[-1] != "value":
                raise _Manual(path, f"`{text[chain.at : chain.to]}` is of another iteration, which a Loop does not see")
        if len(keys) < len(around) or any(loop not in self._enclosing(owner) for loop in around):
            raise _Manual(path, f"`{text[chain.at : chain.to]}` is of several iterations: use a declared output")
        return _Piece(path, keys[0].at, keys[-1].to, "")

    def _current_output(self, path: Path, text: str, found: Found, call: Call) -> _Piece:
        inside = [chain for chain in found.chains if call.name_to < chain.at and chain.to < call.to]
        if len(inside) != 1 or inside[0].root != "outputs" or len(inside[0].keys) != 1:
            raise _Manual(path, f"`{text[call.at : call.to]}`: name the outputs of one task")
        return _Piece(path, call.at, call.to, text[inside[0].at : inside[0].to])

    def _outer(self, path: Path, text: str, chain: Chain) -> _Piece | None:
        names = chain.names
        if len(names) < 2 or names[1] not in self.children or chain.root not in ("outputs", "tasks"):
            return None
        written = text[chain.at : chain.to]
        if chain.root == "tasks":
            raise _Manual(path, f"`{written}`: the tasks of a Loop belong to its iterations")
        child = self.by_id[str(names[1])]
        values = self.task.value.get("values", self.task.value.get("value"))
        plain = isinstance(values, list) and all(isinstance(value, str | int | bool) for value in values)
        shown = [_shown(value) for value in values] if isinstance(values, list) and plain else []
        if child.above[:1] != (self.task,) or child.branch != "tasks" or any(key in child.value for key in _CHANGING):
            raise _Manual(path, f"`{written}`: declare an output of the Loop and read it with loopOutputs()")
        if len(names) < 4 or not isinstance(names[2], str | int) or not isinstance(names[3], str):
            raise _Manual(path, f"`{written}`: declare an output of the Loop and read it with loopOutputs()")
        if not plain or any("{{" in one for one in shown) or str(names[2]) not in shown:
            raise _Manual(path, f"`{written}`: declare an output of the Loop and read it with loopOutputs()")
        if self.task.type.endswith("EachParallel") or "outputs" in self.task.value:
            raise _Manual(path, f"`{written}`: declare an output of the Loop and read it with loopOutputs()")
        index = list(dict.fromkeys(shown)).index(str(names[2]))
        name = f"{child.id}_{names[3]}"
        value = f"{{{{ outputs{step(child.id)}{step(names[3])} }}}}"
        self.declared[name] = {"id": name, "type": self._type(child, names[3]), "value": value}
        made = f"outputs{step(self.task.id)}.outputs[{index}].outputs{step(name)}"
        return _Piece(path, chain.at, chain.keys[2].to, made)

    def _type(self, child: Task, name: str) -> str:
        entry = self.draft.around.catalog.resolve(child.type)
        declared = entry.cls.outputs if entry is not None else None
        for field_name, field in declared.model_fields.items() if declared is not None else ():
            if (field.alias or field_name) == name:
                return _OUTPUT_TYPES.get(str(field.annotation).partition("[")[0], "STRING")
        return "STRING"

    # -- the loop itself

    def _rename(self, task: Task) -> None:
        sheet = self.draft.sheet
        sheet.write((*task.path, "type"), LOOP)
        values = "values"
        if task.type != FLOW + "ForEach" and "value" in task.value:
            sheet.rename((*task.path, "value"), "values")
            values = "value"
        if "concurrent" in task.value:
            sheet.rename((*task.path, "concurrent"), "concurrencyLimit")
        elif "concurrencyLimit" not in task.value:
            limit = 0 if task.type.endswith("EachParallel") else 1
            sheet.add(task.path, "concurrencyLimit", limit, after=values)

    def _wrap(self) -> None:
        """The tasks of an EachParallel all ran at once, also within one value."""
        for one in sorted(self.changed, key=lambda task: -len(task.path)):
            if one.type.endswith("EachParallel"):
                path = (*one.path, "tasks")
                inner = {
                    "id": f"{one.id}_parallel",
                    "type": FLOW + "Parallel",
                    "tasks": self.draft.sheet.kept(path),
                }
                self.draft.sheet.write(path, [inner])
                self.draft.commit()


def _direct_loop(task: Task) -> Task | None:
    """The loop that the task stands directly in: then its task run has a value."""
    if task.above and task.above[0].type in OLD and task.branch == "tasks":
        return task.above[0]
    return None


def _has_outputs(task: Task) -> bool:
    return task.type in (FLOW + "If", FLOW + "Switch", FLOW + "LoopUntil", FLOW + "Pause")


def _names(chain: Chain) -> set[str]:
    return {str(key.value) for key in chain.keys[1:]}


def _called(flow: Any, task_id: Any) -> set[str]:
    """The flow ids that the task with that id calls."""
    return {
        str(task.value.get("flowId"))
        for task in places.tasks(flow, lambda name: name)
        if task.id == task_id and task.value.get("flowId") is not None
    }


def _shown(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
