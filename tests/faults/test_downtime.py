"""R11: what a schedule does about the slots that passed while no server ran, told through the API."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import LannerServer
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
MISSED = 4
FLOW = """
id: {id}
namespace: downtime
triggers:
  - id: tick
    type: io.kestra.plugin.core.trigger.Schedule
    cron: "* * * * * *"
    withSeconds: true
    allowConcurrent: true
    recoverMissedSchedules: {recover}
tasks:
  - {{id: a, type: io.kestra.plugin.core.debug.Return, format: x}}
"""


def seconds(date: str) -> int:
    return int(datetime.fromisoformat(date.replace("Z", "+00:00")).timestamp())


class Decisions:
    """Slots by what was decided for them, as the API tells it now."""

    def __init__(self, server: LannerServer, flow: str) -> None:
        rows: list[dict[str, Any]] = server.call("GET", f"triggers/downtime/{flow}/tick/fires")
        self.rows = rows
        self.fired = sorted(seconds(row["scheduledFor"]) for row in rows if row.get("executionId"))
        self.skipped = {seconds(row["scheduledFor"]): row["decision"] for row in rows if not row.get("executionId")}
        found = server.call("GET", f"executions/search?namespace=downtime&flowId={flow}&size=100")["results"]
        self.executed = sorted(seconds(one["trigger"]["variables"]["date"]) for one in found)


@pytest.mark.parametrize("recover", ["ALL", "LAST", "NONE"])
def test_slots_of_a_downtime_are_decided_as_the_trigger_says(recover: str, tmp_path: Path) -> None:
    with LannerServer(tmp_path) as server:
        server.call("POST", "flows", FLOW.format(id="f", recover=recover).encode(), "application/x-yaml")
        until(lambda: len(Decisions(server, "f").fired) >= 2, "two slots")
    down = int(datetime.now(UTC).timestamp())
    until(lambda: datetime.now(UTC).timestamp() > down + MISSED + 2, "slots that nobody fires")
    up = int(datetime.now(UTC).timestamp())

    with LannerServer(tmp_path) as server:
        until(lambda: max(Decisions(server, "f").fired, default=0) > up + 4, "slots after the downtime", 40)
        body = b'{"namespace": "downtime", "flowId": "f", "triggerId": "tick", "disabled": true}'
        server.call("PUT", "triggers/set-disabled", body)
        found = Decisions(server, "f")

    decided = sorted([*found.fired, *found.skipped])
    missed = set(range(down + 1, up))
    assert found.executed == found.fired
    assert len(set(found.fired)) == len(found.fired)
    assert decided == list(range(decided[0], decided[-1] + 1)), found.rows
    assert all(row["count"] == 1 for row in found.rows)
    assert set(found.skipped.values()) <= {"missed"}
    match recover:
        case "ALL":
            assert not found.skipped
        case "LAST":
            assert missed & set(found.skipped)
            assert min(slot for slot in found.fired if slot > down) == max(found.skipped) + 1
        case _:
            assert missed <= set(found.skipped)
