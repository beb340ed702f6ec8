"""The picture of a flow: every task is a node, every way from one to the next an edge."""

from __future__ import annotations

from namespaces.flows.catalog import Catalog
from namespaces.flows.graph import FlowGraph, flow_graph
from namespaces.flows.model import Flow
from namespaces.flows.parse import read_flow

CATALOG = Catalog()
LOG = "{id: %s, type: core.log.Log, message: x}"


def flow(body: str) -> Flow:
    reading = read_flow("id: f\nnamespace: n\n" + body, CATALOG)
    assert reading.flow is not None, reading.problems
    return reading.flow


def edges(graph: FlowGraph) -> set[tuple[str, str]]:
    return {(edge.source.removeprefix("root."), edge.target.removeprefix("root.")) for edge in graph.edges}


def test_a_sequence_is_a_chain_from_start_to_end() -> None:
    graph = flow_graph(flow(f"tasks: [{LOG % 'a'}, {LOG % 'b'}]"))

    assert edges(graph) == {("#start", "a"), ("a", "b"), ("b", "#end")}
    assert graph.clusters == ()


def test_dag_edges_follow_the_dependencies() -> None:
    graph = flow_graph(
        flow(
            "tasks: [{id: d, type: core.flow.Dag, tasks: "
            f"[{{task: {LOG % 'a'}}}, {{task: {LOG % 'b'}, dependsOn: [a]}}, {{task: {LOG % 'c'}, dependsOn: [a]}}]}}]"
        )
    )

    assert {("d", "d.a"), ("d.a", "d.b"), ("d.a", "d.c"), ("d.b", "d.#end"), ("d.c", "d.#end")} <= edges(graph)
    assert ("d.a", "d.#end") not in edges(graph)


def test_branches_carry_their_key_and_errors_and_finally_have_their_place() -> None:
    graph = flow_graph(
        flow(
            f"tasks: [{{id: i, type: core.flow.If, condition: x, then: [{LOG % 'a'}], else: [{LOG % 'b'}]}}]\n"
            f"errors: [{LOG % 'e'}]\nfinally: [{LOG % 'z'}]\nafterExecution: [{LOG % 'y'}]\n"
        )
    )

    assert {e.value for e in graph.edges if e.relation == "CHOICE"} == {"then", "else"}
    assert {("i.#end", "z"), ("e", "z"), ("z", "y"), ("y", "#end"), ("#start", "e")} <= edges(graph)
    assert {n.relation for n in graph.nodes if n.task_id in ("e", "z", "y")} == {"ERROR", "FINALLY", "AFTER_EXECUTION"}


def test_triggers_stand_in_a_cluster_before_the_start() -> None:
    graph = flow_graph(
        flow(f"tasks: [{LOG % 'a'}]\ntriggers: [{{id: t, type: core.trigger.Schedule, cron: '@daily'}}]")
    )

    assert ("Triggers.#end", "#start") in edges(graph)
    assert ("Triggers.#start", "Triggers.t") in edges(graph)
    assert [c.uid for c in graph.clusters] == ["cluster_root.Triggers"]


def test_a_subflow_is_one_node_or_opened_on_demand() -> None:
    parent = flow("tasks: [{id: s, type: core.flow.Subflow, namespace: n, flowId: g}]")
    child = flow(f"tasks: [{LOG % 'inner'}]")

    closed, opened = flow_graph(parent), flow_graph(parent, {"s": child})

    assert [n.kind for n in closed.nodes if n.task_id == "s"] == ["SubflowGraphTask"]
    assert closed.flowables == ("s",)
    assert {("s", "s.inner"), ("s.inner", "s.#end")} <= edges(opened)


def test_nested_clusters_name_those_around_them() -> None:
    inner = f"{{id: b, type: core.flow.Sequential, tasks: [{LOG % 'c'}]}}"
    graph = flow_graph(flow(f"tasks: [{{id: a, type: core.flow.Parallel, tasks: [{inner}]}}]"))

    parents = {c.uid: c.parents for c in graph.clusters}
    assert parents == {"cluster_root.a": (), "cluster_root.a.b": ("cluster_root.a",)}
    body = graph.as_json()
    assert body["clusters"][0].keys() == {"cluster", "nodes", "parents", "start", "end"}
    assert body["nodes"][0]["type"] == "io.kestra.core.models.hierarchies.GraphClusterRoot"
