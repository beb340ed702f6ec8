"""The picture of a flow: nodes, edges and nested clusters, in the shape of Kestra's FlowGraph (``api.md`` 2).

Pure; task runs are laid over it by whoever has them (a node's ``task_id`` says which).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from namespaces.flows import model
from namespaces.flows.model import Flow, Task, Trigger

_PACKAGE = "io.kestra.core.models.hierarchies."
_PARALLEL, _SEQUENTIAL, _CHOICE, _DYNAMIC = "PARALLEL", "SEQUENTIAL", "CHOICE", "DYNAMIC"
_ERROR, _FINALLY, _AFTER = "ERROR", "FINALLY", "AFTER_EXECUTION"
_LAST = (("finally", _FINALLY), ("afterExecution", _AFTER))


@dataclass(frozen=True, slots=True)
class Node:
    """``kind`` is Kestra's class name without package; ``uid`` is the path of task ids below ``root``."""

    uid: str
    kind: str
    task: Task | None = None
    trigger: Trigger | None = None
    relation: str | None = None

    @property
    def task_id(self) -> str | None:
        return self.task.id if self.task is not None else None

    def as_json(self) -> dict[str, Any]:
        made: dict[str, Any] = {"uid": self.uid, "type": _PACKAGE + self.kind}
        if self.task is not None:
            made["task"] = dict(self.task.written)
        if self.trigger is not None:
            made["trigger"] = dict(self.trigger.written)
            made["triggerDeclaration"] = made["trigger"]
        if self.relation is not None:
            made["relationType"] = self.relation
        return made


@dataclass(frozen=True, slots=True)
class Edge:
    source: str
    target: str
    relation: str | None = None
    value: str | None = None

    def as_json(self) -> dict[str, Any]:
        given = {"relationType": self.relation, "value": self.value}
        relation = {key: value for key, value in given.items() if value is not None}
        return {"source": self.source, "target": self.target, "relation": relation}


@dataclass(slots=True)
class Cluster:
    """A flowable task (or the triggers): its own nodes, and the clusters around it, outermost first."""

    uid: str
    start: str
    end: str
    task: Task | None = None
    relation: str | None = None
    parents: tuple[str, ...] = ()
    nodes: list[str] = field(default_factory=list)
    kind: str = "GraphCluster"

    def as_json(self) -> dict[str, Any]:
        cluster: dict[str, Any] = {"uid": self.uid, "type": _PACKAGE + self.kind}
        if self.relation is not None:
            cluster["relationType"] = self.relation
        if self.task is not None:
            cluster["taskNode"] = {"uid": self.uid.removeprefix("cluster_"), "task": dict(self.task.written)}
        return {
            "cluster": cluster,
            "nodes": list(self.nodes),
            "parents": list(self.parents),
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True, slots=True)
class FlowGraph:
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    clusters: tuple[Cluster, ...]
    flowables: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The body of ``GET flows/{namespace}/{id}/graph``."""
        return {
            "nodes": [node.as_json() for node in self.nodes],
            "edges": [edge.as_json() for edge in self.edges],
            "clusters": [cluster.as_json() for cluster in self.clusters],
            "flowables": list(self.flowables),
        }


def flow_graph(flow: Flow, subflows: Mapping[str, Flow] | None = None) -> FlowGraph:
    """The graph of a flow. ``subflows``: Subflow task ids to show opened, with the flow that each would start."""
    draw = _Drawing(subflows or {})
    root = draw.cluster("root", None, None, ())
    if flow.triggers:
        draw.triggers(flow.triggers, root)
    draw.lists(root, flow)
    return FlowGraph(tuple(draw.nodes), tuple(draw.edges), tuple(draw.clusters), tuple(draw.flowables))


class _Drawing:
    def __init__(self, subflows: Mapping[str, Flow]) -> None:
        self.subflows = subflows
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.clusters: list[Cluster] = []
        self.flowables: list[str] = []

    def cluster(
        self, path: str, task: Task | None, relation: str | None, parents: tuple[str, ...], kind: str = "GraphCluster"
    ) -> Cluster:
        """Open a cluster: its start and end, and for a task its own node behind the start."""
        start, end = f"{path}.#start", f"{path}.#end"
        made = Cluster(f"cluster_{path}", start, end, task, relation, parents, kind=kind)
        self._node(made, Node(start, "GraphClusterRoot"))
        self._node(made, Node(end, "GraphClusterEnd"))
        if task is not None:
            self._node(made, Node(path, "GraphTask", task=task, relation=relation))
            self.edges.append(Edge(start, path))
        if path != "root":
            self.clusters.append(made)
        return made

    def _node(self, cluster: Cluster, node: Node) -> None:
        self.nodes.append(node)
        cluster.nodes.append(node.uid)

    def triggers(self, triggers: Iterable[Trigger], root: Cluster) -> None:
        around = self.cluster("root.Triggers", None, None, ())
        for trigger in triggers:
            uid = f"root.Triggers.{trigger.id}"
            self._node(around, Node(uid, "GraphTrigger", trigger=trigger))
            self.edges += [Edge(around.start, uid), Edge(uid, around.end)]
        self.edges.append(Edge(around.end, root.start))

    def lists(self, cluster: Cluster, owner: Flow | Task) -> None:
        """All task lists of a flow or flowable, between the cluster's entrance and its end."""
        path = cluster.uid.removeprefix("cluster_")
        entrance = path if cluster.task is not None else cluster.start
        branches = {name: tasks for name, tasks in owner.branches.items() if tasks}
        last = [(kind, branches.pop(name)) for name, kind in _LAST if name in branches]
        exit_ = self._entry(last[0][1][0], path) if last else cluster.end
        errors = branches.pop("errors", ())
        if isinstance(owner, model.Dag):
            self._dag(cluster, owner, path, entrance, exit_)
        else:
            for name, tasks in branches.items():
                value = None if name == "tasks" else name.removeprefix("cases.")
                self._list(cluster, tasks, path, entrance, exit_, _relation_of(owner), value, _is_parallel(owner))
        if errors:
            self._list(cluster, errors, path, entrance, exit_, _ERROR, None, False)
        if not branches:
            self.edges.append(Edge(entrance, exit_))
        for index, (kind, tasks) in enumerate(last):
            following = self._entry(last[index + 1][1][0], path) if index + 1 < len(last) else cluster.end
            self._list(cluster, tasks, path, None, following, kind, None, False)

    def _entry(self, task: Task, path: str) -> str:
        uid = f"{path}.{task.id}"
        return f"{uid}.#start" if self._opens(task) else uid

    def _exit(self, task: Task, path: str) -> str:
        uid = f"{path}.{task.id}"
        return f"{uid}.#end" if self._opens(task) else uid

    def _opens(self, task: Task) -> bool:
        return isinstance(task, model.Block) or (isinstance(task, model.Subflow) and task.id in self.subflows)

    def _task(self, cluster: Cluster, task: Task, path: str, relation: str) -> None:
        uid = f"{path}.{task.id}"
        if isinstance(task, model.Block | model.Subflow | model.ForEachItem):
            self.flowables.append(task.id)
        if not self._opens(task):
            executable = isinstance(task, model.Subflow | model.ForEachItem)
            kind = "SubflowGraphTask" if executable else "GraphTask"
            self._node(cluster, Node(uid, kind, task=task, relation=relation))
            return
        parents = (*cluster.parents, cluster.uid) if cluster.uid != "cluster_root" else ()
        if isinstance(task, model.Subflow):
            below = self.cluster(uid, task, relation, parents, "SubflowGraphCluster")
            inner = self.subflows[task.id]
            opened, self.subflows = self.subflows, {}
            self.lists(below, inner)
            self.subflows = opened
        else:
            below = self.cluster(uid, task, _relation_of(task), parents)
            self.lists(below, task)

    def _list(
        self,
        cluster: Cluster,
        tasks: tuple[Task, ...],
        path: str,
        entrance: str | None,
        exit_: str,
        relation: str,
        value: str | None,
        parallel: bool,
    ) -> None:
        previous = entrance
        for index, task in enumerate(tasks):
            self._task(cluster, task, path, _SEQUENTIAL if relation in (_CHOICE, _DYNAMIC) else relation)
            if previous is not None:
                first = index == 0
                kind = relation if first or parallel or relation in (_ERROR, _FINALLY, _AFTER) else _SEQUENTIAL
                self.edges.append(Edge(previous, self._entry(task, path), kind, value if first else None))
            if parallel:
                self.edges.append(Edge(self._exit(task, path), exit_))
            else:
                previous = self._exit(task, path)
        if not parallel and previous is not None:
            self.edges.append(Edge(previous, exit_))

    def _dag(self, cluster: Cluster, dag: model.Dag, path: str, entrance: str, exit_: str) -> None:
        by_id = {task.id: task for task in dag.tasks}
        needed: set[str] = set()
        for task in dag.tasks:
            self._task(cluster, task, path, _PARALLEL)
        for task in dag.tasks:
            before = [by_id[name] for name in dag.depends_on.get(task.id, ()) if name in by_id]
            needed.update(one.id for one in before)
            for one in before:
                self.edges.append(Edge(self._exit(one, path), self._entry(task, path), _SEQUENTIAL))
            if not before:
                self.edges.append(Edge(entrance, self._entry(task, path), _PARALLEL))
        for task in dag.tasks:
            if task.id not in needed:
                self.edges.append(Edge(self._exit(task, path), exit_))


def _relation_of(owner: Flow | Task) -> str:
    if isinstance(owner, model.If | model.Switch):
        return _CHOICE
    if isinstance(owner, model.ForEach | model.EachParallel | model.Loop):
        return _DYNAMIC
    if isinstance(owner, model.Parallel | model.Dag):
        return _PARALLEL
    return _SEQUENTIAL


def _is_parallel(owner: Flow | Task) -> bool:
    return isinstance(owner, model.Parallel | model.EachParallel)
