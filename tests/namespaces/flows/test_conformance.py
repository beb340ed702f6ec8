"""Every flow file of the conformance suite reads, and the broken ones give the finding the cases look for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from namespaces.flows.catalog import Catalog
from namespaces.flows.graph import flow_graph
from namespaces.flows.parse import read_flow

SUITE = next(
    (
        folder / "conformance"
        for above in Path(__file__).resolve().parents
        for folder in (above / "shared", above)
        if (folder / "conformance" / "flows").is_dir()
    ),
    None,
)
pytestmark = pytest.mark.skipif(SUITE is None, reason="the conformance suite is not next to this checkout")
CATALOG = Catalog()

# Kestra took the id `pause` before 1.0 and refuses it since; no case uses this file.
RESERVED = {"pause.yaml"}


def flow_files() -> list[Path]:
    return sorted(p for p in (SUITE / "flows").iterdir() if p.suffix in (".yaml", ".yml")) if SUITE else []


def cases() -> list[dict[str, Any]]:
    if SUITE is None:
        return []
    found: list[dict[str, Any]] = []
    for name in ("cases.json", "cases_2x.json"):
        found += json.loads((SUITE / name).read_text())["cases"]
    return found


@pytest.mark.parametrize("file", flow_files(), ids=lambda p: p.name)
def test_a_flow_of_kestras_own_tests_is_read_without_errors(file: Path) -> None:
    reading = read_flow(file.read_bytes(), CATALOG)

    if file.name in RESERVED:
        assert [p.code for p in reading.errors] == ["F009"]
        return
    assert reading.flow is not None, [p.constraint() for p in reading.errors]
    graph = flow_graph(reading.flow)
    uids = {node.uid for node in graph.nodes}
    assert len(uids) == len(graph.nodes)
    assert all(edge.source in uids and edge.target in uids for edge in graph.edges)


def validations() -> list[tuple[str, str, dict[str, Any]]]:
    """Name of a case, text of the flow that it validates, what it expects of the answer."""
    assert SUITE is not None
    found = []
    for case in cases():
        for step in case["steps"]:
            if step.get("path") != "/flows/validate":
                continue
            name = step["source_of"]
            text = case.get("inline", {}).get(name) or (SUITE / "flows" / name).read_text()
            found.append((case["id"], text, step["response"]["0/constraints"]))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [pytest.param(text, expected, id=name) for name, text, expected in (validations() if SUITE else [])],
)
def test_validation_gives_what_the_cases_look_for(text: str, expected: dict[str, Any]) -> None:
    reading = read_flow(text, CATALOG)
    constraints = "\n".join(p.constraint() for p in reading.errors)

    if expected.get("$null"):
        assert constraints == ""
        return
    assert constraints
    for part in expected.get("$contains", []):
        assert part in constraints


def test_flows_inside_the_cases_read_unless_they_are_meant_not_to() -> None:
    for case in cases():
        refused = set(case.get("not_deployed", []))
        for name, text in case.get("inline", {}).items():
            if name.endswith((".yaml", ".yml")) and name not in refused and "tasks:" in text:
                reading = read_flow(text, CATALOG)
                assert reading.flow is not None, (case["id"], name, reading.errors)


def test_the_graph_of_all_flowables_has_kestras_size() -> None:
    assert SUITE is not None
    reading = read_flow((SUITE / "flows" / "all-flowable.yaml").read_text(), CATALOG)
    assert reading.flow is not None
    graph = flow_graph(reading.flow).as_json()

    assert {key: len(graph[key]) for key in ("nodes", "edges", "clusters")} == {"nodes": 38, "edges": 42, "clusters": 7}
