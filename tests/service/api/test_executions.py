"""Executions over HTTP: start, read, search, act, follow."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tests.service.api.conftest import Api, log_flow

PAUSED = """id: paused
namespace: {namespace}
tasks:
  - id: pause
    type: io.kestra.plugin.core.flow.Pause
  - id: log
    type: io.kestra.plugin.core.log.Log
    message: after
"""
FAILING = """id: failing
namespace: {namespace}
tasks:
  - id: fail
    type: io.kestra.plugin.core.execution.Fail
"""
WITH_INPUTS = """id: inputs
namespace: {namespace}
inputs:
  - {{id: name, type: STRING}}
  - {{id: number, type: INT, defaults: 3}}
  - {{id: file, type: FILE, required: false}}
tasks:
  - id: value
    type: io.kestra.plugin.core.debug.Return
    format: "{{{{ inputs.name }}}} {{{{ inputs.number }}}}"
"""
WEBHOOK = """id: hook
namespace: {namespace}
tasks:
  - id: value
    type: io.kestra.plugin.core.debug.Return
    format: "{{{{ trigger.body.a }}}}"
triggers:
  - id: in
    type: io.kestra.plugin.core.trigger.Webhook
    key: a-long-secret-key
    conditions:
      - type: io.kestra.plugin.core.condition.Expression
        expression: "{{{{ trigger.body.a != 'skip' }}}}"
"""


def start(api: Api, flow: str, namespace: str, *, wait: bool = True, **more: Any) -> Any:
    flow_id = flow.partition("\n")[0].removeprefix("id: ")
    api.flow(flow.format(namespace=namespace))
    return api.json("POST", f"/executions/{namespace}/{flow_id}?wait={str(wait).lower()}", **more)


def test_a_start_that_waits_answers_the_ended_execution(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace, labels="{team: data}"))

    execution = api.run(namespace, "hello")

    assert execution["state"]["current"] == "SUCCESS"
    assert execution["state"]["histories"][0]["state"] == "CREATED"
    assert execution["state"]["duration"].startswith("PT")
    assert execution["taskRunList"][0]["taskId"] == "log"
    assert execution["taskRunList"][0]["attempts"][0]["state"]["current"] == "SUCCESS"
    assert execution["url"].endswith(f"/ui/main/executions/{namespace}/hello/{execution['id']}")
    assert {label["key"] for label in execution["labels"]} == {"team", "system.correlationId"}
    for member in ("tenantId", "flowRevision", "originalId", "deleted", "metadata"):
        assert member in execution


def test_the_execution_is_read_under_both_paths(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    execution_id = api.run(namespace, "hello")["id"]

    with_tenant = api.json("GET", f"/executions/{execution_id}")
    without = api.client.get(f"/api/v1/executions/{execution_id}").get_json()

    assert with_tenant == without
    assert len(execution_id) == 22
    assert "taskRunList" not in api.json("GET", f"/executions/{execution_id}?light=true")


def test_inputs_come_as_parts_and_are_typed(api: Api, namespace: str) -> None:
    execution = start(api, WITH_INPUTS, namespace, data={"name": "ana", "number": "7", "unknown": "x"})

    assert execution["inputs"] == {"name": "ana", "number": 7, "file": None}
    assert execution["taskRunList"][0]["outputs"]["value"] == "ana 7"


def test_a_missing_input_is_422_and_names_it(api: Api, namespace: str) -> None:
    body = start_refused(api, WITH_INPUTS, namespace, 422, data={})

    assert "`name`" in body["message"]
    assert "missing required input" in body["message"]


def start_refused(api: Api, flow: str, namespace: str, status: int, **more: Any) -> Any:
    flow_id = flow.partition("\n")[0].removeprefix("id: ")
    api.flow(flow.format(namespace=namespace))
    return api.json("POST", f"/executions/{namespace}/{flow_id}", status, **more)


@pytest.mark.parametrize(("part", "filename"), [("file", "data.csv"), ("files", "file")])
def test_both_forms_of_file_parts_are_taken(api: Api, namespace: str, part: str, filename: str) -> None:
    execution = start(api, WITH_INPUTS, namespace, data={"name": "ana", part: (io.BytesIO(b"a,b\n"), filename)})

    uri = execution["inputs"]["file"]
    assert uri.startswith("kestra:///")
    path = f"/api/v1/main/executions/{execution['id']}/file"
    response = api.client.get(path, query_string={"path": uri})
    assert response.get_data() == b"a,b\n"
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert api.json("GET", f"/executions/{execution['id']}/file/metas", query_string={"path": uri}) == {"size": 4}
    preview = api.json("GET", f"/executions/{execution['id']}/file/preview", query_string={"path": uri})
    assert preview["content"] == "a,b\n"


@pytest.mark.parametrize(
    "path", ["kestra:///../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "kestra:///a/../b"]
)
def test_no_other_file_is_reached_through_an_execution(api: Api, namespace: str, path: str) -> None:
    api.flow(log_flow(namespace))
    execution = api.run(namespace, "hello")

    response = api.client.get(f"/api/v1/main/executions/{execution['id']}/file", query_string={"path": path})

    assert response.status_code == 422


def test_the_same_key_gives_the_same_execution(api: Api, namespace: str) -> None:
    api.flow(WITH_INPUTS.format(namespace=namespace))
    path, headers = f"/api/v1/main/executions/{namespace}/inputs", {"Idempotency-Key": "k-1"}

    first = api.client.post(path, data={"name": "a"}, headers=headers)
    again = api.client.post(path, data={"name": "a"}, headers=headers)
    other = api.client.post(path, data={"name": "b"}, headers=headers)

    assert first.get_json()["id"] == again.get_json()["id"]
    assert again.headers["Lanner-Replayed"] == "true"
    assert "Lanner-Replayed" not in first.headers
    assert (other.status_code, other.get_json()["code"]) == (422, "idempotency_conflict")


def test_a_repeat_after_the_deletion_starts_nothing_and_is_no_failure(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    path, headers = f"/api/v1/main/executions/{namespace}/hello", {"Idempotency-Key": "k-2"}
    first = api.client.post(path, headers=headers).get_json()
    api.client.delete(f"/api/v1/main/executions/{first['id']}")

    again = api.client.post(f"{path}?wait=true", headers=headers)

    assert (again.status_code, again.headers["Lanner-Replayed"]) == (200, "true")
    assert (again.get_json()["id"], again.get_json()["deleted"]) == (first["id"], True)
    assert api.json("GET", f"/executions/search?namespace={namespace}")["total"] == 0


@pytest.mark.parametrize(
    ("query", "status"),
    [("labels=nocolon", 422), ("labels=system.x:1", 422), ("revision=99", 404), ("scheduleDate=yesterday", 422)],
)
def test_bad_parameters_of_a_start_are_refused(api: Api, namespace: str, query: str, status: int) -> None:
    api.flow(log_flow(namespace))

    api.json("POST", f"/executions/{namespace}/hello?{query}", status)


def test_a_disabled_flow_cannot_run(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace, disabled="true"))

    body = api.json("POST", f"/executions/{namespace}/hello", 409)

    assert body["message"].startswith("Illegal state: ")
    api.json("POST", f"/executions/{namespace}/none", 404)


def test_executions_are_searched_with_both_notations(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    first = api.json("POST", f"/executions/{namespace}/hello?wait=true&labels=team:data,ops&labels=a:1")
    start(api, FAILING, namespace)

    def ids(query: str) -> list[str]:
        body = api.json("GET", f"/executions/search?namespace={namespace}&{query}")
        assert body["total"] == len(body["results"])
        return [row["id"] for row in body["results"]]

    assert len(ids("")) == 2
    assert ids("state=SUCCESS") == [first["id"]]
    assert ids("filters[state][IN]=SUCCESS,KILLED") == [first["id"]]
    assert ids("filters[state][NOT_EQUALS]=FAILED") == [first["id"]]
    assert ids("labels=team%3Adata%2Cops&labels=a:1") == [first["id"]]
    assert ids("filters[labels][EQUALS][team]=data,ops&filters[labels][EQUALS][a]=1") == [first["id"]]
    assert ids("labels=a:2") == []
    assert ids("q=DATA") == [first["id"]]
    assert ids("flowId=hello&timeRange=PT1H") == [first["id"]]
    assert ids("filters[timeRange][EQUALS]=PT1H&filters[flowId][EQUALS]=hello") == [first["id"]]
    assert ids("startDate=2001-01-01T00:00:00Z&endDate=2001-02-01T00:00:00Z") == []
    assert ids("childFilter=CHILD") == []
    assert len(ids("childFilter=MAIN")) == 2
    assert (
        len(ids("filters[or][0][flowId][EQUALS]=hello&filters[or][1][state][EQUALS]=FAILED"))
        == len(ids("filters[and][0][or][0][flowId][EQUALS]=hello&filters[and][0][or][1][flowId][EQUALS]=failing"))
        == 2
    )
    assert ids("sort=state.startDate:asc")[0] == first["id"]
    assert "taskRunList" in api.json("GET", f"/executions/search?namespace={namespace}")["results"][0]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("labels=team", 422),
        ("startDate=2001-01-01T00:00:00Z&timeRange=PT1H", 422),
        ("startDate=2002-01-01T00:00:00Z&endDate=2001-01-01T00:00:00Z", 422),
        ("filters[labels][GREATER_THAN][a]=1", 400),
        ("filters[startDate][CONTAINS]=2001-01-01T00:00:00Z", 400),
        ("filters[startDate][EQUALS]=soon", 400),
        ("timeRange=P1Y", 422),
        ("childFilter=UNCLE", 400),
        ("sort=inputs:asc", 422),
    ],
)
def test_bad_searches_are_refused(api: Api, query: str, status: int) -> None:
    api.json("GET", f"/executions/search?{query}", status)


def test_the_v0_list_is_of_one_flow(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    api.run(namespace, "hello")

    assert api.json("GET", f"/executions?namespace={namespace}&flowId=hello")["total"] == 1
    api.json("GET", f"/executions?namespace={namespace}", 400)


def test_the_latest_run_of_each_flow_is_listed(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    api.run(namespace, "hello")
    last = api.run(namespace, "hello")

    rows = api.json(
        "POST",
        "/executions/latest",
        json=[{"namespace": namespace, "id": "hello"}, {"namespace": namespace, "id": "x"}],
    )

    assert [(row["id"], row["status"]) for row in rows] == [(last["id"], "SUCCESS")]


def test_values_and_durations_are_summed_up(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    api.run(namespace, "hello")

    states = api.json("GET", f"/executions/distinct-field-values?field=state&namespace={namespace}")
    mean = api.json("GET", f"/executions/namespaces/{namespace}/flows/hello/average-duration")
    rows = api.client.get(f"/api/v1/main/executions/export/by-query/csv?namespace={namespace}").get_data(as_text=True)

    assert states == ["SUCCESS"]
    assert mean["count"] == 1
    assert mean["averageDuration"].startswith("PT")
    assert rows.splitlines()[0].startswith('"id","namespace","flowId"')
    api.json("GET", "/executions/distinct-field-values?field=inputs", 400)


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "\tx"])
def test_cells_of_a_table_are_never_formulas(text: str) -> None:
    from service.api.answers import csv_cell

    assert csv_cell(text).startswith("\"'")
    assert csv_cell('a"b') == '"a""b"'


def test_kill_is_idempotent_on_what_has_ended(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    execution = api.run(namespace, "hello")

    for path in ("kill", "actions/kill"):
        assert api.json("DELETE", f"/executions/{execution['id']}/{path}")["state"]["current"] == "SUCCESS"
        api.json("DELETE", f"/executions/{execution['id']}/{path}?isOnKillCascade=false", 409)
    api.json("DELETE", "/executions/notfound/kill", 404)


def test_resume_has_no_body_on_the_old_path_and_an_execution_on_the_new_one(api: Api, namespace: str) -> None:
    old = start(api, PAUSED, namespace)
    new = api.run(namespace, "paused")
    assert old["state"]["current"] == "PAUSED"

    assert api.json("POST", f"/executions/{old['id']}/resume", 204) is None
    assert api.json("POST", f"/executions/{new['id']}/actions/resume")["id"] == new["id"]
    api.json("POST", "/executions/notfound/resume", 404)


def test_a_restart_answers_what_it_decided(api: Api, namespace: str) -> None:
    failed = start(api, FAILING, namespace)

    restarted = api.json("POST", f"/executions/{failed['id']}/restart")

    assert restarted["id"] == failed["id"]
    assert restarted["state"]["current"] == "RESTARTED"
    assert restarted["metadata"]["attemptNumber"] == 2


def test_a_flow_named_like_an_action_still_starts(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace, "restart"))

    started = api.json("POST", f"/executions/{namespace}/restart?wait=true")

    assert started["flowId"] == "restart"
    api.json("POST", "/executions/notfound/restart", 404)


def test_a_flow_named_state_is_told_by_the_content_type(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace, "state"))

    started = api.json(
        "POST", f"/executions/{namespace}/state?wait=true", data={"a": "b"}, content_type="multipart/form-data"
    )
    marked = api.json("POST", f"/executions/{started['id']}/state", 404, json={"taskRunId": "none", "state": "FAILED"})

    assert started["flowId"] == "state"
    assert marked["code"] == "not_found"


def test_labels_are_merged_and_system_ones_refused(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    execution = api.run(namespace, "hello")
    path = f"/executions/{execution['id']}/labels"

    labelled = api.json("POST", path, json=[{"key": "a", "value": "b"}])

    assert {"key": "a", "value": "b"} in labelled["labels"]
    api.json("POST", path, 422, json=[{"key": "system.x", "value": "1"}])
    api.json("POST", path, 422, json=[{"key": None, "value": None}])


def test_a_bulk_action_refuses_everything_for_one_unfit_id(api: Api, namespace: str) -> None:
    failed = start(api, FAILING, namespace)
    api.flow(log_flow(namespace))
    done = api.run(namespace, "hello")

    body = api.json("POST", "/executions/restart/by-ids", 400, json=[failed["id"], done["id"]])
    unknown = api.json("DELETE", "/executions/kill/by-ids", 400, json=["nope"])

    assert body["message"] == "invalid bulk restart"
    assert body["invalids"] == [
        {"message": "execution not in state FAILED", "invalidValue": done["id"], "propertyPath": "execution"}
    ]
    assert unknown["invalids"][0]["message"] == "execution not found"
    assert api.json("GET", f"/executions/{failed['id']}")["state"]["current"] == "FAILED"


def test_bulk_labels_and_deletion_reach_all(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    ids = [api.run(namespace, "hello")["id"] for _ in range(2)]
    body = {"executionsId": ids, "executionLabels": [{"key": "a", "value": "b"}]}

    assert api.json("POST", "/executions/labels/by-ids", json=body)["count"] == 2
    assert api.json("GET", f"/executions/search?namespace={namespace}&labels=a:b")["total"] == 2
    assert api.json("DELETE", f"/executions/by-query?namespace={namespace}")["count"] == 2
    assert api.json("GET", f"/executions/search?namespace={namespace}")["total"] == 0


def test_a_deleted_execution_takes_its_logs_along(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    execution_id = api.run(namespace, "hello")["id"]
    assert api.json("GET", f"/logs/{execution_id}")

    api.json("DELETE", f"/executions/{execution_id}", 204)

    api.json("GET", f"/executions/{execution_id}", 404)
    assert api.json("GET", f"/logs/{execution_id}") == []
    api.json("DELETE", f"/executions/{execution_id}", 404)


def test_a_bad_expression_is_an_answer(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    execution = api.run(namespace, "hello")

    good = api.json("POST", f"/executions/{execution['id']}/eval", data="{{ flow.id }}")
    bad = api.json("POST", f"/executions/{execution['id']}/actions/eval", data="{{ nope }}")

    assert good == {"result": "hello"}
    assert "nope" in bad["error"]


def events(response: Any) -> list[tuple[str, Any]]:
    found = []
    for block in response.get_data(as_text=True).split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["id"], json.loads(lines["data"])))
    return found


def test_following_a_finished_execution_gives_one_end(api: Api, namespace: str) -> None:
    api.flow(log_flow(namespace))
    execution = api.run(namespace, "hello")

    response = api.client.get(f"/api/v1/main/executions/{execution['id']}/follow")

    assert response.mimetype == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert [(kind, data["state"]["current"]) for kind, data in events(response)] == [("end", "SUCCESS")]
    api.json("GET", "/executions/none/follow", 404)


def test_following_a_running_execution_ends_with_its_end(api: Api, namespace: str) -> None:
    execution = start(api, PAUSED, namespace)
    response = api.client.get(f"/api/v1/main/executions/{execution['id']}/follow", buffered=False)
    stream = iter(response.response)
    first, second = next(stream), next(stream)

    api.json("POST", f"/executions/{execution['id']}/actions/resume")
    rest = b"".join(stream)

    assert first == b"id: start\ndata: " + json.dumps({"id": execution["id"]}, separators=(",", ":")).encode() + b"\n\n"
    assert second.startswith(b"id: progress\n")
    assert b"id: end\n" in rest
    response.close()


def test_streams_are_bounded(api: Api, namespace: str) -> None:
    from service.stream import Streams

    streams = Streams(1)
    kept = api.client.application.extensions["lanner.streams"]
    api.client.application.extensions["lanner.streams"] = streams
    try:
        execution = start(api, PAUSED, namespace)
        path = f"/api/v1/main/executions/{execution['id']}/follow"
        first = api.client.get(path, buffered=False)
        second = api.client.get(path)
        first.close()
        third = api.client.get(path, buffered=False)
        third.close()
    finally:
        api.client.application.extensions["lanner.streams"] = kept

    assert (first.status_code, second.status_code, third.status_code) == (200, 429, 200)
    assert second.headers["Retry-After"]
    assert streams.open == 0


def test_a_webhook_starts_an_execution(api: Api, namespace: str) -> None:
    api.flow(WEBHOOK.format(namespace=namespace))
    path = f"/executions/webhook/{namespace}/hook/a-long-secret-key"

    accepted = api.json("POST", path, json={"a": "b"})
    skipped = api.json("POST", path, 204, json={"a": "skip"})

    assert accepted["trigger"]["variables"]["body"] == {"a": "b"}
    assert skipped is None


def test_a_stranger_learns_nothing_from_a_webhook(api: Api, namespace: str) -> None:
    api.flow(WEBHOOK.format(namespace=namespace))

    bodies = []
    for path in (f"{namespace}/hook/wrong", f"{namespace}/none/wrong", "nowhere/none/wrong"):
        body = api.json("POST", f"/executions/webhook/{path}", 404)
        bodies.append({key: value for key, value in body.items() if key not in ("requestId", "_links")})

    assert bodies[0] == bodies[1] == bodies[2]


def test_head_never_fires_a_webhook(api: Api, namespace: str) -> None:
    api.flow(WEBHOOK.format(namespace=namespace))

    response = api.client.head(f"/api/v1/main/executions/webhook/{namespace}/hook/a-long-secret-key")

    assert response.status_code == 405
    assert api.json("GET", f"/executions/search?namespace={namespace}")["total"] == 0


def test_the_rest_of_a_webhook_path_may_hold_slashes(api: Api, namespace: str) -> None:
    api.flow(WEBHOOK.format(namespace=namespace))

    api.json("POST", f"/executions/webhook/{namespace}/hook/a-long-secret-key/a/b%2Fc", json={"a": "b"})


def test_a_repeated_delivery_is_the_same_execution(api: Api, namespace: str) -> None:
    api.flow(WEBHOOK.format(namespace=namespace))
    path, headers = f"/api/v1/main/executions/webhook/{namespace}/hook/a-long-secret-key", {"webhook-id": "m1"}

    first = api.client.post(path, json={"a": "b"}, headers=headers)
    again = api.client.post(path, json={"a": "b"}, headers=headers)
    other = api.client.post(path, json={"a": "c"}, headers=headers)

    assert first.get_json()["id"] == again.get_json()["id"]
    assert again.headers["Lanner-Replayed"] == "true"
    assert (other.status_code, other.get_json()["code"]) == (422, "idempotency_conflict")


def test_outputs_have_routes_of_their_own(api: Api, namespace: str) -> None:
    execution = start(api, WITH_INPUTS, namespace, data={"name": "ana"})
    run_id = execution["taskRunList"][0]["id"]

    assert api.json("GET", f"/outputs/executions/{execution['id']}") == {}
    assert api.json("GET", f"/outputs/tasks/{execution['id']}") == [
        {"taskId": "value", "taskRunId": run_id, "inline": True}
    ]
    assert api.json("GET", f"/outputs/tasks/{execution['id']}/{run_id}") == {"value": "ana 3"}
    assert api.json("GET", f"/outputs/{execution['id']}/{run_id}") == {"value": "ana 3"}
    api.json("GET", f"/outputs/tasks/{execution['id']}/none", 404)
    api.json("GET", "/outputs/executions/none", 404)


@pytest.mark.parametrize("body", ["{", "[1,", '{"a": NaN}', "[" * 10_000])
def test_unparsable_json_is_422(api: Api, body: str) -> None:
    assert api.json("POST", "/executions/latest", 422, data=body)["code"] == "invalid_json"


@pytest.mark.parametrize("execution_id", ["..", "%2e%2e%2f", "a%00b", "x" * 5_000, "con", "nul.txt", "' or 1=1 --"])
def test_odd_ids_are_404(api: Api, execution_id: str) -> None:
    assert api.client.get(f"/api/v1/main/executions/{execution_id}").status_code == 404


APPROVAL = """id: approval
namespace: {namespace}
tasks:
  - id: ask
    type: io.kestra.plugin.core.flow.Approval
    denyBehavior: CONTINUE
    inputs: [{{id: reason, type: STRING}}]
"""


@pytest.mark.parametrize("form", ["json", "query", "multipart"])
def test_a_decision_is_taken_as_json_in_the_query_or_as_form_parts(api: Api, namespace: str, form: str) -> None:
    paused = start(api, APPROVAL, namespace)
    assert paused["state"]["current"] == "PAUSED"
    path = f"/executions/{paused['id']}/actions/review"
    api.json("POST", path, 422, json={"decision": "DENIED", "inputs": {}})

    decision = {"taskRunId": paused["taskRunList"][0]["id"], "decision": "DENIED", "comment": "no"}
    match form:
        case "json":
            answer = api.json("POST", path, json={**decision, "inputs": {"reason": "late"}})
        case "query":
            answer = api.json("POST", path, query_string=decision, data={"reason": "late"})
        case _:
            answer = api.json("POST", path, data={**decision, "reason": "late"}, content_type="multipart/form-data")

    outputs = answer["taskRunList"][0]["outputs"]
    assert (outputs["decision"], outputs["comment"], outputs["inputs"]) == ("DENIED", "no", {"reason": "late"})
    api.json("POST", path, 409, json={"decision": "APPROVED", "inputs": {"reason": "late"}})


def test_a_decision_of_the_wrong_shape_is_refused(api: Api, namespace: str) -> None:
    paused = start(api, APPROVAL, namespace)
    path = f"/executions/{paused['id']}/actions/review"

    for body in ({"decision": 1}, {"decision": "MAYBE"}, {}, {"decision": "DENIED", "inputs": ["x"]}):
        api.json("POST", path, 422, json=body)


def test_a_webhook_names_every_input_that_it_could_not_set(api: Api, namespace: str) -> None:
    key = "a-key-of-more-than-thirty-two-characters"
    hook = f"triggers: [{{id: h, type: io.kestra.plugin.core.trigger.Webhook, key: {key}, inputs: {{a: {{}}, b: x}}}}]"
    api.flow(log_flow(namespace, inputs="[{id: a, type: INT}, {id: b, type: INT}]") + hook + "\n")

    refused = api.json("POST", f"/executions/webhook/{namespace}/hello/{key}", 422)

    assert [error["path"] for error in refused["_embedded"]["errors"]] == ["inputs.a", "inputs.b"]
