"""Pages as text: each answers, is well-formed, safe and says what it should, with and without data."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from tests.service.ui.checking import faults_of, text_of
from tests.service.ui.conftest import Site

EMPTY = ["/ui/flows", "/ui/executions", "/ui/triggers", "/ui/sync", "/ui/flows?q=x", "/ui/executions?state=FAILED"]


@pytest.mark.parametrize("path", EMPTY)
def test_a_page_without_data_says_what_to_do(empty: FlaskClient, path: str) -> None:
    answer = empty.get(path)

    assert answer.status_code == 200
    html = answer.get_data(as_text=True)
    assert faults_of(html) == []
    assert 'class="empty"' in html


def test_every_page_is_well_formed_safe_and_labelled(site: Site) -> None:
    wrong = {}
    for path in site.pages():
        answer = site.client.get(path)
        html = answer.get_data(as_text=True)
        if answer.status_code != 200:
            wrong[path] = [str(answer.status_code), text_of(html)[:500]]
        elif found := faults_of(html):
            wrong[path] = found

    assert wrong == {}


def test_nothing_that_people_wrote_becomes_markup(site: Site) -> None:
    for path in site.pages():
        html = site.client.get(path).get_data(as_text=True)

        assert "<script>alert" not in html, path
        assert 'href="javascript:' not in html, path


def test_every_page_carries_the_strict_policy_and_is_not_kept(site: Site) -> None:
    for path in ("/ui/flows", "/ui/nothing", site.pages()[7]):
        headers = site.client.get(path).headers

        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    ["/ui/nothing", "/ui/flows/no/such", "/ui/executions/a/b/c", "/ui/executions/a/b/c/logs", "/ui/sync/none",
     "/ui/sync/flows/runs/none", "/ui/flows/company.team/report/source?revision=99"],
)  # fmt: skip
def test_what_does_not_exist_is_told_on_a_page(site: Site, path: str) -> None:
    answer = site.client.get(path)

    assert answer.status_code == 404
    html = answer.get_data(as_text=True)
    assert faults_of(html) == []
    assert "request" in text_of(html)


def test_a_missing_flow_names_near_ones(site: Site) -> None:
    assert "report" in text_of(site.client.get("/ui/flows/company.team/repart").get_data(as_text=True))


def test_a_flow_of_git_is_read_only_and_says_why(site: Site) -> None:
    text = text_of(site.client.get("/ui/flows/company.git/from_git").get_data(as_text=True))

    assert "Read-only here: managed by Git source flows" in text
    assert site.head[:8] in site.client.get("/ui/flows/company.git/from_git/revisions").get_data(as_text=True)


def test_revisions_show_the_difference(site: Site) -> None:
    html = site.client.get("/ui/flows/company.git/from_git/revisions").get_data(as_text=True)

    assert 'class="del"' in html
    assert 'class="ins"' in html


def test_a_broken_file_is_shown_with_its_place_and_source(site: Site) -> None:
    path = "namespaces/company.git/flows/typo.yaml:5:5"
    for page in ("/ui/sync/flows", f"/ui/sync/flows/runs/{site.sync_run}"):
        html = site.client.get(page).get_data(as_text=True)

        assert path in html, page
        assert "log.Logg" in text_of(html)
        assert 'class="caret"' in html
    assert "Broken in Git: company.git.typo" in text_of(site.client.get("/ui/flows").get_data(as_text=True))


def test_a_failed_execution_explains_itself(site: Site) -> None:
    path = f"/ui/executions/company.team/failing/{site.failed['id']}"
    text = text_of(site.client.get(path).get_data(as_text=True))

    assert "What went wrong" in text
    assert "broken , line 7 failed" in text or "broken, line 7 failed" in text.replace(" ,", ",")
    assert "the disk is full" in text
    assert "has not succeeded before" in text


def test_secrets_never_come_back(site: Site) -> None:
    answer = site.client.post(
        "/ui/flows/company.team/report/execute", data={"input:secret": "s3cret-value", "input:count": "99"}
    )

    assert answer.status_code == 422
    html = answer.get_data(as_text=True)
    assert "s3cret-value" not in html
    assert faults_of(html) == []


def test_a_bad_input_is_told_under_its_field_and_the_rest_is_kept(site: Site) -> None:
    answer = site.client.post(
        "/ui/flows/company.team/report/execute",
        data={"input:count": "99", "input:name": "kept <b>", "many": "several", "input:several": ["a", "c"]},
    )
    html = answer.get_data(as_text=True)

    assert answer.status_code == 422
    assert 'id="f-count-fault"' in html
    assert 'value="kept &lt;b&gt;"' in html
    assert 'value="c" checked' in html.replace("  ", " ")


def test_the_form_starts_an_execution_once(site: Site) -> None:
    form = site.client.get("/ui/flows/company.team/report/execute").get_data(as_text=True)
    key = re.search(r'name="key" value="([^"]+)"', form)
    assert key is not None
    data = {"key": key.group(1), "input:count": "3", "labels": "ticket:42"}
    first = site.client.post("/ui/flows/company.team/report/execute", data=data)
    again = site.client.post("/ui/flows/company.team/report/execute", data=data)

    assert first.status_code == again.status_code == 303
    assert first.headers["Location"] == again.headers["Location"]
    page = site.client.get(first.headers["Location"]).get_data(as_text=True)
    assert "ticket: 42" in text_of(page)


def test_bad_labels_and_dates_are_told(site: Site) -> None:
    for data in ({"labels": "no colon"}, {"schedule": "tomorrow"}):
        answer = site.client.post("/ui/flows/company.team/report/execute", data=data)

        assert answer.status_code == 422
        assert "to correct" in text_of(answer.get_data(as_text=True))


def test_a_filter_that_cannot_be_read_is_told_and_ignored(site: Site) -> None:
    text = text_of(site.client.get("/ui/executions?label=oops").get_data(as_text=True))

    assert "Ignored filter: label" in text
    assert "report" in text


def test_filters_narrow_the_list_and_stay_in_the_fields(site: Site) -> None:
    html = site.client.get("/ui/executions?flow=failing&state=FAILED").get_data(as_text=True)

    assert 'value="failing"' in html
    assert '<option value="FAILED" selected>' in html
    assert f"/ui/executions/company.team/report/{site.run['id']}" not in html


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/ui/main/flows/edit/company.team/report", "/ui/flows/company.team/report"),
        ("/ui/main/flows/edit/company.team/report/topology", "/ui/flows/company.team/report/topology"),
        ("/ui/main/executions/company.team/report/x/gantt", "/ui/executions/company.team/report/x/gantt"),
        ("/ui/main/executions?state=FAILED", "/ui/executions?state=FAILED"),
        ("/ui/", "/ui/flows"),
        ("/", "/ui/"),
    ],
)
def test_addresses_of_kestras_pages_lead_to_ours(site: Site, old: str, new: str) -> None:
    answer = site.client.get(old)

    assert answer.status_code == 303
    assert answer.headers["Location"] == new


def test_a_webhook_key_is_folded_away_and_one_of_an_expression_is_never_shown(site: Site) -> None:
    html = site.client.get("/ui/flows/company.team/report/triggers").get_data(as_text=True)

    assert re.search(r"<details><summary>Show[^<]*</summary><code>[^<]*a-very-secret-key", html)
    assert html.count("a-very-secret-key") == 1


def test_next_dates_are_in_the_schedules_own_zone(site: Site) -> None:
    text = text_of(site.client.get("/ui/flows/company.team/report/triggers").get_data(as_text=True))

    assert "In Europe/Berlin" in text
    assert len(re.findall(r"03:00:00 CES?T", text)) == 10


def test_a_trigger_is_switched_from_its_page(site: Site) -> None:
    path = "/ui/flows/company.team/report/triggers/nightly"
    assert site.client.post(path, data={"do": "disable"}).status_code == 303
    off = text_of(site.client.get("/ui/flows/company.team/report/triggers").get_data(as_text=True))
    assert site.client.post(path, data={"do": "enable"}).status_code == 303

    assert "Disabled here" in off


def test_the_theme_is_kept_in_a_cookie_and_is_right_at_the_first_paint(site: Site) -> None:
    client = site.client.application.test_client()
    answer = client.post("/ui/theme", data={"theme": "dark", "back": "//evil.example/"})

    assert answer.headers["Location"] == "/ui/"
    assert '<html lang="en" data-theme="dark">' in client.get("/ui/flows").get_data(as_text=True)


def test_a_file_output_is_previewed_as_text_only(site: Site) -> None:
    flow = """\
id: page
namespace: company.team
tasks:
  - id: write
    type: io.kestra.plugin.core.storage.Write
    content: "<script>alert(1)</script>"
    extension: .html
"""
    site.api("POST", "/flows", data=flow, content_type="application/x-yaml")
    run = site.api("POST", "/executions/company.team/page?wait=true")
    base = f"/ui/executions/company.team/page/{run['id']}"
    outputs = site.client.get(f"{base}/outputs").get_data(as_text=True)
    link = re.search(rf'href="({base}/preview\?[^"]+)"', outputs)
    assert link is not None
    preview = site.client.get(link.group(1).replace("&amp;", "&"))

    assert preview.status_code == 200
    assert "&lt;script&gt;alert(1)" in preview.get_data(as_text=True)
    assert faults_of(preview.get_data(as_text=True)) == []


def test_actions_that_the_state_forbids_end_on_a_page_that_says_so(site: Site) -> None:
    path = f"/ui/executions/company.team/report/{site.run['id']}/do"
    answer = site.client.post(path, data={"do": "pause"})

    assert answer.status_code == 422
    assert "not RUNNING" in text_of(answer.get_data(as_text=True))
    assert faults_of(answer.get_data(as_text=True)) == []


def test_replay_makes_another_execution(site: Site) -> None:
    path = f"/ui/executions/company.team/report/{site.run['id']}"
    answer = site.client.post(f"{path}/replay")

    assert answer.status_code == 303
    assert answer.headers["Location"] != path
