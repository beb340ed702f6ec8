"""A server with a Git repository behind it and things that happened: for browser tests and screenshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.gitrepo import GitRepo
from tests.support.servers import LannerServer
from tests.support.waiting import until

LOG = "io.kestra.plugin.core.log.Log"
SHELL = "io.kestra.plugin.scripts.shell.Commands"
ENDED = {"SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED"}

ORDERS = f"""\
id: orders
namespace: shop.sales
description: |
  Loads the **orders of a day**, checks them and tells the team.
labels:
  team: sales
  tier: gold
inputs:
  - id: day
    type: DATE
    displayName: Day
    description: Whose orders are loaded
    defaults: "2026-01-31"
  - id: limit
    type: INT
    displayName: Most orders
    min: 1
    max: 1000
    defaults: 50
  - id: region
    type: SELECT
    values: [north, south]
    defaults: north
  - id: notify
    type: BOOL
    displayName: Tell the team
    defaults: true
tasks:
  - id: extract
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - id: web
        type: {SHELL}
        taskRunner: {{type: io.kestra.plugin.core.runner.Process}}
        commands: ["echo loading {{{{ inputs.limit }}}} orders of {{{{ inputs.day }}}}", "sleep 0.4", "echo done"]
      - id: shops
        type: {SHELL}
        taskRunner: {{type: io.kestra.plugin.core.runner.Process}}
        commands: ["echo asking the shops", "sleep 0.7"]
  - id: regions
    type: io.kestra.plugin.core.flow.ForEach
    values: [north, south, east, west]
    tasks:
      - id: check
        type: {LOG}
        message: "{{{{ taskrun.value }}}} looks good"
  - id: decide
    type: io.kestra.plugin.core.flow.If
    condition: "{{{{ inputs.notify }}}}"
    then:
      - id: tell
        type: {LOG}
        message: "Dear team, the orders of {{{{ inputs.region }}}} are in"
    else:
      - id: stay_silent
        type: {LOG}
        message: nothing to tell
  - id: totals
    type: io.kestra.plugin.core.output.OutputValues
    values:
      orders: 42
      sum: {{net: 1234.5, currency: EUR}}
errors:
  - id: alert
    type: {LOG}
    message: something broke
triggers:
  - id: every_morning
    type: io.kestra.plugin.core.trigger.Schedule
    cron: "0 6 * * *"
    timezone: Europe/Berlin
outputs:
  - id: summary
    type: STRING
    value: "{{{{ inputs.limit }}}} orders of {{{{ inputs.region }}}}"
"""
SLOW = f"""\
id: slow
namespace: shop.sales
inputs:
  - id: seconds
    type: INT
    defaults: 3
tasks:
  - id: count
    type: {SHELL}
    taskRunner: {{type: io.kestra.plugin.core.runner.Process}}
    commands:
      - for i in $(seq 1 $(( {{{{ inputs.seconds }}}} * 5 ))); do echo "line $i"; sleep 0.2; done
"""
IMPORT = f"""\
id: nightly_import
namespace: shop.warehouse
inputs:
  - id: table
    type: STRING
    defaults: stock
tasks:
  - id: download
    type: {LOG}
    message: downloading {{{{ inputs.table }}}}
  - id: load
    type: {SHELL}
    taskRunner: {{type: io.kestra.plugin.core.runner.Process}}
    commands:
      - echo "connecting to the warehouse"
      - printf '\\033[31mERROR\\033[0m relation "{{{{ inputs.table }}}}" has 3 columns, 4 given\\n'
      - "{{% if inputs.table != 'stock' %}}exit 3{{% else %}}echo loaded{{% endif %}}"
"""
APPROVAL = f"""\
id: release
namespace: shop.platform
tasks:
  - id: ask
    type: io.kestra.plugin.core.flow.Pause
    onResume:
      - id: reason
        type: STRING
        displayName: Reason
  - id: go
    type: {LOG}
    message: "released because {{{{ outputs.ask.onResume.reason }}}}"
"""
BROKEN = f"""\
id: cleanup
namespace: shop.ops

tasks:
  - id: sweep
    type: {LOG}g
    message: sweeping
"""
LONG = f"""\
id: long_log
namespace: shop.platform
tasks:
  - id: lines
    type: io.kestra.plugin.core.flow.ForEach
    values: "{{{{ range(1, 1200) }}}}"
    concurrencyLimit: 100
    tasks:
      - id: line
        type: {LOG}
        message: "line number {{{{ taskrun.value }}}} of a long log"
"""


class Demo:
    """``server`` runs until ``close``; ``repo`` is its Git source ``flows``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.repo = GitRepo(folder)
        files: dict[str, str | bytes | None] = {
            "namespaces/shop.sales/flows/orders.yaml": ORDERS.replace("max: 1000", "max: 500"),
            "namespaces/shop.sales/flows/slow.yaml": SLOW,
            "namespaces/shop.warehouse/flows/nightly_import.yaml": IMPORT,
            "namespaces/shop.platform/flows/release.yaml": APPROVAL,
            "namespaces/shop.platform/flows/long_log.yaml": LONG,
        }
        self.repo.commit(files, "Flows of the shop")
        config = folder / "lanner.yaml"
        config.write_text(
            "git:\n  allow_file_urls: true\n  defaults: {poll: 1s}\n  sources:\n    - name: flows\n"
            f'      url: "{self.repo.url}"\n      ref: {{branch: main}}\n      namespaces: ["shop.**"]\n'
        )
        self.server = LannerServer(folder / "data", "--config", str(config))
        self.server.start()
        self.synced(self.repo.head)

    def synced(self, commit: str) -> None:
        """Wait until the source has decided about the commit."""

        def seen() -> bool:
            status = self.server.call("GET", "git/sources/flows")
            return status.get("seen_commit") == commit and status["state"] in ("Synced", "Degraded")

        until(seen, f"the sync of {commit[:8]}")

    def break_a_file(self) -> None:
        self.synced(self.repo.commit({"namespaces/shop.ops/flows/cleanup.yaml": BROKEN}, "Sweep every night"))

    def start(self, flow: str, inputs: dict[str, str] | None = None) -> str:
        """Start ``namespace/flow`` and return the execution's id."""
        body, kind = _multipart(inputs or {})
        return str(self.server.call("POST", f"main/executions/{flow}", body, kind)["id"])

    def run(self, flow: str, inputs: dict[str, str] | None = None) -> str:
        execution = self.start(flow, inputs)
        until(lambda: self.state(execution) in ENDED, f"the end of {flow}")
        return execution

    def state(self, execution: str) -> str:
        found: Any = self.server.call("GET", f"main/executions/{execution}")
        return str(found["state"]["current"])

    def close(self) -> None:
        """Stop; what still runs is killed first, a server waits for it otherwise."""
        for one in self.server.call("GET", "main/executions/search?state=RUNNING&size=100")["results"]:
            self.server.call("DELETE", f"main/executions/{one['id']}/kill")
        self.server.stop()


def _multipart(inputs: dict[str, str]) -> tuple[bytes, str]:
    mark = "lanner-boundary"
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in inputs.items()
    ]
    return "".join([*parts, f"--{mark}--\r\n"]).encode(), f"multipart/form-data; boundary={mark}"
