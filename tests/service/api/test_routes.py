"""The URL map as a whole: nothing unlisted, both path styles, JSON errors."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.api import blueprints
from service.auth.endpoints import ENDPOINTS, UPLOADS


def test_every_endpoint_has_exactly_one_permission(app: Flask) -> None:
    unlisted = set(app.view_functions) - set(app.extensions["lanner.endpoints"])

    assert not unlisted


def test_the_table_names_no_endpoint_that_does_not_exist(app: Flask) -> None:
    assert set(ENDPOINTS) <= set(app.view_functions)
    assert set(ENDPOINTS) >= UPLOADS


def test_an_endpoint_that_is_not_in_the_table_is_refused(lanner: object) -> None:
    from service.web import create_app

    fresh = create_app(lanner)
    fresh.add_url_rule("/api/v1/forgotten", "forgotten", lambda: "secret")

    response = fresh.test_client().get("/api/v1/forgotten")

    assert response.status_code == 403
    assert response.get_json()["code"] == "unlisted_endpoint"


def test_every_api_route_answers_with_and_without_the_tenant(app: Flask) -> None:
    rules = {rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/v1/")}
    with_tenant = {rule for rule in rules if rule.startswith("/api/v1/main/")}

    assert {rule.replace("/api/v1/main/", "/api/v1/") for rule in with_tenant} == rules - with_tenant


def test_another_tenant_does_not_exist(client: FlaskClient) -> None:
    response = client.get("/api/v1/other/flows/search")

    assert response.status_code == 404
    assert response.get_json()["message"] == "Not Found"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/main/nothing/here", 404),
        ("GET", "/api/nonsense", 404),
        ("PATCH", "/api/v1/main/flows/search", 405),
        ("OPTIONS", "/api/v1/main/flows/search", 405),
        ("GET", "/api/v1/main//flows/search", 404),
    ],
)
def test_errors_are_json_with_kestras_members(client: FlaskClient, method: str, path: str, status: int) -> None:
    response = client.open(path, method=method)

    body = response.get_json()
    assert response.status_code == status
    assert body["_links"]["self"][0]["href"] == path
    assert "type" not in body
    assert body["requestId"] == response.headers["X-Request-Id"]


def test_problem_json_comes_only_when_accept_names_it(client: FlaskClient) -> None:
    response = client.get("/api/v1/main/executions/none", headers={"Accept": "application/problem+json"})

    assert response.mimetype == "application/problem+json"
    assert response.get_json()["status"] == 404
    assert "_links" not in response.get_json()


def test_nothing_is_redirected(client: FlaskClient) -> None:
    assert client.get("/api/v1/main/flows/search/").status_code == 200
    assert client.get("/api/v1/flows/search").status_code == 200


def test_security_headers_are_on_every_answer(client: FlaskClient) -> None:
    for path in ("/api/v1/main/flows/search", "/api/v1/none", "/health/live", "/metrics"):
        headers = client.get(path).headers

        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/liveness", "/health/ready", "/health/readiness"])
def test_health_says_its_status_only(client: FlaskClient, path: str) -> None:
    assert client.get(path).get_json() == {"status": "UP"}


def test_figures_are_in_prometheus_form(client: FlaskClient) -> None:
    lanner_names = client.get("/metrics").get_data(as_text=True)
    both = client.get("/prometheus").get_data(as_text=True)

    assert "# TYPE lanner_flows gauge" in lanner_names
    assert "kestra_" not in lanner_names
    assert "kestra_executor_execution_running_count" in both


def test_all_routes_are_written_down() -> None:
    from pathlib import Path

    text = Path("docs/reference/api.md").read_text(encoding="utf-8")
    app = Flask("routes", static_folder=None)
    for blueprint in blueprints():
        app.register_blueprint(blueprint)

    missing = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if not rule.rule.startswith("/api/v1/main/") and f"`{rule.rule}`" not in text
    ]

    assert not missing, "run python -m service.api.reference > docs/reference/api.md"
