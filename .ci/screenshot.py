"""`make screenshots`: the picture of the README, taken of a running server with Debian's chromium."""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

FLOW = """
id: nightly_report
namespace: company.data
description: Orders of the day, cleaned and summed up.
labels: {team: data}
inputs:
  - {id: day, type: DATE, defaults: "2026-11-24"}
tasks:
  - id: fetch
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - id: orders
        type: io.kestra.plugin.scripts.shell.Script
        script: |
          echo "reading orders of {{ inputs.day }}"
          sleep 0.8
          echo "1,204 orders"
      - id: customers
        type: io.kestra.plugin.scripts.shell.Script
        script: |
          echo "reading customers"
          sleep 0.4
          echo "318 customers"
      - id: stock
        type: io.kestra.plugin.scripts.shell.Script
        retry: {type: constant, interval: PT0.3S, maxAttempts: 3}
        script: |
          echo "asking the warehouse"
          [ "$LANNER_ATTEMPT" -ge 1 ] || { echo "the warehouse is busy" >&2; exit 1; }
          echo "87 articles"
  - id: by_country
    type: io.kestra.plugin.core.flow.ForEach
    values: ["fr", "de", "it"]
    concurrencyLimit: 2
    tasks:
      - id: sum_up
        type: io.kestra.plugin.scripts.shell.Script
        script: sleep 0.3; echo "summed up {{ taskrun.value }}"
  - id: publish
    type: io.kestra.plugin.core.log.Log
    message: "report of {{ inputs.day }} is ready"
"""


def main() -> None:
    from playwright.sync_api import sync_playwright

    from tests.support.servers import LannerServer

    target = ROOT / "docs" / "images"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, LannerServer(Path(folder)) as server:
        server.call("POST", "flows", FLOW.encode(), "application/x-yaml")
        execution = server.call("POST", "executions/company.data/nightly_report?wait=true")
        page_url = f"{server.url}/ui/main/executions/company.data/nightly_report/{execution['id']}"
        with urllib.request.urlopen(page_url, timeout=10) as answer:
            assert answer.status == 200, json.dumps(execution["state"])
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 560}, device_scale_factor=1)
            page.goto(f"{page_url}/gantt", wait_until="networkidle")
            page.screenshot(path=target / "execution.png")
            browser.close()


if __name__ == "__main__":
    main()
