"""W10: first sync of 10,000 flows, one commit until live, a poll without change, a restart; baselines beside them.

Run: ``python -m benchmarks.git_sync [--flows 10000] [--database URL]``. Prints figures, asserts nothing.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.report import Figure, Report
from benchmarks.serving import scratch
from namespaces.clock import SystemClock
from namespaces.flows.catalog import Catalog
from namespaces.store.db import Database, create_schema, open_database
from sync.config import parse_sources
from sync.model import Settings
from sync.service import SyncService

FLOW = """id: flow-{i}
namespace: company.team{t}
description: Loads the numbers of day {i} and tells the team about them
labels:
  team: data
  number: "{i}"
inputs:
  - id: day
    type: STRING
    defaults: "2024-01-01"
tasks:
  - id: first
    type: io.kestra.plugin.core.log.Log
    message: "Hello {{{{ inputs.day }}}} of {i}"
  - id: fetch
    type: io.kestra.plugin.core.http.Request
    uri: "https://example.com/{{{{ inputs.day }}}}/{i}"
    method: GET
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: [1, 2, 3]
    tasks:
      - id: inner
        type: io.kestra.plugin.core.debug.Return
        format: "{{{{ taskrun.value }}}}"
  - id: choose
    type: io.kestra.plugin.core.flow.If
    condition: "{{{{ inputs.day == '2024-01-01' }}}}"
    then:
      - id: first_day
        type: io.kestra.plugin.core.log.Log
        message: first day
  - id: last
    type: io.kestra.plugin.core.log.Log
    message: done
triggers:
  - id: daily
    type: io.kestra.plugin.core.trigger.Schedule
    cron: "{m} 5 * * *"
"""


def git(folder: Path, *arguments: str, stdin: bytes | None = None) -> bytes:
    command = ["git", "-c", "user.name=Bench", "-c", "user.email=bench@example.com", "-c", "gc.auto=0", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, check=True, capture_output=True).stdout


def path_of(i: int) -> str:
    return f"namespaces/company.team{i % 200}/flows/flow-{i}.yaml"


def make_repository(folder: Path, flows: int) -> tuple[Path, Path]:
    work, remote = folder / "work", folder / "remote.git"
    git(folder, "init", "-q", "--bare", "-b", "main", str(remote))
    git(folder, "init", "-q", "-b", "main", str(work))
    for i in range(flows):
        target = work / path_of(i)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(FLOW.format(i=i, t=i % 200, m=i % 60))
    commit(work, remote)
    return work, remote


def commit(work: Path, remote: Path) -> None:
    git(work, "add", "-A")
    git(work, "commit", "-qm", "change")
    git(work, "push", "-qf", str(remote), "HEAD:refs/heads/main")


@contextmanager
def timed(note: Callable[[float], None]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    note(time.perf_counter() - started)


def first_sync_baseline(folder: Path, remote: Path) -> tuple[float, float, float]:
    """B1: a bare fetch, ``cat-file`` of all flows, a CSafeLoader parse of each."""
    bare = folder / "b1.git"
    git(folder, "init", "-q", "--bare", str(bare))
    spent: list[float] = []
    with timed(spent.append):
        git(bare, "fetch", "-q", "--no-tags", remote.as_uri(), "+refs/heads/main:refs/in")
    with timed(spent.append):
        lines = git(bare, "ls-tree", "-r", "refs/in").decode().splitlines()
        oids = "\n".join(line.split()[2] for line in lines)
        data = git(bare, "cat-file", "--batch", "--buffer", stdin=oids.encode())
    texts: list[bytes] = []
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        size = int(data[at:end].split()[2])
        texts.append(data[end + 1 : end + 1 + size])
        at = end + size + 2
    with timed(spent.append):
        for text in texts:
            yaml.load(text, yaml.CSafeLoader)
    return spent[0], spent[1], spent[2]


def one_commit_baseline(folder: Path, work: Path, remote: Path, number: int) -> float:
    """B2: ``ls-remote`` and the fetch of one commit, into the repository of B1."""
    change(work, remote, number)
    spent: list[float] = []
    with timed(spent.append):
        git(folder / "b1.git", "ls-remote", remote.as_uri(), "refs/heads/main")
        git(folder / "b1.git", "fetch", "-q", "--no-tags", remote.as_uri(), "+refs/heads/main:refs/in")
    return spent[0]


def change(work: Path, remote: Path, number: int) -> None:
    target = work / path_of(number)
    target.write_text(FLOW.format(i=number, t=number % 200, m=number % 60) + f"# {time.time_ns()}\n")
    commit(work, remote)


def rss_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return peak_mib()


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def milliseconds(durations: Mapping[str, float]) -> str:
    return " ".join(f"{name} {spent * 1000:.0f}" for name, spent in durations.items()) + " ms"


def open_fresh(folder: Path, url: str) -> Database:
    if url:
        import sqlalchemy as sa

        name = f"bench_{uuid.uuid4().hex[:12]}"
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA {name}"))
        engine.dispose()
        url = sa.make_url(url).update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(False)
    from service.migrations.models import whole_metadata

    whole_metadata()
    database = open_database(url or f"sqlite:///{folder / 'lanner.db'}")
    create_schema(database)
    return database


def measure_into(report: Report, folder: Path, flows: int, url: str) -> None:
    """All of W10 into ``report``: the synchroniser alone, as it runs in a server."""
    folder.mkdir(exist_ok=True)
    report.title(f"W10  {flows:,} flows in 200 namespaces from Git")

    def add(name: str, value: float, unit: str = "s", **more: Any) -> None:
        report.add(Figure(workload="W10", name=name, value=value, unit=unit, **more))

    work, remote = make_repository(folder, flows)
    fetch, read, parse = first_sync_baseline(folder, remote)
    b1 = fetch + read + parse
    b2 = statistics.median(one_commit_baseline(folder, work, remote, n) for n in range(5))
    database = open_fresh(folder, url)
    settings = Settings(mirror_dir=folder / "mirrors", allow_file_urls=True)
    config = {"name": "bench", "url": remote.as_uri(), "namespaces": ["company.**"]}
    sources = parse_sources([config], resolve_credential=lambda _: "", settings=settings)
    catalog = Catalog()
    catalog.load()  # as a running server has done

    def service() -> SyncService:
        return SyncService(database, catalog, SystemClock(), sources, settings.mirror_dir, settings)

    made = service()
    made.test("bench")  # imports GitPython, as a running server has done long ago
    idle = rss_mib()
    spent: list[float] = []
    with timed(spent.append):
        first = made.sync_now("bench")
    assert first is not None
    against = f"fetch {fetch:.2f}, cat-file {read:.2f}, CSafeLoader {parse:.2f}"
    add("first sync", spent[-1], baseline=b1, against=against, goal=3.5)
    report.note(f"  {milliseconds(first.durations)} {dict(first.counts)}")
    add("peak memory above idle", peak_mib() - idle, "MiB", goal=400)
    one: list[float] = []
    for number in range(10, 30):
        change(work, remote, number)
        with timed(one.append):
            last = made.sync_now("bench")
    assert last is not None
    p50 = statistics.median(one)
    # Seen is when the listing of the remote has come back: what fetching costs belongs to Git.
    add("one commit until live", p50 * 1000, "ms", baseline=b2 * 1000, against="ls-remote and fetch")
    add("  of which Lanner", (p50 - b2) * 1000, "ms", goal=40)
    report.note(f"  {milliseconds(last.durations)}")
    remotes: list[float] = []
    polls: list[float] = []
    for _ in range(20):
        with timed(remotes.append):
            git(folder / "b1.git", "ls-remote", remote.as_uri(), "refs/heads/main")
        with timed(polls.append):
            made.poll("bench")
    ls, poll = statistics.median(remotes) * 1000, statistics.median(polls) * 1000
    add("poll without change", poll, "ms", baseline=ls, against="ls-remote", goal=1.3 * ls)
    before = git(work, "rev-parse", "HEAD").decode().strip()
    for number in range(min(1000, flows)):
        target = work / path_of(number)
        target.write_text(FLOW.format(i=number, t=number % 200, m=number % 60) + "# many\n")
    commit(work, remote)
    made.sync_now("bench")
    git(work, "push", "-qf", str(remote), f"{before}:refs/heads/main")
    with timed(spent.append):
        made.sync_now("bench")
    add("revert of 1,000 flows", spent[-1], baseline=b2, against="ls-remote and fetch", goal=b2 + 1.5)
    made.stop()
    with timed(spent.append):
        again = service()
        again.sync_now("bench")
    add("restart, nothing changed", spent[-1], baseline=ls / 1000, against="ls-remote", goal=0.8)
    again.stop()
    database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=10_000)
    parser.add_argument("--database", default="", help="default: a fresh SQLite file")
    options = parser.parse_args()
    with scratch() as folder:
        measure_into(Report(), folder, options.flows, options.database)


if __name__ == "__main__":
    main()
