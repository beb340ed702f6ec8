"""The auditor: compares what the caller was told, what the ledger saw and what the public API says afterwards.

Reads nothing of Lanner's inside; only the last look (I13) opens the stopped database, with the database's own tools.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sqlite3
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.faults.chaos.flows import LIMIT, LINES, NAMESPACE, RUNS, TICK

TERMINAL = {"SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "SKIPPED", "RETRIED"}
# What may follow what in the history of a task run without human help.
NEXT = {
    "CREATED": {"SUBMITTED", "RUNNING", "KILLED", "SKIPPED", "FAILED", "PAUSED"},
    "SUBMITTED": {"RUNNING", "KILLED", "FAILED", "CREATED"},
    "RUNNING": {"PAUSED", "RETRYING", "CREATED", "SUBMITTED", "KILLING", *TERMINAL},
    "RETRYING": {"CREATED", "SUBMITTED", "RUNNING", "KILLED", "FAILED"},
    "PAUSED": {"RUNNING", "KILLED", "KILLING", "SUCCESS", "FAILED"},
    "KILLING": {"KILLED", "SUCCESS", "FAILED"},
}
SETTLE_S = 60.0


@dataclass(frozen=True)
class Line:
    """One line of the ledger; ``at`` in nanoseconds."""

    what: str
    run: str
    attempt: int
    epoch: int
    pid: int
    at: int


class Findings:
    """What was found wrong, by invariant."""

    def __init__(self) -> None:
        self.wrong: dict[str, list[str]] = defaultdict(list)
        self.figures: dict[str, Any] = {}

    def check(self, invariant: str, good: bool, text: str) -> None:
        if not good:
            self.wrong[invariant].append(text)

    def report(self) -> dict[str, Any]:
        return {
            "ok": not self.wrong,
            "wrong": {name: [len(texts), *texts[:8]] for name, texts in sorted(self.wrong.items())},
            **self.figures,
        }


class Audit:
    def __init__(self, url: str, journal: Path, ledger: Path, data: Path) -> None:
        self.url = url
        self.events = list(lines_of(journal))
        self.ledger_path = ledger
        self.data = data
        self.found = Findings()
        self.executions: dict[str, dict[str, Any]] = {}
        self.ledger: dict[str, list[Line]] = defaultdict(list)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/main/{path}", timeout=60) as answer:
            return json.load(answer)

    def run(self) -> dict[str, Any]:
        self.settled()
        self.read()
        self.acknowledged()
        self.histories()
        self.ledger_agrees()
        self.limits()
        self.kills()
        self.schedule()
        self.logs()
        return self.found.report()

    # -- I3 ------------------------------------------------------------------------------------------------------

    def settled(self) -> None:
        """Wait until every execution is terminal; 60 s is what the contract gives."""
        begun = time.monotonic()
        states = ",".join(sorted(TERMINAL))
        while True:
            every = self.get(f"executions/search?namespace={NAMESPACE}&size=1")["total"]
            ended = self.get(f"executions/search?namespace={NAMESPACE}&size=1&state={states}")["total"]
            if every == ended:
                break
            if time.monotonic() - begun > SETTLE_S:
                left = self.get(f"executions/search?namespace={NAMESPACE}&size=200")["results"]
                for one in left:
                    state = one["state"]["current"]
                    self.found.check("I3", state in TERMINAL, f"{one['flowId']} {one['id']} is {state}")
                break
            time.sleep(0.25)
        self.found.figures["settled_s"] = round(time.monotonic() - begun, 1)

    def read(self) -> None:
        page = 1
        while True:
            answer = self.get(f"executions/search?namespace={NAMESPACE}&size=100&page={page}")
            for one in answer["results"]:
                self.executions[one["id"]] = self.get(f"executions/{one['id']}")
            if page * 100 >= answer["total"]:
                break
            page += 1
        for text in self.ledger_path.read_text().splitlines():
            what, run, attempt, epoch, pid, at = text.split()
            self.ledger[run].append(Line(what, run, int(attempt), int(epoch), int(pid), int(at)))
        self.found.figures["executions"] = len(self.executions)
        self.found.figures["states"] = dict(
            Counter(f"{one['flowId']} {one['state']['current']}" for one in self.executions.values())
        )

    def of(self, flow: str) -> Iterator[dict[str, Any]]:
        return (one for one in self.executions.values() if one["flowId"] == flow)

    # -- I1, I2 --------------------------------------------------------------------------------------------------

    def acknowledged(self) -> None:
        by_key: dict[str, list[str]] = defaultdict(list)
        for one in self.executions.values():
            key = ((one.get("trigger") or {}).get("variables") or {}).get("body", {}).get("key")
            if key is not None:
                by_key[key].append(one["id"])
        told: dict[str, set[str]] = defaultdict(set)
        requests: set[str] = set()
        for event in self.events:
            if event["what"] == "request":
                requests.add(event["key"])
            elif event["what"] == "reply":
                self.found.check("status", event["status"] == 200, f"{event['key']}: {event['status']} {event['text']}")
                if event["status"] == 200:
                    told[event["key"]].add(event["id"])
        for key, ids in told.items():
            self.found.check("I1", len(ids) == 1, f"{key} was told {ids}")
            self.found.check("I1", by_key.get(key, []) == list(ids), f"{key}: told {ids}, has {by_key.get(key)}")
        for key in requests - told.keys():
            self.found.check("I2", len(by_key.get(key, [])) <= 1, f"{key} without a reply has {by_key.get(key)}")
        for key in by_key.keys() - requests:
            self.found.check("I1", False, f"an execution for {key}, which nobody sent")
        self.found.figures["acknowledged"] = len(told)
        self.found.figures["lost"] = sum(1 for key in told if not by_key.get(key))
        self.found.figures["doubled"] = sum(1 for ids in by_key.values() if len(ids) > 1)
        self.found.figures["requests"] = sum(event["what"] == "request" for event in self.events)
        self.found.figures["without_reply"] = sum(event["what"] == "no reply" for event in self.events)

    # -- I4 and what each flow must look like ----------------------------------------------------------------------

    def histories(self) -> None:
        for one in self.executions.values():
            runs = one.get("taskRunList") or []
            name = f"{one['flowId']} {one['id']}"
            expected = "KILLED" if one["flowId"] == "doomed" else "SUCCESS"
            state = one["state"]["current"]
            allowed = {"SUCCESS", "FAILED"} if one["flowId"] == "once" else {expected}
            self.found.check("end", state in allowed or state not in TERMINAL, f"{name} ended {state}")
            wanted = RUNS.get(one["flowId"])
            if wanted is not None and state == "SUCCESS":
                counts = Counter(run["taskId"] for run in runs)
                self.found.check("runs", counts == Counter(wanted), f"{name} has {dict(counts)}")
            for item in runs:
                self._history(f"{name} {item['taskId']}", item)
            values = [run["value"] for run in runs if run["taskId"] == "item"]
            self.found.check("runs", len(set(values)) == len(values), f"{name} has an iteration twice")

    def _history(self, name: str, run: dict[str, Any]) -> None:
        history = [(entry["state"], entry["date"]) for entry in run["state"]["histories"]]
        for (state, at), (following, later) in itertools.pairwise(history):
            good = following in NEXT.get(state, set())
            self.found.check("I4", good, f"{name}: {state} is followed by {following}")
            self.found.check("I4", at <= later, f"{name}: time goes back at {following}")
        attempts = run.get("attempts") or []
        won = [attempt for attempt in attempts if attempt["state"]["current"] == "SUCCESS"]
        self.found.check("I4", len(won) <= 1, f"{name}: {len(won)} attempts succeeded")
        open_ones = [a["state"]["current"] for a in attempts if a["state"]["current"] not in {*TERMINAL, "RESUBMITTED"}]
        if run["state"]["current"] in TERMINAL:
            self.found.check("I4", not open_ones, f"{name} has ended with attempts {open_ones}")

    # -- I5, I6, I7 ------------------------------------------------------------------------------------------------

    def ledger_agrees(self) -> None:
        known: set[str] = set()
        again = resubmitted = 0
        for one in self.executions.values():
            for run in one.get("taskRunList") or []:
                if not _is_script(one["flowId"], run["taskId"]):
                    continue
                known.add(run["id"])
                name = f"{one['flowId']} {one['id']} {run['taskId']}"
                lines = self.ledger.get(run["id"], [])
                starts = [line for line in lines if line.what == "start"]
                ends = {line.epoch: line for line in lines if line.what == "end"}
                twice = [epoch for epoch, count in Counter(line.epoch for line in starts).items() if count > 1]
                self.found.check("I5", not twice, f"{name}: epochs {twice} started twice")
                if run["state"]["current"] == "SUCCESS":
                    self.found.check("I5", bool(starts), f"{name} succeeded and never started")
                    self._outputs(name, run, ends)
                if one["flowId"] == "once":
                    self.found.check("I5", len(starts) <= 1, f"{name} started {len(starts)} times")
                finished = min(ends, default=None)
                later = [line for line in starts if finished is not None and line.epoch > finished]
                self.found.check("I5", not later, f"{name} was run again after it had ended")
                self._overlaps(name, lines)
                marked = sum(a["state"]["current"] == "RESUBMITTED" for a in run.get("attempts") or [])
                resubmitted += marked
                tries = len(run.get("attempts") or []) or 1
                self.found.check("I5", len(starts) <= tries, f"{name}: {len(starts)} starts in {tries} attempts")
                failures = sum(line.what == "fail" for line in lines)
                again += max(0, len(starts) - 1 - failures)
        stray = self.ledger.keys() - known
        self.found.check("I5", not stray, f"the ledger has runs the API does not know: {sorted(stray)[:5]}")
        self.found.figures["scripts"] = len(known)
        self.found.figures["extra_starts"] = again
        self.found.figures["resubmitted"] = resubmitted

    def _outputs(self, name: str, run: dict[str, Any], ends: dict[int, Line]) -> None:
        token = ((run.get("outputs") or {}).get("vars") or {}).get("token", "")
        epoch = token.rpartition("-")[2]
        wrote = epoch.isdigit() and int(epoch) in ends and token == f"{run['id']}-{epoch}"
        self.found.check("I7", wrote, f"{name} has the output {token!r}, the ledger has ends {sorted(ends)}")

    def _overlaps(self, name: str, lines: list[Line]) -> None:
        began = {line.epoch: line.at for line in lines if line.what == "start"}
        ended = {line.epoch: line.at for line in lines if line.what in ("end", "fail")}
        epochs = sorted(began)
        for earlier, later in itertools.pairwise(epochs):
            if earlier in ended:
                good = ended[earlier] <= began[later]
                self.found.check("I6", good, f"{name}: epochs {earlier} and {later} overlap")

    # -- I9, I10, I12 ----------------------------------------------------------------------------------------------

    def limits(self) -> None:
        steps: list[tuple[int, int]] = []
        for one in self.of("limited"):
            for run in one.get("taskRunList") or []:
                by_epoch: dict[int, dict[str, int]] = defaultdict(dict)
                for line in self.ledger.get(run["id"], []):
                    by_epoch[line.epoch][line.what] = line.at
                for times in by_epoch.values():
                    if "start" in times and "end" in times:
                        steps += [(times["start"], 1), (times["end"], -1)]
        running = most = 0
        for _, step in sorted(steps):
            running += step
            most = max(most, running)
        self.found.figures["most_at_once"] = most
        self.found.check("I9", most <= LIMIT, f"{most} executions of a flow limited to {LIMIT} ran at once")

    def kills(self) -> None:
        told: dict[str, float] = {}
        for event in self.events:
            if event["what"] == "killed":
                self.found.check("I10", event["status"] == 200, f"kill of {event['id']} answered {event['status']}")
                told.setdefault(event["id"], event["at"])
        for execution_id, at in told.items():
            for run in (self.executions.get(execution_id) or {}).get("taskRunList") or []:
                for line in self.ledger.get(run["id"], []):
                    late = line.what == "start" and line.at / 1e9 > at + 5
                    self.found.check("I10", not late, f"{execution_id} started {run['taskId']} after its kill")
        self.found.figures["killed"] = len(told)

    def schedule(self) -> None:
        """I11: every second from the first slot to the last one has one execution; ``ALL`` skips none."""
        fired = Counter(_second(one["trigger"]["variables"]["date"]) for one in self.of(TICK))
        doubled = [slot for slot, count in fired.items() if count > 1]
        self.found.check("I11", not doubled, f"slots fired twice: {doubled[:5]}")
        begun, ended = min(fired, default=0), max(fired, default=0)
        missing = [slot for slot in range(begun, ended) if slot not in fired]
        self.found.check("I11", not missing, f"slots never fired: {missing[:5]}")
        last = max((int(event["at"]) for event in self.events if event["what"] == "reply"), default=0)
        self.found.check("I11", ended >= last, f"the schedule stopped {last - ended} s before the last call")
        self.found.figures["slots"] = len(fired)

    def logs(self) -> None:
        """I12: the numbered lines of each finished script, once and in order."""
        wanted = [f"line {n}" for n in range(1, LINES + 1)]
        for one in self.of("script"):
            for run in one.get("taskRunList") or []:
                if run["taskId"] != "work" or run["state"]["current"] != "SUCCESS":
                    continue
                last = len(run.get("attempts") or []) - 1
                rows = self.get(f"logs/{one['id']}?taskRunId={run['id']}")
                seen = [
                    row["message"]
                    for row in rows
                    if row.get("attemptNumber", 0) == last and row["message"].startswith("line ")
                ]
                self.found.check("I12", seen == wanted, f"{one['id']}: lines {seen}")


def _second(date: str) -> int:
    return int(datetime.fromisoformat(date.replace("Z", "+00:00")).timestamp())


def _is_script(flow: str, task: str) -> bool:
    return (flow, task) in {
        ("retry", "flaky"), ("limited", "work"), ("script", "work"), ("once", "work"), ("doomed", "work"),
        ("doomed", "never"),
    }  # fmt: skip


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for text in path.read_text().splitlines():
        yield json.loads(text)


def alive(processes: Iterable[Iterable[Any]]) -> list[int]:
    """Which of these (pid, beginning) still exist; a zombie that nobody fetches is no process any more."""
    left = []
    for pid, began in processes:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[19] == began and fields[0] != "Z":
            left.append(int(pid))
    return left


def marked(data: Path) -> list[int]:
    """Processes of attempts that worked below the data folder, told by their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if b"LANNER_TASKRUN_ID=" in environ and str(data).encode() in environ:
                found.append(int(entry.name))
    return found


def leftovers(found: Findings, data: Path, monkey: Path) -> None:
    """I8, after the server has stopped: no process, no spool, no working folder."""
    processes = [one for event in lines_of(monkey) for one in event.get("processes", ())]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (alive(processes) or marked(data)):
        time.sleep(0.1)
    for pid in {*alive(processes), *marked(data)}:
        found.check("I8", False, f"process {pid} is left: {_command(pid)}")
    spool = data / "spool"
    left = [path for path in spool.glob("*/*") if path.is_dir()]
    found.check("I8", not left, f"spools are left: {[path.name for path in left][:5]}")


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:160]
    except OSError:
        return "gone"


def database(found: Findings, url: str, data: Path) -> None:
    """I13 and the rest of I8: the file is whole, and nothing waits in the tables that must be empty."""
    if url:
        import sqlalchemy as sa

        engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            counts = {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in ("outbox", "timer")}
            open_runs = connection.scalar(sa.text("SELECT count(*) FROM task_run WHERE NOT terminal"))
    else:
        with sqlite3.connect(f"file:{data / 'lanner.db'}?mode=ro", uri=True) as raw:
            state = raw.execute("PRAGMA integrity_check").fetchall()
            found.check("I13", state == [("ok",)], f"integrity_check: {state[:3]}")
            counts = {name: raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("outbox", "timer")}
            open_runs = raw.execute("SELECT count(*) FROM task_run WHERE NOT terminal").fetchone()[0]
    found.check("I8", counts["outbox"] == 0, f"{counts['outbox']} messages wait in the outbox")
    found.check("I8", open_runs == 0, f"{open_runs} task runs are open")
    found.figures["rows_left"] = {**counts, "open task runs": open_runs}


def tracebacks(found: Findings, log: Path) -> None:
    """The server's own log says nothing of bugs."""
    text = log.read_text(errors="replace")
    found.check("I13", "Traceback" not in text, f"{text.count('Traceback')} tracebacks in {log}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()
    report = Audit(options.url, options.journal, options.ledger, options.data).run()
    options.report.write_text(json.dumps(report, indent=1))
    sys.exit(0)


if __name__ == "__main__":
    main()
