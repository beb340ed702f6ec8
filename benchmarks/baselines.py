"""What the machine itself gives in this run: commits, a bare Flask route, processes, YAML events."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import flows, load
from benchmarks.report import median, percentile
from benchmarks.serving import ROOT, free_port, wait_ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Times in seconds, rates per second."""

    commit_s: float
    grouped_rows: float
    interpreter_s: float
    python_s: float
    imports_s: float
    """``import flask, sqlmodel`` in a fresh interpreter: below that no start of such a server can come."""
    hello_s: float
    hello_p99_s: float
    hello_rate: float
    yaml_events: float


def measure(folder: Path) -> Machine:
    commit_s, grouped = commits(folder)
    with hello(folder) as port:
        load.run(port, "/", connections=8, count=200, method="GET", body="")
        alone = load.run(port, "/", connections=1, count=300, method="GET", body="")
        paced = load.run(port, "/", connections=16, seconds=3, rate=50, method="GET", body="")
        many = load.run(port, "/", connections=8, seconds=2, method="GET", body="")
    return Machine(
        commit_s=commit_s,
        grouped_rows=grouped,
        interpreter_s=spawn([sys.executable, "-I", "-S", "-c", "pass"]),
        python_s=spawn([sys.executable, "-c", "pass"]),
        imports_s=spawn([sys.executable, "-c", "import flask, sqlmodel"], 5),
        hello_s=median(alone.latencies),
        hello_p99_s=percentile(paced.latencies, 0.99),
        hello_rate=many.rate,
        yaml_events=events(),
    )


def commits(folder: Path) -> tuple[float, float]:
    """Seconds of one durable commit of a small row, and rows a second in commits of 50."""
    raw = sqlite3.connect(folder / "commits.db", isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
    row = ("x" * 300,)
    spent = []
    for _ in range(500):
        began = time.perf_counter()
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("INSERT INTO t (text) VALUES (?)", row)
        raw.execute("COMMIT")
        spent.append(time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(100):
        raw.execute("BEGIN IMMEDIATE")
        for _ in range(50):
            raw.execute("INSERT INTO t (text) VALUES (?)", row)
        raw.execute("COMMIT")
    grouped = 5000 / (time.perf_counter() - began)
    raw.close()
    return median(spent), grouped


def spawn(command: list[str], times: int = 15) -> float:
    """Median seconds of one process from start to end."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        spent.append(time.perf_counter() - began)
    return median(spent)


def events() -> float:
    """Flows a second that libyaml turns into events."""
    import yaml

    text = flows.forty_lines(1)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 0.5:
        for _ in yaml.parse(text, yaml.CSafeLoader):
            pass
        count += 1
    return count / (time.perf_counter() - began)


@contextmanager
def hello(folder: Path) -> Iterator[int]:
    """A Flask route that answers 20 bytes of JSON, under Lanner's listener, in a process of its own."""
    port = free_port()
    log = folder / "hello.log"
    with log.open("wb") as out:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.baselines", str(port)], cwd=ROOT, stdout=out, stderr=out
        )
    try:
        wait_ready(port, begun, process, log)
        yield port
    finally:
        process.kill()
        process.wait()


def _serve_hello(port: int) -> None:
    from flask import Flask

    from service.server import Server

    app = Flask("hello")

    @app.get("/")
    @app.get("/health/ready")
    def answer() -> dict[str, str]:
        return {"status": "UP"}

    Server(app, port=port).start()
    threading.Event().wait()


if __name__ == "__main__":
    _serve_hello(int(sys.argv[1]))
