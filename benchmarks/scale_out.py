"""W12: one-second tasks over several Celery workers, against the time that nothing but the seconds would take."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import flows
from benchmarks.serving import ROOT, Server, environment
from benchmarks.workloads import Bench, engine_seconds

TASKS = 200
CONCURRENCY = 25
BROKER = "amqp://guest:guest@127.0.0.1:5672//"


def w12_scale_out(bench: Bench) -> None:
    bench.report.title(f"W12  {TASKS} one-second tasks, Celery workers with {CONCURRENCY} places: whole flow")
    if not bench.database:
        bench.report.note("needs PostgreSQL (--database) and a broker (--broker): not measured")
        return
    config = f"dispatch: {{kind: celery, broker_url: '{bench.broker}'}}\nlimits: {{subprocesses: {CONCURRENCY}}}\n"
    folder = bench.folder / "w12"
    folder.mkdir()
    with Server(folder, database=bench.database, config=config, roles="web,scheduler,executor,sync") as server:
        client = server.start()
        client.put_flow(flows.sleeps(CONCURRENCY, "warm"))
        client.put_flow(flows.sleeps(TASKS, "sleeps"))
        for count in (1, 2, 4):
            with workers(bench, folder, count):
                client.run("warm")  # every worker has claimed something before the clock runs
                client.run("warm")
                spent = engine_seconds(client.run("sleeps"))
            ideal = TASKS / (count * CONCURRENCY)
            bench.add(
                "W12", f"{count} workers", spent, "s", baseline=ideal, against="ideal", goal=ideal / 0.9
            )  # fmt: skip


@contextmanager
def workers(bench: Bench, folder: Path, count: int) -> Iterator[None]:
    """Workers of the same folder and configuration, as on one machine."""
    command = [sys.executable, "-m", "service", "worker", "--data", str(folder / "data")]
    command += ["--config", str(folder / "lanner.yaml"), "--database", bench.database]
    with (folder / "workers.log").open("ab") as log:
        started = [subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=log, stderr=log) for _ in range(count)]
    try:
        time.sleep(5)  # a worker has no port to ask
        yield
    finally:
        for one in started:
            one.terminate()
        for one in started:
            one.wait(60)
