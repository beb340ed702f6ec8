"""Every example runs and does what it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from service.cli.local import LocalInstance

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def instance() -> Iterator[LocalInstance]:
    with LocalInstance() as made:
        yield made


def ran(instance: LocalInstance, name: str, *inputs: str, **more: Any) -> dict[str, Any]:
    return instance.run(EXAMPLES / f"{name}.yaml", inputs, **more)


def state(execution: dict[str, Any]) -> str:
    return str(execution["state"]["current"])


def states(execution: dict[str, Any]) -> dict[str, str]:
    return {run["taskId"]: run["state"]["current"] for run in execution["taskRunList"]}


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("hello", ["name=Ada"], {"greeting": "Hello, Ada!"}),
        ("inputs", ["city=Paris", "days=2"], {"summary": "PARIS/2/celsius"}),
        ("variables", [], {"target": "reports/2026/variables.csv"}),
        ("parallel", [], {"total": 50}),
        ("foreach", [], {"german": "report-de"}),
        ("loop", [], {"labels": ["1. apple: 3", "2. pear: 4", "3. plum: 5"]}),
        ("python_script", ["numbers=[1, 2, 9]"], {"largest": 9, "report": "median 2"}),
        ("webhook", [], {"order": "none"}),
    ],
)
def test_an_example_gives_its_outputs(
    instance: LocalInstance, name: str, inputs: list[str], outputs: dict[str, object]
) -> None:
    execution = ran(instance, name, *inputs)

    assert state(execution) == "SUCCESS"
    assert execution["outputs"] == outputs


@pytest.mark.parametrize("name", ["schedule", "chained"])
def test_a_triggered_example_runs_by_hand(instance: LocalInstance, name: str) -> None:
    assert state(ran(instance, name)) == "SUCCESS"


def test_dag_respects_its_dependencies(instance: LocalInstance) -> None:
    execution = ran(instance, "dag")

    order = [run["taskId"] for run in execution["taskRunList"]]
    assert state(execution) == "SUCCESS"
    assert order.index("compile") < order.index("test") < order.index("release")


@pytest.mark.parametrize(("size", "task"), [("small", "laptop"), ("medium", "server"), ("large", "cluster")])
def test_switch_takes_one_branch(instance: LocalInstance, size: str, task: str) -> None:
    execution = ran(instance, "switch", f"size={size}")

    assert {"laptop", "server", "cluster"} & set(states(execution)) == {task}


def test_retry_succeeds_at_the_third_attempt(instance: LocalInstance) -> None:
    execution = ran(instance, "retry")

    assert state(execution) == "SUCCESS"
    assert len(execution["taskRunList"][0]["attempts"]) == 3


def test_errors_runs_its_handlers(instance: LocalInstance) -> None:
    execution = ran(instance, "errors")

    assert state(execution) == "FAILED"
    assert set(states(execution)) == {"risky", "alert", "clean_up", "report"}
    assert state(ran(instance, "errors", "break=false")) == "SUCCESS"


def test_subflow_hands_its_answer_back(instance: LocalInstance) -> None:
    execution = ran(instance, "subflow", others=[EXAMPLES / "hello.yaml"])

    assert execution["outputs"] == {"answer": "Hello, subflow!"}


def test_kv_counts_executions(instance: LocalInstance) -> None:
    first, second = ran(instance, "kv"), ran(instance, "kv")

    assert (first["outputs"], second["outputs"]) == ({"counter": 1}, {"counter": 2})


def test_approval_waits_and_goes_on(instance: LocalInstance) -> None:
    waiting = ran(instance, "approval")
    approved = ran(instance, "approval", resume=["approved=true"])
    refused = ran(instance, "approval", resume=["approved=false", "comment=not today"])

    assert (state(waiting), state(approved), state(refused)) == ("PAUSED", "SUCCESS", "FAILED")


def test_http_calls_a_server(instance: LocalInstance) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"pong")

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        execution = ran(instance, "http", f"address=http://127.0.0.1:{server.server_port}/ping")
        server.shutdown()

    assert execution["outputs"] == {"status": 200}


def test_every_example_has_a_test() -> None:
    text = Path(__file__).read_text()

    assert [path.stem for path in EXAMPLES.glob("*.yaml") if f'"{path.stem}"' not in text] == []
