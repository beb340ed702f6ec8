"""Bad inputs of ``reliability.md`` 4.4 over HTTP: each gets its class of answer, none a 500, the server lives on."""

from __future__ import annotations

import io
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.faults.calling import KEY, LOG, NS, RETURN, WEBHOOK, Caller, flow, hooked, name_of, scheduled
from tests.support.instances import ENDED, Instance
from tests.support.waiting import until

# ---------------------------------------------------------------------- A: YAML

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


def merges(levels: int) -> str:
    chain = "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, levels))
    return "variables:\n" + "".join(f"  {line}\n" for line in ("m0: &m0 {k: v}\n" + chain).splitlines())


REFUSED_FLOWS = {
    "A1 deep nesting": ("[" * 40_000, "nest"),
    "A2 billion laughs": (flow("variables:\n  " + LAUGHS.replace("\n", "\n  ")), "100,000|expand"),
    "A3 merge chain of 22": (flow(merges(22)), "merge|expand|levels"),
    "A3 merge chain of 19": (flow(merges(19)), "merge|expand|levels"),
    "A4 recursion": (flow("variables: {a: &x [*x]}"), "recursive|alias"),
    "A5 python tag": (flow("variables: {a: !!python/object/apply:os.system [id]}"), "tag"),
    "A6 own tag": (flow("variables: {a: !Foo bar}"), "tag"),
    "A6 binary": (flow("variables: {a: !!binary aGk=}"), "tag"),
    "A6 set": (flow("variables: {a: !!set {x: null}}"), "tag"),
    "A7 duplicate key": (flow() + f"tasks: [{{id: u, type: {LOG}, message: hi}}]\n", "uplicate"),
    "A8 two documents": (flow() + "---\n" + flow(), "one flow|document"),
    "A9 empty": ("", ""),
    "A9 comment only": ("# nothing\n", ""),
    "A9 scalar": ("hello", ""),
    "A9 list": ("- id: a\n", ""),
    "A13 infinite limit": (flow("concurrency: {limit: .inf}"), "limit|integer|number"),
    "A13 not a number": (flow("concurrency: {limit: .nan}"), "limit|integer|number"),
    "A14 tab": ("id: a\nnamespace: b\n\ttasks: []\n", "tab|indent|start any token"),
    "A14 NUL": (flow().encode() + b"description: a\0b\n", ""),
    "A14 lone surrogate": (flow('description: "\\uD800"'), ""),
    "A14 Latin-1": (flow().encode() + b"description: caf\xe9\n", "UTF-8|utf-8|byte"),
    "A14 UTF-16": (flow().encode("utf-16"), ""),
    "A16 list as key": (flow("variables: {[a]: b}"), "key"),
    "A17 1.1 MiB": (flow("description: " + "x" * 1_150_000), "1 MiB|1,048,576|large|bytes"),
    "A17 100,001 nodes": (flow(f"variables: {{a: [{'1,' * 100_001}]}}"), "100,000|nodes"),
    "A18 unknown property": (flow() + "taks: []\n", "did you mean"),
    "A19 unknown type": (flow(tasks="[{id: t, type: io.kestra.plugin.core.log.Lgo, message: hi}]"), "did you mean"),
    "A19 plugin not shipped": (flow(tasks="[{id: t, type: io.kestra.plugin.aws.s3.Upload}]"), "type"),
    "A20 id twice": (flow(tasks=f"[{{id: t, type: {LOG}, message: a}}, {{id: t, type: {LOG}, message: b}}]"), "uplicate"),  # noqa: E501
    "A20 id twice, nested": (
        flow(
            tasks=f"[{{id: t, type: {LOG}, message: a}}, {{id: p, type: io.kestra.plugin.core.flow.Parallel, "
            f"tasks: [{{id: t, type: {LOG}, message: b}}]}}]"
        ),
        "uplicate",
    ),
    "A20 path as id": (flow(flow_id="../x"), "id"),
    "A20 long flow id": (flow(flow_id="x" * 101), "id"),
    "A20 long task id": (flow(tasks=f"[{{id: {'x' * 257}, type: {LOG}, message: a}}]"), "id"),
    "A20 prototype": (flow(flow_id="__proto__"), "id"),
    "A20 emoji": (flow(flow_id='"\\U0001F600"'), "id"),
    "A20 trailing space": (flow(flow_id='"a "'), "id"),
    "A22 itself": (
        flow(flow_id="selfish", tasks=f"[{{id: s, type: io.kestra.plugin.core.flow.Subflow, namespace: {NS}, flowId: selfish}}]"),  # noqa: E501
        "ecursive|itself|loop",
    ),
    "A23 cycle": (
        flow(
            tasks="[{id: d, type: io.kestra.plugin.core.flow.Dag, tasks: ["
            f"{{task: {{id: a, type: {LOG}, message: x}}, dependsOn: [b]}}, "
            f"{{task: {{id: b, type: {LOG}, message: x}}, dependsOn: [a]}}]}}]"
        ),
        "yclic|cycle",
    ),
    **{
        f"A24 timeout {text}": (flow(tasks=f"[{{id: t, type: {LOG}, message: a, timeout: {text}}}]"), "timeout|duration|Duration")  # noqa: E501
        for text in ("-5", "PT", "P1Y", "PT99999999H")
    },
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_FLOWS)
def test_a_flow_that_is_wrong_is_422_and_says_why(api: Caller, case: str) -> None:
    text, reason = REFUSED_FLOWS[case]

    # `validate` is a bulk route: there several documents are several flows.
    for path in ("flows",) if case.startswith("A8") else ("flows", "flows/validate"):
        status: Any = 422 if path == "flows" else (200, 422)
        answer = api.send("POST", path, status, data=text, content_type="application/x-yaml")
        assert re.search(reason, answer), answer[:600]


ACCEPTED_FLOWS = {
    "A10 a date that is none, as text": flow("variables: {due: 2024-13-45}"),
    "A11 a very long number, as text": flow(f"variables: {{n: {'9' * 200_000}}}"),
    "A15 byte order mark": "\ufeff" + flow(),
    "A15 CRLF": flow().replace("\n", "\r\n"),
    "A16 odd keys": flow("variables: {1: a, on: b, null: c}"),
    "A25 many retries": flow(
        tasks=f"[{{id: t, type: {LOG}, message: a, retry: {{type: constant, interval: PT0S, maxAttempts: 1000000}}}}]"
    ),
}


@pytest.mark.parametrize("case", ACCEPTED_FLOWS)
def test_a_flow_that_is_only_odd_is_taken(api: Caller, case: str) -> None:
    api.save(ACCEPTED_FLOWS[case])


def test_scalars_stay_the_text_they_were_written_as(api: Caller) -> None:
    text = flow(
        "variables: {version: 0755, time: 12:30:45, word: no, x: 1_000}",
        tasks=f'[{{id: t, type: {RETURN}, format: "{{{{ vars.version }}}} {{{{ vars.time }}}} {{{{ vars.word }}}} {{{{ vars.x }}}}"}}]',  # noqa: E501
    )
    api.save(text)

    one = api.start(name_of(text), query="?wait=true")

    assert one["taskRunList"][0]["outputs"]["value"] == "0755 12:30:45 no 1_000"


# ---------------------------------------------------------------------- B: expressions

FAILING = {
    "B1 class": "{{ ''.__class__ }}",
    "B1 subscript": "{{ ''['__class__'] }}",
    "B1 attr": "{{ '' | attr('__class__') }}",
    "B2 format": "{{ '{0.__class__}'.format(1) }}",
    "B2 format_map": "{{ '{a}'.format_map({'a': 1}) }}",
    "B3 cycler": "{{ cycler.__init__.__globals__ }}",
    "B3 lipsum": "{{ lipsum() }}",
    "B3 self": "{{ self.x }}",
    "B3 config": "{{ config.x }}",
    "B3 request": "{{ request.environ }}",
    "B3 g": "{{ g.x }}",
    "B4 include": "{% include 'x' %}",
    "B4 import": "{% import 'x' as y %}",
    "B4 extends": "{% extends 'x' %}",
    "B5 repetition": "{{ 'a' * 100000000 }}",
    "B5 ljust": "{{ ''.ljust(1000000000) }}",
    "B5 format": "{{ '%1000000000d' | format(1) }}",
    "B6 power": "{{ 9 ** (9 ** 9) }}",
    "B7 range": "{% for i in range(0, 1000000000) %}x{% endfor %}",
    "B8 parentheses": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "B8 lists": "{{ " + "[" * 1000 + "]" * 1000 + " }}",
    "B9 unknown": "{{ nope }}",
    "B9 unknown path": "{{ nope.a.b }}",
    "B10 foreign secret": "{{ secret('KEY', namespace='other.ns') }}",
    "B11 file": "{{ read('/etc/passwd') }}",
    "B11 dots": "{{ read('../../x') }}",
    "B11 scheme": "{{ read('file:///etc/passwd') }}",
    "B14 env": "{{ env('DATABASE_URL') }}",
    "B15 unclosed": "{{ 1",
    "B15 unclosed tag": "{% if true %}x",
    "B15 70 KB": "{{ '" + "x" * 70_000 + "' }}",
    "B17 deep JSON": "{{ '" + "[" * 5000 + "]" * 5000 + "' | jq('.') }}",
    "B18 zone": "{{ now() | date('yyyy', timeZone='Mars/Olympus') }}",
    "B18 format": '{{ now() | date("\'unclosed") }}',
    "B18 letter": "{{ now() | date('yyyy-jj') }}",
}


@pytest.mark.parametrize("case", FAILING)
def test_a_bad_expression_fails_its_task_and_nothing_else(api: Caller, instance: Instance, case: str) -> None:
    text = flow(tasks=json.dumps([{"id": "t", "type": RETURN, "format": FAILING[case]}]))
    api.save(text)

    one = api.start(name_of(text), query="?wait=true")

    assert one["state"]["current"] == "FAILED", one["taskRunList"][0].get("outputs")
    logs = "\n".join(instance.logs(one["id"]))
    assert logs
    assert "Internal error" not in logs
    assert "Traceback" not in logs
    assert "root:x:" not in logs


HARD = {
    "B7 three nested loops": "{% for a in range(0,1000) %}{% for b in range(0,1000) %}{% for c in range(0,1000) %}"
    "{% endfor %}{% endfor %}{% endfor %}",
    "B8 recursive macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "B16 catastrophic pattern": "{{ '" + "a" * 50 + "!' | regexReplace('(a+)+$', '') }}",
}


@pytest.mark.parametrize("case", HARD)
def test_an_expression_without_an_end_is_ended(api: Caller, instance: Instance, case: str) -> None:
    text = flow(tasks=json.dumps([{"id": "t", "type": RETURN, "format": HARD[case]}]))
    api.save(text)

    one = api.start(name_of(text), query="?wait=true")
    after = flow(tasks=json.dumps([{"id": "t", "type": RETURN, "format": "{{ 1 + 1 }}"}]))
    api.save(after)

    assert one["state"]["current"] in ("FAILED", "SUCCESS")
    if "catastrophic" not in case:
        assert one["state"]["current"] == "FAILED"
    assert api.start(name_of(after), query="?wait=true")["state"]["current"] == "SUCCESS"


def test_text_from_outside_is_never_a_template(api: Caller, instance: Instance) -> None:
    """B12, B13, F9."""
    text = flow(
        f"triggers: [{{id: h, type: {WEBHOOK}, key: {KEY}}}]",
        tasks=json.dumps(
            [
                {"id": "log", "type": LOG, "message": "{{ trigger.body.x }} {{ trigger.headers['X-Y'][0] }}"},
                {"id": "copy", "type": RETURN, "format": "{{ trigger.body.x }}"},
                {"id": "again", "type": RETURN, "format": "{{ outputs.copy.value }}"},
            ]
        ),
    )
    api.save(text)
    evil = "{{ secret('X') }}"
    answer = api.send(
        "POST",
        f"executions/webhook/{NS}/{name_of(text)}/{KEY}",
        200,
        json={"x": evil},
        headers={"X-Y": evil},
    )

    one = instance.ended(json.loads(answer)["id"])

    assert one["state"]["current"] == "SUCCESS"
    assert [run["outputs"]["value"] for run in one["taskRunList"][1:]] == [evil, evil]
    assert f"{evil} {evil}" in instance.logs(one["id"])


def test_text_from_outside_put_through_render_gets_no_secret(api: Caller, instance: Instance) -> None:
    text = flow(
        f"triggers: [{{id: h, type: {WEBHOOK}, key: {KEY}}}]",
        tasks=json.dumps([{"id": "t", "type": RETURN, "format": "{{ render(trigger.body.x) }}"}]),
    )
    api.save(text)
    path = f"executions/webhook/{NS}/{name_of(text)}/{KEY}"

    one = instance.ended(json.loads(api.send("POST", path, 200, json={"x": "{{ secret('X') }}"}))["id"])

    assert one["state"]["current"] == "FAILED"
    assert any("not available" in line for line in instance.logs(one["id"]))


# ---------------------------------------------------------------------- C: cron

BAD_CRONS = (
    "0 0 12 * * *", "*/61 * * * *", "*/0 * * * *", "60 * * * *", "0 24 * * *", "0 0 * * 8", "0 0 0 * *",
    "5-1 * * * *", "0 0 * * fri-mon", "0 0 1 Jan-Jan-Jan *", "H * * * *", "R * * * *", "0 0 L * *", "0 0 * * 5L",
    "0 0 15W * *", "0 0 * * 5#2", "0 0 ? * *", "0 0 0 0 0 0 0", "@reboot", "@every 5m", "٣ * * * *",
    "* *\u00a0* * *", "* * * * *; id", "1," * 50_000 + "1 * * * *", "", "x",
)  # fmt: skip


@pytest.mark.parametrize("cron", BAD_CRONS, ids=lambda cron: repr(cron[:20]))
def test_a_bad_cron_is_422(api: Caller, cron: str) -> None:
    assert "cron" in api.save(scheduled(cron), 422).lower()


@pytest.mark.parametrize(
    "cron",
    ["0 0 31 2 *", "0 0 30 2 *", "0 0 29 2 *", "0 0 13 * 5", "0 0 */2 * 1", "59/15 * * * *", "0/15 * * * *", "@daily"],
)
def test_an_odd_cron_is_taken(api: Caller, cron: str) -> None:
    api.save(scheduled(cron))


@pytest.mark.parametrize(
    ("zone", "status"), [("Europe/Berln", 422), ("GMT+25", 422), ("EST5EDT", 200), ("+02:00", 200)]
)
def test_zones(api: Caller, zone: str, status: int) -> None:
    api.save(scheduled("0 0 * * *", f', timezone: "{zone}"'), status)


# ---------------------------------------------------------------------- D: inputs

BAD_INPUTS = {
    "D1 missing": ("{id: a, type: STRING}", {}),
    "D1 wrong type": ("{id: a, type: INT}", {"a": "one"}),
    "D1 float overflow": ("{id: a, type: FLOAT}", {"a": "1e400"}),
    "D1 foreign digit": ("{id: a, type: INT}", {"a": "٣"}),
    "D2 2^63": ("{id: a, type: INT}", {"a": str(2**63)}),
    "D2 hex": ("{id: a, type: INT}", {"a": "0x10"}),
    "D3 outside the list": ("{id: a, type: SELECT, values: [x, y]}", {"a": "z"}),
    "D4 path for a file": ("{id: a, type: FILE}", {"a": "/etc/passwd"}),
    "D5 1.1 MiB": ("{id: a, type: STRING}", {"a": "x" * 1_150_000}),
    "D6 date": ("{id: a, type: DATE}", {"a": "2024-02-30"}),
    "D6 JSON with NaN": ("{id: a, type: JSON}", {"a": '{"x": NaN}'}),
    "D6 not JSON": ("{id: a, type: JSON}", {"a": "{"}),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_a_bad_input_is_422_and_starts_nothing(api: Caller, instance: Instance, case: str) -> None:
    declared, given = BAD_INPUTS[case]
    text = flow(f"inputs: [{declared}]")
    api.save(text)

    answer = api.send("POST", f"executions/{NS}/{name_of(text)}", (422, 413), data=given)

    assert "a" in answer
    assert instance.count(name_of(text)) == 0


def test_a_catastrophic_pattern_of_a_validator_is_refused_or_harmless(api: Caller) -> None:
    """D3."""
    text = flow('inputs: [{id: a, type: STRING, validator: "(a+)+$"}]')
    answer = api.client.post("/api/v1/main/flows", data=text, content_type="application/x-yaml")
    if answer.status_code == 200:
        api.send("POST", f"executions/{NS}/{name_of(text)}", (200, 422), data={"a": "a" * 60 + "!"})
    else:
        assert answer.status_code == 422


@pytest.mark.parametrize("name", ["__class__", "constructor", "toString"])
def test_an_input_may_have_any_name(api: Caller, name: str) -> None:
    """D5."""
    text = flow(
        f"inputs: [{{id: {name}, type: STRING, defaults: plain}}]",
        tasks=json.dumps([{"id": "t", "type": RETURN, "format": f"{{{{ inputs['{name}'] }}}}"}]),
    )
    saved = api.client.post("/api/v1/main/flows", data=text, content_type="application/x-yaml")
    assert saved.status_code in (200, 422)
    if saved.status_code == 200:
        one = api.start(name_of(text), query="?wait=true")
        assert one["taskRunList"][0].get("outputs", {"value": "plain"})["value"] == "plain"


def test_ten_thousand_inputs_are_answered(api: Caller) -> None:
    text = flow()
    api.save(text)

    api.send("POST", f"executions/{NS}/{name_of(text)}", (200, 413, 422), data={f"i{n}": "x" for n in range(10_000)})


# ---------------------------------------------------------------------- E: the API


@pytest.mark.parametrize("identifier", ["..", "%2e%2e%2f", "a%00b", "x" * 5000, "con", "nul.txt"])
@pytest.mark.parametrize(
    "path", ["executions/{}", "flows/{}", f"flows/{NS}/{{}}", "logs/{}", f"namespaces/{NS}/kv/{{}}"]
)
def test_odd_names_are_not_found_or_refused(api: Caller, path: str, identifier: str) -> None:
    answer = api.client.get(f"/api/v1/main/{path.format(identifier)}")

    assert answer.status_code in (200, 308, 400, 404, 405, 422), answer.status_code
    if answer.status_code == 200:
        assert answer.get_json() in ([], {"results": [], "total": 0})


@pytest.mark.parametrize(
    "query",
    [
        "page=-1", "page=0", "size=100000000", "size=-5", "sort=;drop table", "sort=id:sideways", "filter='", "q=%25_%25",  # noqa: E501
        "page=1e9", "filters[x][EQUALS]=1", "filters[state][WEIRD]=1", "startDate=yesterday", "state=WEIRD",
        "labels=nocolon", "timeRange=P1Y", "q=" + "x" * 4000, "q=%00",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["executions/search", "flows/search", "logs/search", "triggers/search"])
def test_odd_searches_are_answered(api: Caller, path: str, query: str) -> None:
    answer = api.client.get(f"/api/v1/main/{path}?{query}")

    assert answer.status_code in (200, 400, 422), (answer.status_code, answer.get_data(as_text=True)[:300])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the parser's spools of refused parts
def test_odd_bodies_are_answered(api: Caller) -> None:
    """E6, E7."""
    text = flow()
    api.save(text)
    path = f"executions/{NS}/{name_of(text)}"
    deep = "[" * 10_000 + "]" * 10_000
    for method, where in (("POST", "executions/latest"), ("DELETE", "executions/by-ids"), ("POST", "flows/by-query")):
        answer = api.client.open(f"/api/v1/main/{where}", method=method, data=deep, content_type="application/json")
        assert answer.status_code in (200, 400, 404, 405, 413, 415, 422), (where, answer.status_code)
    parts = {f"p{n}": (io.BytesIO(b"x"), f"f{n}") for n in range(2_000)}
    api.send("POST", path, (400, 413, 422), data=parts, content_type="multipart/form-data")
    api.send("POST", path, (200, 400, 415, 422), data=b"a=b", content_type="text/xml")
    api.send("POST", "flows", (413, 422), data=b"x" * 11 * 1024 * 1024, content_type="application/x-yaml")


def test_a_thousand_kills_of_one_execution_are_one(api: Caller, instance: Instance) -> None:
    """E9."""
    text = flow(tasks="[{id: p, type: io.kestra.plugin.core.flow.Pause}]")
    api.save(text)
    one = api.start(name_of(text))["id"]
    instance.in_state(one, "PAUSED")

    def kill() -> None:
        for _ in range(125):
            instance.executions.kill(one)

    threads = [threading.Thread(target=kill) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ended = instance.ended(one)
    assert [entry["state"] for entry in ended["state"]["histories"]].count("KILLED") == 1
    api.send("DELETE", f"executions/{one}/kill", 200)
    api.send("DELETE", f"executions/{one}/kill?isOnKillCascade=false", 409)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "ftp://127.0.0.1/",
        "http://169.254.169.254/latest",
        "http://[::]:1/",
    ],
)
def test_an_http_task_reaches_only_what_it_may(api: Caller, instance: Instance, url: str) -> None:
    """E11, E12."""
    text = flow(tasks=json.dumps([{"id": "t", "type": "io.kestra.plugin.core.http.Request", "uri": url}]))
    api.save(text)

    one = instance.ended(api.start(name_of(text))["id"])

    assert one["state"]["current"] == "FAILED"
    assert instance.logs(one["id"])


# ---------------------------------------------------------------------- F: webhooks


def test_webhook_bodies_of_every_kind(api: Caller, instance: Instance) -> None:
    """F6."""
    path = hooked(api)
    for body in (b"{", b"", b"caf\xe9", b"\0\xff", b"[" * 100_000, b"NaN"):
        api.send("POST", path, 200, data=body, content_type="application/json")
    api.send("POST", path, 413, data=b"x" * (6 * 1024 * 1024))
    api.send("POST", path, (200, 415), data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    found = path.split("/")[3]
    until(lambda: _all_ended(instance, found), "all of them")


def _all_ended(instance: Instance, flow_id: str) -> bool:
    import sqlalchemy as sa

    from runner.rows import execution_table

    query = sa.select(execution_table.c.state).where(execution_table.c.flow_id == flow_id)
    return set(instance.database.read(lambda c: list(c.execute(query).scalars()))) <= ENDED


def test_webhook_methods(api: Caller) -> None:
    """F7."""
    path = hooked(api)
    flow_id = path.split("/")[3]
    for method, status in (
        ("HEAD", (404, 405)),
        ("OPTIONS", (200, 204, 404, 405)),
        ("DELETE", (404, 405)),
        ("PATCH", (404, 405)),
    ):
        api.send(method, path, status)
    assert api.start("nothing-" + flow_id, 404)
    for method in ("GET", "POST", "PUT"):
        api.send(method, path, 200)


def test_a_hundred_equal_deliveries_at_once_are_one_execution(api: Caller, instance: Instance) -> None:
    """F4, F5."""
    from service.web import create_app

    path = hooked(api)
    app = create_app(instance.lanner)
    found: list[tuple[int, str]] = []

    def send() -> None:
        answer = app.test_client().post(f"/api/v1/main/{path}", json={"n": 1}, headers={"Idempotency-Key": "k"})
        found.append((answer.status_code, answer.get_json()["id"]))

    threads = [threading.Thread(target=send) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(found)) == 1
    assert found[0][0] == 200
    answer = api.send("POST", path, 422, json={"n": 2}, headers={"Idempotency-Key": "k"})
    assert "idempotency_conflict" in answer


def test_wrong_keys_and_flows_look_alike(api: Caller) -> None:
    """F1."""
    path = hooked(api)
    flow_id = path.split("/")[3]
    bodies = {
        re.sub(r'"requestId":"[^"]*"|/executions/webhook/[^"]*', "", api.send("POST", wrong, 404))
        for wrong in (path[:-1] + "x", path.replace(flow_id, "nothing"), path.replace(NS, "nowhere"))
    }

    assert len(bodies) == 1


def test_a_webhook_whose_condition_raises_is_204(api: Caller) -> None:
    """F10."""
    path = hooked(api, ', conditions: [{type: io.kestra.plugin.core.condition.Expression, expression: "{{ nope.x }}"}]')

    assert api.send("POST", path, 204) == ""


def test_the_server_is_still_well(api: Caller, instance: Instance, tmp_path: Path) -> None:
    text = flow()
    api.save(text)

    assert api.start(name_of(text), query="?wait=true")["state"]["current"] == "SUCCESS"
    assert api.client.get("/health/ready").status_code == 200
