"""More calls than the server wants to take (``reliability.md`` F8, R21, S9): refused early, and nothing tips over."""

from __future__ import annotations

import http.client
import json
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.triggers.webhook import WebhookRequest
from tests.faults.calling import KEY, LOG, NS, Caller, hooked
from tests.support.instances import Instance
from tests.support.servers import LannerServer
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FLOW = f"""
id: flooded
namespace: {NS}
triggers: [{{id: h, type: io.kestra.plugin.core.trigger.Webhook, key: {KEY}}}]
tasks: [{{id: t, type: {LOG}, message: hi}}]
"""
SENDERS = 16
PATH = f"/api/v1/main/executions/webhook/{NS}/flooded/{KEY}"


class Sender(threading.Thread):
    """Calls over one connection; notes each status, and the execution that a 200 named."""

    def __init__(self, port: int, calls: int, begun: float, rate: float) -> None:
        super().__init__()
        self.port, self.calls, self.begun, self.rate = port, calls, begun, rate
        self.statuses: Counter[int] = Counter()
        self.started: set[str] = set()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        for number in range(self.calls):
            time.sleep(max(0.0, self.begun + number / self.rate - time.monotonic()))
            connection.request("POST", PATH, b"{}", {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            self.statuses[answer.status] += 1
            if answer.status == 200:
                self.started.add(json.loads(text)["id"])
        connection.close()


def flood(port: int, calls: int, seconds: float) -> tuple[Counter[int], set[str]]:
    """``calls`` in about so many seconds; returns the statuses and the executions that were promised."""
    begun = time.monotonic()
    each = calls // SENDERS
    senders = [Sender(port, each, begun, each / seconds) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    statuses: Counter[int] = Counter()
    for sender in senders:
        statuses.update(sender.statuses)
    started: set[str] = set().union(*(sender.started for sender in senders))
    assert len(started) == statuses[200]
    return statuses, started


def known(server: LannerServer) -> dict[str, str]:
    """State of every execution by id."""
    found: dict[str, str] = {}
    page = 1
    while True:
        answer = server.call("GET", f"main/executions/search?namespace={NS}&size=500&page={page}")
        found |= {one["id"]: one["state"]["current"] for one in answer["results"]}
        if page * 500 >= answer["total"]:
            return found
        page += 1


def config(folder: Path, **limits: Any) -> str:
    path = folder / "lanner.yaml"
    path.write_text(json.dumps({"limits": limits}))
    return str(path)


def test_ten_thousand_webhooks_in_ten_seconds_are_taken_or_refused_and_none_is_lost(tmp_path: Path) -> None:
    """F8."""
    server = LannerServer(tmp_path / "data", "--config", config(tmp_path, webhook_rate=3_000))
    with server:
        server.call("POST", "main/flows", FLOW.encode(), "application/x-yaml")

        statuses, started = flood(server.port, 10_000, 10)

        assert statuses.keys() <= {200, 429}, statuses
        assert statuses[200] > 0
        until(lambda: set(known(server).values()) == {"SUCCESS"}, "the end of every execution", 300)
        assert known(server).keys() == started


def resident_bytes(server: LannerServer) -> int:
    assert server.process is not None
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024


def test_a_flood_of_ten_times_the_allowed_rate_leaves_the_server_alive_and_small(tmp_path: Path) -> None:
    """R21 ``limits/flood``, shortened: 10× the rate of the limit; it answers health, and its memory does not grow."""
    server = LannerServer(tmp_path / "data", "--config", config(tmp_path, webhook_rate=3_000))
    with server:
        server.call("POST", "main/flows", FLOW.encode(), "application/x-yaml")
        flood(server.port, 4_000, 8)  # a minute's worth is let through at once
        before = resident_bytes(server)
        stop = threading.Event()
        health: Counter[int] = Counter()

        def look() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            while not stop.wait(0.1):
                connection.request("GET", "/health/live")
                answer = connection.getresponse()
                answer.read()
                health[answer.status] += 1
            connection.close()

        watcher = threading.Thread(target=look)
        watcher.start()
        statuses, _ = flood(server.port, 15_000, 30)
        stop.set()
        watcher.join()
        after = resident_bytes(server)

        assert statuses.keys() == {200, 429}, statuses
        assert statuses[429] > statuses[200]
        assert health.keys() == {200}
        assert after < before + 48 * 1024 * 1024, (before, after)
        until(lambda: set(known(server).values()) == {"SUCCESS"}, "the end of every execution", 120)


ROUNDS = 20_000


def test_the_time_of_a_refusal_tells_nothing_of_the_key(api: Caller, instance: Instance) -> None:
    """S9: a key that is right but for its end, a wrong one, an unknown flow: no difference that repeats would show.

    The three are called in turns and compared by their medians, so that what else the machine does meets all alike;
    the noise is that of the same call compared with itself.
    """
    flow_id = hooked(api).split("/")[3]
    webhooks = instance.lanner.webhooks
    kinds: dict[str, tuple[str, str]] = {
        "right but for the end": (flow_id, KEY[:-1] + "x"),
        "wrong": (flow_id, "y" * len(KEY)),
        "wrong again": (flow_id, "y" * len(KEY)),
        "unknown flow": ("nothing-" + flow_id, KEY),
    }
    times: dict[str, list[int]] = {name: [] for name in kinds}
    order = list(kinds)
    shuffle: Callable[[list[str]], None] = random.Random(1).shuffle
    for number in range(ROUNDS):
        shuffle(order)
        for name in order:
            request = WebhookRequest(method="POST", address=f"10.0.{number >> 8 & 255}.{number & 255}-{name}")
            begun = time.perf_counter_ns()
            outcome = webhooks.accept(NS, *kinds[name], request)
            times[name].append(time.perf_counter_ns() - begun)
            assert outcome.status == 404

    medians = {name: statistics.median(found) for name, found in times.items()}
    print(medians)
    low, high = min(medians.values()), max(medians.values())
    assert high - low < 0.04 * low, medians
