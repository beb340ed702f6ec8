"""One real server (SQLite, engine, worker threads) for the tests of the API; each test uses its own namespace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from namespaces.ids import new_id
from service.web import create_app
from service.wiring import Lanner
from tests.support.instances import wired


@pytest.fixture(scope="session")
def lanner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanner]:
    made = wired(tmp_path_factory.mktemp("api"), auth={"mode": "none"})
    made.start()
    yield made
    made.stop(drain_s=5)
    made.close()


@pytest.fixture(scope="session")
def app(lanner: Lanner) -> Flask:
    return create_app(lanner)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def namespace() -> str:
    """A namespace nobody else uses."""
    return f"test.{new_id().lower()}"


class Api:
    """The calls tests make most, with their status checked."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def json(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        response = self.client.open(f"/api/v1/main{path}", method=method, **more)
        assert response.status_code == status, response.get_data(as_text=True)
        return response.get_json(silent=True)

    def flow(self, text: str, status: int = 200) -> Any:
        return self.json("POST", "/flows", status, data=text, content_type="application/x-yaml")

    def run(self, namespace: str, flow_id: str, **more: Any) -> Any:
        """Start a flow and wait for its end."""
        return self.json("POST", f"/executions/{namespace}/{flow_id}?wait=true", **more)


@pytest.fixture
def api(client: FlaskClient) -> Api:
    return Api(client)


def log_flow(namespace: str, flow_id: str = "hello", **more: Any) -> str:
    """A flow of one Log task; ``more`` are lines of YAML by key."""
    lines = [f"id: {flow_id}", f"namespace: {namespace}", *(f"{key}: {value}" for key, value in more.items())]
    lines += ["tasks:", "  - id: log", "    type: io.kestra.plugin.core.log.Log", '    message: "hi"']
    return "\n".join(lines) + "\n"
