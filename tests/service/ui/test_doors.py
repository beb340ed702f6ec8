"""Login, logout, first run: what a stranger sees, and what a form must carry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.auth.setup import accounts_of, prepare_first_run
from service.ui import ENDPOINTS
from service.web import create_app
from tests.service.ui.checking import faults_of, forms_without_token, text_of
from tests.service.ui.conftest import GOOD, PASSWORD, USER, wired

OPEN = {"ui.static", "ui.root", "ui.login", "ui.setup", "ui.theme"}


@pytest.fixture
def stranger(guarded: Flask) -> FlaskClient:
    return guarded.test_client()


@pytest.fixture
def ana(guarded: Flask) -> FlaskClient:
    client = guarded.test_client()
    assert client.post("/ui/login", data={"username": USER, "password": PASSWORD}).status_code == 303
    return client


def token_of(client: FlaskClient) -> str:
    found = re.search(r'<meta name="csrf-token" content="([^"]+)"', client.get("/ui/flows").get_data(as_text=True))
    assert found is not None
    return found.group(1)


def test_only_the_doors_are_open() -> None:
    assert {name for name, permission in ENDPOINTS.items() if permission == "public"} == OPEN


def test_a_stranger_is_sent_to_the_login_and_back_to_the_page_he_wanted(stranger: FlaskClient) -> None:
    sent = stranger.get("/ui/executions?state=FAILED")
    assert sent.status_code == 303
    login = stranger.get(sent.headers["Location"])
    assert login.status_code == 200
    assert faults_of(login.get_data(as_text=True)) == []
    back = stranger.post(
        sent.headers["Location"], data={"username": USER, "password": PASSWORD, "next": "/ui/executions?state=FAILED"}
    )

    assert back.headers["Location"] == "/ui/executions?state=FAILED"


@pytest.mark.parametrize(
    "target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "/ui/../api", "/uiX/.."]
)
def test_the_login_leads_to_pages_of_this_server_only(stranger: FlaskClient, target: str) -> None:
    answer = stranger.post("/ui/login", data={"username": USER, "password": PASSWORD, "next": target})

    assert answer.headers["Location"] in ("/ui/", target if target.startswith("/uiX") else "/ui/")
    assert "evil" not in answer.headers["Location"]


def test_a_wrong_password_does_not_say_which_part_was_wrong(stranger: FlaskClient) -> None:
    texts = []
    for username in (USER, "nobody@example.com"):
        answer = stranger.post("/ui/login", data={"username": username, "password": "wrong password"})
        assert answer.status_code == 422
        texts.append(text_of(answer.get_data(as_text=True)))

    assert "User name or password is wrong." in texts[0]
    assert texts[0] == texts[1]


def test_a_login_from_another_site_is_refused(stranger: FlaskClient) -> None:
    answer = stranger.post(
        "/ui/login", data={"username": USER, "password": PASSWORD}, headers={"Sec-Fetch-Site": "cross-site"}
    )

    assert answer.status_code == 403
    assert "lanner_session" not in answer.headers.get("Set-Cookie", "")


def test_every_form_carries_the_token(ana: FlaskClient) -> None:
    ana.post(
        "/api/v1/main/flows", data=GOOD, content_type="application/x-yaml", headers={"X-CSRF-Token": token_of(ana)}
    )
    for path in (
        "/ui/flows",
        "/ui/flows/company.team/report/execute",
        "/ui/flows/company.team/report/triggers",
        "/ui/sync",
    ):
        html = ana.get(path).get_data(as_text=True)

        assert forms_without_token(html) == 0, path


def test_a_form_without_the_token_is_refused_on_a_page(ana: FlaskClient) -> None:
    answer = ana.post("/ui/logout")

    assert answer.status_code == 403
    assert "CSRF" in text_of(answer.get_data(as_text=True))
    assert ana.get("/ui/flows").status_code == 200


def test_signing_out_ends_the_session(ana: FlaskClient) -> None:
    answer = ana.post("/ui/logout", data={"csrf_token": token_of(ana)})

    assert answer.status_code == 303
    assert ana.get("/ui/flows").status_code == 303


def test_the_first_run_makes_the_administrator_with_the_printed_token(tmp_path: Path) -> None:
    lanner = wired(tmp_path)
    client = create_app(lanner).test_client()
    token = prepare_first_run(lanner)
    assert token is not None
    try:
        assert client.get("/ui/login").headers["Location"] == "/ui/setup"
        page = client.get("/ui/setup").get_data(as_text=True)
        assert faults_of(page) == []
        assert token not in page
        form = {"token": "guessed", "username": USER, "password": PASSWORD, "again": PASSWORD}
        wrong = client.post("/ui/setup", data=form)
        assert wrong.status_code == 422
        assert "not the one on the console" in text_of(wrong.get_data(as_text=True))
        short = client.post("/ui/setup", data=form | {"token": token, "password": "short", "again": "short"})
        assert "8 to 256" in text_of(short.get_data(as_text=True))
        differs = client.post("/ui/setup", data=form | {"token": token, "again": "another one"})
        assert "differ" in text_of(differs.get_data(as_text=True))
        done = client.post("/ui/setup", data=form | {"token": token})

        assert done.status_code == 303
        assert client.get("/ui/flows").status_code == 200
        assert client.get("/ui/setup").status_code == 404
        assert accounts_of(lanner).is_admin(USER)
    finally:
        lanner.close()
