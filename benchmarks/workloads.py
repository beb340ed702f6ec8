"""W1 to W9 and the growing loops of W11, each against a server process of its own, defaults everywhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks import flows, load
from benchmarks.baselines import Machine, spawn
from benchmarks.client import API, NAMESPACE, Client, Raw, request_bytes
from benchmarks.report import Figure, Report, median, percentile
from benchmarks.serving import Server

HOOK = f"{API}/executions/webhook/{NAMESPACE}/hooked/k"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """``scale`` below 1 makes a run shorter: fewer repeats, never smaller units of work."""

    report: Report
    machine: Machine
    folder: Path
    database: str
    scale: float = 1.0
    broker: str = ""

    def server(self, name: str) -> Server:
        folder = self.folder / name
        folder.mkdir()
        return Server(folder, database=self.database)

    def times(self, count: int) -> int:
        return max(3, int(count * self.scale))

    def add(self, workload: str, name: str, value: float, unit: str, **more: Any) -> None:
        self.report.add(Figure(workload=workload, name=name, value=value, unit=unit, **more))


def w1_start(bench: Bench) -> None:
    bench.report.title("W1  start")
    python = bench.machine.python_s
    versions = spawn([sys.executable, "-m", "service", "--version"], bench.times(10))
    bench.add("W1", "lanner --version", versions, "s", baseline=python, against="bare python -c pass", goal=0.15)
    server = bench.server("w1")
    server.start().put_flow(flows.one())
    server.stop()
    ready, first, weight, request = [], [], [], request_bytes("POST", f"{API}/executions/{NAMESPACE}/one?wait=true")
    for _ in range(bench.times(5)):
        server.start()
        ready.append(server.ready_s)
        raw = Raw(server.port)
        if raw.send(request) != 200:
            raise RuntimeError("the first flow did not run")
        first.append(time.perf_counter() - server.begun)
        raw.close()
        time.sleep(5 if bench.scale >= 1 else 2)
        weight.append(server.memory_mib())
        server.stop()
    bare = bench.machine.imports_s
    bench.add("W1", "ready", median(ready), "s", baseline=bare, against="import flask, sqlmodel", goal=0.6)
    bench.add("W1", "first flow finished", median(first), "s", goal=0.7)
    bench.add("W1", "memory after 5 s", median(weight), "MiB PSS", goal=100)


def w2_one_task(bench: Bench) -> None:
    bench.report.title("W2  one-task flow, call until finished, 50 sequential")
    hello = bench.machine.hello_s * 1000
    with bench.server("w2") as server:
        client = server.start()
        client.put_flow(flows.one())
        spent = [one * 1000 for one in sequential(server, bench.times(50))]
    bench.add("W2", "p50", median(spent), "ms", baseline=hello, against="bare Flask route", goal=6)
    bench.add("W2", "p95", percentile(spent, 0.95), "ms", goal=12)


def sequential(server: Server, count: int) -> list[float]:
    raw, request = Raw(server.port), request_bytes("POST", f"{API}/executions/{NAMESPACE}/one?wait=true")
    spent = []
    for number in range(count + 5):
        began = time.perf_counter()
        if raw.send(request) != 200:
            raise RuntimeError("the flow did not run")
        if number >= 5:
            spent.append(time.perf_counter() - began)
    raw.close()
    return spent


def w3_w4_hundred(bench: Bench) -> None:
    bench.report.title("W3, W4  100 Log tasks in sequence, in Parallel: per task")
    commit = bench.machine.commit_s * 1000
    with bench.server("w34") as server:
        client = server.start()
        for workload, name, source in (
            ("W3", "sequence100", flows.sequence(100)),
            ("W4", "parallel100", flows.parallel(100)),
        ):
            client.put_flow(source)
            spent = [engine_seconds(client.run(name)) * 10 for _ in range(bench.times(7))]
            bench.add(workload, name, median(spent[1:]), "ms/task", baseline=commit, against="one commit", goal=0.5)


def engine_seconds(execution: dict[str, Any]) -> float:
    """From CREATED until ended, by the execution's own history. Raises ``RuntimeError`` unless it ended well."""
    state = execution["state"]
    if state["current"] != "SUCCESS":
        raise RuntimeError(f"execution {execution['id']} of {execution['flowId']} is {state['current']}")
    begun, ended = (datetime.fromisoformat(state[name]) for name in ("startDate", "endDate"))
    return (ended - begun).total_seconds()


def w5_throughput(bench: Bench) -> None:
    bench.report.title("W5  500 one-task executions through a webhook, 8 connections")
    rates, p99s = [], []
    with bench.server("w5") as server:
        client = server.start()
        client.put_flow(flows.hooked())
        load.run(server.port, HOOK, connections=8, count=50)
        done = finished(client, "hooked", 50)
        for _ in range(bench.times(3)):
            began = time.perf_counter()
            calls = load.run(server.port, HOOK, connections=8, count=500)
            until(client, "hooked", done + 500)
            # The generator's own start is not the server's doing.
            rates.append(500 / (time.perf_counter() - began - GENERATOR_S))
            done += 500
            p99s.append(percentile(calls.latencies, 0.99) * 1000)
            if calls.errors:
                raise RuntimeError(f"{calls.errors} calls were refused")
    bench.add(
        "W5", "finished", median(rates), "per s", baseline=bench.machine.hello_rate, against="bare Flask requests",
        goal=600, more_is_better=True,
    )  # fmt: skip
    bench.add("W5", "p99 of the call", median(p99s), "ms", goal=40)


GENERATOR_S = 0.0
"""Measured once by ``calibrate``: start and end of a generator that has nothing to do."""


def calibrate(port: int) -> None:
    global GENERATOR_S
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        one = load.run(port, "/health/ready", connections=8, count=1, method="GET", body="")
        spent.append(time.perf_counter() - began - one.seconds)
    GENERATOR_S = median(spent)


def finished(client: Client, flow_id: str, at_least: int) -> int:
    until(client, flow_id, at_least)
    return client.finished(flow_id)


def until(client: Client, flow_id: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while client.finished(flow_id) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {client.finished(flow_id)} of {count} executions finished")
        time.sleep(0.01)


def w6_w7_processes(bench: Bench) -> None:
    bench.report.title("W6, W7  sequential tasks, each in its own process: whole flow")
    with bench.server("w67") as server:
        client = server.start()
        for workload, name, source, count, goal, command, against in (
            ("W6", "fibo10", flows.fibo(40, 10), 40, 0.55, [sys.executable, "-c", flows.fibo_text(10)],
             "40 x python -c"),
            ("W6", "fibo33", flows.fibo(10, 33), 10, 3.5, [sys.executable, "-c", flows.fibo_text(33)],
             "10 x python -c"),
            ("W7", "echoes", flows.echoes(20), 20, 0.07, ["/bin/sh", "-c", "echo 1"], "20 bare shells"),
        ):  # fmt: skip
            client.put_flow(source)
            runs = 2 if name == "fibo33" else bench.times(7)
            spent = [engine_seconds(client.run(name)) for _ in range(runs)]
            bare = spawn(command, 3 if name == "fibo33" else 15) * count
            value = min(spent) if runs == 2 else median(spent[1:])
            bench.add(workload, f"{count} x {name}", value, "s", baseline=bare, against=against, goal=goal)


def w8_webhooks(bench: Bench) -> None:
    bench.report.title("W8  webhook calls: 50 a second open loop, then as fast as they are answered")
    machine = bench.machine
    with bench.server("w8") as server:
        client = server.start()
        client.put_flow(flows.hooked())
        load.run(server.port, HOOK, connections=8, count=100)
        calls = load.run(server.port, HOOK, connections=16, seconds=10 * min(1, bench.scale), rate=50)
        latencies = [one * 1000 for one in calls.latencies]
        full = load.run(server.port, HOOK, connections=16, seconds=5)
        sent = 100 + len(calls.latencies) + len(full.latencies)
        began = time.perf_counter()
        until(client, "hooked", sent)
        behind = time.perf_counter() - began
    bench.add(
        "W8", "p50 at 50/s", median(latencies), "ms", baseline=machine.hello_s * 1000, against="bare Flask", goal=3
    )
    bench.add(
        "W8", "p99 at 50/s", percentile(latencies, 0.99), "ms", baseline=machine.hello_p99_s * 1000,
        against="bare Flask", goal=8,
    )  # fmt: skip
    bench.add(
        "W8", "accepted, 16 connections, 5 s", full.rate, "per s", baseline=machine.hello_rate, against="bare Flask",
        goal=800, more_is_better=True,
    )  # fmt: skip
    bench.add("W8", "errors", calls.errors + full.errors, "", goal=0)
    bench.add("W8", "then until all finished", behind, "s")


def w9_schedules(bench: Bench) -> None:
    bench.report.title("W9  500 schedules due on the same minute")
    with bench.server("w9") as server:
        client = server.start()
        begun = datetime.now(UTC)
        # What the texts take to be saved must be over before the minute begins.
        due = (begun + timedelta(seconds=25)).replace(second=0, microsecond=0) + timedelta(minutes=1)
        cron = f"{due.minute} {due.hour} * * *"
        client.put_flows("bench.due", [flows.scheduled(n, cron) for n in range(500)])
        bench.add("W9", "saving 500 flows", (datetime.now(UTC) - begun).total_seconds(), "s")
        time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds() + 2))
        client = Client(server.port)  # the first connection was idle for longer than the server keeps one
        rows = executions(client, "bench.due", 500)
    lags = sorted((started(row) - due).total_seconds() for row in rows)
    commit = bench.machine.commit_s
    bench.add("W9", "first start", lags[0] * 1000, "ms", baseline=commit * 1000, against="one commit", goal=20)
    bench.add("W9", "median start", median(lags), "s")
    bench.add(
        "W9", "last start", lags[-1], "s", baseline=500 / bench.machine.grouped_rows, against="500 rows, grouped",
        goal=0.8,
    )  # fmt: skip


def executions(client: Client, namespace: str, count: int) -> list[dict[str, Any]]:
    query = urlencode({"filters[namespace][EQUALS]": namespace, "size": 1000})
    for _ in range(300):
        found: list[dict[str, Any]] = client.call("GET", f"{API}/executions/search?{query}")["results"]
        if len(found) >= count and all(row["state"]["current"] == "SUCCESS" for row in found):
            return found
        time.sleep(0.1)
    raise RuntimeError(f"only {len(found)} of {count} scheduled executions")


def started(row: dict[str, Any]) -> datetime:
    """When an execution entered RUNNING."""
    return next(datetime.fromisoformat(one["date"]) for one in row["state"]["histories"] if one["state"] == "RUNNING")


def w11_growing(bench: Bench) -> None:
    bench.report.title("W11  large executions, per task run or level: must not grow")
    with bench.server("w11") as server:
        client = server.start()
        _growing(bench, client, "each", flows.each, (100, 1_000, 10_000))
        _growing(bench, client, "loop", flows.loop, (100, 1_000, 10_000))
        _growing(bench, client, "parallel", flows.parallel, (100, 1_000))
        _growing(bench, client, "sequence", flows.sequence, (200, 2_000))
        client.put_flows(NAMESPACE, flows.levels(50))
        _growing(bench, client, "chain", flows.chain, (5, 50))
        bench.add("W11", "memory after all of them", server.memory_mib(), "MiB PSS")


def _growing(bench: Bench, client: Client, name: str, make: Callable[[int], str], sizes: Sequence[int]) -> None:
    first = None
    for count in sizes:
        client.put_flow(make(count))
        client.run(f"{name}{count}")
        spent = [engine_seconds(client.run(f"{name}{count}")) for _ in range(1 if count == 10_000 else 3)]
        each = median(spent) / count * 1000
        against, goal = (f"{name} of {sizes[0]}", first * 1.3) if first else ("", None)
        bench.add("W11", f"{name} of {count:,}", each, "ms each", baseline=first, against=against, goal=goal)
        first = first or each


def idle(bench: Bench) -> None:
    """What an idle server costs: processor seconds over ten seconds."""
    bench.report.title("idle server")
    with bench.server("idle") as server:
        server.start()
        time.sleep(3)
        before = sum(cpu_s(pid) for pid in server.pids())
        time.sleep(10)
        bench.add("idle", "processor", (sum(cpu_s(pid) for pid in server.pids()) - before) * 10, "% of one")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


ALL = {
    "w1": w1_start,
    "w2": w2_one_task,
    "w3": w3_w4_hundred,
    "w5": w5_throughput,
    "w6": w6_w7_processes,
    "w8": w8_webhooks,
    "w9": w9_schedules,
    "w11": w11_growing,
    "idle": idle,
}
