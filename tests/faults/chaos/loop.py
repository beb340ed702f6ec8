"""The director: makes the database, starts the actors, waits for them, has the auditor judge."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.chaos import audit
from tests.faults.chaos.flows import NAMESPACE, TICK, flows
from tests.support import services
from tests.support.servers import ROOT, free_port

CYCLE_S = 8.0
"""How long one kill takes on average, pause and start included."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    folder: Path
    kills: int
    triggers: int
    db: str
    seed: int
    rate: float = 0.0
    long_pauses: bool = False
    drain: bool = False
    roles: str = "whole"
    broker: str = ""
    """Address of the broker when the roles are split."""


def run(plan: Plan) -> dict[str, Any]:
    """Run the loop; the report has ``ok``, what was ``wrong`` by invariant, and figures."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    with own_database(plan.db) as url:
        return _run(plan, url)


def _run(plan: Plan, database_url: str) -> dict[str, Any]:
    folder, port = plan.folder, free_port()
    data, ledger = folder / "data", folder / "ledger"
    ledger.touch()
    journal, monkey_journal, log = folder / "load.jsonl", folder / "monkey.jsonl", folder / "server.log"
    config = folder / "lanner.yaml"
    config.write_text(json.dumps(_settings(plan, data, port, database_url)))
    begun = time.monotonic()
    monkey = _actor(
        folder, "monkey", "--config", config, "--roles", plan.roles, "--port", port, "--kills", plan.kills,
        "--seed", plan.seed, "--journal", monkey_journal, "--log", log,
        *(["--long-pauses"] if plan.long_pauses else []), *(["--drain"] if plan.drain else []),
    )  # fmt: skip
    load = None
    try:
        _wait_for(lambda: _said(monkey_journal, "ready"), monkey, "the first start", 90)
        _deploy(port, ledger)
        rate = plan.rate or max(5.0, plan.triggers / (plan.kills * CYCLE_S + 5))
        load = _actor(
            folder, "load", "--port", port, "--journal", journal, "--triggers", plan.triggers, "--rate", rate,
            "--seed", plan.seed,
        )  # fmt: skip
        limit = plan.kills * 30 + plan.triggers / rate * 4 + 300
        _wait_for(lambda: _said(monkey_journal, "done"), monkey, "the last kill", limit)
        _wait_for(lambda: _said(journal, "done"), load, "the last acknowledgement", limit)
        loud = time.monotonic() - begun
        _stop_the_schedule(port)
        report_file = folder / "report.json"
        auditor = _actor(
            folder, "audit", "--url", f"http://127.0.0.1:{port}", "--journal", journal, "--ledger", ledger,
            "--data", data, "--report", report_file,
        )  # fmt: skip
        if auditor.wait(600) != 0:
            raise AssertionError(f"the auditor failed: {(folder / 'audit.err').read_text()[-2000:]}")
        report: dict[str, Any] = json.loads(report_file.read_text())
        monkey.terminate()
        monkey.wait(90)
        last = audit.Findings()
        audit.leftovers(last, data, monkey_journal)
        audit.database(last, database_url, data)
        audit.tracebacks(last, log)
    finally:
        for process in (load, monkey):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(90)
    rest = last.report()
    report["wrong"].update(rest.pop("wrong"))
    report["ok"] = report["ok"] and rest.pop("ok")
    report.update(rest)
    starts = [event["after"] for event in audit.lines_of(monkey_journal) if event["what"] == "ready"]
    report["slowest_start_s"] = max(starts)
    figures = {"db": plan.db, "roles": plan.roles, "seed": plan.seed, "kills": plan.kills, "loud_s": round(loud, 1)}
    report.update(figures)
    ends = [event["how"] for event in audit.lines_of(monkey_journal) if event["what"] == "kill"]
    report["ends"] = {how: ends.count(how) for how in sorted(set(ends))}
    return report


def _settings(plan: Plan, data: Path, port: int, database_url: str) -> dict[str, Any]:
    """``lanner.yaml`` of every process of the server."""
    made: dict[str, Any] = {"data_dir": str(data), "server": {"port": port}, "auth": {"mode": "none"}}
    if database_url:
        made["database"] = {"url": database_url}
    if plan.roles == "split":
        made["dispatch"] = {"kind": "celery", "broker_url": plan.broker}
    return made


def _actor(folder: Path, name: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"tests.faults.chaos.{name}", *(str(argument) for argument in arguments)]
    with (folder / f"{name}.err").open("ab") as errors:
        return subprocess.Popen(command, cwd=ROOT, stdout=errors, stderr=errors)


def _said(journal: Path, what: str) -> bool:
    return any(event["what"] == what for event in audit.lines_of(journal))


def _wait_for(condition: Callable[[], bool], actor: subprocess.Popen[bytes], what: str, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if actor.poll() is not None and not condition():
            raise AssertionError(f"an actor ended with {actor.returncode} before {what}")
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come in {limit_s:.0f} s")
        time.sleep(0.2)


def _deploy(port: int, ledger: Path) -> None:
    """Save the flows; the monkey may strike in between, so each is sent until it is there."""
    for text in flows(ledger):
        deadline = time.monotonic() + 120
        while True:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/v1/main/flows",
                text.encode(),
                {"Content-Type": "application/x-yaml"},
                method="POST",
            )
            try:
                urllib.request.urlopen(request, timeout=20).close()
                break
            except urllib.error.HTTPError as error:
                if error.code == 422 and b"already exists" in (body := error.read()):
                    break
                if error.code not in (429, 503):
                    raise AssertionError(f"the flow was refused: {body.decode()}\n{text}") from error
            except OSError:
                pass
            assert time.monotonic() < deadline, "the flows could not be saved"
            time.sleep(0.3)


def _stop_the_schedule(port: int) -> None:
    """Switch the every-second schedule off, or nothing would ever be settled."""
    body = json.dumps({"namespace": NAMESPACE, "flowId": TICK, "triggerId": TICK, "disabled": True}).encode()
    url = f"http://127.0.0.1:{port}/api/v1/main/triggers/set-disabled"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


@contextmanager
def own_database(kind: str) -> Iterator[str]:
    """A database of its own: empty text means SQLite in the data folder."""
    if kind == "sqlite":
        yield ""
        return
    import sqlalchemy as sa

    name = f"chaos_{uuid.uuid4().hex[:12]}"
    admin = sa.create_engine(services.POSTGRES, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {name}"))
    url = sa.make_url(services.POSTGRES).update_query_dict({"options": f"-csearch_path={name}"})
    try:
        yield url.render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP SCHEMA {name} CASCADE"))
