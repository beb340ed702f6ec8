"""The gate: who gets in where, and what a browser must prove."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.auth.endpoints import PUBLIC
from service.auth.setup import accounts_of
from service.web import create_app
from service.wiring import Lanner
from tests.support.instances import wired

USER, PASSWORD = "ana@example.com", "correct horse battery"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanner]:
    made = wired(tmp_path_factory.mktemp("guarded"))
    accounts_of(made).save_user(USER, PASSWORD)
    yield made
    made.close()


@pytest.fixture(scope="module")
def guarded_app(guarded: Lanner) -> Flask:
    return create_app(guarded)


@pytest.fixture
def stranger(guarded_app: Flask) -> FlaskClient:
    return guarded_app.test_client()


def basic(username: str = USER, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


OPEN = {
    "health.ping",
    "health.live",
    "health.liveness",
    "health.ready",
    "health.readiness",
    "health.health",
    "webhooks.fire",
    "git.hook",
    "instance.configs",
    "instance.configs_login",
    "instance.login",
    "instance.logout",
    "instance.basic_auth",
    "instance.basic_auth_errors",
}


def test_the_public_list_is_exactly_what_the_contract_names(guarded_app: Flask) -> None:
    table = guarded_app.extensions["lanner.endpoints"]

    assert {name for name, permission in table.items() if permission == PUBLIC and not name.startswith("ui.")} == OPEN


CREDENTIALS = {
    "none": {},
    "garbage bearer": {"Authorization": "Bearer garbage"},
    "empty bearer": {"Authorization": "Bearer"},
    "wrong password": basic(password="wrong-password"),
    "unknown user": basic(username="nobody@example.com"),
    "not base64": {"Authorization": "Basic !!!!"},
    "no colon": {"Authorization": "Basic " + base64.b64encode(b"ana").decode()},
    "foreign cookie": {"Cookie": "lanner_session=made-up"},
    "old cookie of Kestra": {"Cookie": "JWT=made-up; BASIC_AUTH=YTpi"},
}


def test_no_route_that_is_not_public_answers_without_credentials(guarded_app: Flask, stranger: FlaskClient) -> None:
    table = guarded_app.extensions["lanner.endpoints"]
    open_doors = []
    for rule in guarded_app.url_map.iter_rules():
        if table.get(rule.endpoint) == PUBLIC or rule.endpoint.startswith("ui."):
            continue
        path = rule.rule
        for argument in rule.arguments:
            path = path.replace(f"<{argument}>", "x").replace(f"<path:{argument}>", "x")
        for method in rule.methods or ():
            for header in ({}, {"Authorization": "Bearer garbage"}):
                response = stranger.open(path, method=method, headers=header)
                if response.status_code != 401 or response.get_data():
                    open_doors.append((method, path, response.status_code))

    assert not open_doors


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_unknown_credentials_are_401_without_a_body(stranger: FlaskClient, kind: str) -> None:
    response = stranger.get("/api/v1/main/flows/search", headers=CREDENTIALS[kind])

    # Many failures from one address are answered with "wait", never with a way in.
    assert response.status_code in (401, 429)
    if response.status_code == 401:
        assert response.get_data() == b""
        assert response.headers["WWW-Authenticate"] == "Basic"


def test_the_login_page_gets_no_browser_dialog(stranger: FlaskClient) -> None:
    response = stranger.get("/api/v1/main/flows/search", headers={"Referer": "http://localhost/ui/login"})

    assert response.status_code == 401
    assert "WWW-Authenticate" not in response.headers


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/main/flows/search/health",
        "/api/v1/main/flows/search;a=/health",
        "/api/v1/main/flows/search%2fhealth",
        "/api/v1/main/flows/configs",
        "/api/v1/main/flows/a/ping",
        "//api/v1/main/flows/search",
        "/API/v1/main/flows/search",
        "/api/v1/main/flows/search.",
        "/health/../api/v1/main/flows/search",
    ],
)
def test_no_spelling_of_a_path_opens_it(stranger: FlaskClient, path: str) -> None:
    headers = {"X-Original-URL": "/health", "X-Rewrite-URL": "/health", "X-HTTP-Method-Override": "GET"}

    assert stranger.get(path, headers=headers).status_code == 401


def test_credentials_in_the_query_are_ignored(stranger: FlaskClient) -> None:
    assert stranger.get("/api/v1/main/flows/search?access_token=x&user=ana@example.com").status_code == 401


def test_the_right_pair_gets_in_and_argon2_is_paid_once(stranger: FlaskClient, guarded: Lanner) -> None:
    assert stranger.get("/api/v1/main/flows/search", headers=basic()).status_code == 200

    assert accounts_of(guarded).verified.knows(USER, PASSWORD)
    assert not accounts_of(guarded).verified.knows(USER, "wrong-password")


def test_a_new_password_ends_the_memory_of_the_old_one(tmp_path: Path) -> None:
    made = wired(tmp_path)
    accounts = accounts_of(made)
    accounts.save_user(USER, PASSWORD)
    assert accounts.check(USER, PASSWORD, "127.0.0.1")

    accounts.save_user(USER, "another long one")

    assert not accounts.check(USER, PASSWORD, "127.0.0.1")
    assert accounts.check(USER, "another long one", "127.0.0.1")
    made.close()


def test_a_public_route_shows_strangers_no_more_than_the_contract_allows(stranger: FlaskClient) -> None:
    body = stranger.get("/api/v1/configs").get_json()

    assert set(body) == {"version", "edition", "isBasicAuthInitialized"}
    assert "uuid" in stranger.get("/api/v1/configs", headers=basic()).get_json()


# ---------------------------------------------------------------------- sessions


def login(client: FlaskClient) -> str:
    response = client.post("/api/v1/login", json={"username": USER, "password": PASSWORD})
    assert response.status_code == 200, response.get_data(as_text=True)
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    return str(response.get_json()["csrf"])


def test_a_session_reads_and_changes_only_with_its_csrf_token(stranger: FlaskClient) -> None:
    csrf = login(stranger)

    assert stranger.get("/api/v1/main/flows/search").status_code == 200
    without = stranger.put("/api/v1/main/namespaces/csrf/kv/a", data='"x"')
    wrong = stranger.put("/api/v1/main/namespaces/csrf/kv/a", data='"x"', headers={"X-CSRF-Token": "x"})
    right = stranger.put("/api/v1/main/namespaces/csrf/kv/a", data='"x"', headers={"X-CSRF-Token": csrf})

    assert (without.status_code, wrong.status_code, right.status_code) == (403, 403, 200)


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_another_sites_page_cannot_use_the_session(stranger: FlaskClient, header: dict[str, str]) -> None:
    csrf = login(stranger)

    response = stranger.put("/api/v1/main/namespaces/csrf/kv/a", data='"x"', headers={"X-CSRF-Token": csrf, **header})

    assert response.status_code == 403


def test_logout_ends_the_session_at_once(stranger: FlaskClient) -> None:
    login(stranger)
    kept = stranger.get_cookie("lanner_session")
    assert kept is not None

    stranger.post("/api/v1/logout")
    stranger.set_cookie("lanner_session", kept.value)

    assert stranger.get("/api/v1/main/flows/search").status_code == 401


# ---------------------------------------------------------------------- first run


def test_the_first_user_needs_the_printed_token(tmp_path: Path) -> None:
    made = wired(tmp_path)
    client = create_app(made).test_client()
    token = accounts_of(made).setup_token()
    assert token is not None
    body = {"username": USER, "password": PASSWORD}

    without = client.post("/api/v1/main/basicAuth", json=body)
    wrong = client.post("/api/v1/main/basicAuth", json=body, headers={"Lanner-Setup-Token": "guess"})
    bad = client.post(
        "/api/v1/main/basicAuth",
        json={"username": "ana", "password": "12345678"},
        headers={"Lanner-Setup-Token": token},
    )
    right = client.post("/api/v1/main/basicAuth", json=body, headers={"Lanner-Setup-Token": token})
    again = client.post("/api/v1/main/basicAuth", json=body, headers={"Lanner-Setup-Token": token})

    assert [r.status_code for r in (without, wrong, bad, right, again)] == [404, 404, 422, 204, 401]
    assert accounts_of(made).setup_token() is None
    assert client.get("/api/v1/main/flows/search", headers=basic()).status_code == 200
    made.close()


def test_many_wrong_passwords_make_the_account_wait_but_not_for_good(tmp_path: Path) -> None:
    from namespaces.clock import ManualClock
    from service.auth.passwords import Failures

    clock = ManualClock()
    failures = Failures(clock)
    for _ in range(6):
        failures.failed(USER, "10.0.0.1")

    waiting = failures.wait_s(USER, "10.0.0.2")
    from datetime import timedelta

    clock.advance(timedelta(seconds=61))

    assert waiting > 0
    assert failures.wait_s("other@example.com", "10.0.0.2") == 0
    assert failures.wait_s(USER, "10.0.0.2") == 0


@pytest.mark.parametrize("password", ["short", "x" * 257, "password123", "Qwertyuiop"])
def test_bad_passwords_are_refused_with_a_reason(password: str) -> None:
    from service.auth.passwords import password_faults

    assert password_faults(password)


# ---------------------------------------------------------------------- without a login


def test_without_a_login_credentials_are_ignored(client: FlaskClient) -> None:
    for header in CREDENTIALS.values():
        assert client.get("/api/v1/main/flows/search", headers=header).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://evil.example:8080", "Host": "evil.example:8080", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1:8080"}, 200),
    ],
)
def test_without_a_login_pages_of_other_sites_change_nothing(
    client: FlaskClient, namespace: str, headers: dict[str, str], status: int
) -> None:
    response = client.put(f"/api/v1/main/namespaces/{namespace}/kv/a", data="1", headers=headers)

    assert response.status_code == status


def test_a_rebound_name_reads_nothing_in_a_browser(client: FlaskClient) -> None:
    """Over plain HTTP a browser sends neither Origin nor Sec-Fetch-Site with the GET of a page to its own host."""
    for more in ({}, {"Sec-Fetch-Site": "same-origin"}):
        headers = {"Host": "evil.example:8080", **more}

        assert client.get("/api/v1/main/flows/search", headers=headers).status_code == 403


# ---------------------------------------------------------------------- proxies and plain HTTP


def behind_proxy(tmp_path: Path) -> FlaskClient:
    made = wired(tmp_path, server={"trusted_proxies": ["10.0.0.0/8"], "url": "https://lanner.example"})
    accounts_of(made).save_user(USER, PASSWORD)
    return create_app(made).test_client()


FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "lanner.example"}


@pytest.mark.parametrize(("address", "status"), [("10.1.2.3", 200), ("203.0.113.9", 403)])
def test_forwarded_headers_count_from_trusted_proxies_only(tmp_path: Path, address: str, status: int) -> None:
    client = behind_proxy(tmp_path)

    response = client.post(
        "/api/v1/login",
        json={"username": USER, "password": PASSWORD},
        headers=FORWARDED,
        environ_overrides={"REMOTE_ADDR": address},
    )

    assert response.status_code == status
    if status == 200:
        cookie = response.headers["Set-Cookie"]
        assert cookie.startswith("__Host-lanner_session=")
        assert "Secure" in cookie
    else:
        assert response.get_json()["code"] == "plain_http"
    client.application.extensions["lanner"].close()


def test_logins_leave_a_trace_in_the_audit_log(tmp_path: Path) -> None:
    import sqlalchemy as sa

    from namespaces import audit

    made = wired(tmp_path)
    accounts = accounts_of(made)
    accounts.save_user(USER, PASSWORD)
    accounts.check(USER, "wrong-password", "10.0.0.1")
    accounts.open_session(USER)

    rows = made.database.read(lambda c: c.execute(sa.select(audit.table).order_by(audit.table.c.seq)).all())

    assert [(row.verb, row.actor, row.result) for row in rows] == [
        ("user.credentials", USER, "ok"),
        ("login", USER, "denied"),
        ("login", USER, "ok"),
    ]
    assert PASSWORD not in str(rows)
    made.close()


def test_the_management_port_shows_health_and_figures_and_nothing_else(guarded: Lanner) -> None:
    from service.web import create_management_app

    client = create_management_app(guarded).test_client()

    assert client.get("/health/ready").status_code == 200
    assert client.get("/metrics").status_code == 200
    assert client.get("/api/v1/flows/search").status_code == 404
