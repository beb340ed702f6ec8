"""The iterations of a Loop on the pages: counted with their Loop, listed by themselves, never drawn by the thousand."""

from __future__ import annotations

from typing import Any

from tests.service.ui.checking import faults_of, text_of
from tests.service.ui.conftest import Site
from tests.support.waiting import until

FLOW = """\
id: looping
namespace: company.team
tasks:
  - id: loop
    type: io.kestra.plugin.core.flow.Loop
    values: {one: "<b>1</b>", two: 2}
    concurrencyLimit: 1
    tasks:
      - id: ask
        type: io.kestra.plugin.core.flow.Pause
        onResume: [{id: why, type: STRING}]
      - id: say
        type: io.kestra.plugin.core.debug.Return
        format: "{{ item.value }} {{ outputs.ask.onResume.why }}"
"""


def waiting(site: Site) -> tuple[str, str]:
    """An execution whose first iteration waits, and the address of its page."""
    if site.client.get("/api/v1/main/flows/company.team/looping").status_code == 404:
        site.api("POST", "/flows", data=FLOW, content_type="application/x-yaml")
    one = site.api("POST", "/executions/company.team/looping?wait=true")
    assert one["state"]["current"] == "PAUSED"
    return one["id"], f"/ui/executions/company.team/looping/{one['id']}"


def first_iteration(site: Site, execution_id: str) -> dict[str, Any]:
    query = f"filters[parentId][EQUALS]={execution_id}&filters[kind][EQUALS]=LOOP"
    found: dict[str, Any] = site.api("GET", f"/executions/search?{query}")["results"][0]
    return found


def seen(site: Site, address: str) -> str:
    html = site.client.get(address).get_data(as_text=True)
    assert faults_of(html) == []
    assert "<b>1</b>" not in html
    return text_of(html)


def test_a_loop_shows_how_many_iterations_it_has_and_leads_to_them(site: Site) -> None:
    execution_id, page = waiting(site)

    chart = site.client.get(f"{page}/gantt").get_data(as_text=True)
    assert "2 iterations: 1 running" in text_of(chart)
    assert f"/ui/executions?parent={execution_id}&amp;kind=LOOP" in chart
    assert "2 iterations" in seen(site, f"{page}/topology")

    listed = seen(site, f"/ui/executions?parent={execution_id}&kind=LOOP")
    assert "iteration 0 of loop, one: <b>1</b>" in listed
    assert "iteration" not in seen(site, "/ui/executions?flow=looping")


def test_the_page_of_the_execution_asks_for_its_first_waiting_iteration(site: Site) -> None:
    execution_id, page = waiting(site)
    assert "why" in seen(site, page)

    answer = site.client.post(f"{page}/resume", data={"input:why": "because"})

    assert answer.status_code == 303
    until(lambda: first_iteration(site, execution_id)["state"]["current"] == "SUCCESS", "the end of the iteration")
    found = site.api("GET", f"/executions/{first_iteration(site, execution_id)['id']}")
    assert found["taskRunList"][1]["outputs"]["value"] == "<b>1</b> because"


def test_the_pages_of_an_iteration_name_its_loop(site: Site) -> None:
    execution_id, _ = waiting(site)
    page = f"/ui/executions/company.team/looping/{first_iteration(site, execution_id)['id']}"

    for part in ("", "/gantt", "/topology", "/logs", "/outputs"):
        text = seen(site, page + part)
        assert "iteration 0 of loop, one: <b>1</b>" in text
        assert "replay of" not in text.lower()
