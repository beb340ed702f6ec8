"""Text a database may not like: NUL, lone surrogates, bytes that are no UTF-8. It arrives, or is refused in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from namespaces.ids import new_id
from tests.faults.chaos.loop import own_database
from tests.support import services
from tests.support.instances import NS, Instance

NUL = "a\0b"
SURROGATE = "\ud800"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def instance(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("odd")
    if request.param == "postgres":
        services.require("PostgreSQL", services.POSTGRES)
    with own_database(request.param) as url:
        made = Instance(folder / "data", url or f"sqlite:///{folder / 'lanner.db'}")
        yield made
        made.close()


@pytest.fixture
def flow_id() -> str:
    return f"f{new_id()}"


@pytest.fixture(scope="module")
def client(instance: Instance) -> FlaskClient:
    from service.web import create_app

    return create_app(instance.lanner).test_client()


def test_a_script_may_print_anything(instance: Instance, flow_id: str) -> None:
    instance.deploy(
        flow_id,
        r"""
        tasks:
          - id: t
            type: io.kestra.plugin.scripts.shell.Script
            taskRunner: {type: io.kestra.plugin.core.runner.Process}
            script: |
              printf 'nul a\0b\n'
              printf 'bytes \377\376 \303\n'
              printf 'escape \033[31mred\033[0m\n'
              printf 'surrogate \355\240\200\n'
              echo '::{"outputs":{"x":"a\u0000b","y":"\ud800"}}::'
              echo 'last'
        """,
    )

    one = instance.run(flow_id)

    assert one["state"]["current"] == "SUCCESS"
    logs = instance.logs(one["id"])
    assert "last" in logs
    assert any(line.startswith("nul a") for line in logs)
    assert any(line.startswith("bytes ") for line in logs)


def test_a_failing_script_may_say_anything(instance: Instance, flow_id: str) -> None:
    instance.deploy(
        flow_id,
        r"""
        tasks:
          - {id: t, type: io.kestra.plugin.core.execution.Fail, errorMessage: "a{{ '\u0000' }}b"}
        errors:
          - {id: e, type: io.kestra.plugin.core.log.Log, message: "x{{ '\u0000' }}y"}
        """,
    )

    assert instance.run(flow_id)["state"]["current"] == "FAILED"


def test_webhooks_take_any_bytes(instance: Instance, client: FlaskClient, flow_id: str) -> None:
    key = "a-key-of-more-than-thirty-two-characters"
    instance.deploy(
        flow_id,
        f"""
        triggers: [{{id: h, type: io.kestra.plugin.core.trigger.Webhook, key: {key}}}]
        tasks:
          - {{id: t, type: io.kestra.plugin.core.debug.Return, format: "{{{{ trigger.body }}}}"}}
          - {{id: log, type: io.kestra.plugin.core.log.Log, message: "{{{{ trigger.body }}}}"}}
        labels: {{a: b}}
        """,
    )
    for body in (b"a\0b", b"\xff\xfe", b'{"x": "a\\u0000b"}', b'{"x": "\\ud800"}', b"\xed\xa0\x80"):
        for kind in ("application/json", "text/plain"):
            answer = client.post(
                f"/api/v1/main/executions/webhook/{NS}/{flow_id}/{key}?q=%00", data=body, content_type=kind
            )
            assert answer.status_code == 200, answer.get_data(as_text=True)
            assert instance.ended(answer.get_json()["id"])["state"]["current"] == "SUCCESS"
    answer = client.post(
        f"/api/v1/main/executions/webhook/{NS}/{flow_id}/{key}", headers={"Idempotency-Key": "\xff" * 10}
    )
    assert answer.status_code in (200, 400, 422)


@pytest.mark.parametrize("text", [NUL, SURROGATE])
def test_inputs_and_labels(instance: Instance, client: FlaskClient, text: str, flow_id: str) -> None:
    instance.deploy(
        flow_id,
        """
        inputs: [{id: a, type: STRING}]
        tasks: [{id: t, type: io.kestra.plugin.core.log.Log, message: "{{ inputs.a }}"}]
        """,
    )
    raw = text.encode("utf-8", "surrogatepass")
    boundary = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + raw + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    for query in ("", "?labels=k:%00v", "?labels=%00:v"):
        answer = client.post(f"/api/v1/main/executions/{NS}/{flow_id}{query}", data=boundary, content_type=kind)
        assert answer.status_code in (200, 400, 422), answer.get_data(as_text=True)
        if answer.status_code == 200:
            assert instance.ended(answer.get_json()["id"])["state"]["current"] == "SUCCESS"


SEARCHES = (
    "executions/search",
    "flows/search",
    "logs/search",
    "triggers/search",
    "flows/source?q=%00",
    "namespaces/search",
)


@pytest.mark.parametrize("path", SEARCHES)
def test_searches_for_nul(client: FlaskClient, path: str) -> None:
    join = "&" if "?" in path else "?"
    for query in ("q=%00", "namespace=%00", "flowId=a%00", "labels=a:%00", "filters[namespace][EQUALS]=%00"):
        answer = client.get(f"/api/v1/main/{path}{join}{query}")
        assert answer.status_code in (200, 400, 404, 422), (query, answer.get_data(as_text=True)[:300])


PLACES: list[tuple[str, str, Any]] = [
    ("GET", "executions/a%00b", None),
    ("GET", "flows/a%00b/c", None),
    ("GET", "logs/a%00b", None),
    ("DELETE", "executions/a%00b", None),
    ("POST", "executions/a%00b/f", None),
    ("GET", f"namespaces/{NS}/kv/a%00b", None),
    ("PUT", f"namespaces/{NS}/kv/k", json.dumps("a\0b")),
    ("PUT", f"namespaces/{NS}/kv/k", '"\\ud800"'),
    ("GET", f"namespaces/{NS}/files?path=/a%00b", None),
    ("POST", "flows", f"id: a\nnamespace: {NS}\ndescription: \"a\\0b\"\ntasks: [{{id: t, type: io.kestra.plugin.core.log.Log, message: \"x\\0y\"}}]\n"),  # noqa: E501
    ("GET", "triggers/search?q=%00", None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), PLACES)
def test_nul_in_other_places(client: FlaskClient, method: str, path: str, body: Any) -> None:
    kind = "application/x-yaml" if path == "flows" else "application/json"
    answer = client.open(f"/api/v1/main/{path}", method=method, data=body, content_type=kind if body else None)

    assert answer.status_code in (200, 204, 400, 404, 422), answer.get_data(as_text=True)[:400]
