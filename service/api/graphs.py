"""Routes of topologies: the graph of a flow, of a text, of an execution; dependencies between flows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Response, request
from sqlalchemy.engine import Connection

from namespaces import listing
from namespaces.errors import Conflict, InvalidFlow, NotFound
from namespaces.flows.graph import FlowGraph, flow_graph
from namespaces.flows.model import Flow, ForEachItem, Subflow
from runner import queries
from service.api.answers import answer
from service.api.bodies import flow_text
from service.api.context import flag, lanner, optional_number
from service.api.executions import require_execution
from service.api.flows import find
from service.api.routes import Resource

resource = Resource("graphs")


def shape(drawn: FlowGraph, runs: Mapping[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """FlowGraph; ``runs`` are task runs by task id, laid over the nodes."""
    body = drawn.as_json()
    for node, made in zip(drawn.nodes, body["nodes"], strict=True):
        run = (runs or {}).get(node.task_id or "")
        if run is not None:
            made["taskRun"] = run
    return body


def _called(task: Subflow, connection: Connection) -> Flow:
    return lanner().registry.flow(connection, task.namespace, task.flow_id, task.revision)


def _opened(flow: Flow) -> dict[str, Flow]:
    """The flows behind the Subflow tasks the caller wants to see opened (``subflows``: task ids)."""
    wanted = {part for text in request.args.getlist("subflows") for part in text.split(",") if part}
    found: dict[str, Flow] = {}
    for task_id in wanted:
        task = flow.by_id.get(task_id)
        if isinstance(task, Subflow):
            found[task_id] = lanner().database.read(partial(_called, task))
    return found


@resource.on("GET", "/flows/<namespace>/<flow_id>/graph")
def of_flow(namespace: str, flow_id: str) -> Response:
    stored = find(namespace, flow_id, optional_number("revision"))
    try:
        flow = lanner().registry.parsed(stored)
    except InvalidFlow as error:
        raise Conflict(f"Unable to draw a flow that does not read: {error.message}", code="broken_flow") from error
    return answer(shape(flow_graph(flow, _opened(flow))))


@resource.on("POST", "/flows/graph")
def of_text() -> Response:
    reading = lanner().registry.read(flow_text())
    if reading.flow is None:
        raise InvalidFlow(reading.problems)
    return answer(shape(flow_graph(reading.flow, _opened(reading.flow))))


@resource.on("GET", "/executions/<execution_id>/graph")
def of_execution(execution_id: str) -> Response:
    head = require_execution(execution_id)
    wiring = lanner()
    now = wiring.clock.now()

    def read(connection: Connection) -> tuple[Flow, dict[str, Any] | None]:
        flow = wiring.registry.flow(connection, head.namespace, head.flow_id, head.revision)
        return flow, queries.execution(connection, execution_id, now=now)

    flow, execution = wiring.database.read(read)
    # Of several runs of one task (a loop) the last one stands for it.
    runs = {run["taskId"]: run for run in (execution or {}).get("taskRunList", ())}
    return answer(shape(flow_graph(flow, _opened(flow)), runs))


def _uid(namespace: str, flow_id: str) -> str:
    return f"main_{namespace}_{flow_id}"


def _calls(flow: Flow) -> list[tuple[tuple[str, str], str]]:
    """Flows this one starts, and those that start it: ((namespace, id), relation), triggers marked FLOW_TRIGGER."""
    found: list[tuple[tuple[str, str], str]] = []
    for task in flow.walk():
        if isinstance(task, Subflow):
            found.append(((task.namespace, task.flow_id), "FLOW_TASK"))
        elif isinstance(task, ForEachItem):
            called = (str(task.properties.get("namespace", "")), str(task.properties.get("flowId", "")))
            found.append((called, "FLOW_TASK"))
    for trigger in flow.triggers:
        if trigger.type.endswith("trigger.Flow"):
            for upstream in _upstreams(trigger.written):
                found.append((upstream, "FLOW_TRIGGER"))
    return found


def _upstreams(written: Any) -> list[tuple[str, str]]:
    """Every ``{namespace, flowId}`` a Flow trigger names, wherever in its conditions."""
    found: list[tuple[str, str]] = []
    if isinstance(written, Mapping):
        if isinstance(written.get("namespace"), str) and isinstance(written.get("flowId"), str):
            found.append((written["namespace"], written["flowId"]))
        for item in written.values():
            found.extend(_upstreams(item))
    elif isinstance(written, list):
        for item in written:
            found.extend(_upstreams(item))
    return found


def _relations(
    connection: Connection,
) -> tuple[dict[tuple[str, str], bool], list[tuple[tuple[str, str], tuple[str, str], str]]]:
    """All flows, and (source, target, relation) between them."""
    registry = lanner().registry
    flows: dict[tuple[str, str], bool] = {}
    edges: list[tuple[tuple[str, str], tuple[str, str], str]] = []
    for stored in listing.matching_flows(connection, ()):
        flows[stored.key] = True
        try:
            flow = registry.parsed(stored)
        except InvalidFlow:
            continue
        for other, relation in _calls(flow):
            pair = (other, stored.key) if relation == "FLOW_TRIGGER" else (stored.key, other)
            edges.append((*pair, relation))
    known = [(source, target, relation) for source, target, relation in edges if source in flows and target in flows]
    return flows, list(dict.fromkeys(known))


def _topology(keys: set[tuple[str, str]], edges: list[tuple[tuple[str, str], tuple[str, str], str]]) -> dict[str, Any]:
    return {
        "nodes": [{"uid": _uid(*key), "namespace": key[0], "id": key[1]} for key in sorted(keys)],
        "edges": [
            {"source": _uid(*source), "target": _uid(*target), "relation": relation}
            for source, target, relation in edges
        ],
    }


@resource.on("GET", "/flows/<namespace>/<flow_id>/dependencies")
def dependencies(namespace: str, flow_id: str) -> Response:
    """The flows this one touches; ``expandAll`` follows on from them, ``destinationOnly`` leaves out what starts it."""
    flows, edges = lanner().database.read(_relations)
    start = (namespace, flow_id)
    if start not in flows:
        raise NotFound(f"flow '{namespace}.{flow_id}' does not exist")
    keys, frontier = {start}, {start}
    kept: list[tuple[tuple[str, str], tuple[str, str], str]] = []
    while frontier:
        reached: set[tuple[str, str]] = set()
        for edge in edges:
            source, target, _ = edge
            if edge in kept:
                continue
            if source in frontier or (target in frontier and not flag("destinationOnly")):
                kept.append(edge)
                reached |= {source, target} - keys
        keys |= reached
        frontier = reached if flag("expandAll") else set()
    return answer(_topology(keys, kept))


@resource.on("GET", "/namespaces/<namespace>/dependencies")
def of_namespace(namespace: str) -> Response:
    flows, edges = lanner().database.read(_relations)
    inside = {key for key in flows if key[0] == namespace}
    kept = [edge for edge in edges if edge[0] in inside or (edge[1] in inside and not flag("destinationOnly"))]
    keys = inside | {key for edge in kept for key in edge[:2]}
    return answer(_topology(keys, kept))
