"""Flows over HTTP: create, read, update, delete, revisions, bulk, import and export."""

from __future__ import annotations

import io
import zipfile

import pytest

from tests.service.api.conftest import Api, log_flow

YAML = {"content_type": "application/x-yaml"}


def test_a_created_flow_is_returned_as_written_with_its_source(api: Api, namespace: str) -> None:
    text = log_flow(namespace, labels="{team: data}")

    created = api.flow(text)
    read = api.json("GET", f"/flows/{namespace}/hello?source=true")

    assert created["revision"] == 1
    assert read["source"] == text
    assert read["labels"] == [{"key": "team", "value": "data"}]
    assert read["tasks"] == [{"id": "log", "type": "io.kestra.plugin.core.log.Log", "message": "hi"}]
    assert (read["disabled"], read["deleted"], read["draft"]) == (False, False, False)
    assert "source" not in api.json("GET", f"/flows/{namespace}/hello")


def test_a_flow_that_exists_is_not_created_twice(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))

    body = api.flow(log_flow(namespace), 422)

    assert body["message"] == "Invalid entity: flow.id: Flow id already exists"
    assert body["_embedded"]["errors"][0]["path"] == "flow.id"


def test_all_findings_come_at_once_with_line_and_column(api: Api, namespace: str) -> None:
    text = log_flow(namespace).replace("message", "mesage") + "taks: []\n"

    body = api.flow(text, 422)

    assert {error["path"] for error in body["_embedded"]["errors"]} >= {"tasks[0].mesage", "taks"}
    assert all(error["line"] > 0 for error in body["_embedded"]["errors"])
    assert body["message"].startswith("Invalid entity: ")


def test_an_equal_text_keeps_the_revision_and_another_one_raises_it(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))

    same = api.json("PUT", f"/flows/{namespace}/hello", data=log_flow(namespace), **YAML)
    other = api.json("PUT", f"/flows/{namespace}/hello", data=log_flow(namespace, description="new"), **YAML)

    assert (same["revision"], other["revision"]) == (1, 2)


def test_an_update_cannot_move_a_flow(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))

    moved = api.json("PUT", f"/flows/{namespace}/hello", 422, data=log_flow(namespace, "other"), **YAML)

    assert "flow.id" in moved["message"]


def test_the_second_of_two_editors_is_told(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    api.json("PUT", f"/flows/{namespace}/hello", data=log_flow(namespace, description="one"), **YAML)

    late = api.json(
        "PUT", f"/flows/{namespace}/hello", 409, data=log_flow(namespace, description="two"), headers={"If-Match": "1"}
    )

    assert late["code"] == "revision_conflict"


def test_a_deleted_flow_is_gone_and_its_numbers_go_on(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))

    api.json("DELETE", f"/flows/{namespace}/hello", 204)

    api.json("GET", f"/flows/{namespace}/hello", 404)
    api.json("DELETE", f"/flows/{namespace}/hello", 404)
    assert api.json("GET", f"/flows/{namespace}/hello?allowDeleted=true")["deleted"] is True
    assert api.flow(log_flow(namespace))["revision"] == 3
    assert [r["revision"] for r in api.json("GET", f"/flows/{namespace}/hello/revisions")] == [1, 3]


def test_a_json_flow_is_taken_too(api: Api, namespace: str) -> None:
    flow = {
        "id": "json",
        "namespace": namespace,
        "tasks": [{"id": "log", "type": "io.kestra.plugin.core.log.Log", "message": "hi"}],
    }

    created = api.json("POST", "/flows", json=flow)

    assert created["source"].startswith("id: json\n")


def test_a_body_of_another_type_is_415(api: Api) -> None:
    api.json("POST", "/flows", 415, data=b"<flow/>", content_type="application/xml")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=HELL", True),
        ("q=nothing", False),
        ("labels=team:data", True),
        ("labels=team:other", False),
        ("filters[labels][EQUALS][team]=data", True),
        ("filters[labels][NOT_EQUALS][team]=data", False),
        ("filters%5BflowId%5D%5BEQUALS%5D=hello", True),
        ("filters[flowId][IN]=a,hello", True),
        ("filters[flowId][STARTS_WITH]=hel", True),
        ("filters[scope][EQUALS]=SYSTEM", False),
    ],
)
def test_flows_are_searched_with_both_notations(api: Api, namespace: str, query: str, found: bool) -> None:
    api.flow(log_flow(namespace, labels="{team: data}"))

    body = api.json("GET", f"/flows/search?namespace={namespace}&{query}")

    assert body["total"] == int(found)
    assert len(body["results"]) == int(found)


def test_the_flat_namespace_takes_children_in_and_the_bracketed_one_does_not(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    api.flow(log_flow(f"{namespace}.child"))
    api.flow(log_flow(f"{namespace}x"))

    def total(query: str) -> int:
        return int(api.json("GET", f"/flows/search?{query}")["total"])

    assert total(f"namespace={namespace}") == 2
    assert total(f"filters[namespace][PREFIX]={namespace}") == 2
    assert total(f"filters[namespace][EQUALS]={namespace}") == 1


def test_a_namespace_update_writes_all_and_removes_the_rest(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace, "old"))
    body = log_flow(namespace, "one") + "---\n" + log_flow(namespace, "two") + "---\n"

    answer = api.json("POST", f"/flows/{namespace}", data=body, **YAML)

    assert [(flow["id"], flow["deleted"]) for flow in answer] == [("old", True), ("one", False), ("two", False)]
    assert [flow["id"] for flow in api.json("GET", f"/flows/{namespace}")] == ["one", "two"]


def test_a_namespace_update_without_delete_keeps_the_rest(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace, "old"))

    api.json("POST", f"/flows/{namespace}?delete=false", data=log_flow(namespace, "one"), **YAML)

    assert [flow["id"] for flow in api.json("GET", f"/flows/{namespace}")] == ["old", "one"]


def test_a_document_of_another_namespace_is_refused_or_moved(api: Api, namespace: str) -> None:
    foreign = log_flow(f"{namespace}.other", "one")

    refused = api.json("POST", f"/flows/{namespace}", 422, data=foreign, **YAML)
    moved = api.json("POST", f"/flows/{namespace}?override=true", data=foreign, **YAML)

    assert "flow.namespace" in refused["message"]
    assert moved[0]["namespace"] == namespace


def test_one_bad_document_writes_nothing(api: Api, namespace: str) -> None:
    body = log_flow(namespace, "one") + "---\n" + log_flow(namespace, "two").replace("message", "mesage")

    api.json("POST", f"/flows/{namespace}", 422, data=body, **YAML)
    twice = api.json(
        "POST", f"/flows/{namespace}", 422, data=log_flow(namespace) + "---\n" + log_flow(namespace), **YAML
    )

    assert "Duplicate flow ids" in twice["message"]
    assert api.json("GET", f"/flows/{namespace}") == []


def test_bulk_with_a_namespace_removes_only_there(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace, "old"))
    api.flow(log_flow(f"{namespace}.child", "kept"))

    api.json("POST", f"/flows/bulk?namespace={namespace}", data=log_flow(namespace, "new"), **YAML)

    assert [flow["id"] for flow in api.json("GET", f"/flows/{namespace}")] == ["new"]
    assert [flow["id"] for flow in api.json("GET", f"/flows/{namespace}.child")] == ["kept"]


def test_disabling_writes_it_into_the_source_and_enabling_takes_it_out(api: Api, namespace: str) -> None:
    text = "# a comment that stays\n" + log_flow(namespace)
    api.flow(text)
    ids = [{"namespace": namespace, "id": "hello"}]

    assert api.json("POST", "/flows/disable/by-ids", json=ids)["count"] == 1
    off = api.json("GET", f"/flows/{namespace}/hello?source=true")
    assert api.json("POST", "/flows/enable/by-ids", json=ids)["count"] == 1
    on = api.json("GET", f"/flows/{namespace}/hello?source=true")

    assert (off["disabled"], off["revision"]) == (True, 2)
    assert "disabled: true" in off["source"]
    assert (on["disabled"], on["source"]) == (False, text)
    api.json("POST", "/flows/disable/by-ids", 404, json=[*ids, {"namespace": namespace, "id": "none"}])


def test_bulk_answers_have_the_members_of_every_generation(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))

    answer = api.json("DELETE", f"/flows/delete/by-query?namespace={namespace}")

    assert (answer["count"], answer["totalItems"]) == (1, 1)
    assert answer["operationId"]


def test_an_export_can_be_imported_again(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    archive = api.client.get(f"/api/v1/main/flows/export/by-query?namespace={namespace}").get_data()
    assert zipfile.ZipFile(io.BytesIO(archive)).namelist() == [f"{namespace}.hello.yml"]
    api.json("DELETE", f"/flows/{namespace}/hello", 204)

    failed = api.json("POST", "/flows/import", data={"fileUpload": (io.BytesIO(archive), "flows.zip")})

    assert failed == []
    assert api.json("GET", f"/flows/{namespace}/hello")["id"] == "hello"


def test_an_import_answers_what_failed(api: Api, namespace: str) -> None:
    text = log_flow(namespace, "good") + "---\n" + log_flow(namespace, "bad").replace("message", "mesage")

    failed = api.json("POST", "/flows/import", data={"fileUpload": (io.BytesIO(text.encode()), "flows.yaml")})
    other = api.json("POST", "/flows/import", 422, data={"fileUpload": (io.BytesIO(b""), "flows.txt")})

    assert failed == ["1"]
    assert ".zip" in other["message"]
    assert [flow["id"] for flow in api.json("GET", f"/flows/{namespace}")] == ["good"]


def test_validation_is_200_with_one_entry_a_document(api: Api, namespace: str) -> None:
    body = log_flow(namespace) + "---\n" + log_flow(namespace).replace("message", "mesage")

    good, bad = api.json("POST", "/flows/validate", data=body, **YAML)

    assert (good["index"], bad["index"]) == (0, 1)
    assert "constraints" not in good
    assert "mesage" in bad["constraints"]
    assert api.json("GET", f"/flows/{namespace}") == []


def test_validation_tells_the_language_and_why(api: Api, namespace: str) -> None:
    plain = api.json("POST", "/flows/validate", data=log_flow(namespace), **YAML)[0]
    pinned = api.json("POST", "/flows/validate", data="# lanner: language=2\n" + log_flow(namespace), **YAML)[0]

    assert plain["infos"][-1] == "language 1: no marker of either version"
    assert pinned["infos"][-1] == "language 2: the flow's comment"


def test_a_body_that_is_not_utf_8_is_an_encoding_fault(api: Api, namespace: str) -> None:
    answer = api.json("POST", "/flows", 422, data=log_flow(namespace).encode() + b"description: caf\xe9\n", **YAML)

    assert (answer["code"], answer["message"].startswith("Invalid yaml: not UTF-8 at byte")) == ("G002", True)


def test_a_single_task_can_be_validated(api: Api) -> None:
    good = api.json(
        "POST", "/flows/validate/task?section=TASKS", data="id: a\ntype: io.kestra.plugin.core.log.Log\nmessage: x\n"
    )
    bad = api.json("POST", "/flows/validate/task?section=TASKS", data="id: a\ntype: io.kestra.plugin.core.log.Lag\n")

    assert "constraints" not in good
    assert "Invalid type" in bad["constraints"]


def test_the_graph_of_a_flow_has_its_nodes(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))

    graph = api.json("GET", f"/flows/{namespace}/hello/graph")

    assert {"id": "log"}.items() <= next(node["task"] for node in graph["nodes"] if "task" in node).items()
    assert api.json("GET", f"/flows/{namespace}/hello/tasks/log")["message"] == "hi"
    api.json("GET", f"/flows/{namespace}/hello/tasks/none", 404)


def test_dependencies_follow_subflows(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace, "child"))
    api.flow(
        f"id: parent\nnamespace: {namespace}\ntasks:\n  - id: call\n"
        f"    type: io.kestra.plugin.core.flow.Subflow\n    namespace: {namespace}\n    flowId: child\n"
    )

    found = api.json("GET", f"/flows/{namespace}/child/dependencies")

    assert sorted(node["id"] for node in found["nodes"]) == ["child", "parent"]
    assert [edge["relation"] for edge in found["edges"]] == ["FLOW_TASK"]


@pytest.mark.parametrize(
    "query", ["page=0", "size=0", "size=-1", "size=100000000", "sort=id", "sort=;drop:asc", "page=x"]
)
def test_bad_paging_is_422(api: Api, query: str) -> None:
    api.json("GET", f"/flows/search?{query}", 422)


@pytest.mark.parametrize(
    "query", ["filters[nope][EQUALS]=1", "filters[id][LIKE]=1", "filters[id]=1", "filters[or][x][id][EQUALS]=1"]
)
def test_bad_filters_are_400(api: Api, query: str) -> None:
    assert api.json("GET", f"/flows/search?{query}", 400)["message"].startswith("Invalid query filters")


def test_the_text_of_a_source_is_found_with_its_line(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace, description="a needle in the hay"))

    body = api.json("GET", f"/flows/source?q=NEEDLE&namespace={namespace}")

    hit = body["results"][0]
    assert hit["matches"][0]["line"] == 3
    assert hit["model"]["id"] == "hello"
    assert hit["fragments"]
