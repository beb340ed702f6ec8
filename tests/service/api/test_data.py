"""Logs, key-value pairs, namespace files, namespaces, metrics over HTTP."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

from tests.service.api.conftest import Api, log_flow

# ---------------------------------------------------------------------- logs


def test_logs_are_read_filtered_and_downloaded(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    execution_id = api.run(namespace, "hello")["id"]

    entries = api.json("GET", f"/logs/{execution_id}?taskId=log")
    none = api.json("GET", f"/logs/{execution_id}?minLevel=ERROR")
    text = api.client.get(f"/api/v1/main/logs/{execution_id}/download")

    assert [(entry["message"], entry["level"], entry["attemptNumber"]) for entry in entries] == [("hi", "INFO", 0)]
    assert none == []
    assert text.get_data(as_text=True).splitlines()[-1].endswith(" INFO hi")
    assert text.headers["Content-Disposition"] == f'attachment; filename="{execution_id}.log"'
    api.json("GET", f"/logs/{execution_id}?minLevel=LOUD", 422)


def test_the_download_works_before_the_first_line(api: Api) -> None:
    response = api.client.get("/api/v1/main/logs/nothing-yet/download")

    assert (response.status_code, response.get_data()) == (200, b"")


def test_logs_are_searched_over_executions(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    for _ in range(2):
        api.run(namespace, "hello")

    flat = api.json("GET", f"/logs/search?namespace={namespace}&minLevel=INFO&q=HI&size=1&sort=timestamp:asc")
    bracketed = api.json("GET", f"/logs/search?filters[namespace][EQUALS]={namespace}&filters[level][EQUALS]=WARN")

    assert flat["total"] == 2
    assert len(flat["results"]) == 1
    assert flat["type"] == "OFFSET"
    assert bracketed["total"] == 0
    api.json("GET", "/logs/search?page=0", 422)


def test_deleted_logs_are_gone(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    execution_id = api.run(namespace, "hello")["id"]

    api.json("DELETE", f"/logs/{execution_id}?taskId=other")
    kept = api.json("GET", f"/logs/{execution_id}")
    api.json("DELETE", f"/logs/{execution_id}")

    assert kept
    assert api.json("GET", f"/logs/{execution_id}") == []


def test_a_log_stream_gives_past_lines_and_closes_after_the_end(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    execution_id = api.run(namespace, "hello")["id"]

    text = api.client.get(f"/api/v1/main/logs/{execution_id}/follow").get_data(as_text=True)

    assert text.startswith(": ping\n\n")
    assert '"message":"hi"' in text
    assert "id: progress\n" in text


# ---------------------------------------------------------------------- key-value pairs


@pytest.mark.parametrize(
    ("body", "kind", "value"),
    [
        ('"text"', "STRING", "text"),
        ("1", "NUMBER", 1),
        ("1.5", "NUMBER", 1.5),
        ("true", "BOOLEAN", True),
        ('{"a":[1]}', "JSON", {"a": [1]}),
        ("[1,2]", "JSON", [1, 2]),
        ("2024-05-06", "DATE", "2024-05-06"),
        ("2024-05-06T07:08:09Z", "DATETIME", "2024-05-06T07:08:09Z"),
        ("PT5S", "DURATION", "PT5S"),
        ('"PT5S"', "DURATION", "PT5S"),
    ],
)
def test_values_have_the_type_they_are_written_as(api: Api, namespace: str, body: str, kind: str, value: Any) -> None:
    api.json("PUT", f"/namespaces/{namespace}/kv/key", data=body)

    found = api.json("GET", f"/namespaces/{namespace}/kv/key")

    assert (found["type"], found["value"], found["revision"]) == (kind, value, 1)


@pytest.mark.parametrize(("key", "body"), [("-a", "1"), ("a b", "1"), ("a", "no quotes"), ("a", ""), ("a", "{")])
def test_bad_keys_and_values_are_422(api: Api, namespace: str, key: str, body: str) -> None:
    api.json("PUT", f"/namespaces/{namespace}/kv/{key}", 422, data=body)


def test_an_expired_value_is_410_and_left_out_of_lists(api: Api, namespace: str) -> None:
    path = f"/namespaces/{namespace}/kv"
    api.json("PUT", f"{path}/gone", data="1", headers={"ttl": "PT0S"})
    api.json("PUT", f"{path}/here", data="1", headers={"ttl": "PT1H", "description": "an hour"})

    api.json("GET", f"{path}/gone", 410)
    api.json("GET", f"{path}/never", 404)
    rows = api.json("GET", path)
    searched = api.json("GET", f"/kv?filters[namespace][EQUALS]={namespace}")
    expired = api.json("GET", f"/kv?filters[namespace][EQUALS]={namespace}&filters[expirationDate][IS_NOT_NULL]=")

    assert [(row["key"], row["description"], row["version"], row["revision"]) for row in rows] == [
        ("here", "an hour", 1, 1)
    ]
    assert rows[0]["expirationDate"] > rows[0]["creationDate"]
    assert (searched["total"], expired["total"]) == (1, 2)
    api.json("PUT", f"{path}/bad", 422, data="1", headers={"ttl": "soon"})


def test_deleting_says_whether_there_was_something(api: Api, namespace: str) -> None:
    path = f"/namespaces/{namespace}/kv"
    for key in ("a", "b"):
        api.json("PUT", f"{path}/{key}", data="1")

    assert api.json("DELETE", f"{path}/a") is True
    assert api.json("DELETE", f"{path}/a") is False
    assert api.json("DELETE", path, json={"keys": ["a", "b"]}) == {"keys": ["b"]}
    api.json("PUT", f"{path}/a", data="2")
    assert api.json("GET", f"{path}/a")["revision"] == 3


def test_inherited_entries_come_with_their_namespace(api: Api, namespace: str) -> None:
    api.json("PUT", f"/namespaces/{namespace}/kv/a", data="1")
    api.json("PUT", f"/namespaces/{namespace}/kv/b", data="1")
    api.json("PUT", f"/namespaces/{namespace}.child/kv/a", data="2")

    rows = api.json("GET", f"/namespaces/{namespace}.child/kv/inheritance")

    assert [(row["key"], row["namespace"]) for row in rows] == [("a", f"{namespace}.child"), ("b", namespace)]


# ---------------------------------------------------------------------- namespace files


def upload(api: Api, namespace: str, path: str, content: bytes = b"x", status: int = 200, name: str = "f.txt") -> Any:
    return api.json(
        "POST",
        f"/namespaces/{namespace}/files",
        status,
        query_string={"path": path},
        data={"fileContent": (io.BytesIO(content), name)},
    )


def test_a_file_is_written_listed_moved_and_removed(api: Api, namespace: str) -> None:
    base = f"/namespaces/{namespace}/files"
    upload(api, namespace, "/a/b/one.txt", b"one")
    upload(api, namespace, "a/two.txt", b"two")
    upload(api, namespace, "a/two.txt", b"twice")

    assert api.client.get(f"/api/v1/main{base}?path=/a/b/one.txt").get_data() == b"one"
    assert api.client.get(f"/api/v1/main{base}?path=a/two.txt&revision=1").get_data() == b"two"
    rows = api.json("GET", f"{base}/directory?path=/a")
    assert [(row["fileName"], row["type"]) for row in rows] == [("b", "Directory"), ("two.txt", "File")]
    assert api.json("GET", f"{base}/stats?path=/a/two.txt")["size"] == 5
    assert api.json("GET", f"{base}/stats")["type"] == "Directory"
    assert api.json("GET", f"{base}/search?q=one") == ["/a/b/one.txt"]
    assert api.json("GET", f"{base}/revisions?path=/a/two.txt") == [{"revision": 1}, {"revision": 2}]

    api.json("PUT", f"{base}?from=/a/b&to=/c")
    assert api.json("GET", f"{base}/search?q=one") == ["/c/one.txt"]
    api.json("DELETE", f"{base}?path=/c")
    api.json("GET", f"{base}/stats?path=/c", 404)
    api.json("GET", f"{base}/directory?path=/c", 404)
    api.json("DELETE", f"{base}?path=/never")


def test_the_root_of_an_empty_namespace_is_an_empty_list(api: Api, namespace: str) -> None:
    assert api.json("GET", f"/namespaces/{namespace}/files/directory") == []


def test_an_empty_folder_stays_until_it_is_removed(api: Api, namespace: str) -> None:
    base = f"/namespaces/{namespace}/files"
    api.json("POST", f"{base}/directory?path=/empty")

    assert [row["fileName"] for row in api.json("GET", f"{base}/directory")] == ["empty"]
    assert api.json("GET", f"{base}/directory?path=/empty") == []
    upload(api, namespace, "/empty/one.txt")
    assert [row["fileName"] for row in api.json("GET", f"{base}/directory?path=/empty")] == ["one.txt"]


@pytest.mark.parametrize(
    "path", ["../x", "/a/../../x", "/.git/config", "/_flows/x.yml", "/a\n", "/a ", "/" + "x" * 300]
)
def test_bad_paths_are_422(api: Api, namespace: str, path: str) -> None:
    upload(api, namespace, path, status=422)


def zipped(names: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return target.getvalue()


def test_a_zip_is_unpacked_and_its_flows_are_imported(api: Api, namespace: str) -> None:
    flow = log_flow("somewhere.else", "packed")
    content = zipped({"scripts/a.py": b"print()", "_flows/packed.yml": flow.encode()})

    upload(api, namespace, "/ignored", content, name="all.ZIP")

    assert api.json("GET", f"/namespaces/{namespace}/files/search?q=") == ["/scripts/a.py"]
    assert api.json("GET", f"/flows/{namespace}/packed")["namespace"] == namespace
    archive = api.client.get(f"/api/v1/main/namespaces/{namespace}/files/export").get_data()
    assert sorted(zipfile.ZipFile(io.BytesIO(archive)).namelist()) == ["_flows/packed.yml", "scripts/a.py"]


def test_a_bad_zip_writes_nothing(api: Api, namespace: str) -> None:
    upload(api, namespace, "/", zipped({"good.txt": b"x", "../evil.txt": b"x"}), 422, name="evil.zip")

    assert api.json("GET", f"/namespaces/{namespace}/files/search?q=") == []


# ---------------------------------------------------------------------- namespaces


def test_a_namespace_exists_once_something_is_in_it(api: Api, namespace: str) -> None:
    api.json("GET", f"/namespaces/{namespace}", 404)

    api.flow(log_flow(f"{namespace}.child"))

    assert api.json("GET", f"/namespaces/{namespace}")["id"] == namespace
    found = api.json("GET", f"/namespaces/search?q={namespace}")
    assert [(row["id"], row.get("disabled", False)) for row in found["results"]] == [
        (namespace, True),
        (f"{namespace}.child", False),
    ]
    existing = api.json("GET", f"/namespaces/search?q={namespace}&existing=true")
    assert [row["id"] for row in existing["results"]] == [f"{namespace}.child"]
    assert api.json("POST", "/namespaces/autocomplete", json={"q": namespace}) == [namespace, f"{namespace}.child"]


# ---------------------------------------------------------------------- types, triggers, Git


def test_a_schema_that_an_editor_has_is_not_sent_again(api: Api) -> None:
    path = "/api/v1/main/plugins/schemas/flow"
    first = api.client.get(path)
    again = api.client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    other = api.client.get(path + "?arrayOf=true", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, first.get_json()["$ref"]) == (200, "#/definitions/flow")
    assert (again.status_code, again.get_data()) == (304, b"")
    assert (other.status_code, other.get_json()["type"]) == (200, "array")


def test_types_are_described(api: Api) -> None:
    log = api.json("GET", "/plugins/io.kestra.plugin.core.log.Log")

    assert "message" in str(log["schema"])
    assert any(
        task["cls"] == "io.kestra.plugin.core.log.Log"
        for group in api.json("GET", "/plugins")["results"]
        for task in group.get("tasks", ())
    )
    assert api.json("GET", "/plugins/schemas/flow")["$schema"]
    api.json("GET", "/plugins/no.such.Type", 404)
    assert "upper" in api.json("GET", "/pebble/filters")
    assert {"name": "now"} in api.json("GET", "/pebble/functions")


SCHEDULED = """id: scheduled
namespace: {namespace}
triggers:
  - {{id: nightly, type: io.kestra.plugin.core.trigger.Schedule, cron: "0 3 * * *"}}
tasks:
  - {{id: log, type: io.kestra.plugin.core.log.Log, message: hi}}
"""


def test_trigger_rows_have_the_members_of_both_generations(api: Api, namespace: str) -> None:
    api.flow(SCHEDULED.format(namespace=namespace))

    body = api.json("GET", f"/triggers/search?namespace={namespace}&sort=triggerId:asc")

    assert body["total"] == 1
    assert set(body["results"][0]) == {"abstractTrigger", "triggerContext", "trigger", "state"}
    assert body["results"][0]["triggerContext"]["triggerId"] == "nightly"
    assert api.json("GET", f"/triggers/{namespace}/scheduled")["results"][0]["triggerId"] == "nightly"
    api.json("GET", "/triggers/search?sort=nope:asc", 422)
    api.json("GET", "/triggers/search?filters[nope][EQUALS]=1", 400)


def test_a_trigger_is_switched_in_both_ways(api: Api, namespace: str) -> None:
    api.flow(SCHEDULED.format(namespace=namespace))
    key = {"namespace": namespace, "flowId": "scheduled", "triggerId": "nightly"}

    assert api.json("PUT", "/triggers/set-disabled", json={**key, "disabled": True})["disabled"] is True
    assert api.json("PUT", "/triggers", json={**key, "disabled": False})["disabled"] is False
    bulk = {"triggers": [{"triggerContext": key}], "disabled": True}
    assert api.json("POST", "/triggers/set-disabled/by-triggers", json=bulk)["count"] == 1
    api.json("PUT", "/triggers/set-disabled", 404, json={**key, "triggerId": "none", "disabled": True})
    api.json("PUT", "/triggers/set-disabled", 422, json={"disabled": True})


def test_a_backfill_is_made_paused_and_removed(api: Api, namespace: str) -> None:
    api.flow(SCHEDULED.format(namespace=namespace))
    key = {"namespace": namespace, "flowId": "scheduled", "triggerId": "nightly"}
    api.json("PUT", "/triggers/set-disabled", json={**key, "disabled": True})
    period = {"start": "2024-01-01T00:00:00Z", "end": "2024-01-02T00:00:00Z"}

    api.json("PUT", "/triggers/backfill/pause", 400, json=key)
    made = api.json("PUT", "/triggers/backfill/create", json={**key, "backfill": period})
    paused = api.json("PUT", "/triggers/backfill/pause", json=key)
    removed = api.json("POST", "/triggers/backfill/delete", json=key)

    assert made["backfill"]["start"].startswith("2024-01-01")
    assert paused["backfill"]["paused"] is True
    assert "backfill" not in removed
    api.json("POST", f"/triggers/{namespace}/scheduled/nightly/unlock", 409)
    api.json("POST", f"/triggers/{namespace}/scheduled/none/unlock", 404)


def test_git_routes_answer_without_sources(api: Api) -> None:
    assert api.json("GET", "/git/sources") == {"results": [], "total": 0}
    assert api.json("GET", "/git/sync-runs")["results"] == []
    api.json("GET", "/git/sources/none", 404)
    api.json("POST", "/git/sources/none/sync", 404)
    api.json("POST", "/git/hooks/none", 404, json={})


def test_the_instance_tells_what_it_is(api: Api) -> None:
    configs = api.json("GET", "/configs")

    assert configs["edition"] == "OSS"
    assert configs["isBasicAuthInitialized"] is True
    assert api.json("GET", "/configs/login") == {"isBasicAuthInitialized": True}
    assert api.json("GET", "/usages/all")["flows"]["count"] >= 0
    assert api.client.get("/version").get_json()["version"] == configs["version"]


def test_bodies_over_the_limit_are_413(api: Api, namespace: str) -> None:
    limit = api.client.application.config["MAX_CONTENT_LENGTH"]

    api.json("POST", "/flows", 413, data=b"x" * (limit + 1), content_type="application/x-yaml")
    api.json("POST", f"/executions/webhook/{namespace}/none/key", 413, data=b"x" * (5 * 1024 * 1024 + 1))


def test_too_many_form_parts_are_413(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))

    api.json(
        "POST",
        f"/executions/{namespace}/hello",
        413,
        data={f"p{n}": "x" for n in range(2_000)},
        content_type="multipart/form-data",
    )
