"""The drawing of a flow: nested boxes laid out from the task tree. Pure; the SVG itself is a template.

A sequence is a column, parallel tasks are lanes, branches are labelled lanes, a Dag is layered inside its box,
errors and finally are dashed boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from namespaces.flows import model
from namespaces.flows.model import Flow, Task
from service.ui import words

NODE_W, NODE_H = 210.0, 46.0
GAP_Y, GAP_X, PAD, HEAD = 24.0, 20.0, 14.0, 24.0
FOLD_ABOVE = 60
"""Nodes above which groups start folded."""

_LANES = (model.Parallel, model.EachParallel)
_LOOPS = (model.ForEach, model.EachParallel, model.LoopUntil, model.Loop)
_DASHED = {"errors": "error", "finally": "finally", "afterExecution": "after"}
_BRANCH_WORDS = {
    "errors": "on error",
    "finally": "finally",
    "afterExecution": "after execution",
    "onPause": "on pause",
    "onWait": "on wait",
    "onApprove": "on approve",
    "onDeny": "on deny",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One box with text. ``count`` is the number of tasks folded into it."""

    x: float
    y: float
    w: float
    h: float
    task_id: str
    kind: str
    marks: tuple[str, ...] = ()
    disabled: bool = False
    count: int = 0
    trigger: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    x: float
    y: float
    w: float
    h: float
    text: str
    note: str = ""
    look: str = ""
    task_id: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    points: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """Straight when it goes straight down, a soft curve otherwise."""
        (x0, y0), (x1, y1) = self.points[0], self.points[-1]
        if abs(x0 - x1) < 1:
            return f"M{x0:.1f} {y0:.1f}V{y1:.1f}"
        bend = (y1 - y0) / 2
        return f"M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"


@dataclass(slots=True)
class Drawing:
    width: float = 0.0
    height: float = 0.0
    nodes: list[Node] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    folded: bool = False


@dataclass(frozen=True, slots=True)
class _Box:
    """A laid out part: its size, where edges enter and leave (x offset), and how to draw it at a place."""

    w: float
    h: float
    centre: float
    draw: Callable[[Drawing, float, float], None]


def draw_flow(flow: Flow, opened: Collection[str] | None = None) -> Drawing:
    """The picture of a flow. ``opened``: ids of groups shown open; None opens all unless there are very many."""
    count = sum(1 for _ in flow.walk())
    fold = opened is not None or count > FOLD_ABOVE
    layout = _Layout(frozenset(opened or ()), fold)
    parts: list[_Box] = []
    if flow.triggers:
        parts.append(_row([_trigger(one) for one in flow.triggers]))
    main = layout.sequence(flow.tasks)
    if main is not None:
        parts.append(main)
    for name in ("errors", "finally", "afterExecution"):
        tasks = flow.branches[name]
        inner = layout.sequence(tasks)
        if inner is not None:
            parts.append(_framed(inner, _BRANCH_WORDS[name], "", _DASHED[name], ""))
    whole = _column(parts, joined=bool(flow.triggers) + 1)
    drawing = Drawing(whole.w + 4, whole.h + 4, folded=layout.folded)
    whole.draw(drawing, 2, 2)
    return drawing


class _Layout:
    def __init__(self, opened: frozenset[str], fold: bool) -> None:
        self._opened = opened
        self._fold = fold
        self.folded = False

    def sequence(self, tasks: Sequence[Task]) -> _Box | None:
        boxes = [self.task(task) for task in tasks]
        return _column(boxes, joined=len(boxes)) if boxes else None

    def task(self, task: Task) -> _Box:
        branches = {name: tasks for name, tasks in task.branches.items() if tasks}
        if not branches:
            return _leaf(task)
        if self._fold and task.id not in self._opened:
            self.folded = True
            return _leaf(task, count=_count(task))
        rows: list[_Box] = []
        main = {name: tasks for name, tasks in branches.items() if name not in _DASHED}
        if isinstance(task, model.Dag):
            rows.append(self._dag(task))
        elif isinstance(task, _LANES):
            rows.append(_row([self.task(child) for child in task.tasks]))
        elif set(main) == {"tasks"}:
            inner = self.sequence(main["tasks"])
            rows += [inner] if inner else []
        else:
            lanes = []
            for name, tasks in main.items():
                inner = self.sequence(tasks)
                if inner is not None:
                    text = _BRANCH_WORDS.get(name) or name.removeprefix("cases.")
                    lanes.append(_framed(inner, text, "", "branch", ""))
            rows.append(_row(lanes))
        for name, tasks in branches.items():
            inner = self.sequence(tasks) if name in _DASHED else None
            if inner is not None:
                rows.append(_framed(inner, _BRANCH_WORDS[name], "", _DASHED[name], ""))
        return _framed(_column(rows, joined=1), task.id, _group_note(task), "off" if task.disabled else "", task.id)

    def _dag(self, task: model.Dag) -> _Box:
        """Layers by longest path; within a layer by the mean place of what it depends on."""
        boxes = {child.id: self.task(child) for child in task.tasks}
        depth: dict[str, int] = {}

        def depth_of(name: str, seen: tuple[str, ...] = ()) -> int:
            if name not in depth:
                needs = [other for other in task.depends_on.get(name, ()) if other in boxes and other not in seen]
                depth[name] = 1 + max((depth_of(other, (*seen, name)) for other in needs), default=-1)
            return depth[name]

        layers: dict[int, list[str]] = {}
        for name in boxes:
            layers.setdefault(depth_of(name), []).append(name)
        order: dict[str, float] = {}
        places: dict[str, tuple[float, float]] = {}
        y, width = 0.0, 0.0
        for level in sorted(layers):
            names = layers[level]

            def wish(name: str) -> float:
                needs = [order[other] for other in task.depends_on.get(name, ()) if other in order]
                return sum(needs) / len(needs) if needs else 0.0

            names.sort(key=wish)
            x = 0.0
            for name in names:
                places[name] = (x, y)
                order[name] = x + boxes[name].centre
                x += boxes[name].w + GAP_X
            width = max(width, x - GAP_X)
            y += max(boxes[name].h for name in names) + GAP_Y + 14
        for names in layers.values():
            used = sum(boxes[name].w for name in names) + GAP_X * (len(names) - 1)
            for name in names:
                places[name] = (places[name][0] + (width - used) / 2, places[name][1])

        def draw(drawing: Drawing, left: float, top: float) -> None:
            for name, box in boxes.items():
                at_x, at_y = left + places[name][0], top + places[name][1]
                box.draw(drawing, at_x, at_y)
                for other in task.depends_on.get(name, ()):
                    if other in places:
                        start = (
                            left + places[other][0] + boxes[other].centre,
                            top + places[other][1] + boxes[other].h,
                        )
                        drawing.edges.append(Edge((start, (at_x + box.centre, at_y))))

        return _Box(width, y - GAP_Y - 14, width / 2, draw)


def _count(task: Task) -> int:
    return sum(1 + _count(child) for tasks in task.branches.values() for child in tasks)


def _group_note(task: Task) -> str:
    if isinstance(task, _LOOPS):
        return f"↻ {words.short_type(task.type)}"
    if isinstance(task, model.If | model.Switch):
        return words.short_type(task.type) + (
            f" · {task.condition}" if isinstance(task, model.If) else f" · {task.value}"
        )
    return words.short_type(task.type)


def marks_of(task: Task) -> tuple[str, ...]:
    """What is special about a task, in words."""
    found = []
    if task.disabled:
        found.append("disabled")
    if task.run_if is not None:
        found.append("runIf")
    if task.retry is not None:
        found.append("retry")
    if task.timeout is not None:
        found.append("timeout")
    if task.allow_failure:
        found.append("may fail")
    return tuple(found)


def _leaf(task: Task, count: int = 0) -> _Box:
    kind, marks = words.short_type(task.type), marks_of(task)
    if isinstance(task, model.Subflow):
        kind = f"→ {task.namespace}.{task.flow_id}"

    def draw(drawing: Drawing, left: float, top: float) -> None:
        drawing.nodes.append(Node(left, top, NODE_W, NODE_H, task.id, kind, marks, task.disabled, count))

    return _Box(NODE_W, NODE_H, NODE_W / 2, draw)


def _trigger(trigger: model.Trigger) -> _Box:
    kind = words.short_type(trigger.type)

    def draw(drawing: Drawing, left: float, top: float) -> None:
        node = Node(left, top, NODE_W, NODE_H, trigger.id, kind, (), trigger.disabled, trigger=True)
        drawing.nodes.append(node)

    return _Box(NODE_W, NODE_H, NODE_W / 2, draw)


def _column(boxes: Sequence[_Box], joined: int) -> _Box:
    """Boxes below each other; the first ``joined`` are connected by arrows."""
    width = max((box.w for box in boxes), default=NODE_W)
    height = sum(box.h for box in boxes) + GAP_Y * max(0, len(boxes) - 1)

    def draw(drawing: Drawing, left: float, top: float) -> None:
        y = top
        last: tuple[float, float] | None = None
        for index, box in enumerate(boxes):
            x = left + (width - box.w) / 2
            if last is not None and index < joined:
                drawing.edges.append(Edge((last, (x + box.centre, y))))
            box.draw(drawing, x, y)
            last = (x + box.centre, y + box.h)
            y += box.h + GAP_Y

    return _Box(width, height, width / 2, draw)


def _row(boxes: Sequence[_Box]) -> _Box:
    """Boxes side by side (at most 6 a row), aligned at the top."""
    lines = [boxes[start : start + 6] for start in range(0, len(boxes), 6)]
    widths = [sum(box.w for box in line) + GAP_X * (len(line) - 1) for line in lines]
    heights = [max(box.h for box in line) for line in lines]
    width, height = max(widths), sum(heights) + GAP_Y * (len(lines) - 1)

    def draw(drawing: Drawing, left: float, top: float) -> None:
        y = top
        for line, used, high in zip(lines, widths, heights, strict=True):
            x = left + (width - used) / 2
            for box in line:
                box.draw(drawing, x, y)
                x += box.w + GAP_X
            y += high + GAP_Y

    return _Box(width, height, width / 2, draw)


def _framed(inner: _Box, text: str, note: str, look: str, task_id: str) -> _Box:
    width = max(inner.w + 2 * PAD, 150.0)
    height = inner.h + HEAD + PAD + 6

    def draw(drawing: Drawing, left: float, top: float) -> None:
        drawing.groups.append(Group(left, top, width, height, text, note, look, task_id))
        inner.draw(drawing, left + (width - inner.w) / 2, top + HEAD + 6)

    return _Box(width, height, width / 2, draw)


def outline(flow: Flow) -> list[dict[str, Any]]:
    """The same as nested lists: ``{id, type, marks, branches: [{name, tasks}]}``, for reading aloud."""

    def tasks(found: Sequence[Task]) -> list[dict[str, Any]]:
        return [
            {
                "id": task.id,
                "type": words.short_type(task.type),
                "marks": marks_of(task),
                "branches": branches(task.branches),
            }
            for task in found
        ]

    def branches(found: Mapping[str, tuple[Task, ...]]) -> list[dict[str, Any]]:
        return [
            {"name": _BRANCH_WORDS.get(name) or name.removeprefix("cases."), "tasks": tasks(inner)}
            for name, inner in found.items()
            if inner
        ]

    return branches(flow.branches)
