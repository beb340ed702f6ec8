"""The decision on an Approval, as a person meets it on the page of the execution."""

from __future__ import annotations

from typing import Any

from tests.service.ui.checking import faults_of, text_of
from tests.service.ui.conftest import Site
from tests.support.waiting import until

FLOW = """\
id: approve
namespace: company.team
tasks:
  - id: ask
    type: io.kestra.plugin.core.flow.Approval
    description: Look at the <b>report</b> first.
    timeout: PT1H
    commentRequired: ON_DENY
    denyBehavior: CONTINUE
    decisions: {approve: Ship it, deny: "<script>alert(1)</script>"}
    inputs: [{id: reason, type: STRING}]
"""


def waiting(site: Site) -> tuple[str, str]:
    """An execution that waits, and the address of its page."""

    one = site.api("POST", "/executions/company.team/approve?wait=true")
    return one["id"], f"/ui/executions/company.team/approve/{one['id']}"


def outputs(site: Site, execution_id: str) -> dict[str, Any]:
    found: dict[str, Any] = site.api("GET", f"/executions/{execution_id}")["taskRunList"][0]["outputs"]
    return found


def test_the_page_asks_with_the_flows_words_and_takes_the_decision(site: Site) -> None:
    site.api("POST", "/flows", data=FLOW, content_type="application/x-yaml")
    execution_id, page = waiting(site)

    html = site.client.get(page).get_data(as_text=True)
    assert faults_of(html) == []
    assert "<script>alert(1)" not in html
    for words in ("Waits for a decision: ask", "Ship it", "required to deny", "Look at the <b>report</b> first."):
        assert words in text_of(html)
    run = site.api("GET", f"/executions/{execution_id}")["taskRunList"][0]["id"]

    refused = site.client.post(f"{page}/review", data={"task_run": run, "decision": "DENIED", "input:reason": "x"})
    assert refused.status_code == 422
    assert "requires a comment" in text_of(refused.get_data(as_text=True))
    answer = site.client.post(
        f"{page}/review", data={"task_run": run, "decision": "DENIED", "comment": "no", "input:reason": "x"}
    )

    assert answer.status_code == 303
    said = outputs(site, execution_id)
    assert (said["decision"], said["comment"], said["inputs"]) == ("DENIED", "no", {"reason": "x"})
    assert "Waits for a decision" not in text_of(site.client.get(page).get_data(as_text=True))


IN_LOOP = """\
id: approve_each
namespace: company.team
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.Loop
    values: [a, b]
    concurrencyLimit: 1
    tasks: [{id: ask, type: io.kestra.plugin.core.flow.Approval}]
"""


def test_the_page_of_a_loop_asks_for_the_iteration_that_waits(site: Site) -> None:
    site.api("POST", "/flows", data=IN_LOOP, content_type="application/x-yaml")
    one = site.api("POST", "/executions/company.team/approve_each?wait=true")
    page = f"/ui/executions/company.team/approve_each/{one['id']}"

    for _ in range(2):
        html = until(lambda: asks(site, page), "the question")
        run = html.partition('name="task_run" value="')[2].partition('"')[0]
        assert site.client.post(f"{page}/review", data={"task_run": run, "decision": "APPROVED"}).status_code == 303

    ended = until(lambda: site.api("GET", f"/executions/{one['id']}")["state"]["current"] == "SUCCESS", "the end")
    assert ended


def asks(site: Site, page: str) -> str:
    html = site.client.get(page).get_data(as_text=True)
    return html if "Waits for a decision: ask" in html else ""
