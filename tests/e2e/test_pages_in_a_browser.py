"""What a person does with the pages, in a real browser on a real server (``ui.md`` part 5)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Visitor
from tests.e2e.demo import Demo
from tests.support.waiting import until

TIMEOUT = 20_000


def head(page: Any) -> Any:
    return page.get_by_role("heading", level=1)


def test_a_flow_is_executed_through_its_form_and_watched_to_its_end(page: Any, demo: Demo) -> None:
    page.goto("/ui/flows")
    page.get_by_role("link", name="orders", exact=True).click()
    expect(page.get_by_text("Loads the orders of a day")).to_be_visible()
    page.get_by_role("link", name="Execute", exact=True).click()
    page.get_by_label("Most orders").fill("7")
    page.get_by_label("south").check()
    page.get_by_text("Labels and time").click()
    page.get_by_label("Labels", exact=True).fill("ticket:42")
    page.get_by_role("button", name="Execute").click()

    expect(page).to_have_url(re.compile("/ui/executions/shop.sales/orders/"))
    expect(head(page)).to_contain_text("Success", timeout=TIMEOUT)
    expect(page).to_have_title(re.compile("^✓ orders"))
    expect(page.get_by_text("ticket: 42")).to_be_visible()
    expect(page.get_by_text("7 orders of south")).to_be_visible()
    page.get_by_role("link", name="Logs").click()
    expect(page.get_by_text("loading 7 orders of 2026-01-31")).to_be_visible()
    page.get_by_role("link", name="Outputs").click()
    page.get_by_role("link", name="totals").click()
    expect(page.get_by_text("1234.5")).to_be_visible()
    page.get_by_role("navigation", name="Execution").get_by_role("link", name="Gantt").click()
    expect(page.get_by_role("row", name=re.compile("^web"))).to_contain_text("Success")
    page.get_by_role("navigation", name="Execution").get_by_role("link", name="Topology").click()
    expect(page.get_by_role("link", name=re.compile("tell.*log.Log.*Success"))).to_be_visible()


def test_wrong_inputs_are_told_after_sending_and_the_rest_is_kept(visitor: Visitor) -> None:
    page = visitor.page
    visitor.watch.allowed.add(422)
    page.goto("/ui/flows/shop.sales/orders/execute")
    expect(page.locator("[aria-invalid]")).to_have_count(0)
    page.get_by_label("Most orders").fill("9999")
    page.get_by_label("south").check()
    page.get_by_role("button", name="Execute").click()

    expect(page.get_by_role("alert")).to_be_focused()
    page.get_by_role("alert").get_by_role("link", name="Most orders").click()
    expect(page.get_by_label("Most orders")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("south")).to_be_checked()


def test_a_running_execution_shows_its_lines_and_its_end_without_a_reload(page: Any, demo: Demo) -> None:
    execution = demo.start("shop.sales/slow", {"seconds": "4"})
    until(lambda: demo.state(execution) == "RUNNING", "the start")
    page.goto(f"/ui/executions/shop.sales/slow/{execution}/logs")
    log = page.get_by_role("log")
    expect(log.get_by_text("line 20", exact=True)).to_be_visible(timeout=TIMEOUT)

    expect(head(page)).to_contain_text("Success", timeout=TIMEOUT)
    numbers = [int(text) for text in log.locator("li > a:first-child").all_inner_texts()]
    assert numbers == list(range(1, len(numbers) + 1))
    lines = [text for text in log.locator("li > span").all_inner_texts() if text.startswith("line ")]
    assert lines == [f"line {n}" for n in range(1, 21)]


def test_three_tabs_reach_the_same_end(visitor: Visitor, demo: Demo) -> None:
    execution = demo.start("shop.sales/slow", {"seconds": "3"})
    base = f"/ui/executions/shop.sales/slow/{execution}"
    pages = [visitor.context.new_page() for _ in range(3)]
    for page, tab in zip(pages, ("gantt", "topology", "logs"), strict=True):
        page.goto(f"{base}/{tab}")

    for page in pages:
        page.bring_to_front()
        expect(head(page)).to_contain_text("Success", timeout=TIMEOUT)
        expect(page).to_have_title(re.compile("^✓"))


def test_a_failed_execution_is_explained(page: Any, demo: Demo) -> None:
    demo.run("shop.warehouse/nightly_import")
    failed = demo.run("shop.warehouse/nightly_import", {"table": "sales"})
    page.goto("/ui/executions?state=FAILED")
    page.get_by_role("link", name=f"Open execution {failed}").click()
    panel = page.get_by_role("region", name="What went wrong")

    expect(panel).to_contain_text("load, line 11 failed, exit code 3")
    expect(panel).to_contain_text('relation "sales" has 3 columns, 4 given')
    expect(panel).to_contain_text("the flow is the same")
    expect(panel).to_contain_text("table: stock → sales")
    panel.get_by_role("link", name="open at the end").click()
    expect(page.locator("li.hit")).to_be_visible()


def test_a_broken_file_is_shown_with_its_place_until_it_is_corrected(page: Any, demo: Demo) -> None:
    page.goto("/ui/sync/flows")
    expect(head(page)).to_contain_text("Synced")
    demo.break_a_file()

    expect(head(page)).to_contain_text("Degraded", timeout=TIMEOUT)
    expect(page.get_by_text("namespaces/shop.ops/flows/cleanup.yaml:6:5")).to_be_visible()
    expect(page.locator(".excerpt .fault")).to_contain_text("type: io.kestra.plugin.core.log.Logg")
    expect(page.get_by_role("link", name=re.compile("Sync.*sources with errors"))).to_be_visible()
    page.get_by_role("table", name="Sync runs, newest first").get_by_role("link", name="flows").first.click()
    expect(page.get_by_text("did you mean").first).to_be_visible()
    page.goto("/ui/sync/flows")
    demo.synced(demo.repo.commit({"namespaces/shop.ops/flows/cleanup.yaml": None}, "Do not sweep"))
    expect(head(page)).to_contain_text("Synced", timeout=TIMEOUT)


def test_a_pushed_change_appears_in_revisions_with_its_difference(page: Any, demo: Demo) -> None:
    from tests.e2e.demo import ORDERS

    commit = demo.repo.commit({"namespaces/shop.sales/flows/orders.yaml": ORDERS}, "Allow more orders")
    demo.synced(commit)
    page.goto("/ui/flows/shop.sales/orders/revisions")

    expect(page.get_by_text("Allow more orders").first).to_be_visible()
    expect(page.locator("tr.ins")).to_contain_text("max: 1000")
    expect(page.locator("tr.del")).to_contain_text("max: 500")
    expect(page.get_by_text("Read-only here: managed by Git source")).to_be_visible()


def test_a_paused_execution_asks_and_goes_on(page: Any, demo: Demo) -> None:
    execution = demo.start("shop.platform/release")
    until(lambda: demo.state(execution) == "PAUSED", "the pause")
    page.goto(f"/ui/executions/shop.platform/release/{execution}")
    page.get_by_label("Reason").fill("it is Friday")
    page.get_by_role("button", name="Resume").click()

    expect(head(page)).to_contain_text("Success", timeout=TIMEOUT)
    page.get_by_role("link", name="Logs").click()
    expect(page.get_by_text("released because it is Friday")).to_be_visible()


def test_a_running_execution_is_killed_after_a_question(page: Any, demo: Demo) -> None:
    execution = demo.start("shop.sales/slow", {"seconds": "60"})
    until(lambda: demo.state(execution) == "RUNNING", "the start")
    page.goto(f"/ui/executions/shop.sales/slow/{execution}")
    page.get_by_role("button", name="Kill…").click()
    page.get_by_role("button", name="Keep running").click()
    page.get_by_role("button", name="Kill…").click()
    page.get_by_role("button", name="Kill", exact=True).click()

    expect(head(page)).to_contain_text("Killed", timeout=TIMEOUT)
    expect(page.get_by_role("button", name="Kill…")).to_have_count(0)
    expect(page.get_by_role("button", name="Restart")).to_be_visible()


def test_a_long_log_is_whole_and_the_browser_finds_in_it(page: Any, demo: Demo) -> None:
    execution = demo.run("shop.platform/long_log")
    page.goto(f"/ui/executions/shop.platform/long_log/{execution}/logs")
    log = page.get_by_role("log")
    expect(log.locator("li")).to_have_count(1200)

    assert page.evaluate("window.find('line number 3 of a long log')") is True
    page.goto(f"/ui/executions/shop.platform/long_log/{execution}/logs#L20-L22")
    expect(log.locator("li.hit")).to_have_count(3)
    expect(log.locator("#L21")).to_be_in_viewport()


def test_a_thousand_task_runs_are_folded_and_paged(page: Any, demo: Demo) -> None:
    execution = demo.run("shop.platform/long_log")
    page.goto(f"/ui/executions/shop.platform/long_log/{execution}/gantt")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="show").click()

    expect(page.locator("tbody tr")).to_have_count(102)
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("101–200 of 1,200")).to_be_visible()


def test_filters_live_in_the_address_and_survive_going_back(page: Any, demo: Demo) -> None:
    demo.run("shop.warehouse/nightly_import")
    page.goto("/ui/executions")
    page.get_by_label("Flow", exact=True).fill("nightly_import")
    page.get_by_label("State").select_option("SUCCESS")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile("flow=nightly_import.*state=SUCCESS"))
    rows = page.locator("tbody tr").count()
    page.locator("tbody tr a").first.click()
    page.go_back()

    expect(page.get_by_label("Flow", exact=True)).to_have_value("nightly_import")
    assert page.locator("tbody tr").count() == rows


def test_the_keyboard_alone_is_enough(page: Any, demo: Demo) -> None:
    page.goto("/ui/flows")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("orders")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("q=orders"))
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="orders", exact=True)).to_be_focused()
    style = "getComputedStyle(document.activeElement)"
    outline = page.evaluate(f"{style}.outlineStyle + {style}.outlineWidth")
    assert outline == "solid2px"
    page.keyboard.press("Enter")
    expect(head(page)).to_have_text("orders")
    page.get_by_role("link", name="Execute", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_label("Most orders").focus()
    page.keyboard.press("Control+Enter")
    expect(page).to_have_url(re.compile("/ui/executions/shop.sales/orders/"))


def test_dark_follows_the_system_and_the_button_decides(browser: Any, demo: Demo) -> None:
    visitor = Visitor(browser, demo, color_scheme="dark")
    page = visitor.page
    page.goto("/ui/flows")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(20, 24, 30)"
    page.get_by_role("button", name="Theme: system").click()
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    page.reload()

    assert page.evaluate(background) == "rgb(255, 255, 255)"
    expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    visitor.close()


@pytest.mark.parametrize("width", [390, 320])
def test_on_a_phone_nothing_makes_the_page_scroll_sideways(browser: Any, demo: Demo, width: int) -> None:
    execution = demo.run("shop.warehouse/nightly_import", {"table": "sales"})
    visitor = Visitor(browser, demo, viewport={"width": width, "height": 844}, has_touch=True, is_mobile=True)
    page = visitor.page
    base = f"/ui/executions/shop.warehouse/nightly_import/{execution}"
    flow = "/ui/flows/shop.sales/orders"
    wide = []
    paths = ["/ui/flows", "/ui/executions", "/ui/triggers", "/ui/sync", "/ui/sync/flows", flow, base]
    paths += [f"{flow}/{tab}" for tab in ("topology", "source", "revisions", "triggers", "execute")]
    for path in [*paths, f"{base}/gantt", f"{base}/logs", f"{base}/outputs"]:
        page.goto(path)
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(path)
    assert wide == []
    page.goto("/ui/flows")
    page.get_by_role("link", name="Menu").tap()
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Executions").tap()
    page.get_by_role("link", name=f"Open execution {execution}").tap()
    expect(page.get_by_role("region", name="What went wrong")).to_be_visible()
    expect(page.get_by_role("button", name="Restart")).to_be_visible()
    visitor.close()


def test_without_scripts_everything_can_be_read_and_the_form_works(browser: Any, demo: Demo) -> None:
    visitor = Visitor(browser, demo, java_script_enabled=False)
    page = visitor.page
    page.goto("/ui/flows")
    page.get_by_role("link", name="nightly_import", exact=True).click()
    page.get_by_role("link", name="Execute", exact=True).click()
    page.get_by_role("button", name="Execute").click()
    expect(page).to_have_url(re.compile("/ui/executions/shop.warehouse/nightly_import/"))
    execution = page.url.rsplit("/", 1)[-1]
    until(lambda: demo.state(execution) == "SUCCESS", "the end")
    page.get_by_role("link", name="Logs").click()

    expect(page.get_by_text("connecting to the warehouse")).to_be_visible()
    page.goto("/ui/flows/shop.sales/orders/source")
    expect(page.locator("#L1")).to_have_text("id: orders\n")
    visitor.close()


def test_a_finished_execution_asks_nothing_more(visitor: Visitor, demo: Demo) -> None:
    execution = demo.run("shop.warehouse/nightly_import")
    page = visitor.page
    page.goto(f"/ui/executions/shop.warehouse/nightly_import/{execution}")
    page.wait_for_load_state("networkidle")
    before = len(visitor.watch.requests)
    assert before <= 12
    page.get_by_role("heading", name="States").click()

    assert page.locator("[data-live]").count() == 0
    assert len(visitor.watch.requests) == before
