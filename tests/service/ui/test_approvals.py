"""The decision on an Approval, as a person meets it on the page of the execution."""

from __future__ import annotations

from typing import Any

from tests.service.ui.checking import faults_of, text_of
from tests.service.ui.conftest import Site

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
