"""Checks of a flow in the form that starts it."""

from __future__ import annotations

from tests.service.ui.checking import faults_of, text_of
from tests.service.ui.conftest import Site

FLOW = """\
id: checked
namespace: company.team
inputs: [{id: env, type: STRING, defaults: prod}]
checks:
  - {when: "{{ inputs.env == 'prod' }}", message: "only <b>prod</b>", style: ERROR}
  - {when: "{{ inputs.env != 'old' }}", message: that one is old, behavior: CREATE_EXECUTION, style: WARNING}
tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: ran}]
"""


def test_the_form_shows_the_messages_of_checks_that_do_not_pass(site: Site) -> None:
    site.api("POST", "/flows", data=FLOW, content_type="application/x-yaml")
    page = "/ui/flows/company.team/checked/execute"

    fine = site.client.get(page).get_data(as_text=True)
    assert faults_of(fine) == []
    assert "only" not in text_of(fine)
    changed = site.client.post(f"{page}/fields", data={"input:env": "old"}).get_data(as_text=True)
    assert "only <b>prod</b>" in text_of(changed)
    assert "that one is old" in text_of(changed)

    refused = site.client.post(page, data={"input:env": "test"})
    html = refused.get_data(as_text=True)
    assert refused.status_code == 422
    assert faults_of(html) == []
    assert text_of(html).count("only <b>prod</b>") == 1
    assert "that one is old" not in text_of(html)
    assert site.client.post(page, data={"input:env": "prod"}).status_code == 303
