"""The topology of a flow: nodes, edges and clusters as Kestra draws them. Layout and drawing happen elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from namespaces.flows.model import (
    Dag,
    EachParallel,
    Flow,
    ForEach,
    ForEachItem,
    If,
    Loop,
    LoopUntil,
    Parallel,
    Subflow,
    Switch,
    Task,
    Trigger,
)


@dataclass(frozen=True, slots=True)
class Node:
    """``kind`` is root, end, finally, task, subflow or trigger; ``cluster`` is the uid of the cluster it stands in."""

    uid: str
    kind: str
    cluster: str
    task: Task | None = None
    trigger: Trigger | None = None
    relation: str | None = None
    """SEQUENTIAL, PARALLEL, DYNAMIC, CHOICE or ERROR: how it was reached."""
    branch: str = "TASKS"
    """TASKS, ERRORS, FINALLY or AFTER_EXECUTION: the list it stands in."""


@dataclass(frozen=True, slots=True)
class Edge:
    source: str
    target: str
    relation: str | None = None
    value: str | None = None


@dataclass(slots=True)
class Cluster:
    """A flowable with its children (or the triggers); ``parents`` are the uids around it, outermost first."""

    uid: str
    parents: tuple[str, ...]
    relation: str | None
    task: Task | None = None
    nodes: list[str] = field(default_factory=list)

    @property
    def start(self) -> str:
        return f"{self.uid}.root"

    @property
    def end(self) -> str:
        return f"{self.uid}.end"


@dataclass(slots=True)
class Graph:
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)

    @property
    def flowables(self) -> list[str]:
        return [cluster.task.id for cluster in self.clusters if cluster.task is not None]


def graph(flow: Flow) -> Graph:
    """The graph of all enabled and disabled tasks and the triggers of a flow."""
    made = Graph()
    whole = Cluster("flow", (), "SEQUENTIAL")
    _frame(made, whole)
    if flow.triggers:
        triggers = Cluster("triggers", (), None)
        made.clusters.append(triggers)
        _frame(made, triggers)
        made.edges.append(Edge(triggers.end, whole.start))
        for trigger in flow.triggers:
            node = Node(f"triggers.{trigger.id}", "trigger", triggers.uid, trigger=trigger)
            _add(made, triggers, node)
            made.edges += [Edge(triggers.start, node.uid), Edge(node.uid, triggers.end)]
    end = whole.end
    if flow.after_execution:
        end = _tail(made, whole, flow.after_execution, end, "AFTER_EXECUTION")
    if flow.finally_:
        end = _tail(made, whole, flow.finally_, end, "FINALLY")
    if flow.errors:
        _fill(made, whole, whole.start, flow.errors, "ERROR", end, "ERRORS")
    _fill(made, whole, whole.start, flow.tasks, "SEQUENTIAL", end, "TASKS")
    return made


def _frame(made: Graph, cluster: Cluster) -> None:
    for uid, kind in ((cluster.start, "root"), (cluster.end, "end")):
        _add(made, cluster, Node(uid, kind, cluster.uid))


def _add(made: Graph, cluster: Cluster, node: Node) -> None:
    made.nodes.append(node)
    cluster.nodes.append(node.uid)


def _tail(made: Graph, cluster: Cluster, tasks: Sequence[Task], end: str, branch: str) -> str:
    """Tasks that come after all others, before ``end``; returns the node the others lead to."""
    node = Node(f"{cluster.uid}.{branch.lower()}", branch.lower(), cluster.uid, branch=branch)
    _add(made, cluster, node)
    _fill(made, cluster, node.uid, tasks, "SEQUENTIAL", end, branch)
    return node.uid


def _fill(
    made: Graph,
    cluster: Cluster,
    source: str,
    tasks: Sequence[Task],
    relation: str,
    end: str,
    branch: str,
    value: str | None = None,
) -> None:
    """One task list: in a row, or (PARALLEL, CHOICE of one) all from the source to the end."""
    previous = source
    for position, task in enumerate(tasks):
        first, last = _one(made, cluster, task, relation, branch)
        # The first of a list is reached in the way of what is around it.
        word = relation if relation == "ERROR" or position else (cluster.relation or relation)
        made.edges.append(Edge(source if relation == "PARALLEL" else previous, first, word, value))
        if relation == "PARALLEL" or position == len(tasks) - 1:
            made.edges.append(Edge(last, end))
        previous = last
    if not tasks:
        made.edges.append(Edge(source, end))


def _one(made: Graph, cluster: Cluster, task: Task, relation: str, branch: str) -> tuple[str, str]:
    """Add a task; returns the uids where edges come in and go out."""
    if isinstance(task, ForEachItem | Subflow) or not any(task.branches.values()):
        kind = "subflow" if isinstance(task, ForEachItem | Subflow) else "task"
        node = Node(f"{cluster.uid}.{task.id}", kind, cluster.uid, task=task, relation=relation, branch=branch)
        _add(made, cluster, node)
        return node.uid, node.uid
    inner = Cluster(f"{cluster.uid}.{task.id}", (*cluster.parents, cluster.uid), _inside(task), task)
    made.clusters.append(inner)
    _frame(made, inner)
    own = Node(f"{inner.uid}.task", "task", inner.uid, task=task, relation=inner.relation, branch=branch)
    _add(made, inner, own)
    made.edges.append(Edge(inner.start, own.uid))
    branches = dict(task.branches)
    finally_tasks, error_tasks = branches.pop("finally", ()), branches.pop("errors", ())
    end = _tail(made, inner, finally_tasks, inner.end, "FINALLY") if finally_tasks else inner.end
    if error_tasks:
        _fill(made, inner, own.uid, error_tasks, "ERROR", end, "ERRORS")
    if isinstance(task, Dag):
        _dag(made, inner, own.uid, task, end)
    elif isinstance(task, If | Switch) or len([name for name, tasks in branches.items() if tasks]) > 1:
        for name, tasks in branches.items():
            if tasks:
                _fill(made, inner, own.uid, tasks, "CHOICE", end, "TASKS", name.removeprefix("cases."))
    else:
        children = next((tasks for tasks in branches.values() if tasks), ())
        parallel = isinstance(task, Parallel | EachParallel)
        _fill(made, inner, own.uid, children, "PARALLEL" if parallel else "SEQUENTIAL", end, "TASKS")
    return inner.start, inner.end


def _inside(task: Task) -> str:
    if isinstance(task, ForEach | EachParallel | Loop | LoopUntil):
        return "DYNAMIC"
    if isinstance(task, If | Switch):
        return "CHOICE"
    if isinstance(task, Parallel | Dag):
        return "PARALLEL"
    return "SEQUENTIAL"


def _dag(made: Graph, cluster: Cluster, source: str, task: Dag, end: str) -> None:
    """Edges follow ``dependsOn``: from what a task waits for, and to the end from what nothing waits for."""
    places: dict[str, tuple[str, str]] = {
        child.id: _one(made, cluster, child, "PARALLEL", "TASKS") for child in task.tasks
    }
    waits: Mapping[str, tuple[str, ...]] = task.depends_on
    awaited = {before for child in task.tasks for before in waits.get(child.id, ())}
    for child in task.tasks:
        first, last = places[child.id]
        known = [before for before in waits.get(child.id, ()) if before in places]
        for before in known:
            made.edges.append(Edge(places[before][1], first, "SEQUENTIAL"))
        if not known:
            made.edges.append(Edge(source, first, "PARALLEL"))
        if child.id not in awaited:
            made.edges.append(Edge(last, end))
